//! Only certificates that an authority signed for the region are allowed, and any other bytes are denied. The check of a
//! signature always ends with an answer, for any CA key.
#![no_main]

use aws_lc_verifier::AwsLcVerifier;
use genesys_mtls_filter::{
    decision::{Outcome, trust::Trust},
    policy::Policy,
    time::Clock,
    x509::{
        ca::{CaCertificate, verify_issuer},
        certificate::ClientCertificate,
        crl::Crl,
    },
};
use genesys_mtls_fuzz::{
    NOW,
    cast::{CAST, US, US_BY_DIGICERT, US_BY_GENESYS, holds_name, outcome, same_statement, us_only},
    der,
};
use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;

static POLICY: LazyLock<Policy> = LazyLock::new(us_only);
static LIST: LazyLock<Vec<u8>> = LazyLock::new(|| CAST.us_ca.list(1, &[]));

fuzz_target!(|data: &[u8]| {
    let [kind, bytes @ ..] = data else { return };
    match kind % 3 {
        // As it comes.
        0 => {
            let leaves = [US_BY_GENESYS, US_BY_DIGICERT].map(|number| &CAST.leaves[number]);
            if let Outcome::Allow { .. } = outcome(bytes, &POLICY, &Trust::default()) {
                let leaf = same_statement(bytes).expect("what the CA signed");
                assert!(leaves.iter().any(|known| known.der == leaf.der), "{}", leaf.what);
            }
        }
        // Any content, signed by the region's CA: the certificate still needs the region's name.
        1 => {
            let signed = der::sign(|message| CAST.us_ca.key().signature(message), bytes);
            if let Outcome::Allow { .. } = outcome(&signed, &POLICY, &Trust::default()) {
                assert!(holds_name(bytes, US));
            }
        }
        // A leaf and the CA that is to verify_issuer for it, key and all.
        _ => {
            let Some((leaf, ca)) = der::split(bytes) else { return };
            let Ok(authority) = CaCertificate::parse(ca) else { return };
            let authorities = [authority];
            let mut clock = Clock::at(NOW);
            if let Ok(leaf) = ClientCertificate::parse(leaf) {
                let _ = verify_issuer(&authorities, &leaf, &AwsLcVerifier, &mut clock);
            }
            let _ = Crl::verify(&LIST, &authorities, &AwsLcVerifier);
        }
    }
});
