//! Keeping the pins fresh: one worker of the proxy asks the certificates API, and all of them learn the answer.
//!
//! ```text
//! schedule  when to ask            lease   who asks          fetch  what is said: token, then certificates
//! oauth     the token call         api     the answers       pins   what of an answer becomes a pin
//! record    what all workers know  replica shared, sealed    refresher  one region's state, driven by ticks
//! pin_news  what became of which pin, told once              wanted     a question for an early refresh
//! ```
//!
//! All of it is pure: shared data is behind [`Store`], calls are returned to be made, times are arguments.

mod api;
mod fetch;
mod lease;
mod oauth;
mod pin_news;
mod pins;
mod record;
mod refresher;
mod replica;
mod schedule;
mod seal;
mod wanted;

pub use api::{Entity, MAX_BODY as MAX_ANSWER};
pub use fetch::{Client, Fetch, Harvest, HttpCall, HttpResponse, Parties, Party, Progress};
pub use lease::{CALLBACK, Lease, claim};
pub use oauth::{Secret, Token};
pub use pin_news::{PinChange, PinNews, PinStatus, Pins};
pub use pins::{Criteria, Selection, Skipped, select};
pub use refresher::{Event, Now, Refresher, Store};
pub use replica::Replica;
pub use schedule::{backoff, first_period, longest, period};
pub use seal::Seal;

use crate::fingerprint::Fingerprint;

/// Why a refresh did not succeed. Codes are stable: they label metrics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    pub code: &'static str,
    /// For the log: what was found, and what to do about it. Never holds text that came from outside as it came.
    pub detail: String,
    /// How long the server asked to be left alone.
    pub retry_after: Option<std::time::Duration>,
}

impl Failure {
    pub fn new(code: &'static str, detail: impl Into<String>) -> Self {
        Self { code, detail: detail.into(), retry_after: None }
    }
}

/// The form of what workers share, part of every key: to be raised with any change of it, since workers of an older module may
/// live beside those of this one.
pub const FORM: &str = "3";

/// An instant as it is shared between workers.
pub fn millis(at: crate::trust::Mono) -> u64 {
    u64::try_from(at.as_millis()).unwrap_or(u64::MAX)
}

/// The first digits of a digest, to tell one of a few from the others.
pub fn short(text: &str) -> String {
    Fingerprint::of(text.as_bytes()).to_string().chars().take(8).collect()
}

#[cfg(test)]
mod tests;
