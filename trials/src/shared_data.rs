//! The keys of shared data that a policy uses, from the filter's own code.

use crate::{
    Failure,
    stage::{REGION, secret_of},
};
use aws_lc_verifier::AwsLcVerifier;
use genesys_mtls_filter::{
    config::load,
    crl::CrlFetcher,
    pins::{Client, Refresher},
    shared::SharedStore,
    time::{Monotonic, Now},
    x509::fingerprint::Fingerprint,
};
use serde_json::Value;
use std::{cell::RefCell, collections::BTreeSet, rc::Rc};
use testbed::World;

/// Remembers what it is asked for, and has nothing.
#[derive(Default)]
struct Asked(RefCell<BTreeSet<String>>);

impl SharedStore for Asked {
    fn get(&self, key: &str) -> (Option<Vec<u8>>, Option<u32>) {
        self.0.borrow_mut().insert(key.to_owned());
        (None, None)
    }

    fn set(&mut self, key: &str, _: &[u8], _: Option<u32>) -> bool {
        self.0.borrow_mut().insert(key.to_owned());
        true
    }
}

const NOW: Now = Now { mono: Monotonic::from_millis(3_600_000), wall: 1_800_000_000, random: 0.5 };

/// The keys under which the workers share what the certificates API named.
pub fn pin_keys(world: &World, policy: &Value) -> Result<Vec<String>, Failure> {
    let policy = Rc::new(load(policy.to_string().as_bytes()).map_err(|errors| format!("{errors:?}"))?);
    let region = policy.regions.iter().find(|region| region.id == REGION).ok_or("no region")?;
    let client = world.genesys.credentials(REGION);
    let client = Client::Own { id: client.client_id, secret: secret_of(world) };
    let mut worker = Refresher::new(policy.clone(), region, client, 7).ok_or("no refresher")?;
    let mut asked = Asked::default();
    worker.request_early(Fingerprint::of(b"unknown"), &mut asked, NOW);
    worker.tick(&AwsLcVerifier, &mut asked, NOW);
    // Lease, record and early request, and what the log has announced.
    let mut keys = asked.0.into_inner();
    let name = policy.name.as_str();
    keys.extend([format!("genesys_mtls/{name}/announced"), format!("genesys_mtls/{name}/logged/{REGION}")]);
    Ok(keys.into_iter().collect())
}

/// The keys of the policy's first CRL: the lease, the record, and each CA's DER with its version.
pub fn list_keys(world: &World, policy: &Value) -> Result<Vec<String>, Failure> {
    let sealed = policy["regions"][REGION]["digicert"].is_object();
    let policy = load(policy.to_string().as_bytes()).map_err(|errors| format!("{errors:?}"))?;
    let source = policy.revocation.crls.first().ok_or("no CRL")?.clone();
    let secret = sealed.then(|| secret_of(world));
    let mut list = CrlFetcher::new(&Rc::new(policy), source, secret.as_ref(), 7).ok_or("no CRL")?;
    let mut asked = Asked::default();
    list.tick(&AwsLcVerifier, &mut asked, NOW);
    Ok(asked.0.into_inner().into_iter().collect())
}
