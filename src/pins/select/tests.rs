//! Only certificates with the name and the signature that the policy demands become pins, from any answer of the API.

use super::*;
use crate::{
    decision::{
        Outcome, Reason, decide,
        trust::{ApiState, ApiTrust, Trust},
    },
    pins::record::Record,
    policy::Policy,
    test_support::{
        BEGIN, CA_END, DAY, END, EU, NOW, US, VERIFIER, cast, client, date, leaf, merged, policy, us_leaf,
        us_only,
    },
    time::{Monotonic, Now},
    x509::signature::{Hash, SignatureVerifier, VerifierUnavailable},
};
use proptest::{collection, option, prelude::*, sample};
use serde_json::json;
use std::sync::{
    LazyLock, OnceLock,
    atomic::{AtomicUsize, Ordering},
};
use testbed_pki::{Ca, Eku, Leaf, pem_block};

static POLICY: LazyLock<Policy> = LazyLock::new(|| policy(&us_only(&json!({"digicert": {"pins": ["api"]}}))));
static DEMANDING: LazyLock<Policy> = LazyLock::new(|| {
    let digicert = json!({"pins": ["api"], "issuers": cast().digicert_ca.pem});
    policy(&us_only(&json!({"digicert": digicert})))
});

/// By a policy without issuers.
fn lenient() -> Reader<'static> {
    Reader { policy: &POLICY, region: "us-east-1", verifier: VERIFIER, now: NOW }
}

/// By one that demands the issuers' signature.
fn demanding() -> Reader<'static> {
    Reader { policy: &DEMANDING, ..lenient() }
}

fn select<'e>(entities: impl IntoIterator<Item = &'e Entity>, reader: Reader<'_>) -> Selection {
    let current = entities.into_iter().cloned().map(Ok).collect();
    Selection::of(FetchResult { current: Ok(current), upcoming: Ok(Vec::new()) }, reader)
}

fn pins(selection: &Selection) -> Vec<Fingerprint> {
    let pins = selection.forecasts.iter().filter(|forecast| forecast.is_pin());
    pins.filter_map(|forecast| forecast.fingerprint).collect()
}

fn entity(certificate: impl Into<String>) -> Entity {
    Entity {
        signing_authority: Some("DigiCert".to_owned()),
        certificate: Some(certificate.into()),
        kind: Some("Client".to_owned()),
    }
}

/// Leaf, intermediate and root with the line ends of the API's DigiCert answers, and nothing behind the last block.
fn three_blocks(leaf: &Leaf) -> String {
    let chain: Vec<String> = cast().digicert_ca.chain().iter().map(|der| pem_block(der)).collect();
    (leaf.cert_pem.clone() + &chain.concat()).trim_end().replace('\n', "\r\n")
}

fn digicert_leaf() -> Leaf {
    us_leaf(&cast().digicert_ca)
}

/// What becomes of one entity.
fn outcome(entity: &Entity, reader: Reader<'_>) -> Result<Fingerprint, &'static str> {
    let selection = select([entity], reader);
    let denied = selection.forecasts.iter().filter_map(|forecast| forecast.denied).map(Reason::code);
    let why: Vec<&str> = selection.skipped.iter().map(|skipped| skipped.code()).chain(denied).collect();
    match (pins(&selection).as_slice(), why.first()) {
        ([pin], None) => Ok(*pin),
        ([], Some(why)) => Err(why),
        other => panic!("neither a pin nor denied: {other:?}"),
    }
}

fn assert_pin(what: &str, entity: &Entity, reader: Reader<'_>, leaf: &Leaf) {
    assert_eq!(outcome(entity, reader), Ok(client(leaf).fingerprint), "{what}");
}

#[test]
fn the_one_leaf_among_the_blocks_is_the_pin() {
    let leaf = digicert_leaf();
    let cas: Vec<String> = cast().digicert_ca.chain().iter().map(|der| pem_block(der)).collect();
    for (what, text) in [
        ("three blocks, CRLF", three_blocks(&leaf)),
        ("one block", leaf.cert_pem.clone()),
        ("one block and empty lines", leaf.cert_pem.clone() + "\n\n"),
        ("the leaf last", cas.concat() + &leaf.cert_pem),
        ("words between the blocks", format!("subject=x\n{}issuer=y\n{}", leaf.cert_pem, cas[0])),
    ] {
        assert_pin(what, &entity(text), lenient(), &leaf);
    }
    let selection = select([&entity(three_blocks(&leaf))], lenient());
    let validity = selection.forecasts.iter().map(|forecast| (forecast.not_before, forecast.not_after));
    assert_eq!(validity.collect::<Vec<_>>(), [(BEGIN, END)]);
}

/// Says no, and counts how often it was asked.
#[derive(Debug, Default)]
struct Counting(AtomicUsize);
impl SignatureVerifier for Counting {
    fn verify(&self, _: Hash, _: &[u8], _: &[u8], _: &[u8]) -> Result<bool, VerifierUnavailable> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Ok(false)
    }
}

#[test]
fn an_answer_costs_a_bounded_number_of_signatures() {
    let leaf = digicert_leaf();
    let many = leaf.cert_pem.clone() + &cast().digicert_ca.pem.repeat(MAX_BLOCKS);
    assert_eq!(outcome(&entity(many), demanding()), Err("too_many"));

    let forged = &cast().digicert_impostor;
    let answer: Vec<Entity> =
        (0..100).map(|_| entity(us_leaf(forged).cert_pem + &cast().digicert_ca.pem)).collect();
    let verifier = Counting::default();
    let selection = select(&answer, Reader { verifier: &verifier, ..demanding() });
    assert_eq!((selection.leaves.len(), selection.forecasts.len()), (100, 64));
    assert_eq!(verifier.0.into_inner(), 64 + 64, "hints and forecasts");
}

#[test]
fn text_without_exactly_one_readable_leaf_is_no_pin() {
    let (one, two) = (digicert_leaf(), digicert_leaf());
    let ca = &cast().digicert_ca.pem;
    let broken = one.cert_pem.replacen("MII", "M!I", 1);
    for (what, text, expected) in [
        ("two leaves", one.cert_pem.clone() + &two.cert_pem, "not_one_leaf"),
        ("the same leaf twice", one.cert_pem.clone() + &one.cert_pem, "not_one_leaf"),
        ("only authorities", ca.clone() + ca, "not_one_leaf"),
        ("nothing", String::new(), "no_pem"),
        ("no PEM", "MIIB".to_owned(), "no_pem"),
        ("a broken block", broken, "no_pem"),
        ("a private key next to it", one.cert_pem.clone() + &one.key_pem, "no_pem"),
        ("a block that is no certificate", pem_block(b"hello"), "malformed"),
        ("the same next to a leaf", one.cert_pem.clone() + &pem_block(b"hello"), "malformed"),
        ("bytes behind the leaf", pem_block(&[one.der.as_slice(), &[0]].concat()), "malformed_certificate"),
    ] {
        assert_eq!(outcome(&entity(text), lenient()), Err(expected), "{what}");
    }
    assert_eq!(outcome(&Entity { certificate: None, ..entity("") }, lenient()), Err("no_pem"));
}

#[test]
fn a_leaf_that_may_not_be_a_client_is_no_pin() {
    let server = leaf(&cast().digicert_ca).name(US).ekus(&[Eku::ServerAuth]).issue();
    assert_eq!(outcome(&entity(server.cert_pem), lenient()), Err("not_a_client_certificate"));
}

#[test]
fn entity_counts_if_digicert_and_of_type_client_or_none() {
    let leaf = digicert_leaf();
    for (authority, kind, expected) in [
        (Some("DigiCert"), Some("Client"), None),
        (Some("Digicert"), None, None),
        (Some("DIGICERT"), Some("CLIENT"), None),
        (Some(" digicert "), Some("client"), None),
        (Some("DigiCert2"), Some("Client"), Some("other_authority")),
        (Some(""), None, Some("other_authority")),
        (None, Some("Client"), Some("other_authority")),
        (Some("DigiCert"), Some("Server"), Some("other_type")),
        (Some("DigiCert"), Some(""), Some("other_type")),
    ] {
        let entity = Entity {
            signing_authority: authority.map(str::to_owned),
            kind: kind.map(str::to_owned),
            ..entity(leaf.cert_pem.clone())
        };
        assert_eq!(outcome(&entity, lenient()).err(), expected, "{authority:?} {kind:?}");
    }
}

#[test]
fn an_expired_leaf_is_no_pin_and_one_of_the_future_is() {
    let of = |from, to| leaf(&cast().digicert_ca).name(US).valid(date(from), date(to)).issue();
    for (what, leaf, expected) in [
        ("its last second, and the skew of the clock", of(BEGIN, NOW - 60), None),
        ("a second later", of(BEGIN, NOW - 61), Some("expired")),
        ("from tomorrow", of(NOW + DAY, END), None),
    ] {
        assert_eq!(outcome(&entity(leaf.cert_pem), lenient()).err(), expected, "{what}");
    }
}

#[test]
fn leaf_has_only_the_name_of_the_region_that_answered() {
    let by = || leaf(&cast().digicert_ca);
    for (what, leaf, expected) in [
        ("its name", by().name(US), None),
        ("its name in capitals", by().dns(US.to_uppercase()), None),
        ("its name as common name", by().cn(US), None),
        ("another region's", by().name(EU), Some("wrong_region")),
        ("both", by().dns(US).dns(EU), Some("wrong_name")),
        ("both, one as common name", by().dns(US).cn(EU), Some("wrong_name")),
        ("a stranger's", by().cn("Somebody Else").email("somebody@mail.example"), Some("wrong_name")),
        ("its name as common name only, next to another", by().cn(US).dns("x.example"), Some("wrong_name")),
        ("none", by(), Some("wrong_name")),
    ] {
        assert_eq!(outcome(&entity(leaf.issue().cert_pem), lenient()).err(), expected, "{what}");
    }
    let digicert = json!({"digicert": {"pins": ["api"]}});
    let policy = policy(&merged(&us_only(&digicert), &json!({"names": "san"})));
    let san_only = Reader { policy: &policy, ..lenient() };
    let by_cn = by().cn(US).issue().cert_pem;
    assert_eq!(outcome(&entity(by_cn), san_only), Err("wrong_name"));
}

#[test]
fn issuers_must_have_signed_where_they_are_configured() {
    let cast = cast();
    for (what, ca, expected) in [
        ("theirs", &cast.digicert_ca, None),
        ("another of their name", &cast.digicert_impostor, Some("bad_signature")),
        ("a stranger", &cast.stranger_ca, Some("unknown_issuer")),
    ] {
        assert_eq!(outcome(&entity(us_leaf(ca).cert_pem), demanding()).err(), expected, "{what}");
        assert_eq!(outcome(&entity(us_leaf(ca).cert_pem), lenient()).err(), None, "{what}, none configured");
    }
    let late = leaf(&cast.digicert_ca).name(US).valid(date(BEGIN), date(CA_END + DAY)).issue();
    let after_the_issuers = Reader { now: CA_END + 1, ..demanding() };
    assert_eq!(outcome(&entity(late.cert_pem), after_the_issuers), Err("unknown_issuer"));
}

#[test]
fn an_entity_named_in_both_lists_is_current() {
    let leaf = entity(digicert_leaf().cert_pem);
    let result = FetchResult {
        current: Ok(vec![Ok(leaf.clone())]),
        upcoming: Ok(vec![Ok(leaf), Err("x".to_owned())]),
    };
    let named = Selection::of(result, lenient());
    assert_eq!(named.leaves.values().map(|leaf| leaf.status).collect::<Vec<_>>(), [ApiStatus::Current]);
    assert_eq!(named.unreadable, ["x"]);
    let failure = Failure::new(FailureCode::ApiMalformed, "");
    let half =
        FetchResult { current: Err(failure), upcoming: Ok(vec![Ok(entity(digicert_leaf().cert_pem))]) };
    assert_eq!(
        Selection::of(half, lenient()).leaves.values().map(|leaf| leaf.status).collect::<Vec<_>>(),
        [ApiStatus::Upcoming]
    );
}

#[test]
fn the_authority_that_signed_a_leaf_comes_along_and_no_other() {
    let (one, two) = (digicert_leaf(), digicert_leaf());
    let intermediate = &cast().digicert_ca.der;
    let both = [&entity(three_blocks(&one)), &entity(three_blocks(&two))];
    assert_eq!(select(both, lenient()).hints.as_slice(), std::slice::from_ref(intermediate));
    assert!(select([&entity(one.cert_pem.clone())], lenient()).hints.is_empty());
    for (what, ca) in
        [("another of its name", &cast().digicert_impostor), ("a stranger", &cast().stranger_ca)]
    {
        let text = one.cert_pem.clone() + &ca.pem;
        let selection = select([&entity(text)], lenient());
        assert_eq!((pins(&selection).len(), selection.hints.len()), (1, 0), "{what}");
    }
    let skipped = Entity { kind: Some("Server".to_owned()), ..entity(three_blocks(&one)) };
    assert!(select([&skipped], lenient()).hints.is_empty(), "nothing comes from what is skipped");
}

#[test]
fn the_order_of_an_answer_does_not_matter() {
    let (one, two) = (digicert_leaf(), digicert_leaf());
    let entities = [entity(three_blocks(&one)), entity(two.cert_pem), entity("")];
    let (there, back) = (select(&entities, lenient()), select(entities.iter().rev(), lenient()));
    assert_eq!(pins(&there), pins(&back));
    assert_eq!(there.hints, back.hints);
    assert_eq!(pins(&there).len(), 2);
    assert_eq!(there.skipped, [Skipped::NoPem]);
    let twice = select(entities.iter().chain(&entities), lenient());
    assert_eq!(pins(&twice), pins(&there));
}

#[test]
fn each_cause_of_a_skip_has_its_code() {
    let codes: Vec<&str> = Skipped::ALL.iter().map(|skipped| skipped.code()).collect();
    let expected = "other_authority other_type no_pem not_one_leaf malformed too_many";
    assert_eq!(codes.join(" "), expected);
}

/// Blocks for answers no API should send, and the only leaves among them that may become pins of us-east-1.
struct Pool {
    blocks: Vec<Vec<u8>>,
    good: Vec<Fingerprint>,
    signed: Vec<Fingerprint>,
}

fn pool() -> &'static Pool {
    static POOL: OnceLock<Pool> = OnceLock::new();
    POOL.get_or_init(|| {
        let cast = cast();
        let by = |ca: &'static Ca| leaf(ca);
        let signed = [us_leaf(&cast.digicert_ca), by(&cast.digicert_ca).dns(US).issue()];
        let unsigned = [us_leaf(&cast.digicert_impostor), us_leaf(&cast.stranger_ca), us_leaf(&cast.us_ca)];
        let bad = [
            by(&cast.digicert_ca).name(EU).issue(),
            by(&cast.digicert_ca).dns(US).dns(EU).issue(),
            by(&cast.digicert_ca).cn("Somebody Else").issue(),
            by(&cast.digicert_ca).name(&format!("{US}.evil.example")).issue(),
            by(&cast.digicert_ca).name(US).valid(date(BEGIN), date(NOW - 61)).issue(),
            by(&cast.digicert_ca).name(US).is_ca(true).issue(),
        ];
        let cas = cast.digicert_ca.chain().iter().cloned().chain([cast.stranger_ca.der.clone()]);
        let leaves = signed.iter().chain(&unsigned).chain(&bad);
        let fingerprints = |leaves: &[Leaf]| leaves.iter().map(|leaf| client(leaf).fingerprint).collect();
        let signed_pins: Vec<Fingerprint> = fingerprints(&signed);
        let unsigned_pins: Vec<Fingerprint> = fingerprints(&unsigned);
        Pool {
            blocks: leaves.map(|leaf| leaf.der.clone()).chain(cas).chain([b"garbage".to_vec()]).collect(),
            good: signed_pins.iter().chain(&unsigned_pins).copied().collect(),
            signed: signed_pins,
        }
    })
}

fn any_entity() -> impl Strategy<Value = Entity> {
    let text = |values: &'static [&'static str]| option::of(sample::select(values).prop_map(str::to_owned));
    let blocks = collection::vec(sample::select(pool().blocks.as_slice()), 0..4);
    let authority = text(&["DigiCert", "digicert", "Genesys", ""]);
    let kind = text(&["Client", "client", "Server"]);
    (authority, kind, option::weighted(0.9, blocks)).prop_map(|(signing_authority, kind, blocks)| {
        let text = |blocks: Vec<Vec<u8>>| blocks.iter().map(|der| pem_block(der)).collect();
        Entity { signing_authority, kind, certificate: blocks.map(text) }
    })
}

proptest! {
    #[test]
    fn pins_of_any_answer_have_the_regions_name_and_issuers(
        entities in collection::vec(any_entity(), 0..6), is_demanding in any::<bool>(),
    ) {
        let (reader, allowed) =
            if is_demanding { (demanding(), &pool().signed) } else { (lenient(), &pool().good) };
        let selection = select(&entities, reader);
        let pins = pins(&selection);
        prop_assert!(pins.iter().all(|pin| allowed.contains(pin)), "{:?}", pins);
        prop_assert!(selection.leaves.len() + selection.skipped.len() <= entities.len());
    }

    /// A worker that reads the record allows no certificate without the answering region's name.
    #[test]
    fn any_answer_allows_only_the_answering_regions_name(
        entities in collection::vec(any_entity(), 0..6), is_demanding in any::<bool>(),
    ) {
        let mut digicert = json!({"pins": ["api"]});
        if is_demanding {
            digicert["issuers"] = json!(cast().digicert_ca.pem);
        }
        let policy = policy(&json!({
            "regions": {
                "us-east-1": {"digicert": digicert},
                "eu-central-1": {"digicert": digicert, "refresh": {"oauth": {"client_secret_env": "EU_SECRET"}}},
            },
            "refresh": {"clusters": {"api": "api|{host}", "login": "login|{host}"}},
        }));
        let now = Now { mono: Monotonic::from_millis(1000), wall: NOW, random: 0.5 };
        let mut record = Record::default();
        record.note(select(&entities, Reader { policy: &policy, ..lenient() }), None, Monotonic::ZERO, now);
        // Us-east-1's API has answered, and eu-central-1's, that it knows no certificate.
        let said = record.conclude("us-east-1", &policy, now.mono).trust;
        let none = ApiTrust { state: ApiState::Loaded, ..ApiTrust::default() };
        let regions = [("us-east-1".to_owned(), said), ("eu-central-1".to_owned(), none)];
        let trust = Trust { version: 1, regions: regions.into() };
        let allowed = if is_demanding { &pool().signed } else { &pool().good };
        for certificate in pool().blocks.iter().filter_map(|der| ClientCertificate::parse(der).ok()) {
            let outcome = decide(&certificate, &policy, &trust, &(), VERIFIER, NOW, Monotonic::ZERO).outcome;
            if let Outcome::Allow { region, .. } = outcome {
                prop_assert_eq!(region, "us-east-1");
                prop_assert!(allowed.contains(&certificate.fingerprint), "{:?}", certificate.summary());
            }
        }
    }
}
