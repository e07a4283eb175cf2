//! Revocation: the lists that CAs publish of certificates they no longer stand for.
//!
//! ```text
//! crl    one list, verified on arrival        table  its serial numbers, as they are kept
//! lists  fetching and looking up, per worker
//! ```

mod crl;
mod lists;
mod table;

pub use crl::{CertificateList, CrlError};
pub use lists::{ListEvent, RevocationList, Standing};
pub use table::Table;

#[cfg(test)]
mod tests;
