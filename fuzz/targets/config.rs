//! A configuration of any bytes, JSON or protobuf, is refused in words, or it is one that the documented rules hold for.
#![no_main]

use genesys_mtls_filter::{config::load, policy::Credentials};
use libfuzzer_sys::fuzz_target;
use std::collections::HashSet;

fuzz_target!(|data: &[u8]| {
    let policy = match load(data) {
        Ok(policy) => policy,
        Err(errors) => {
            assert!(!errors.is_empty());
            for error in errors {
                let shown = error.to_string();
                assert!(!error.message.is_empty() && !shown.contains(char::is_control), "{shown:?}");
            }
            return;
        }
    };
    assert!(!policy.regions.is_empty() && (1..=32).contains(&policy.name.len()));
    let (mut names, mut clusters) = (HashSet::new(), HashSet::new());
    for region in &policy.regions {
        assert!(names.insert(region.certificate_name.to_ascii_lowercase()), "a name tells one region");
        let danger = data.windows(16).any(|window| window == b"danger_public_ca");
        assert!(danger || region.genesys.iter().all(|authority| !authority.is_digicert));
        assert!(!region.genesys.is_empty() || region.digicert.is_some(), "an authority vouches");
        let api = region.digicert.as_ref().is_some_and(|digicert| digicert.api);
        assert_eq!(api, region.source.is_some());
        let Some(source) = &region.source else { continue };
        let issuers = region.digicert.as_ref().map_or(0, |digicert| digicert.issuers.len());
        assert!(
            source.credentials != Credentials::Injected || issuers > 0,
            "pins without a secret need issuers"
        );
        for cluster in HashSet::from([&source.api_cluster, &source.login_cluster]) {
            assert!(clusters.insert(cluster.clone()), "a cluster serves one region");
        }
    }
});
