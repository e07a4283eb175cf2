//! What the stand-in was asked, and waiting for it to be asked.

use std::{
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use tokio::sync::watch;

/// Which of the stand-in's services a request was for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// `POST /oauth/token`
    Token,
    /// `GET .../certificates?status=Current`, or without a status
    Current,
    /// `GET .../certificates?status=Upcoming`
    Upcoming,
    /// A CRL, over plain HTTP
    Crl,
    /// Anything else
    Other,
}

/// One request.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Position in the log, from 0.
    pub number: usize,
    /// When it had been read completely.
    pub at: Instant,
    /// The same on the wall clock.
    pub wall: SystemTime,
    /// Which connection it came on.
    pub connection: u64,
    /// The service asked.
    pub endpoint: Endpoint,
    /// The region whose host was asked, if any.
    pub region: Option<String>,
    /// The server name of the TLS handshake.
    pub sni: Option<String>,
    /// The `Host` header.
    pub host: String,
    /// The method.
    pub method: String,
    /// Path and query.
    pub target: String,
    /// The `Authorization` header.
    pub authorization: Option<String>,
    /// The `User-Agent` header.
    pub user_agent: Option<String>,
    /// All headers.
    pub headers: Vec<(String, String)>,
    /// The body as text.
    pub body: String,
    /// The status sent, once the answer has been written completely; never set for resets and hangs.
    pub answered: Option<u16>,
}

/// A condition on the log did not come true in time.
#[derive(thiserror::Error)]
#[error("not seen at the stand-in within {waited:?}: {what}; it saw {} requests:\n{}", seen.len(), brief(seen))]
pub struct NotSeen {
    /// What was waited for.
    pub what: String,
    /// How long.
    pub waited: Duration,
    /// The log at that time.
    pub seen: Vec<Seen>,
}

impl fmt::Debug for NotSeen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

fn brief(seen: &[Seen]) -> String {
    let line = |s: &Seen| format!("  {} {} {}{} -> {:?}\n", s.number, s.method, s.host, s.target, s.answered);
    seen.iter().map(line).collect()
}

/// The log; shared by the connections and the tests.
#[derive(Debug)]
pub(super) struct Log {
    seen: Mutex<Vec<Seen>>,
    handshakes: Mutex<Vec<String>>,
    changes: watch::Sender<u64>,
}

impl Log {
    pub fn new() -> Self {
        Self { seen: Mutex::default(), handshakes: Mutex::default(), changes: watch::Sender::new(0) }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Seen>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn push(&self, mut entry: Seen) -> usize {
        let mut seen = self.lock();
        entry.number = seen.len();
        let number = entry.number;
        seen.push(entry);
        drop(seen);
        self.changed();
        number
    }

    pub fn answered(&self, number: usize, status: u16) {
        if let Some(entry) = self.lock().get_mut(number) {
            entry.answered = Some(status);
        }
        self.changed();
    }

    pub fn handshake_failed(&self, why: String) {
        self.handshakes.lock().unwrap_or_else(PoisonError::into_inner).push(why);
        self.changed();
    }

    pub fn failed_handshakes(&self) -> Vec<String> {
        self.handshakes.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn changed(&self) {
        self.changes.send_modify(|n| *n += 1);
    }

    pub fn all(&self) -> Vec<Seen> {
        self.lock().clone()
    }

    pub fn len(&self) -> usize {
        self.lock().len()
    }

    pub fn count(&self, matches: impl Fn(&Seen) -> bool) -> usize {
        self.lock().iter().filter(|s| matches(s)).count()
    }

    /// Waits until `done` holds for the log and the failed handshakes.
    pub async fn wait(
        &self,
        what: &str,
        timeout: Duration,
        done: impl Fn(&[Seen], &[String]) -> bool,
    ) -> Result<(), NotSeen> {
        let mut changes = self.changes.subscribe();
        let wait = async {
            loop {
                changes.borrow_and_update();
                if done(&self.lock(), &self.failed_handshakes()) {
                    return;
                }
                if changes.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
        };
        let result = tokio::time::timeout(timeout, wait).await;
        result.map_err(|_| NotSeen { what: what.into(), waited: timeout, seen: self.all() })
    }
}
