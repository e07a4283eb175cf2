//! Where the containers meet.

use std::{
    io::{Error, Result},
    net::{Ipv4Addr, SocketAddr},
};

use tokio::net::lookup_host;

/// A port on all interfaces: the other containers come through one that is not known here.
pub fn everywhere(port: u16) -> SocketAddr {
    (Ipv4Addr::UNSPECIFIED, port).into()
}

pub async fn resolve(addr: &str) -> Result<SocketAddr> {
    lookup_host(addr).await?.next().ok_or_else(|| Error::other(format!("{addr} has no address")))
}
