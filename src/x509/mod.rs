//! Certificates, CAs and CRLs (RFC 5280): bytes become values here, and nowhere else.

pub mod ca;
pub mod certificate;
pub mod crl;
pub mod fingerprint;
pub mod name;
pub mod pem;
pub mod signature;
pub mod uri;
pub mod verify_signature;
