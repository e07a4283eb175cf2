//! Keeping the pins fresh: one worker of the proxy asks the certificates API, and all of them read the answer.
//!
//! ```text
//! oauth   the token call     fetch   token, then certificates      schedule   when to ask
//! api     the answers        select  what of them can be used      early      when to ask before that
//! record  the shared facts   refresher  one region, driven by ticks and responses
//! pin_news  changes of pins, logged once per proxy
//! ```
//!
//! All of it is sans-IO: shared data is a [`SharedStore`](crate::shared::SharedStore), calls are returned to be made, times are
//! arguments.

mod api;
mod early;
mod fetch;
mod oauth;
mod pin_news;
mod record;
mod refresher;
mod schedule;
mod select;

pub use api::{Entity, Listed};
pub use early::EarlyRefreshRequest;
pub use fetch::{Client, Fetch, FetchResult, Progress, Upstreams};
pub use oauth::Token;
pub use pin_news::{PinChange, PinNews, PinStatus, Pins};
pub use record::{Complete, Leaf, Record};
pub use refresher::{Event, Refresher, SkippedEntities, Step};
pub use schedule::{backoff, first_period, longest, period};
pub use select::{ApiStatus, Criteria, Named, NamedLeaf, Selection, Skipped};

#[cfg(test)]
mod tests;
