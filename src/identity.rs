//! The identity header: who called, for the service behind the proxy.

use crate::{certificate::ClientCertificate, decision::AuthorityKind};
use base64::{Engine as _, engine::general_purpose::STANDARD};

/// A dictionary of RFC 9651 structured fields:
/// `region="us-east-1", authority=digicert, sha256=:<base64>:, not-after=@1790000000`.
pub fn header_value(region: &str, authority: AuthorityKind, certificate: &ClientCertificate) -> String {
    format!(
        "region=\"{region}\", authority={}, sha256=:{}:, not-after=@{}",
        authority.code(),
        STANDARD.encode(certificate.fingerprint.as_bytes()),
        certificate.not_after
    )
}
