//! Certificates and CRLs that others made to be difficult. `scripts/provision.sh vectors` downloads
//! them; nothing of them is part of this repository. `results.txt` has the results.

mod odd;
mod pkits;

use genesys_mtls_filter::policy::{Policy, names::RegionNames};

/// Whose name is whose, where a test has given a region another name.
fn names(policy: &Policy) -> RegionNames {
    RegionNames::new(
        policy.regions.iter().map(|region| (region.certificate_name.as_str(), region.id.as_str())),
    )
}
