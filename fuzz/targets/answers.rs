//! No API answer allows a certificate without the name of the answering region. With issuers configured, none allows a
//! certificate that they did not sign.
//!
//! The input is what the APIs of two regions answer, one refresh after another. Answers hold the cast's certificates, whole
//! or damaged, and noise. They go the whole way: conversation, selection, record, trust, decision.
#![no_main]

use arbitrary::Arbitrary;
use aws_lc_verifier::AwsLcVerifier;
use genesys_mtls_filter::{
    decision::{Outcome, trust::Trust},
    http::{HttpCall, HttpResponse},
    pins::{Client, Refresher},
    policy::{Policy, RegionPolicy},
    shared::{MemoryStore, Secret},
    time::{Monotonic, Now},
};
use genesys_mtls_fuzz::{
    NOW,
    cast::{CAST, by_api, holds_name, outcome, same_statement},
    text::pem,
};
use libfuzzer_sys::fuzz_target;
use serde_json::{Value, json};
use std::{rc::Rc, time::Duration};

thread_local! {
    static POLICIES: [Rc<Policy>; 2] = [Rc::new(by_api(false)), Rc::new(by_api(true))];
}

#[derive(Arbitrary, Debug)]
struct Story {
    issuers: bool,
    /// Per region.
    refreshes: [Vec<Refresh>; 2],
    /// A certificate that is shown besides all that were named.
    caller: u8,
}

#[derive(Arbitrary, Debug)]
struct Refresh {
    current: Answer,
    upcoming: Answer,
}

#[derive(Arbitrary, Debug)]
enum Answer {
    Page(Vec<Entity>),
    Pages(Vec<Entity>, Vec<Entity>),
    Status(u16),
    Noise(String),
}

#[derive(Arbitrary, Debug)]
struct Entity {
    authority: Word,
    kind: Word,
    text: Vec<Piece>,
}

#[derive(Arbitrary, Debug)]
enum Word {
    Usual,
    Other(String),
    Absent,
    Null,
}

#[derive(Arbitrary, Debug)]
enum Piece {
    Leaf(u8),
    Ca(u8),
    /// A certificate with one bit turned.
    Damaged(u8, u16),
    Cut(u8, u16),
    /// One behind the other in a single block.
    Joined(u8, u8),
    Noise(String),
    LineEnds,
}

impl Word {
    fn member(&self, usual: &str) -> Option<Value> {
        match self {
            Self::Usual => Some(json!(usual)),
            Self::Other(text) => Some(json!(text)),
            Self::Absent => None,
            Self::Null => Some(Value::Null),
        }
    }
}

impl Entity {
    /// As JSON; the bytes of its blocks go to `named`.
    fn json(&self, named: &mut Vec<Vec<u8>>) -> Value {
        let mut text = String::new();
        for piece in self.text.iter().take(10) {
            let block = match piece {
                Piece::Leaf(number) => CAST.leaf(*number).der.clone(),
                Piece::Ca(number) => {
                    [&CAST.digicert, &CAST.us_ca, &CAST.eu_ca][usize::from(number % 3)].der.clone()
                }
                Piece::Damaged(number, bit) => {
                    let mut der = CAST.leaf(*number).der.clone();
                    let at = usize::from(bit / 8) % der.len();
                    der[at] ^= 1 << (bit % 8);
                    der
                }
                Piece::Cut(number, length) => {
                    let mut der = CAST.leaf(*number).der.clone();
                    der.truncate(usize::from(*length));
                    der
                }
                Piece::Joined(first, second) => {
                    [&CAST.leaf(*first).der[..], &CAST.leaf(*second).der].concat()
                }
                Piece::Noise(noise) => {
                    text += noise;
                    continue;
                }
                Piece::LineEnds => {
                    text = text.replace('\n', "\r\n");
                    continue;
                }
            };
            text += &pem(&block);
            named.push(block);
        }
        let mut entity = json!({"certificate": text});
        for (name, member) in
            [("signingAuthority", self.authority.member("DigiCert")), ("type", self.kind.member("Client"))]
        {
            if let Some(member) = member {
                entity[name] = member;
            }
        }
        entity
    }
}

impl Answer {
    /// Status and body of a page.
    fn page(&self, second: bool, named: &mut Vec<Vec<u8>>) -> (u16, String) {
        let mut entities = |entities: &[Entity]| -> Vec<Value> {
            entities.iter().take(8).map(|entity| entity.json(named)).collect()
        };
        match self {
            Self::Page(only) => (200, json!({"entities": entities(only)}).to_string()),
            Self::Pages(_, last) if second => (200, json!({"entities": entities(last)}).to_string()),
            Self::Pages(first, _) => {
                let next = "/api/v2/integrations/actions/certificates?status=Current&pageNumber=2";
                (200, json!({"entities": entities(first), "nextUri": next}).to_string())
            }
            Self::Status(status) => (*status, String::new()),
            Self::Noise(noise) => (200, noise.clone()),
        }
    }
}

/// A region's API, and the worker that asks it.
struct Asked<'a> {
    region: &'a RegionPolicy,
    worker: Refresher,
    /// All certificates that its API ever named.
    named: Vec<Vec<u8>>,
}

impl Asked<'_> {
    fn refresh(&mut self, refresh: &Refresh, shared: &mut MemoryStore, now: Now) {
        let mut call = self.worker.tick(&AwsLcVerifier, shared, now).call;
        for _ in 0..20 {
            let Some(HttpCall { headers, .. }) = call else { return };
            let path =
                headers.iter().find(|(name, _)| *name == ":path").map_or("", |(_, path)| path.as_str());
            let (status, body) = match path {
                "/oauth/token" => (200, json!({"access_token": "t", "expires_in": 300}).to_string()),
                path if path.ends_with("status=Upcoming") => refresh.upcoming.page(false, &mut self.named),
                path => refresh.current.page(path.contains("pageNumber"), &mut self.named),
            };
            let response = HttpResponse { status, body: Some(body.into_bytes()), retry_after: None };
            call = self.worker.on_response(Ok(response), &AwsLcVerifier, shared, now).call;
        }
        panic!("a conversation without an end");
    }
}

fuzz_target!(|story: Story| {
    let policy = &POLICIES.with(|policies| policies[usize::from(story.issuers)].clone());
    let mut shared = MemoryStore::default();
    let asked = policy.regions.iter().map(|region| {
        let client = Client::Own { id: "id".to_owned(), secret: Secret::new("s3cret".to_owned()) };
        let worker = Refresher::new(policy.clone(), region, client, 1).unwrap();
        Asked { region, worker, named: Vec::new() }
    });
    let mut asked: Vec<Asked<'_>> = asked.collect();
    let mut now = Now { mono: Monotonic::from_millis(1000 * 100), wall: NOW, random: 0.5 };
    for round in 0..3 {
        for (asked, refreshes) in asked.iter_mut().zip(&story.refreshes) {
            if let Some(refresh) = refreshes.get(round) {
                asked.refresh(refresh, &mut shared, now);
            }
        }
        now.mono += Duration::from_hours(2);
    }
    let regions = asked.iter_mut().map(|asked| {
        asked.worker.sync(&mut shared, now);
        (asked.region.id.clone(), asked.worker.trust().clone())
    });
    let regions = regions.collect();
    let trust = Trust { version: 1, regions };
    let mut callers: Vec<&[u8]> =
        asked.iter().flat_map(|asked| asked.named.iter().map(Vec::as_slice)).collect();
    callers.push(&CAST.leaf(story.caller).der);
    callers.sort_unstable();
    callers.dedup();
    for caller in callers {
        let Outcome::Allow { region, .. } = outcome(caller, policy, &trust) else { continue };
        let asked = asked.iter().find(|asked| asked.region.id == region).unwrap();
        assert!(asked.named.iter().any(|der| der == caller), "its own region's API named it");
        assert!(holds_name(caller, &asked.region.certificate_name), "without the region's name");
        if let Some(leaf) = CAST.leaf_of(caller) {
            assert_eq!(leaf.region, Some(asked.region.id.as_str()), "{}", leaf.what);
        }
        if story.issuers {
            let leaf = same_statement(caller).expect("a CA signed it");
            assert!(leaf.by_digicert, "{}", leaf.what);
        }
    }
});
