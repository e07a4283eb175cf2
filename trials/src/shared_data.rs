//! The keys of shared data that a policy uses, from the filter's own code.

use crate::{
    Failure,
    stage::{REGION, secret_of},
};
use aws_lc_verifier::AwsLcVerifier;
use genesys_mtls_filter::{
    config::load,
    crl::RevocationList,
    pins::{Client, Refresher},
    shared::SharedStore,
    time::{Monotonic, Now},
    x509::fingerprint::Fingerprint,
};
use serde_json::Value;
use std::{cell::RefCell, collections::BTreeSet, rc::Rc};
use testbed::World;

/// Buckets of a revocation list's table, in each of its two places.
const BUCKETS: usize = 256;
/// Pieces of a list that is not sealed: more than a short one has.
const PIECES: usize = 3;

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

/// The keys of the policy's first revocation list: lease, turns, note of damage; and of each CA's list the record, and both places
/// of its table and of itself.
pub fn list_keys(world: &World, policy: &Value) -> Result<Vec<String>, Failure> {
    let sealed = policy["regions"][REGION]["digicert"].is_object();
    let policy = load(policy.to_string().as_bytes()).map_err(|errors| format!("{errors:?}"))?;
    let source = policy.revocation.lists.first().ok_or("no list")?;
    let secret = sealed.then(|| secret_of(world));
    let cas = policy.regions.first().map(|region| region.genesys.as_slice()).unwrap_or_default();
    let mut list = RevocationList::new(&policy, source, cas, secret.as_ref(), 7).ok_or("no list")?;
    let mut asked = Asked::default();
    list.tick(&mut asked, NOW);
    let keys = asked.0.into_inner();
    let lease = keys.iter().find(|key| key.ends_with("/lease")).ok_or("no lease")?;
    let turns = lease.trim_end_matches("lease");
    let (own, _) = turns.split_once("turns/").ok_or("no turns")?;
    let mut all = vec![lease.clone(), format!("{turns}record"), format!("{own}damaged")];
    for ca in cas.iter().map(|authority| authority.ca) {
        all.push(format!("{own}{ca}/record"));
        for place in ["a", "b"] {
            all.extend((0..BUCKETS).map(|bucket| format!("{own}{ca}/{place}/{bucket:02x}")));
            all.extend((0..PIECES).map(|piece| format!("{own}{ca}/{place}/piece{piece}")));
        }
    }
    Ok(all)
}
