//! What to do about each reason.

/// Advice for a reason code; codes of other releases get a general one.
pub fn advice(code: &str) -> &'static str {
    match code {
        "no_client_certificate" => {
            "the caller presented none: let the listener ask for one (a validation context), with the roots of Genesys Cloud's \
             certificates in its trusted_ca, since a client may send none if its root is missing in that list; and look whether \
             something in front of Envoy ends TLS"
        }
        "certificate_unavailable" => {
            "Envoy shows the certificate's bytes nowhere: use 1.39 or later, or forward_client_cert_details: SANITIZE_SET \
             with set_current_client_cert_details: {cert: true}"
        }
        "certificate_mismatch" => {
            "the bytes shown are another certificate's: somebody forges the header, or a hop in front should be configured \
             as danger_trusted_hop"
        }
        "malformed_certificate" | "not_a_client_certificate" => {
            "nothing: Genesys Cloud's certificate is not like this"
        }
        "wrong_region" => "if that region's organisation should get in, add it under `regions`",
        "wrong_name" => {
            "nothing, unless Genesys renamed its client: then set regions.<id>.certificate_name, or `names` if the name \
             stands in another field"
        }
        "not_yet_valid" => "check this machine's clock; otherwise wait",
        "expired" => {
            "check this machine's clock; otherwise Genesys Cloud has to present its next certificate"
        }
        "unknown_issuer" => {
            "compare the issuer with genesys.ca_certificates: a new root comes as a .zip on Genesys' help page \
             (`genesys-mtls inspect` reads it); a DigiCert certificate needs `digicert`"
        }
        "bad_signature" => {
            "nothing: it names your CA and is not signed by it, so it is forged or the CA has a new key"
        }
        "unsupported_algorithm" => {
            "ask the CA for a certificate signed with RSA PKCS#1, or ECDSA on P-256 or P-384"
        }
        "signature_unavailable" => {
            "allow proxy_call_foreign_function in capability_restriction_config, so that Envoy verifies signatures"
        }
        "not_pinned" => {
            "ask the API (`genesys-mtls pins --region ...`): if it names this fingerprint, look at the filter's refreshes; \
             if not, this is not Genesys Cloud's certificate"
        }
        "revoked" => "its issuer has withdrawn it: Genesys Cloud has to present another certificate",
        "revocation_unknown" => {
            "no current list covers it: look at the fetches of revocation.lists, or use mode: soft"
        }
        "trust_not_loaded" => {
            "the API has not answered since start: look at the refresh log lines and the callout clusters \
             (`genesys-mtls doctor`); an explicit pin bridges a restart"
        }
        "trust_stale" => "refreshes have failed for longer than max_staleness: look at the refresh log lines",
        "trust_unrefreshed" => "the API is being asked; the caller may try again in a moment",
        _ => "see the table of reasons in the documentation",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use genesys_mtls_filter::decision::Reason;

    #[test]
    fn every_reason_has_its_own_advice() {
        for reason in Reason::ALL {
            assert_ne!(advice(reason.code()), advice("?"), "{reason}");
        }
    }
}
