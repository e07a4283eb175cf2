//! A port that can stop and start listening without losing it to another process.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
};

use tokio::net::{TcpListener, TcpSocket};

/// A free port of 127.0.0.1.
pub(crate) const LOOPBACK: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// Keeps a port: while nothing listens, connections to it are refused.
#[derive(Debug)]
pub(crate) struct ReservedPort {
    addr: SocketAddr,
    // Bound and never listening: it only keeps the port.
    _placeholder: TcpSocket,
}

impl ReservedPort {
    pub fn new(addr: SocketAddr) -> io::Result<Self> {
        let placeholder = bind(addr)?;
        Ok(Self { addr: placeholder.local_addr()?, _placeholder: placeholder })
    }

    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    pub fn listen(&self) -> io::Result<TcpListener> {
        bind(self.addr)?.listen(1024)
    }
}

fn bind(addr: SocketAddr) -> io::Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.set_reuseport(true)?;
    socket.bind(addr)?;
    Ok(socket)
}
