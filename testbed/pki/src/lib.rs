//! Certificates for tests: the builders, and the standard cast.
//!
//! Keys are cached (see [`key_pem`]), certificates are made afresh on each run, so validity can be relative to now.
#![allow(clippy::missing_panics_doc, reason = "a test library: a broken set-up ends the test")]
#![allow(clippy::doc_markdown, reason = "names of the field such as DigiCert or UTF8String")]

mod ca;
mod crl;
pub mod der;
mod keys;
mod leaf;
mod standard;
mod verify;

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{SystemTime, UNIX_EPOCH},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use sha2::{Digest as _, Sha256};

pub use ca::{Ca, CaBuilder};
pub use crl::CrlBuilder;
pub use keys::{KeyType, key_pem};
pub use leaf::{Eku, Leaf, LeafBuilder};
pub use rcgen::{
    CidrSubnet, CrlScope, DistinguishedName, GeneralSubtree, KeyUsagePurpose, PKCS_RSA_SHA384,
    PKCS_RSA_SHA512,
};
pub use standard::{EU_CENTRAL_1, Pki, Region, RegionPki, US_EAST_1};
pub use verify::verify;
pub use {p256, p384, rsa};

/// A certificate as a PEM block: 64 columns, `\n`.
pub fn pem_block(der: &[u8]) -> String {
    pem_block_of("CERTIFICATE", der)
}

pub(crate) fn pem_block_of(label: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let mut out = format!("-----BEGIN {label}-----\n");
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let (line, tail) = rest.split_at(rest.len().min(64));
        out.push_str(line);
        out.push('\n');
        rest = tail;
    }
    out + &format!("-----END {label}-----\n")
}

/// SHA-256 as 64 lower-case hexadecimal digits.
pub fn sha256_hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"))
}

/// The serial number of a certificate made here, big-endian, without a sign byte.
pub fn serial_of(cert_der: &[u8]) -> Vec<u8> {
    let tbs = der::children(cert_der).swap_remove(0);
    let serial = der::children(&tbs).swap_remove(1);
    let content = der::content(&serial);
    content.strip_prefix(&[0]).filter(|rest| !rest.is_empty()).unwrap_or(content).to_vec()
}

/// A positive serial number of 16 bytes that no other certificate of any process has.
fn random_serial() -> Vec<u8> {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_nanos());
    let seed = format!("{now}/{}/{}", std::process::id(), COUNTER.fetch_add(1, Ordering::Relaxed));
    let mut serial = Sha256::digest(seed)[..16].to_vec();
    serial[0] = serial[0] & 0x3f | 0x40;
    serial
}

#[cfg(test)]
mod tests;
