//! Keeping the pins fresh: one worker of the proxy asks the certificates API, and all of them read the answer.
//!
//! ```text
//! oauth   the token call     fetch   token, then certificates      early  when to ask ahead of time
//! api     the answers        select  what of them can be used      news   changes of pins, logged once per proxy
//! record  the shared facts   refresher  one region, driven by ticks and responses
//! forecast  what will become of the certificates that the API names
//! ```

mod api;
mod early;
mod fetch;
mod forecast;
mod news;
mod oauth;
mod record;
mod refresher;
mod select;

pub use api::{Entity, Listed};
pub use early::EarlyRefreshRequest;
pub use fetch::{Client, Fetch, FetchResult, Progress, Upstreams};
pub use forecast::{ApiStatus, Forecast, Reader};
pub use news::{PinChange, PinStatus, Pins, pin_changes};
pub use oauth::{Token, credential};
pub use record::{Complete, Leaf, Record};
pub use refresher::{Event, Refresher, Step};
pub use select::{NamedLeaf, Selection, Skipped};

#[cfg(test)]
mod tests;
