//! An HTTP client with full control of its TLS: certificate, SNI, versions, resumption, connections.

mod connection;
mod error;
mod spy;
mod tls;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use http::Request;
use rustls::{ClientConfig, pki_types::ServerName};
use testbed_pki::{Ca, Leaf};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::TlsConnector;

pub use connection::{Connection, Response, TlsInfo};
pub use error::Error;
pub use rustls::AlertDescription;
pub use tls::TlsVersions;

use connection::Parts;
use spy::{AlertSlot, Spy};

/// The host name that the testbed's ingress answers to.
pub const SERVICE_HOST: &str = "service.example";

const DEFAULT_TIMEOUT: Duration = Duration::from_secs(20);

/// Describes a [`Client`].
#[derive(Clone, Debug)]
#[must_use]
pub struct ClientBuilder {
    addr: SocketAddr,
    server_ca: Option<Vec<u8>>,
    verify_name: String,
    identity: Option<Leaf>,
    sni: Option<String>,
    host: String,
    http2: bool,
    versions: TlsVersions,
    resumption: bool,
    timeout: Duration,
}

impl ClientBuilder {
    fn new(addr: SocketAddr, server_ca: Option<&[u8]>) -> Self {
        Self {
            addr,
            server_ca: server_ca.map(<[u8]>::to_vec),
            verify_name: SERVICE_HOST.into(),
            identity: None,
            sni: Some(SERVICE_HOST.into()),
            host: SERVICE_HOST.into(),
            http2: false,
            versions: TlsVersions::Both,
            resumption: false,
            timeout: DEFAULT_TIMEOUT,
        }
    }

    /// Presents this certificate with its intermediates.
    pub fn identity(mut self, leaf: &Leaf) -> Self {
        self.identity = Some(leaf.clone());
        self
    }

    /// Host header, SNI and the name to verify, all at once.
    pub fn host(mut self, host: &str) -> Self {
        self.host = host.into();
        self.verify_name = host.into();
        self.sni(host)
    }

    /// The Host header alone.
    pub fn host_header(mut self, host: &str) -> Self {
        self.host = host.into();
        self
    }

    /// The SNI alone; the server is still verified for the name that it had to have before.
    pub fn sni(mut self, name: &str) -> Self {
        self.sni = Some(name.into());
        self
    }

    /// No SNI.
    pub fn no_sni(mut self) -> Self {
        self.sni = None;
        self
    }

    /// The name that the server's certificate must carry.
    pub fn verify_name(mut self, name: &str) -> Self {
        self.verify_name = name.into();
        self
    }

    /// HTTP/2 instead of HTTP/1.1.
    pub fn http2(mut self) -> Self {
        self.http2 = true;
        self
    }

    /// TLS versions to offer.
    pub fn versions(mut self, versions: TlsVersions) -> Self {
        self.versions = versions;
        self
    }

    /// Resume TLS sessions: a later connection of the same client uses what an earlier one got.
    pub fn resumption(mut self) -> Self {
        self.resumption = true;
        self
    }

    /// Bound for connecting, and for each exchange (20 s unless set).
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Makes the client; no connection yet.
    ///
    /// # Panics
    /// If a name is not a DNS name.
    pub fn build(self) -> Client {
        let tls = self.server_ca.as_ref().map(|server_ca| {
            let config = tls::config(&tls::Options {
                server_ca,
                verify_name: &self.verify_name,
                identity: self.identity.as_ref(),
                versions: self.versions,
                resumption: self.resumption,
                alpn: if self.http2 { b"h2" } else { b"http/1.1" },
                sni: self.sni.is_some(),
            });
            let name = self.sni.as_ref().unwrap_or(&self.verify_name);
            Tls {
                config: Arc::new(config),
                name: ServerName::try_from(name.clone()).expect("a DNS name as SNI"),
            }
        });
        Client { addr: self.addr, tls, host: self.host, http2: self.http2, timeout: self.timeout }
    }
}

#[derive(Clone, Debug)]
struct Tls {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
}

/// The client. Each of its plain calls opens a new connection; [`Client::connect`] keeps one.
#[derive(Clone, Debug)]
pub struct Client {
    addr: SocketAddr,
    tls: Option<Tls>,
    host: String,
    http2: bool,
    timeout: Duration,
}

impl Client {
    /// A TLS client of `addr` that trusts `server_ca`. By default: no client certificate, HTTP/1.1,
    /// [`SERVICE_HOST`] as Host, SNI and name to verify, no resumption.
    pub fn tls(addr: SocketAddr, server_ca: &Ca) -> ClientBuilder {
        Self::trusting(addr, &server_ca.der)
    }

    /// The same where only the authority's certificate is known.
    pub fn trusting(addr: SocketAddr, server_ca_der: &[u8]) -> ClientBuilder {
        ClientBuilder::new(addr, Some(server_ca_der))
    }

    /// A client without TLS.
    pub fn plain(addr: SocketAddr) -> ClientBuilder {
        ClientBuilder::new(addr, None)
    }

    /// `GET` on a new connection.
    pub async fn get(&self, path: &str) -> Result<Response, Error> {
        self.connect().await?.get(path).await
    }

    /// A request on a new connection.
    pub async fn send(&self, request: Request<Vec<u8>>) -> Result<Response, Error> {
        self.connect().await?.send(request).await
    }

    /// Opens a connection, TLS handshake included. In TLS 1.3 a server's refusal shows with the first request only.
    pub async fn connect(&self) -> Result<Connection, Error> {
        let alert = AlertSlot::default();
        let open = async {
            let (stream, tls) = self.stream(&alert).await?;
            let parts = Parts {
                alert: alert.clone(),
                tls,
                host: self.host.clone(),
                timeout: self.timeout,
                http2: self.http2,
            };
            Connection::open(stream, parts).await
        };
        let opened = timeout(self.timeout, open).await.map_err(|_| Error::Timeout(self.timeout))?;
        opened.map_err(|e| alert.get().map_or(e, Error::Alert))
    }

    /// Sends bytes as they are and returns what comes back until the server closes, or `quiet` passes without a byte.
    pub async fn raw(&self, bytes: &[u8], quiet: Duration) -> Result<Vec<u8>, Error> {
        let alert = AlertSlot::default();
        let mut got = Vec::new();
        let exchange = async {
            let (mut stream, _) = self.stream(&alert).await?;
            stream.write_all(bytes).await.map_err(|e| connection::closed(&e))?;
            stream.flush().await.map_err(|e| connection::closed(&e))?;
            while let Ok(read) = timeout(quiet, stream.read_buf(&mut got)).await {
                match read {
                    Ok(0) => break,
                    Ok(_) => {}
                    Err(e) if got.is_empty() => return Err(connection::closed(&e)),
                    Err(_) => break,
                }
            }
            Ok(())
        };
        let done = timeout(self.timeout, exchange).await.map_err(|_| Error::Timeout(self.timeout))?;
        done.map_err(|e| alert.get().map_or(e, Error::Alert))?;
        Ok(got)
    }

    async fn stream(&self, alert: &AlertSlot) -> Result<(Box<dyn Stream>, Option<TlsInfo>), Error> {
        let tcp = TcpStream::connect(self.addr).await.map_err(Error::Connect)?;
        let _ = tcp.set_nodelay(true);
        let Some(tls) = &self.tls else {
            return Ok((Box::new(tcp), None));
        };
        let connector = TlsConnector::from(tls.config.clone());
        let stream = connector.connect(tls.name.clone(), tcp).await.map_err(|e| Error::from_handshake(&e))?;
        let session = stream.get_ref().1;
        let info = TlsInfo {
            version: session.protocol_version().map(|v| format!("{v:?}")).unwrap_or_default(),
            resumed: session.handshake_kind() == Some(rustls::HandshakeKind::Resumed),
            alpn: session.alpn_protocol().map(|p| String::from_utf8_lossy(p).into_owned()),
        };
        Ok((Box::new(Spy::new(stream, alert.clone())), Some(info)))
    }
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}
