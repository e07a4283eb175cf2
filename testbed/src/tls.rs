//! Bits of TLS that servers and clients share.

use std::sync::Arc;

use rustls::{
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    sign::CertifiedKey,
};
use testbed_pki::Leaf;

pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

/// The certificates that a leaf presents.
pub(crate) fn chain(leaf: &Leaf) -> Vec<CertificateDer<'static>> {
    std::iter::once(&leaf.der)
        .chain(&leaf.intermediates)
        .map(|der| CertificateDer::from(der.clone()))
        .collect()
}

pub(crate) fn private_key(leaf: &Leaf) -> PrivateKeyDer<'static> {
    PrivateKeyDer::from_pem_slice(leaf.key_pem.as_bytes()).expect("a key made here")
}

/// Certificate and key without a check that they match or even parse: odd certificates must get out.
pub(crate) fn certified_key(leaf: &Leaf) -> CertifiedKey {
    let key = aws_lc_rs::sign::any_supported_type(&private_key(leaf)).expect("a key made here");
    CertifiedKey::new(chain(leaf), key)
}
