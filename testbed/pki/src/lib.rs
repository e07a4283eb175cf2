//! Certificates for tests: the builders, and the standard cast.
//!
//! Keys are cached (see [`key_pem`]), certificates are made afresh on each run, so validity can be relative to now.
#![allow(clippy::missing_panics_doc, reason = "a test library: a broken set-up ends the test")]
#![allow(clippy::doc_markdown, reason = "names of the field such as DigiCert or UTF8String")]

mod ca;
mod crl;
pub mod der;
mod eku;
mod keys;
mod leaf;
mod serial;
mod standard;
mod text;
mod verify;

pub use ca::{Ca, CaBuilder};
pub use crl::CrlBuilder;
pub use eku::Eku;
pub use keys::{KeyType, key_pem};
pub use leaf::{Leaf, LeafBuilder};
pub use rcgen::{
    CidrSubnet, CrlScope, DistinguishedName, GeneralSubtree, KeyUsagePurpose, PKCS_RSA_SHA384,
    PKCS_RSA_SHA512,
};
pub use serial::serial_of;
pub use standard::{EU_CENTRAL_1, Pki, Region, RegionPki, US_EAST_1};
pub use text::{pem_block, sha256_hex};
pub use verify::verify;
pub use {p256, p384, rsa};

#[cfg(test)]
mod tests;
