//! Revocation: the lists that CAs publish of certificates they no longer stand for.
//!
//! ```text
//! crl    one list, verified on arrival        table   its serial numbers, as they are kept
//! shelf  what workers share of it             pieces  the same list verified by each of them, where they have to
//! lists  fetching and looking up, per worker
//! ```

mod crl;
mod lists;
mod pieces;
mod shelf;
mod table;

pub use crl::{CertificateList, CrlError, Terms, significant};
pub use lists::{ListEvent, RevocationList, Standing};
pub use table::Table;

#[cfg(test)]
mod tests;
