//! Workers that follow a list: what they share, what they believe of it, and when they fetch.

use crate::crl::tests::{PKI, URL, authority, client, now};
use crate::{
    config::load,
    crl::{ListEvent, RevocationList, RevocationStatus},
    http::HttpResponse,
    policy::{Authority, ListSource, Policy},
    shared::{Secret, SharedStore},
    time::{Clock, Monotonic, Now},
    x509::ca::CaCertificate,
};
use std::{collections::HashMap, time::Duration};
use testbed_pki::{Ca, Leaf, serial_of};
use time::Duration as Span;

/// Shared data in memory; a key can be spoilt.
#[derive(Default)]
pub(super) struct Shared(pub HashMap<String, (Vec<u8>, u32)>);

impl SharedStore for Shared {
    fn get(&self, key: &str) -> (Option<Vec<u8>>, Option<u32>) {
        self.0.get(key).map_or((None, None), |(value, cas)| (Some(value.clone()), Some(*cas)))
    }

    fn set(&mut self, key: &str, value: &[u8], cas: Option<u32>) -> bool {
        // As the host does: a write creates a key that is missing, whatever version it names.
        let current = self.0.get(key).map(|(_, cas)| *cas);
        if cas.zip(current).is_some_and(|(named, current)| named != current) {
            return false;
        }
        self.0.insert(key.to_owned(), (value.to_vec(), current.unwrap_or(0) + 1));
        true
    }
}

impl Shared {
    /// The key of the record of the one CA's list that is here.
    pub fn record(&self) -> String {
        let of_a_list = |key: &&String| key.ends_with("/record") && !key.contains("/turns/");
        self.0.keys().find(of_a_list).unwrap().clone()
    }

    /// All buckets, of both places.
    pub fn buckets(&self) -> Vec<(String, Vec<u8>)> {
        let is_bucket = |key: &str| key.rsplit('/').next().is_some_and(|end| end.len() == 2);
        let all = self.0.iter().filter(|(key, _)| is_bucket(key));
        all.map(|(key, (value, _))| (key.clone(), value.clone())).collect()
    }
}

pub(super) fn policy() -> Policy {
    let json = serde_json::json!({
        "regions": {"us-east-1": {"genesys": {"ca_certificates": PKI.us.root.pem}}},
        "revocation": {"mode": "hard", "lists": [
            {"region": "us-east-1", "authority": "genesys", "url": URL, "cluster": "crl"},
        ]},
    });
    load(json.to_string().as_bytes()).unwrap()
}

/// Whether workers share a secret.
pub(super) const BOTH: [Option<&str>; 2] = [Some("s3cret"), None];

/// One worker following the list.
pub(super) struct Worker {
    pub list: RevocationList,
    pub authorities: Vec<CaCertificate>,
}

impl Worker {
    pub fn new(number: u64, secret: Option<&str>) -> Self {
        Self::trusting(number, secret, &[&PKI.us.root])
    }

    /// A worker that believes these CAs.
    pub fn trusting(number: u64, secret: Option<&str>, cas: &[&Ca]) -> Self {
        Self::of(&policy(), number, secret, cas)
    }

    /// A worker with this configuration.
    pub fn under(policy: &Policy, number: u64, secret: Option<&str>) -> Self {
        Self::of(policy, number, secret, &[&PKI.us.root])
    }

    fn of(policy: &Policy, number: u64, secret: Option<&str>, cas: &[&Ca]) -> Self {
        let source: &ListSource = &policy.revocation.lists[0];
        assert_eq!(source.authority, Authority::Genesys);
        let secret = secret.map(|secret| Secret::new(secret.to_owned()));
        let authorities: Vec<CaCertificate> = cas.iter().map(|ca| authority(ca)).collect();
        let list = RevocationList::new(policy, source, &authorities, secret.as_ref(), number).unwrap();
        Self { list, authorities }
    }

    pub fn learn(&mut self, shared: &mut Shared, at: u64) {
        self.list.learn(shared, moment(at));
    }

    /// One tick, and the answer to the call that it makes, if it makes one.
    pub fn fetch(&mut self, shared: &mut Shared, at: u64, der: &[u8]) -> &'static str {
        self.fetch_at(shared, moment(at), der)
    }

    pub fn fetch_at(&mut self, shared: &mut Shared, at: Now, der: &[u8]) -> &'static str {
        let Some(call) = self.list.tick(shared, at).0 else { return "nothing" };
        assert_eq!(call.headers[1].1, "/us.crl");
        let response = HttpResponse { status: 200, body: Some(der.to_vec()), retry_after: None };
        match self.list.answered(Ok(response), shared, at) {
            Some(ListEvent::Fetched { .. }) => "ok",
            Some(ListEvent::Failed { failure, .. }) => failure.code.code(),
            None => "no answer was awaited",
        }
    }

    pub fn standing(&self, shared: &Shared, leaf: &Leaf, at: i64) -> Option<RevocationStatus> {
        self.standing_by(&self.authorities[0], shared, leaf, at)
    }

    pub fn standing_by(
        &self,
        ca: &CaCertificate,
        shared: &Shared,
        leaf: &Leaf,
        at: i64,
    ) -> Option<RevocationStatus> {
        self.list.standing(ca, &client(leaf), shared, &mut Clock::at(at))
    }
}

pub(super) fn list(number: u64, revoked: &[&Leaf]) -> Vec<u8> {
    let crl = PKI.us.root.crl().number(number);
    revoked.iter().fold(crl, |crl, leaf| crl.revoke(&serial_of(&leaf.der))).der()
}

pub(super) fn moment(seconds: u64) -> Now {
    Now { mono: Monotonic::from_millis(seconds * 1000), wall: now(), random: 0.5 }
}

#[test]
fn what_one_worker_fetched_all_workers_look_up() {
    for secret in BOTH {
        let (mut shared, mut one, mut two) =
            (Shared::default(), Worker::new(1, secret), Worker::new(2, secret));
        let (revoked, good) = (&PKI.us.genesys, &PKI.us.genesys_expired);
        assert_eq!(one.standing(&shared, revoked, now()), None);
        let list = PKI.us.root.crl().revoke(&serial_of(&revoked.der)).padding(1000).der();
        assert_eq!(one.fetch(&mut shared, 100, &list), "ok");
        two.learn(&mut shared, 101);
        for worker in [&one, &two] {
            assert_eq!(worker.standing(&shared, revoked, now()), Some(RevocationStatus::Revoked));
            assert_eq!(worker.standing(&shared, good, now()), Some(RevocationStatus::Good));
            // Once nextUpdate has passed nobody is cleared any more, and whoever was revoked stays it.
            assert_eq!(worker.standing(&shared, good, now() + 2 * 86_400), Some(RevocationStatus::Unknown));
            assert_eq!(
                worker.standing(&shared, revoked, now() + 2 * 86_400),
                Some(RevocationStatus::Revoked)
            );
        }
        assert_eq!(two.fetch(&mut shared, 102, &list), "nothing", "not its turn");
    }
}

/// Its callback read the clock, and then had to wait for a processor.
#[test]
fn a_worker_that_read_the_clock_long_before_the_list_came_learns_it_with_its_next_look() {
    for secret in BOTH {
        let (mut shared, mut one, mut two) =
            (Shared::default(), Worker::new(1, secret), Worker::new(2, secret));
        let revoked = &PKI.us.genesys;
        assert_eq!(one.fetch(&mut shared, 100, &list(1, &[revoked])), "ok");
        two.learn(&mut shared, 90);
        assert_eq!(two.standing(&shared, revoked, now()), None, "from the future, as it seems");
        two.learn(&mut shared, 101);
        assert_eq!(two.standing(&shared, revoked, now()), Some(RevocationStatus::Revoked));
    }
}

#[test]
fn a_partition_is_about_the_certificates_that_name_it() {
    let (mut shared, mut worker) = (Shared::default(), Worker::new(1, None));
    let leaf = |url: &str| {
        let leaf = PKI.us.root.leaf().key_name("crl").name(PKI.us.region.certificate_name);
        if url.is_empty() { leaf.issue() } else { leaf.crl(url).issue() }
    };
    let list = PKI.us.root.crl().distribution_point(URL, None).der();
    assert_eq!(worker.fetch(&mut shared, 100, &list), "ok");
    assert_eq!(worker.standing(&shared, &leaf(URL), now()), Some(RevocationStatus::Good));
    assert_eq!(worker.standing(&shared, &leaf("http://crl.example/other.crl"), now()), None);
    assert_eq!(worker.standing(&shared, &leaf(""), now()), None);
}

#[test]
fn a_list_that_a_worker_brings_home_that_stalled_does_not_replace_a_newer_one() {
    for secret in BOTH {
        let (mut shared, mut stalled, mut other) =
            (Shared::default(), Worker::new(1, secret), Worker::new(2, secret));
        let revoked = &PKI.us.genesys;
        assert!(stalled.list.tick(&mut shared, moment(100)).0.is_some());
        assert_eq!(other.fetch(&mut shared, 111, &list(2, &[revoked])), "ok", "the lease is over");
        let late = HttpResponse { status: 200, body: Some(list(1, &[])), retry_after: None };
        let event = stalled.list.answered(Ok(late), &mut shared, moment(112));
        let Some(ListEvent::Failed { failure, .. }) = event else { panic!("{event:?}") };
        assert_eq!(failure.code.code(), "crl_rollback");
        for worker in [&mut stalled, &mut other] {
            worker.learn(&mut shared, 113);
            assert_eq!(worker.standing(&shared, revoked, now()), Some(RevocationStatus::Revoked));
        }
    }
}

#[test]
fn with_a_secret_nobody_verifies_twice_and_no_list_is_shared() {
    for (secret, pieces) in [(Some("s3cret"), 0), (None, 1)] {
        let (mut shared, mut worker) = (Shared::default(), Worker::new(1, secret));
        assert_eq!(worker.fetch(&mut shared, 100, &list(1, &[&PKI.us.genesys])), "ok");
        assert_eq!(shared.0.keys().filter(|key| key.contains("/piece")).count(), pieces);
        // A worker without the secret of the others has nothing to verify, and believes nothing.
        let mut stranger = Worker::new(2, None);
        stranger.learn(&mut shared, 101);
        let standing = stranger.standing(&shared, &PKI.us.genesys, now());
        assert_eq!(standing.is_some(), secret.is_none());
    }
}

/// As during a reload by LDS, whose old configuration lives as long as a connection does, and keeps its lease.
#[test]
fn workers_with_other_settings_fetch_in_turns_of_their_own() {
    let revoked = &PKI.us.genesys;
    for secret in BOTH {
        let mut shared = Shared::default();
        let mut policy = policy();
        policy.revocation.interval = Duration::from_hours(7 * 24);
        let mut before = Worker::under(&policy, 1, secret);
        assert_eq!(before.fetch(&mut shared, 100, &list(1, &[])), "ok");
        policy.revocation.interval = Duration::from_mins(1);
        let mut after = Worker::under(&policy, 2, secret);
        assert_eq!(before.fetch(&mut shared, 109, &[]), "nothing");
        assert_eq!(after.fetch(&mut shared, 110, &list(1, &[])), "ok", "its first turn");
        assert_eq!(before.fetch(&mut shared, 169, &[]), "nothing");
        assert_eq!(after.fetch(&mut shared, 170, &list(2, &[revoked])), "ok");
        before.learn(&mut shared, 171);
        for worker in [&before, &after] {
            assert_eq!(worker.standing(&shared, revoked, now()), Some(RevocationStatus::Revoked));
        }
        // An interval that stays what it was begins with the last fetch.
        let mut same = Worker::under(&policy, 3, secret);
        after.list.leave(&mut shared, Monotonic::from_millis(172000));
        assert_eq!(same.fetch(&mut shared, 220, &[]), "nothing");
        assert_eq!(same.fetch(&mut shared, 237, &list(3, &[revoked])), "ok");
    }
}

/// Or alerts on them would be silent for as long as nothing can be fetched under the new settings.
#[test]
fn age_and_end_of_a_list_show_after_a_reload_though_nothing_was_fetched_since() {
    for secret in BOTH {
        let mut shared = Shared::default();
        let mut policy = policy();
        let mut before = Worker::under(&policy, 1, secret);
        assert_eq!(before.fetch(&mut shared, 100, &list(1, &[])), "ok");
        assert_eq!(before.fetch(&mut shared, 4000, &list(1, &[])), "ok", "the same, fetched again");
        policy.revocation.interval = Duration::from_hours(2);
        let mut after = Worker::under(&policy, 2, secret);
        assert_eq!(after.fetch(&mut shared, 5000, b"an outage"), "crl_malformed");
        let (age, left, entries) = after.list.gauges(moment(9000)).unwrap();
        assert_eq!((age, entries), (Duration::from_secs(5000), 0));
        assert!(left > 3600);
    }
}

/// It is no more signed than the rest of the answer.
#[test]
fn no_answer_keeps_lists_away_for_longer_than_the_configured_retry() {
    let (mut shared, mut worker) = (Shared::default(), Worker::new(1, Some("s3cret")));
    assert!(worker.list.tick(&mut shared, moment(100)).0.is_some());
    let busy = HttpResponse { status: 503, body: None, retry_after: Some(b"360000".to_vec()) };
    worker.list.answered(Ok(busy), &mut shared, moment(100));
    assert_eq!(worker.fetch(&mut shared, 102, &list(1, &[])), "ok");
}

#[test]
fn workers_with_another_secret_leave_each_others_data_alone() {
    // As after a reload with another OAuth client, while old connections are still served by the old configuration.
    let revoked = &PKI.us.genesys;
    let mut shared = Shared::default();
    let mut old = Worker::new(1, Some("old"));
    assert_eq!(old.fetch(&mut shared, 100, &list(1, &[revoked])), "ok");
    let before = shared.0.clone();
    let mut new = Worker::new(2, Some("new"));
    assert_eq!(new.fetch(&mut shared, 101, &list(1, &[revoked])), "ok");
    for (key, value) in before {
        assert_eq!(shared.0.get(&key), Some(&value), "{key}");
    }
    for worker in [&mut old, &mut new] {
        assert_eq!(worker.fetch(&mut shared, 110, &[]), "nothing");
        assert_eq!(worker.standing(&shared, revoked, now()), Some(RevocationStatus::Revoked));
    }
}

#[test]
fn a_list_is_the_cas_whichever_of_its_certificates_is_at_hand() {
    // One name, one key, two certificates: the CA renewed its own.
    let of_one_key = |days| {
        let ca = Ca::builder("crl-renewed").dn(&[("CN", "Renewed")]);
        ca.valid_from_now(-Span::days(days), Span::days(365)).self_signed()
    };
    let (old, new) = (of_one_key(300), of_one_key(1));
    assert_ne!(old.der, new.der);
    let leaf = new.leaf().name("dataactions.prod.us-east-1.mypurecloud.com").issue();
    let list = old.crl().revoke(&serial_of(&leaf.der)).der();
    let mut shared = Shared::default();
    let mut worker = Worker::trusting(1, Some("s3cret"), &[&new, &old]);
    assert_eq!(worker.fetch(&mut shared, 100, &list), "ok");
    for ca in [&old, &new] {
        let standing = worker.standing_by(&authority(ca), &shared, &leaf, now());
        assert_eq!(standing, Some(RevocationStatus::Revoked));
    }
}

/// As after a change of the configured CAs, or of the module: what was shared of the fetch is no list for this worker.
#[test]
fn a_worker_that_finds_none_of_its_lists_fetches_without_waiting_for_the_next_turn() {
    let second = Ca::builder("second-root").self_signed();
    for secret in BOTH {
        let mut shared = Shared::default();
        let mut before = Worker::new(1, secret);
        assert_eq!(before.fetch(&mut shared, 100, &list(1, &[])), "ok");
        let (mut same, mut other) = (Worker::new(2, secret), Worker::trusting(3, secret, &[&second]));
        assert_eq!(same.fetch(&mut shared, 102, &[]), "nothing");
        assert_eq!(other.fetch(&mut shared, 103, &list(1, &[])), "crl_other_issuer");
        assert_eq!(other.fetch(&mut shared, 103, &[]), "nothing", "it waits as after any failure");
        assert_eq!(other.fetch(&mut shared, 160, &second.crl().der()), "ok");
        assert_eq!(other.fetch(&mut shared, 161, &[]), "nothing");
        // Those before live on, and neither waits for the other.
        assert_eq!(before.fetch(&mut shared, 4000, &list(2, &[])), "ok");
    }
}
