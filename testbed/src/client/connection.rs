//! One connection and the requests on it.

use std::{future::Future, io, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Uri, header};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    task::JoinHandle,
    time::timeout,
};

use super::{error::Error, spy::AlertSlot};

/// A whole answer.
#[derive(Clone, Debug)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Vec<u8>,
    /// The trailers, as gRPC uses them.
    pub trailers: Option<HeaderMap>,
    /// Which request of its connection this answers, from 1: more than 1 means that the connection was reused.
    pub nth_on_connection: usize,
}

impl Response {
    /// A header as text, if there is one and it is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// If it is none.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("not JSON ({e}): {}", self.text()))
    }
}

/// How the TLS handshake went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsInfo {
    /// `TLSv1_2` or `TLSv1_3`.
    pub version: String,
    /// Whether it resumed an earlier session.
    pub resumed: bool,
    /// The protocol agreed on by ALPN.
    pub alpn: Option<String>,
}

enum Sender {
    Http1(conn::http1::SendRequest<Full<Bytes>>),
    Http2(conn::http2::SendRequest<Full<Bytes>>),
}

/// An open connection. Dropping it closes it, even during a request.
pub struct Connection {
    sender: Sender,
    driver: JoinHandle<()>,
    alert: AlertSlot,
    tls: Option<TlsInfo>,
    host: String,
    timeout: Duration,
    sent: usize,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection").field("tls", &self.tls).field("sent", &self.sent).finish_non_exhaustive()
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

pub(super) struct Parts {
    pub alert: AlertSlot,
    pub tls: Option<TlsInfo>,
    pub host: String,
    pub timeout: Duration,
    pub http2: bool,
}

impl Connection {
    pub(super) async fn open(
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        parts: Parts,
    ) -> Result<Self, Error> {
        let io = TokioIo::new(stream);
        let (sender, driver) = if parts.http2 {
            let (sender, connection) =
                conn::http2::handshake(TokioExecutor::new(), io).await.map_err(Error::from_hyper)?;
            (Sender::Http2(sender), tokio::spawn(async move { drop(connection.await) }))
        } else {
            // Header names go out as they were given to hyper: lower case.
            let (sender, connection) = conn::http1::handshake(io).await.map_err(Error::from_hyper)?;
            (Sender::Http1(sender), tokio::spawn(async move { drop(connection.await) }))
        };
        let Parts { alert, tls, host, timeout, .. } = parts;
        Ok(Self { sender, driver, alert, tls, host, timeout, sent: 0 })
    }

    /// How the TLS handshake went; `None` without TLS.
    pub fn tls(&self) -> Option<&TlsInfo> {
        self.tls.as_ref()
    }

    /// Whether another request could be sent, as far as is known.
    pub fn is_open(&self) -> bool {
        !self.driver.is_finished()
            && match &self.sender {
                Sender::Http1(sender) => !sender.is_closed(),
                Sender::Http2(sender) => !sender.is_closed(),
            }
    }

    /// Waits for the connection to end; false if it did not in time.
    pub async fn wait_closed(&mut self, limit: Duration) -> bool {
        timeout(limit, &mut self.driver).await.is_ok()
    }

    /// `GET` on this connection.
    pub async fn get(&mut self, path: &str) -> Result<Response, Error> {
        self.send(Request::get(path).body(Vec::new()).expect("a request")).await
    }

    /// A request on this connection: path and query as URI, any headers, a body. `Host` is added where missing.
    pub async fn send(&mut self, request: Request<Vec<u8>>) -> Result<Response, Error> {
        self.start(request).await?.await
    }

    /// Sends a request and returns its answer to come, to be awaited elsewhere; over HTTP/2 several can be under way.
    /// Dropping the answer abandons the request.
    pub async fn start(
        &mut self,
        request: Request<Vec<u8>>,
    ) -> Result<impl Future<Output = Result<Response, Error>> + Send + use<>, Error> {
        let ready = async {
            match &mut self.sender {
                Sender::Http1(sender) => sender.ready().await,
                Sender::Http2(sender) => sender.ready().await,
            }
        };
        match timeout(self.timeout, ready).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                return Err(self.alert.get().map_or_else(|| Error::from_hyper(error), Error::Alert));
            }
            Err(_) => return Err(Error::Timeout(self.timeout)),
        }
        self.sent += 1;
        let (nth, limit, alert) = (self.sent, self.timeout, self.alert.clone());
        let request = self.prepare(request);
        let (http1, http2) = match &mut self.sender {
            Sender::Http1(sender) => (Some(sender.send_request(request)), None),
            Sender::Http2(sender) => (None, Some(sender.send_request(request))),
        };
        Ok(async move {
            let exchange = async {
                let response = match (http1, http2) {
                    (Some(response), _) => response.await,
                    (_, Some(response)) => response.await,
                    (None, None) => unreachable!("one of the two was started"),
                }?;
                let (head, body) = response.into_parts();
                let body = body.collect().await?;
                let trailers = body.trailers().cloned();
                Ok(Response {
                    status: head.status.as_u16(),
                    headers: head.headers,
                    body: body.to_bytes().to_vec(),
                    trailers,
                    nth_on_connection: nth,
                })
            };
            match timeout(limit, exchange).await {
                Ok(Ok(response)) => Ok(response),
                Ok(Err(error)) => Err(alert.get().map_or_else(|| Error::from_hyper(error), Error::Alert)),
                Err(_) => Err(Error::Timeout(limit)),
            }
        })
    }

    fn prepare(&self, request: Request<Vec<u8>>) -> Request<Full<Bytes>> {
        let (mut head, body) = request.into_parts();
        if matches!(self.sender, Sender::Http2(_)) {
            let named = head.headers.remove(header::HOST);
            let host = named.as_ref().and_then(|h| h.to_str().ok()).unwrap_or(&self.host);
            let path = head.uri.path_and_query().map_or("/", |p| p.as_str());
            let scheme = if self.tls.is_some() { "https" } else { "http" };
            head.uri = Uri::builder()
                .scheme(scheme)
                .authority(host)
                .path_and_query(path)
                .build()
                .expect("an absolute URI for HTTP/2");
        } else if !head.headers.contains_key(header::HOST) {
            head.headers.insert(header::HOST, HeaderValue::from_str(&self.host).expect("a host name"));
        }
        Request::from_parts(head, Full::new(Bytes::from(body)))
    }
}

pub(super) fn closed(error: &io::Error) -> Error {
    Error::Closed(error.to_string())
}
