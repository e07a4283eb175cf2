//! The identity header: who called, for the service behind the proxy.

use crate::{policy::Authority, x509::certificate::ClientCertificate};
use base64::{Engine as _, engine::general_purpose::STANDARD};

/// A dictionary of RFC 9651 structured fields:
/// `region="us-east-1", authority=digicert, sha256=:<base64>:, not-after=@1790000000`.
pub fn header_value(region: &str, authority: Authority, certificate: &ClientCertificate) -> String {
    format!(
        "region=\"{region}\", authority={}, sha256=:{}:, not-after=@{}",
        authority.code(),
        STANDARD.encode(certificate.fingerprint.as_bytes()),
        certificate.not_after
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_support::{cast, client, us_leaf};

    #[test]
    fn the_header_is_a_structured_dictionary() {
        let mut certificate = client(&us_leaf(&cast().us_ca));
        certificate.fingerprint = crate::x509::fingerprint::Fingerprint::of(b"");
        certificate.not_after = 1_790_000_000;
        assert_eq!(
            header_value("us-east-1", Authority::Digicert, &certificate),
            "region=\"us-east-1\", authority=digicert, \
             sha256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=:, not-after=@1790000000"
        );
        assert!(header_value("eu-west-1", Authority::Genesys, &certificate).contains("authority=genesys,"));
    }
}
