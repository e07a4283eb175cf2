//! Only certificates with the name and the signature that the policy demands become pins, from any answer of the API.

use super::*;
use crate::{
    decision::{
        Outcome, decide,
        trust::{ApiState, ApiTrust, Trust},
    },
    test_support::{
        BEGIN, CA_END, DAY, END, EU, NOW, US, VERIFIER, authority, cast, client, date, leaf, policy, us_leaf,
    },
    time::Monotonic,
};
use proptest::{collection, option, prelude::*, sample};
use serde_json::json;
use std::sync::{LazyLock, OnceLock};
use testbed_pki::{Ca, Eku, Leaf, pem_block};

static REGIONS: LazyLock<RegionNames> = LazyLock::new(|| RegionNames::new([(US, "us-east-1")]));

fn criteria<'a>() -> Criteria<'a> {
    Criteria {
        region: "us-east-1",
        region_names: &REGIONS,
        names: NameRule::SanOrCn,
        issuers: &[],
        verifier: VERIFIER,
        now: NOW,
    }
}

fn select<'e>(entities: impl IntoIterator<Item = &'e Entity>, criteria: Criteria<'_>) -> Selection {
    let current = entities.into_iter().cloned().map(Ok).collect();
    Selection::of(FetchResult { current: Ok(current), upcoming: Ok(Vec::new()) }, criteria)
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
fn outcome(entity: &Entity, criteria: Criteria<'_>) -> Result<Fingerprint, Skipped> {
    let selection = select([entity], criteria);
    match (selection.pins.into_keys().next(), selection.skipped.as_slice()) {
        (Some(pin), []) => Ok(pin),
        (None, [skipped]) => Err(*skipped),
        other => panic!("neither a pin nor skipped once: {other:?}"),
    }
}

fn assert_pin(what: &str, entity: &Entity, criteria: Criteria<'_>, leaf: &Leaf) {
    assert_eq!(outcome(entity, criteria), Ok(client(leaf).fingerprint), "{what}");
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
        assert_pin(what, &entity(text), criteria(), &leaf);
    }
    let selection = select([&entity(three_blocks(&leaf))], criteria());
    let pin = ApiPin { not_before: BEGIN, not_after: END };
    assert_eq!(selection.pins.values().collect::<Vec<_>>(), [&pin]);
}

#[test]
fn an_answer_costs_a_bounded_number_of_signatures() {
    let leaf = digicert_leaf();
    let issuers = [authority(&cast().digicert_ca)];
    let demanding = Criteria { issuers: &issuers, ..criteria() };
    let many = leaf.cert_pem.clone() + &cast().digicert_ca.pem.repeat(MAX_BLOCKS);
    assert_eq!(outcome(&entity(many), demanding), Err(Skipped::TooMany));

    let more = usize::try_from(MAX_SIGNATURES).unwrap() + 10;
    let forged = Ca::builder("too-many").dn(&[("CN", "not who it says")]).self_signed();
    let answer: Vec<Entity> = (0..more).map(|_| entity(us_leaf(&forged).cert_pem)).collect();
    let selection = select(&answer, demanding);
    let too_many = selection.skipped.iter().filter(|skipped| **skipped == Skipped::TooMany).count();
    assert_eq!(too_many, 10);
    assert_eq!(select(&[entity(leaf.cert_pem)], demanding).pins.len(), 1);
}

#[test]
fn text_without_exactly_one_readable_leaf_is_no_pin() {
    let (one, two) = (digicert_leaf(), digicert_leaf());
    let ca = &cast().digicert_ca.pem;
    let broken = one.cert_pem.replacen("MII", "M!I", 1);
    for (what, text, expected) in [
        ("two leaves", one.cert_pem.clone() + &two.cert_pem, Skipped::NotOneLeaf),
        ("the same leaf twice", one.cert_pem.clone() + &one.cert_pem, Skipped::NotOneLeaf),
        ("only authorities", ca.clone() + ca, Skipped::NotOneLeaf),
        ("nothing", String::new(), Skipped::NoPem),
        ("no PEM", "MIIB".to_owned(), Skipped::NoPem),
        ("a broken block", broken, Skipped::NoPem),
        ("a private key beside it", one.cert_pem.clone() + &one.key_pem, Skipped::NoPem),
        ("a block that is no certificate", pem_block(b"hello"), Skipped::Malformed),
        ("the same beside a leaf", one.cert_pem.clone() + &pem_block(b"hello"), Skipped::Malformed),
        ("bytes behind the leaf", pem_block(&[one.der.as_slice(), &[0]].concat()), Skipped::Malformed),
    ] {
        assert_eq!(outcome(&entity(text), criteria()), Err(expected), "{what}");
    }
    assert_eq!(outcome(&Entity { certificate: None, ..entity("") }, criteria()), Err(Skipped::NoPem));
}

#[test]
fn a_leaf_that_may_not_be_a_client_is_no_pin() {
    let server = leaf(&cast().digicert_ca).name(US).ekus(&[Eku::ServerAuth]).issue();
    assert_eq!(outcome(&entity(server.cert_pem), criteria()), Err(Skipped::Malformed));
}

#[test]
fn entity_counts_if_digicert_and_of_type_client_or_none() {
    let leaf = digicert_leaf();
    for (authority, kind, expected) in [
        (Some("DigiCert"), Some("Client"), None),
        (Some("Digicert"), None, None),
        (Some("DIGICERT"), Some("CLIENT"), None),
        (Some(" digicert "), Some("client"), None),
        (Some("Genesys"), Some("Client"), Some(Skipped::OtherAuthority)),
        (Some("DigiCert2"), Some("Client"), Some(Skipped::OtherAuthority)),
        (Some(""), None, Some(Skipped::OtherAuthority)),
        (None, Some("Client"), Some(Skipped::OtherAuthority)),
        (Some("DigiCert"), Some("Server"), Some(Skipped::OtherType)),
        (Some("DigiCert"), Some(""), Some(Skipped::OtherType)),
    ] {
        let entity = Entity {
            signing_authority: authority.map(str::to_owned),
            kind: kind.map(str::to_owned),
            ..entity(leaf.cert_pem.clone())
        };
        assert_eq!(outcome(&entity, criteria()).err(), expected, "{authority:?} {kind:?}");
    }
}

#[test]
fn an_expired_leaf_is_no_pin_and_one_of_the_future_is() {
    let of = |from, to| leaf(&cast().digicert_ca).name(US).valid(date(from), date(to)).issue();
    for (what, leaf, expected) in [
        ("its last second", of(BEGIN, NOW), None),
        ("a second later", of(BEGIN, NOW - 1), Some(Skipped::Expired)),
        ("from tomorrow", of(NOW + DAY, END), None),
    ] {
        assert_eq!(outcome(&entity(leaf.cert_pem), criteria()).err(), expected, "{what}");
    }
}

#[test]
fn leaf_has_only_the_name_of_the_region_that_answered() {
    let by = || leaf(&cast().digicert_ca);
    for (what, leaf, expected) in [
        ("its name", by().name(US), None),
        ("its name in capitals", by().dns(US.to_uppercase()), None),
        ("its name as common name", by().cn(US), None),
        ("another region's", by().name(EU), Some(Skipped::WrongName)),
        ("both", by().dns(US).dns(EU), Some(Skipped::WrongName)),
        ("both, one as common name", by().dns(US).cn(EU), Some(Skipped::WrongName)),
        ("somebody's", by().cn("Somebody Else").email("somebody@mail.example"), Some(Skipped::WrongName)),
        (
            "its name as common name only, beside another",
            by().cn(US).dns("x.example"),
            Some(Skipped::WrongName),
        ),
        ("none", by(), Some(Skipped::WrongName)),
    ] {
        assert_eq!(outcome(&entity(leaf.issue().cert_pem), criteria()).err(), expected, "{what}");
    }
    let san_only = Criteria { names: NameRule::San, ..criteria() };
    let by_cn = by().cn(US).issue().cert_pem;
    assert_eq!(outcome(&entity(by_cn), san_only), Err(Skipped::WrongName));
}

/// By name: neither side may know a region that the other does not.
#[test]
fn a_pin_is_made_of_those_that_it_lets_in() {
    let names = ["new.example", US, EU, "x.example"];
    let sans = std::iter::once(vec![])
        .chain(names.map(|name| vec![name]))
        .chain(names.iter().flat_map(|one| names.map(|two| vec![*one, two])));
    let leaves: Vec<Leaf> = sans
        .flat_map(|dns| [None, Some("new.example"), Some(US), Some(EU)].map(|cn| (dns.clone(), cn)))
        .map(|(dns, cn)| {
            let by = dns.into_iter().fold(leaf(&cast().digicert_ca), testbed_pki::LeafBuilder::dns);
            cn.into_iter().fold(by, testbed_pki::LeafBuilder::cn).issue()
        })
        .collect();
    let api = json!({"pins": ["api"]});
    for (rule, other) in ["san_or_cn", "san", "cn"].iter().flat_map(|rule| [(rule, true), (rule, false)]) {
        let mut regions = json!({"us-east-1": {"certificate_name": "new.example", "digicert": api}});
        if other {
            let oauth = json!({"client_secret_env": "EU_SECRET"});
            regions["eu-central-1"] = json!({"digicert": api, "refresh": {"oauth": oauth}});
        }
        let policy = policy(&json!({
            "names": rule, "regions": regions,
            "refresh": {"clusters": {"api": "api|{host}", "login": "login|{host}"}},
        }));
        let mut pinned = 0;
        for (leaf, index) in leaves.iter().flat_map(|leaf| (0..policy.regions.len()).map(move |n| (leaf, n)))
        {
            let criteria = Criteria {
                region: &policy.regions[index].id,
                region_names: &policy.region_names,
                names: policy.names,
                ..criteria()
            };
            let is_pin = outcome(&entity(leaf.cert_pem.clone()), criteria).is_ok();
            let mut said = ApiTrust::default();
            said.pins.insert(client(leaf).fingerprint, ApiPin { not_before: 0, not_after: END });
            let id = policy.regions[index].id.clone();
            let trust = Trust { version: 1, regions: [(id.clone(), said)].into() };
            let verdict = decide(&client(leaf), &policy, &trust, &(), VERIFIER, NOW, Monotonic::ZERO);
            let lets_in = matches!(verdict.outcome, Outcome::Allow { region, .. } if region == id);
            assert_eq!(
                is_pin,
                lets_in,
                "{rule}: {:?} {:?}",
                client(leaf).dns_names,
                client(leaf).common_names
            );
            pinned += u32::from(is_pin);
        }
        assert!(pinned > 0, "{rule}");
    }
}

#[test]
fn issuers_must_have_signed_where_they_are_configured() {
    let cast = cast();
    let issuers = [authority(&cast.digicert_ca)];
    let demanding = Criteria { issuers: &issuers, ..criteria() };
    for (what, ca, expected) in [
        ("theirs", &cast.digicert_ca, None),
        ("somebody of their name", &cast.digicert_impostor, Some(Skipped::WrongIssuer)),
        ("a stranger", &cast.stranger_ca, Some(Skipped::WrongIssuer)),
    ] {
        assert_eq!(outcome(&entity(us_leaf(ca).cert_pem), demanding).err(), expected, "{what}");
        assert_eq!(outcome(&entity(us_leaf(ca).cert_pem), criteria()).err(), None, "{what}, none configured");
    }
    let late = leaf(&cast.digicert_ca).name(US).valid(date(BEGIN), date(CA_END + DAY)).issue();
    let after_the_issuers = Criteria { now: CA_END + 1, ..demanding };
    assert_eq!(outcome(&entity(late.cert_pem), after_the_issuers), Err(Skipped::WrongIssuer));
}

#[test]
fn an_entity_named_in_both_lists_is_current() {
    let leaf = entity(digicert_leaf().cert_pem);
    let result = FetchResult {
        current: Ok(vec![Ok(leaf.clone())]),
        upcoming: Ok(vec![Ok(leaf), Err("x".to_owned())]),
    };
    let named = Selection::of(result, criteria());
    assert_eq!(named.leaves.values().map(|leaf| leaf.status).collect::<Vec<_>>(), [ApiStatus::Current]);
    assert_eq!(named.unreadable, ["x"]);
    let failure = Failure::new(FailureCode::ApiMalformed, "");
    let half =
        FetchResult { current: Err(failure), upcoming: Ok(vec![Ok(entity(digicert_leaf().cert_pem))]) };
    assert_eq!(
        Selection::of(half, criteria()).leaves.values().map(|leaf| leaf.status).collect::<Vec<_>>(),
        [ApiStatus::Upcoming]
    );
}

#[test]
fn any_usable_is_what_selection_finds() {
    let issuers = [authority(&cast().digicert_ca)];
    let demanding = Criteria { issuers: &issuers, ..criteria() };
    let (good, bad) = (digicert_leaf(), us_leaf(&cast().stranger_ca));
    let usable = |ders: &[&[u8]], criteria: Criteria<'_>| criteria.any_usable(ders.iter().copied());
    assert!(usable(&[&bad.der, b"", &good.der], demanding) && usable(&[&bad.der], criteria()));
    assert!(!usable(&[&bad.der, b""], demanding) && !usable(&[], criteria()));
    assert!(!usable(&[&good.der], Criteria { now: END + 1, ..criteria() }));
}

#[test]
fn the_authority_that_signed_a_leaf_comes_along_and_no_other() {
    let (one, two) = (digicert_leaf(), digicert_leaf());
    let intermediate = &cast().digicert_ca.der;
    let both = [&entity(three_blocks(&one)), &entity(three_blocks(&two))];
    assert_eq!(select(both, criteria()).hints.as_slice(), std::slice::from_ref(intermediate));
    assert!(select([&entity(one.cert_pem.clone())], criteria()).hints.is_empty());
    for (what, ca) in
        [("another of its name", &cast().digicert_impostor), ("a stranger", &cast().stranger_ca)]
    {
        let text = one.cert_pem.clone() + &ca.pem;
        let selection = select([&entity(text)], criteria());
        assert_eq!((selection.pins.len(), selection.hints.len()), (1, 0), "{what}");
    }
    let skipped = Entity { kind: Some("Server".to_owned()), ..entity(three_blocks(&one)) };
    assert!(select([&skipped], criteria()).hints.is_empty(), "nothing comes from what is skipped");
}

#[test]
fn the_order_of_an_answer_does_not_matter() {
    let (one, two) = (digicert_leaf(), digicert_leaf());
    let entities = [entity(three_blocks(&one)), entity(two.cert_pem), entity("")];
    let (there, back) = (select(&entities, criteria()), select(entities.iter().rev(), criteria()));
    assert_eq!(there.pins, back.pins);
    assert_eq!(there.hints, back.hints);
    assert_eq!(there.pins.len(), 2);
    assert_eq!(there.skipped, [Skipped::NoPem]);
    let twice = select(entities.iter().chain(&entities), criteria());
    assert_eq!(twice.pins, there.pins);
}

#[test]
fn each_cause_of_a_skip_has_its_code() {
    let codes: Vec<&str> = Skipped::ALL.iter().map(|skipped| skipped.code()).collect();
    let expected = "other_authority other_type no_pem not_one_leaf malformed expired wrong_name wrong_issuer \
                    too_many";
    assert_eq!(codes.join(" "), expected);
}

/// Blocks for answers nobody should send, and the only leaves among them that may become pins of us-east-1.
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
            by(&cast.digicert_ca).name(US).valid(date(BEGIN), date(NOW - 1)).issue(),
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
        entities in collection::vec(any_entity(), 0..6), demanding in any::<bool>(),
    ) {
        let issuers = [authority(&cast().digicert_ca)];
        let (issuers, allowed) =
            if demanding { (issuers.as_slice(), &pool().signed) } else { (&[] as _, &pool().good) };
        let selection = select(&entities, Criteria { issuers, ..criteria() });
        for pin in selection.pins.keys() {
            prop_assert!(allowed.contains(pin), "{:?}", pin);
        }
        prop_assert!(selection.pins.len() + selection.skipped.len() <= entities.len());
    }

    #[test]
    fn any_answer_allows_only_the_answering_regions_name(
        entities in collection::vec(any_entity(), 0..6), demanding in any::<bool>(),
    ) {
        let mut digicert = json!({"pins": ["api"]});
        if demanding {
            digicert["issuers"] = json!(cast().digicert_ca.pem);
        }
        let policy = policy(&json!({
            "regions": {
                "us-east-1": {"digicert": digicert},
                "eu-central-1": {"digicert": digicert, "refresh": {"oauth": {"client_secret_env": "EU_SECRET"}}},
            },
            "refresh": {"clusters": {"api": "api|{host}", "login": "login|{host}"}},
        }));
        // Us-east-1's API has answered, and eu-central-1's, that it knows nobody.
        let regions = policy.regions.iter().map(|region| {
            let issuers = region.digicert.as_ref().map_or(&[][..], |digicert| &digicert.issuers);
            let pins = select(&entities, Criteria { issuers, ..criteria() }).pins.into_iter();
            let pins = pins.filter(|_| region.certificate_name == US).collect();
            (region.id.clone(), ApiTrust { state: ApiState::Loaded, pins, ..ApiTrust::default() })
        });
        let trust = Trust { version: 1, regions: regions.collect() };
        let allowed = if demanding { &pool().signed } else { &pool().good };
        for certificate in pool().blocks.iter().filter_map(|der| ClientCertificate::parse(der).ok()) {
            let outcome = decide(&certificate, &policy, &trust, &(), VERIFIER, NOW, Monotonic::ZERO).outcome;
            if let Outcome::Allow { region, .. } = outcome {
                prop_assert_eq!(region, "us-east-1");
                prop_assert!(allowed.contains(&certificate.fingerprint), "{:?}", certificate.summary());
            }
        }
    }
}
