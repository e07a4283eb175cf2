//! Connections of the stand-in: read a request, log it, answer or misbehave.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Instant, SystemTime},
};

use rustls::ServerConfig;
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
};
use tokio_rustls::TlsAcceptor;

use super::{
    answers, errors,
    fault::{self, Fault},
    log::{Endpoint, Seen},
    state::Inner,
};
use crate::http1::{Answer, Reader, Request};

/// Something whose TCP connection can be reset.
trait Resettable {
    fn tcp(&self) -> &TcpStream;
}

impl Resettable for TcpStream {
    fn tcp(&self) -> &TcpStream {
        self
    }
}

impl Resettable for tokio_rustls::server::TlsStream<TcpStream> {
    fn tcp(&self) -> &TcpStream {
        self.get_ref().0
    }
}

struct Connection {
    inner: Arc<Inner>,
    number: u64,
    sni: Option<String>,
    plain: bool,
}

/// Accepts until aborted; its connections end with it, or when `generation` changes.
pub(super) async fn accept(
    inner: Arc<Inner>,
    listener: TcpListener,
    tls: Option<Arc<ServerConfig>>,
    generation: watch::Receiver<u64>,
) {
    static NUMBERS: AtomicU64 = AtomicU64::new(1);
    let mut connections = JoinSet::new();
    loop {
        let Ok((tcp, _)) = listener.accept().await else { continue };
        while connections.try_join_next().is_some() {}
        let number = NUMBERS.fetch_add(1, Ordering::Relaxed);
        inner.connections.fetch_add(1, Ordering::Relaxed);
        let (inner, tls, mut generation) = (inner.clone(), tls.clone(), generation.clone());
        generation.mark_unchanged();
        connections.spawn(async move {
            tokio::select! {
                () = connection(inner, tcp, tls, number) => {}
                _ = generation.changed() => {}
            }
        });
    }
}

async fn connection(inner: Arc<Inner>, tcp: TcpStream, tls: Option<Arc<ServerConfig>>, number: u64) {
    let _ = tcp.set_nodelay(true);
    let Some(config) = tls else {
        let connection = Connection { inner, number, sni: None, plain: true };
        let _ = connection.serve(tcp).await;
        return;
    };
    match TlsAcceptor::from(config).accept(tcp).await {
        Ok(stream) => {
            let sni = stream.get_ref().1.server_name().map(str::to_owned);
            let connection = Connection { inner, number, sni, plain: false };
            if let Err(e) = connection.serve(stream).await
                && is_tls_alert(&e)
            {
                // In TLS 1.3 a client refuses our certificate after our side of the handshake is over.
                connection.inner.log.handshake_failed(e.to_string());
            }
        }
        Err(e) => inner.log.handshake_failed(e.to_string()),
    }
}

fn is_tls_alert(error: &io::Error) -> bool {
    let inner = error.get_ref().and_then(|e| e.downcast_ref::<rustls::Error>());
    matches!(inner, Some(rustls::Error::AlertReceived(_)))
}

impl Connection {
    async fn serve<S: AsyncRead + AsyncWrite + Unpin + Resettable>(&self, mut stream: S) -> io::Result<()> {
        let mut reader = Reader::new();
        while let Some(request) = reader.next(&mut stream).await? {
            let (number, endpoint, fault) = self.note(&request);
            // Faults that delay come before the answer is made, so it shows the state at its end.
            match &fault {
                Fault::Delay(time) => tokio::time::sleep(*time).await,
                Fault::Gate(gate) => gate.passed().await,
                Fault::Hang => std::future::pending().await,
                Fault::Reset => return reset(&stream),
                _ => {}
            }
            let close = request.header("connection").is_some_and(|v| v.eq_ignore_ascii_case("close"));
            let answer = fault.answer(self.usual(&request, endpoint), endpoint);
            if self.send(&mut stream, &answer, &fault).await? {
                self.inner.log.answered(number, answer.status);
            } else {
                return Ok(());
            }
            if close {
                break;
            }
        }
        stream.shutdown().await
    }

    /// Writes the answer as the fault wants it; says whether it was written completely.
    async fn send<S: AsyncRead + AsyncWrite + Unpin + Resettable>(
        &self,
        stream: &mut S,
        answer: &Answer,
        fault: &Fault,
    ) -> io::Result<bool> {
        match fault {
            Fault::ResetMidBody | Fault::CloseMidBody => {
                stream.write_all(&answer.head()).await?;
                stream.write_all(&answer.body[..answer.body.len() / 2]).await?;
                stream.flush().await?;
                if matches!(fault, Fault::ResetMidBody) {
                    reset(stream)?;
                } else {
                    stream.shutdown().await?;
                }
                return Ok(false);
            }
            Fault::Raw(bytes) => {
                stream.write_all(bytes).await?;
                stream.flush().await?;
                stream.shutdown().await?;
                return Ok(false);
            }
            Fault::Trickle(pause) => {
                for byte in [answer.head(), answer.body.clone()].concat() {
                    stream.write_all(&[byte]).await?;
                    stream.flush().await?;
                    tokio::time::sleep(*pause).await;
                }
            }
            _ => {
                stream.write_all(&answer.head()).await?;
                stream.write_all(&answer.body).await?;
                stream.flush().await?;
            }
        }
        Ok(true)
    }

    /// Logs a request and finds out what shall happen to it.
    fn note(&self, request: &Request) -> (usize, Endpoint, Fault) {
        let host = request.header("host").unwrap_or_default().to_owned();
        let mut state = self.inner.state();
        let (region, endpoint) = if self.plain {
            (None, Endpoint::Crl)
        } else {
            match state.host(&host) {
                Some((region, login)) => (Some(region.region.id), answers::endpoint(request, login)),
                None => (None, Endpoint::Other),
            }
        };
        let fault = fault::take(&mut state.rules, region, endpoint).unwrap_or(Fault::Pass);
        drop(state);
        let number = self.inner.log.push(Seen {
            number: 0,
            at: Instant::now(),
            wall: SystemTime::now(),
            connection: self.number,
            endpoint,
            region: region.map(str::to_owned),
            sni: self.sni.clone(),
            host,
            method: request.method.clone(),
            target: request.target.clone(),
            authorization: request.header("authorization").map(str::to_owned),
            user_agent: request.header("user-agent").map(str::to_owned),
            headers: request.headers.clone(),
            body: String::from_utf8_lossy(&request.body).into_owned(),
            answered: None,
        });
        (number, endpoint, fault)
    }

    /// The answer of a service in good health.
    fn usual(&self, request: &Request, endpoint: Endpoint) -> Answer {
        let mut state = self.inner.state();
        if self.plain {
            return match state.crls.get(request.path()) {
                Some((status, bytes)) => Answer::new(*status, "application/pkix-crl", bytes.clone()),
                None => Answer::new(404, "text/plain", "no such list"),
            };
        }
        let host = request.header("host").unwrap_or_default();
        let Some((region, _)) = state.host(host) else {
            return Answer::new(404, "text/plain", "no such host");
        };
        let answer = match endpoint {
            Endpoint::Token => answers::token(request, region),
            Endpoint::Current | Endpoint::Upcoming => answers::certificates(request, region),
            Endpoint::Crl | Endpoint::Other => errors::scripted_status(endpoint, 404),
        };
        answer.header("ININ-Correlation-Id", format!("00000000-0000-4000-8000-{:012}", self.inner.log.len()))
    }
}

fn reset(stream: &impl Resettable) -> io::Result<()> {
    // With no time to linger, closing the socket sends a reset.
    stream.tcp().set_zero_linger()
}
