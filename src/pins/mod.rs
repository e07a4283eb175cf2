//! Keeping the pins fresh: one worker of the proxy asks the certificates API, and all of them learn the answer.
//!
//! ```text
//! schedule  when to ask            lease   who asks          fetch  what is said: token, then certificates
//! oauth     the token call         api     the answers       pins   what of an answer becomes a pin
//! record    what all workers know  replica shared, sealed    refresher  one region's state, driven by ticks
//! pin_news  what became of which pin, told once              wanted     a question for an early refresh
//! ```
//!
//! All of it is pure: shared data is behind [`SharedStore`], calls are returned to be made, times are arguments.

mod api;
mod fetch;
mod oauth;
mod pin_news;
mod record;
mod refresher;
mod schedule;
mod select;
mod wanted;

pub use api::{Entity, Listed};
pub use fetch::{Client, Fetch, FetchResult, Progress, Upstreams};
pub use oauth::Token;
pub use pin_news::{PinChange, PinNews, PinStatus, Pins};
pub use refresher::{Event, Refresher};
pub use schedule::{backoff, first_period, longest, period};
pub use select::{Criteria, Selection, Skipped, select};

#[cfg(test)]
mod tests;
