//! Certificates, CAs and CRLs (RFC 5280): bytes become values here, and nowhere else.

pub mod ca;
pub mod certificate;
pub mod crl;
pub mod fingerprint;
pub mod name;
pub mod pem;
#[doc(hidden)]
pub mod rust_crypto;
pub mod signature;
pub mod verify_signature;
