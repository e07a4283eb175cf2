//! Revocation: the CRLs of the configured CAs.
//!
//! ```text
//! index    the serial numbers of a CRL        current  one CA's CRL, and which CRL may replace it
//! record   what workers share of fetching     fetcher  fetching from one URL, and the status of a certificate
//! ```
//!
//! What one worker fetched every worker finds in shared data, verifies, and indexes for itself. So it does not matter who
//! else may write there: the CA's signature counts.

mod current;
mod fetcher;
mod index;
mod record;

pub use fetcher::{CrlEvent, CrlFetcher};
pub use index::SerialIndex;
pub use record::FetchRecord;

#[cfg(test)]
mod tests;
