//! The decision on certificates that have passed a real handshake, by key, name, usage, validity and authority.

use crate::{
    setup::{PATIENCE, assert_refused, with, without, world},
    stage::{Doors, Stage},
};
use serde_json::{Value, json};
use testbed::pki::{Ca, Eku, KeyType, Leaf, LeafBuilder, US_EAST_1, der};
use time::Duration;

const NAME: &str = US_EAST_1.certificate_name;
const KINDS: [KeyType; 4] = [KeyType::P256, KeyType::P384, KeyType::Rsa2048, KeyType::Rsa4096];

/// A leaf with the right name and everything else as it should be.
fn leaf(ca: &Ca) -> LeafBuilder<'_> {
    ca.leaf().key(KeyType::P256).name(NAME)
}

/// A leaf without any name so far.
fn nameless(ca: &Ca) -> LeafBuilder<'_> {
    ca.leaf().key(KeyType::P256)
}

fn rollover(name: &str) -> Ca {
    Ca::builder(name).key(KeyType::P256).dn(&[("C", "US"), ("CN", "One root after the other")]).self_signed()
}

fn bundle<'c>(cas: impl IntoIterator<Item = &'c Ca>) -> Value {
    let pem: String = cas.into_iter().map(|ca| ca.pem.as_str()).collect();
    json!({"ca_certificates": pem})
}

async fn check(stage: &Stage, door: &str, cases: Vec<(&str, Leaf, &str)>) {
    for (what, leaf, expected) in cases {
        // The second time the verdict is cached.
        for round in 1..=2 {
            let what = format!("{door}: {what}, round {round}");
            let response = stage.client(door).identity(&leaf).build().get("/").await;
            let response = response.unwrap_or_else(|error| panic!("{what}: {error}"));
            if expected == "in" {
                assert_eq!(response.status, 200, "{what}: {}", response.text());
            } else {
                assert_refused(&what, &response, 403, expected);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn authorities_vouch_while_valid_and_for_their_region_only() {
    let world = world().await;
    let (us, eu) = (world.pki.us.clone(), world.pki.eu.clone());
    let kinds = KINDS.map(|kind| {
        Ca::builder("kind").key(kind).dn(&[("CN", &format!("Root with {kind:?}"))]).self_signed()
    });
    let [old, new, foreign] = ["rollover-old", "rollover-new", "rollover-foreign"].map(rollover);
    let twin =
        |name: &str| Ca::builder(name).key(KeyType::P256).dn(&[("CN", "Twins")]).ski(&[7; 20]).self_signed();
    let twins = [twin("twin-one"), twin("twin-two")];
    let timed = |name: &str, from, until| {
        Ca::builder(name).key(KeyType::P256).valid_from_now(from, until).self_signed()
    };
    let expired = timed("expired-root", Duration::days(-900), Duration::days(-1));
    let future = timed("future-root", Duration::days(1), Duration::days(900));
    let below = Ca::builder("below").key(KeyType::P256).signed_by(&us.root);

    let trusted = kinds.iter().chain([&us.root, &old, &new, &expired, &future]).chain(&twins);
    let policy = json!({"regions": {
        us.region.id: {"genesys": bundle(trusted), "digicert": {"pins": [us.digicert.pin()]}},
        // A pin in the wrong region does not help: the certificate does not have that region's name.
        eu.region.id: {"genesys": bundle([&eu.root]), "digicert": {"pins": [us.digicert_upcoming.pin(), us.digicert.pin()]}},
    }});
    let by_ca = without(policy.clone(), &format!("/regions/{}/digicert", us.region.id));
    let mut doors = Doors::of(&world, "envoy/envoy.yaml");
    doors.add("both", &policy, |_| {});
    doors.add("ca", &by_ca, |_| {});
    let stage = doors.open(world).await;
    let pki = &stage.world.pki;

    let mut flipped = leaf(&us.root).issue().der;
    *flipped.last_mut().expect("a signature") ^= 1;
    let flipped = leaf(&us.root).issue().with_der(flipped);
    let mut cases = vec![
        ("old root", leaf(&old).issue(), "in"),
        ("new root", leaf(&new).issue(), "in"),
        ("old root, no key identifier", leaf(&old).no_authority_key_id().issue(), "in"),
        ("new root, no key identifier", leaf(&new).no_authority_key_id().issue(), "in"),
        ("one twin", leaf(&twins[0]).issue(), "in"),
        ("the other twin", leaf(&twins[1]).issue(), "in"),
        ("a third root of that name", leaf(&foreign).issue(), "bad_signature"),
        ("the same, no key identifier", leaf(&foreign).no_authority_key_id().issue(), "bad_signature"),
        ("a changed signature", flipped, "bad_signature"),
        ("an impostor of the root", pki.impostor_leaf.clone(), "bad_signature"),
        ("an expired root", leaf(&expired).issue(), "unknown_issuer"),
        ("a root that is not valid yet", leaf(&future).issue(), "unknown_issuer"),
        ("an intermediate below the root", leaf(&below).issue(), "unknown_issuer"),
        ("a stranger's CA", leaf(&pki.stranger_ca).issue(), "unknown_issuer"),
        ("our name by another region's CA", leaf(&eu.root).issue(), "unknown_issuer"),
        (
            "another region's name by our CA",
            nameless(&us.root).name(eu.region.certificate_name).issue(),
            "not_pinned",
        ),
        ("another region's own", eu.genesys.clone(), "in"),
        ("DigiCert", us.digicert.clone(), "unknown_issuer"),
    ];
    for ca in &kinds {
        for kind in [KeyType::P256, KeyType::P384, KeyType::Rsa2048, KeyType::Rsa3072] {
            cases.push(("a supported key", leaf(ca).key(kind).issue(), "in"));
        }
    }
    check(&stage, "ca", cases).await;
    let cases = vec![
        ("pinned", us.digicert.clone(), "in"),
        ("pinned for another region", us.digicert_upcoming.clone(), "not_pinned"),
        ("not pinned", eu.digicert.clone(), "not_pinned"),
        ("an expired root", leaf(&expired).issue(), "not_pinned"),
        ("an impostor of the root", pki.impostor_leaf.clone(), "bad_signature"),
    ];
    check(&stage, "both", cases).await;
    let line = stage.envoy.wait_for_log("this CA has expired and verifies no certificate", PATIENCE).await;
    assert!(line.expect("a warning").contains("expired-root"));
}

#[tokio::test(flavor = "multi_thread")]
async fn names_uses_and_times_count_as_they_are_written() {
    let world = world().await;
    let (us, eu) = (world.pki.us.clone(), world.pki.eu.clone());
    let ca = Ca::builder("names").key(KeyType::P256).self_signed();
    let regions = json!({"regions": {us.region.id: {"genesys": bundle([&ca])}}});
    let two = with(regions.clone(), &format!("/regions/{}/genesys", eu.region.id), bundle([&ca]));
    let mut doors = Doors::of(&world, "envoy/envoy.yaml");
    doors.add("one_region", &regions, |_| {});
    doors.add("two_regions", &two, |_| {});
    doors.add("san", &with(regions.clone(), "/names", json!("san")), |_| {});
    doors.add("cn", &with(regions, "/names", json!("cn")), |_| {});
    let stage = doors.open(world).await;

    let abroad = eu.region.certificate_name;
    let unknown = [1, 3, 6, 1, 4, 1, 99_999, 1];
    let names = || {
        let new = || nameless(&ca);
        vec![
            ("SAN and CN", new().name(NAME).issue()),
            ("SAN alone", new().dns(NAME).issue()),
            ("CN alone", new().cn(NAME).issue()),
            ("letter case", new().dns(NAME.to_uppercase()).issue()),
            ("a second SAN", new().dns("other.example").dns(NAME).issue()),
            ("SAN, and another CN", new().cn("other").dns(NAME).issue()),
            ("CN, and another SAN", new().cn(NAME).dns("other.example").issue()),
            ("CN, and a SAN without DNS names", new().cn(NAME).email("a@b.example").issue()),
            ("two CNs", new().cn(NAME).cn("other").issue()),
            ("the same CN twice", new().cn(NAME).cn(NAME).issue()),
            ("the name as a URI", new().cn("other").uri(NAME).issue()),
            ("a trailing dot", new().dns(format!("{NAME}.")).issue()),
            ("a wildcard", new().dns(NAME.replacen("dataactions", "*", 1)).issue()),
            ("a longer name", new().dns(format!("x.{NAME}")).issue()),
            ("a longer end", new().dns(format!("{NAME}.example")).issue()),
            ("a shorter name", new().dns(&NAME[1..]).issue()),
            ("a NUL", new().dns(format!("{NAME}\0.example")).issue()),
            ("white space", new().dns(format!(" {NAME}")).issue()),
            ("no name", new().issue()),
            ("another region", new().name(abroad).issue()),
            ("both regions in the SAN", new().dns(NAME).dns(abroad).issue()),
            ("SAN here, CN there", new().cn(abroad).dns(NAME).issue()),
            ("CN here, SAN there", new().cn(NAME).dns(abroad).issue()),
        ]
    };
    let (wrong, region) = ("wrong_name", "wrong_region");
    // In the order of `names`.
    let one = [
        "in", "in", "in", "in", "in", "in", wrong, "in", wrong, wrong, wrong, wrong, wrong, wrong, wrong,
        wrong, wrong, wrong, wrong, region, wrong, wrong, wrong,
    ];
    let mut both = one;
    both[19] = "in";
    let mut san = one;
    (san[2], san[7]) = (wrong, wrong);
    let mut cn = one;
    (cn[1], cn[3], cn[4], cn[5], cn[6]) = (wrong, wrong, wrong, wrong, "in");
    for (door, expected) in [("one_region", one), ("two_regions", both), ("san", san), ("cn", cn)] {
        let cases = names().into_iter().zip(expected).map(|((what, leaf), expected)| (what, leaf, expected));
        check(&stage, door, cases.collect()).await;
    }

    let new = || leaf(&ca);
    let (no_client, malformed) = ("not_a_client_certificate", "malformed_certificate");
    let dns = |name: &[u8]| der::general_names(&[(der::SanTag::Dns, name)]);
    let cases = vec![
        ("no extended key usage", new().ekus(&[]).issue(), "in"),
        ("anyExtendedKeyUsage alone", new().ekus(&[Eku::Any]).issue(), "in"),
        (
            "clientAuth and emailProtection",
            new().ekus(&[Eku::EmailProtection, Eku::ClientAuth]).issue(),
            "in",
        ),
        ("emailProtection alone", new().ekus(&[Eku::EmailProtection]).issue(), no_client),
        ("serverAuth alone", new().ekus(&[Eku::ServerAuth]).issue(), no_client),
        ("an unknown use", new().ekus(&[Eku::Other(unknown.to_vec())]).issue(), no_client),
        ("a CA", new().is_ca(true).issue(), no_client),
        ("no key usage", new().key_usages(&[]).issue(), "in"),
        // Without digitalSignature the handshake fails already.
        ("no basic constraints", new().no_basic_constraints().issue(), "in"),
        ("an unknown extension", new().extension(&unknown, der::tlv(0x05, &[]), false).issue(), "in"),
        (
            "an unknown critical extension",
            new().extension(&unknown, der::tlv(0x05, &[]), true).issue(),
            malformed,
        ),
        ("a SAN cut short", nameless(&ca).cn(NAME).raw_san(vec![0x30, 0x05, 0x82]).issue(), malformed),
        ("an empty SAN", nameless(&ca).cn(NAME).raw_san(vec![0x30, 0x00]).issue(), malformed),
        ("a SAN that is no ASCII", nameless(&ca).cn(NAME).dns(b"caf\xc3\xa9.example").issue(), malformed),
        (
            "bytes behind the SAN",
            nameless(&ca).cn(NAME).raw_san([dns(NAME.as_bytes()), vec![0]].concat()).issue(),
            malformed,
        ),
        ("larger than any that is looked at", new().email("x".repeat(17_000)).issue(), malformed),
        ("expired", new().expired().issue(), "expired"),
        ("not yet valid", new().not_yet_valid().issue(), "not_yet_valid"),
        (
            "expired within the skew",
            new().valid_from_now(Duration::hours(-1), Duration::seconds(-10)).issue(),
            "in",
        ),
        (
            "not yet valid within the skew",
            new().valid_from_now(Duration::seconds(30), Duration::HOUR).issue(),
            "in",
        ),
        (
            "expired beyond the skew",
            new().valid_from_now(Duration::hours(-1), Duration::seconds(-90)).issue(),
            "expired",
        ),
        (
            "its end before its beginning",
            new().valid_from_now(Duration::HOUR, -Duration::HOUR).issue(),
            malformed,
        ),
    ];
    check(&stage, "one_region", cases).await;
}
