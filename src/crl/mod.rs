//! Revocation: the lists that CAs publish of certificates they no longer stand for.
//!
//! ```text
//! crl     one list, verified on arrival         table   its serial numbers, as they are kept
//! latest  one CA's list, and what replaces it    shelf   what workers share of it
//! lists   fetching from one URL, and looking up  pieces  the same list verified by each worker, where they have to
//! ```

mod latest;
mod lists;
mod pieces;
mod shelf;
mod table;

pub use lists::{ListEvent, RevocationList, RevocationStatus};
pub use table::Table;

#[cfg(test)]
mod tests;
