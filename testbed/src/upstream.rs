//! The service behind Envoy: answers 200 and says what it was asked. HTTP/1.1 and h2c on one port.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    io,
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinHandle, task::JoinSet};

use crate::net::LOOPBACK;

/// The service. Each answer is `{"method", "path", "authority", "version", "headers": [[name, value], ...], "body"}` as
/// it arrived; bytes that are not UTF-8 show as U+FFFD.
#[derive(Debug)]
pub struct Upstream {
    addr: SocketAddr,
    seen: Arc<Seen>,
    task: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Seen {
    count: AtomicUsize,
    by_path: Mutex<BTreeMap<String, usize>>,
    last: Mutex<Option<Value>>,
}

impl Upstream {
    /// Starts it on a free port of 127.0.0.1.
    pub async fn start() -> io::Result<Self> {
        Self::start_at(LOOPBACK).await
    }

    /// Starts it at this address.
    pub async fn start_at(addr: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(addr).await?;
        let addr = listener.local_addr()?;
        let seen = Arc::new(Seen::default());
        let task = tokio::spawn(accept(listener, seen.clone()));
        Ok(Self { addr, seen, task })
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// How many requests it got.
    pub fn count(&self) -> usize {
        self.seen.count.load(Ordering::SeqCst)
    }

    /// How many requests it got for this path.
    pub fn count_of(&self, path: &str) -> usize {
        let counts = self.seen.by_path.lock().unwrap_or_else(PoisonError::into_inner);
        counts.get(path).copied().unwrap_or_default()
    }

    /// The last request, as in its answer.
    pub fn last(&self) -> Option<Value> {
        self.seen.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The values of a header in an answer of [`Upstream`], in order.
pub fn echoed(answer: &Value, name: &str) -> Vec<String> {
    let pairs = answer["headers"].as_array().into_iter().flatten();
    pairs
        .filter(|pair| pair[0].as_str().is_some_and(|n| n.eq_ignore_ascii_case(name)))
        .filter_map(|pair| pair[1].as_str().map(str::to_owned))
        .collect()
}

async fn accept(listener: TcpListener, seen: Arc<Seen>) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((tcp, _)) = listener.accept().await else { continue };
        while connections.try_join_next().is_some() {}
        let _ = tcp.set_nodelay(true);
        let seen = seen.clone();
        connections.spawn(async move {
            let service = service_fn(|request| answer(request, seen.clone()));
            let server = auto::Builder::new(TokioExecutor::new());
            let _ = server.serve_connection(TokioIo::new(tcp), service).await;
        });
    }
}

async fn answer(request: Request<Incoming>, seen: Arc<Seen>) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let headers: Vec<_> = head
        .headers
        .iter()
        .map(|(n, v)| json!([n.as_str(), String::from_utf8_lossy(v.as_bytes())]))
        .collect();
    let host = head.headers.get("host").and_then(|h| h.to_str().ok());
    let echo = json!({
        "method": head.method.as_str(),
        "path": head.uri.path_and_query().map_or("/", |p| p.as_str()),
        "authority": head.uri.authority().map(http::uri::Authority::as_str).or(host),
        "version": format!("{:?}", head.version),
        "headers": headers,
        "body": String::from_utf8_lossy(&body),
    });
    seen.count.fetch_add(1, Ordering::SeqCst);
    let path = echo["path"].as_str().unwrap_or_default().to_owned();
    *seen.by_path.lock().unwrap_or_else(PoisonError::into_inner).entry(path).or_default() += 1;
    let text = echo.to_string();
    *seen.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(echo);
    let response =
        Response::builder().header("content-type", "application/json").header("x-upstream", "testbed");
    Ok(response.body(Full::new(Bytes::from(text))).expect("an answer"))
}
