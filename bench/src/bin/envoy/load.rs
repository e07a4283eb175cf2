//! Requests, what each took, and what they cost Envoy's threads.

use std::{
    fs, io,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};
use testbed::{
    client::{Client, Connection},
    envoy::Envoy,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    task::JoinSet,
};

/// What one round showed.
#[derive(Clone, Copy, Debug)]
pub struct Round {
    /// CPU time of Envoy per request.
    pub cpu: Duration,
    pub p50: Duration,
    pub p99: Duration,
}

/// CPU time that all threads of a process have had, in the scheduler's nanoseconds.
pub fn cpu_time(pid: u32) -> Duration {
    let nanoseconds = |task: io::Result<fs::DirEntry>| {
        let text = fs::read_to_string(task.ok()?.path().join("schedstat")).ok()?;
        text.split(' ').next()?.parse::<u64>().ok()
    };
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("Linux's /proc");
    Duration::from_nanos(tasks.filter_map(nanoseconds).sum())
}

fn summary(envoy: &Envoy, before: Duration, mut latencies: Vec<Duration>) -> Round {
    let requests = u32::try_from(latencies.len()).expect("few requests");
    let cpu = cpu_time(envoy.pid()).saturating_sub(before) / requests;
    latencies.sort_unstable();
    Round { cpu, p50: latencies[latencies.len() / 2], p99: latencies[latencies.len() * 99 / 100] }
}

/// `requests` on each of these open connections.
pub async fn on_open_connections(envoy: &Envoy, connections: &mut Vec<Connection>, requests: usize) -> Round {
    let before = cpu_time(envoy.pid());
    let mut tasks = JoinSet::new();
    for mut connection in connections.drain(..) {
        tasks.spawn(async move {
            let mut latencies = Vec::with_capacity(requests);
            for _ in 0..requests {
                let began = Instant::now();
                connection.get("/").await.expect("an answer");
                latencies.push(began.elapsed());
            }
            (connection, latencies)
        });
    }
    let mut all = Vec::new();
    while let Some(done) = tasks.join_next().await {
        let (connection, latencies) = done.expect("no panic");
        connections.push(connection);
        all.extend(latencies);
    }
    summary(envoy, before, all)
}

/// One request on a new connection of each of these clients, four at a time.
pub async fn on_new_connections(envoy: &Envoy, clients: &[Client]) -> Round {
    let before = cpu_time(envoy.pid());
    let mut tasks = JoinSet::new();
    for share in clients.chunks(clients.len().div_ceil(4)) {
        let share = share.to_vec();
        tasks.spawn(async move {
            let mut latencies = Vec::new();
            for client in share {
                let began = Instant::now();
                let answer = client.get("/").await.expect("an answer");
                assert_eq!(answer.status, 200, "{}", answer.text());
                latencies.push(began.elapsed());
            }
            latencies
        });
    }
    let all: Vec<Duration> = tasks.join_all().await.into_iter().flatten().collect();
    summary(envoy, before, all)
}

/// The service that `ext_authz` asks: allows where Envoy names this digest as the peer's.
pub async fn authz(digest: &str) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let addr = listener.local_addr()?;
    let wanted: Arc<str> = format!("Hash={digest}").into();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let wanted = wanted.clone();
            tokio::spawn(async move {
                let mut request = Vec::new();
                // A check has no body: it ends with its headers.
                while stream.read_buf(&mut request).await.is_ok_and(|read| read > 0) {
                    if !request.ends_with(b"\r\n\r\n") {
                        continue;
                    }
                    let allowed = String::from_utf8_lossy(&request).contains(&*wanted);
                    let status = if allowed { "200 OK" } else { "403 Forbidden" };
                    let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n");
                    if stream.write_all(answer.as_bytes()).await.is_err() {
                        return;
                    }
                    request.clear();
                }
            });
        }
    });
    Ok(addr)
}
