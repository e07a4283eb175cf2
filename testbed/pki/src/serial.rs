//! Serial numbers.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{SystemTime, UNIX_EPOCH},
};

use sha2::{Digest as _, Sha256};

use crate::der;

/// The serial number of a certificate made here, big-endian, without a sign byte.
pub fn serial_of(cert_der: &[u8]) -> Vec<u8> {
    let tbs = der::children(cert_der).swap_remove(0);
    let serial = der::children(&tbs).swap_remove(1);
    let content = der::content(&serial);
    content.strip_prefix(&[0]).filter(|rest| !rest.is_empty()).unwrap_or(content).to_vec()
}

/// A positive serial number of 16 bytes that no other certificate of any process has.
pub(crate) fn random_serial() -> Vec<u8> {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_nanos());
    let seed = format!("{now}/{}/{}", std::process::id(), COUNTER.fetch_add(1, Ordering::Relaxed));
    let mut serial = Sha256::digest(seed)[..16].to_vec();
    serial[0] = serial[0] & 0x3f | 0x40;
    serial
}
