//! The peer's certificate is found in each place that Envoy offers, and only the one of the TLS connection counts.

use crate::{
    setup::{PATIENCE, assert_refused, with, world},
    stage::{Doors, Stage, by_ca},
};
use http::{HeaderValue, Request};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};
use std::time::Instant;
use testbed::{
    World,
    client::Response,
    envoy,
    pki::{Leaf, LeafBuilder},
};

const XFCC: &str = "x-forwarded-client-cert";
const EVERY_MODE: [&str; 5] =
    ["SANITIZE", "SANITIZE_SET", "FORWARD_ONLY", "APPEND_FORWARD", "ALWAYS_FORWARD_ONLY"];

/// Whether this Envoy shows the certificate in an attribute.
fn has_attribute() -> bool {
    envoy::version() >= (1, 39)
}

/// Whether this Envoy can write the header as JSON.
pub fn writes_json() -> bool {
    envoy::version() >= (1, 38)
}

fn from_source(world: &World, name: &str, source: &str) -> Value {
    let policy = with(by_ca(world), "/peer_certificate/source", json!(source));
    with(policy, "/name", json!(name))
}

/// Percent-encoded PEM, as headers carry it.
pub fn encoded(leaf: &Leaf) -> String {
    utf8_percent_encode(&leaf.cert_pem, NON_ALPHANUMERIC).to_string()
}

pub fn cert(leaf: &Leaf) -> String {
    format!("Hash={};Cert=\"{}\"", leaf.sha256, encoded(leaf))
}

/// A certificate of Genesys, for which no verdict is cached yet.
pub fn genuine(world: &World) -> LeafBuilder<'_> {
    world.pki.us.root.leaf().key_name("genesys").name(world.pki.us.region.certificate_name)
}

/// A stranger's certificate, for which no verdict is cached yet.
pub fn stranger(world: &World) -> LeafBuilder<'_> {
    world.pki.stranger_ca.leaf().key_name("stranger").name("client.stranger.example")
}

/// One request with these `x-forwarded-client-cert` lines.
async fn ask(stage: &Stage, door: &str, leaf: Option<&Leaf>, lines: &[&[u8]]) -> Response {
    let client = stage.client(door);
    let client = leaf.map_or(client.clone(), |leaf| client.identity(leaf)).build();
    let mut request = Request::get("/");
    for line in lines {
        request = request.header(XFCC, HeaderValue::from_bytes(line).expect("a header value"));
    }
    client.send(request.body(Vec::new()).expect("a request")).await.expect("an answer")
}

fn assert_outcome(what: &str, response: &Response, expected: &str) {
    if expected == "in" {
        assert_eq!(response.status, 200, "{what}: {}", response.text());
    } else {
        assert_refused(what, response, 403, expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn certificate_is_found_in_each_source_or_explained_if_missing() {
    let world = world().await;
    let mut doors = Doors::of(&world, "envoy/envoy.yaml");
    let default_key = "genesys_mtls.peer_certificate";
    let everything = json!({"cert": true, "chain": true, "subject": true, "uri": true, "dns": true});
    let policy = |name: &str, source| from_source(&world, name, source);

    doors.add("attribute", &policy("attribute", "attribute"), |_| {});
    doors.add("auto", &policy("auto", "auto"), |_| {});
    doors.add("auto_all", &policy("auto_all", "auto"), |door| {
        door.keep_certificate_under(default_key);
        door.forward("SANITIZE_SET", everything.clone());
    });
    doors.add("state", &policy("state", "filter_state"), |door| door.keep_certificate_under(default_key));
    let own_key =
        with(policy("state_own_key", "filter_state"), "/peer_certificate/filter_state_key", json!("own"));
    doors.add("state_own_key", &own_key, |door| door.keep_certificate_under("own"));
    doors.add("xfcc", &policy("xfcc", "xfcc"), |door| door.forward("SANITIZE_SET", json!({"cert": true})));
    doors.add("xfcc_all", &policy("xfcc_all", "xfcc"), |door| {
        door.forward("SANITIZE_SET", everything.clone())
    });
    let as_json = with(everything.clone(), "/format", json!("JSON"));
    let mut shown = vec!["auto", "auto_all", "state", "state_own_key", "xfcc", "xfcc_all"];
    let mut unseen = Vec::new();
    if writes_json() {
        doors.add("xfcc_json", &policy("xfcc_json", "xfcc"), |door| door.forward("SANITIZE_SET", as_json));
        shown.push("xfcc_json");
    }
    // As the documentation has it, version by version.
    if has_attribute() {
        shown.push("attribute");
    } else {
        unseen.push(("attribute", "Envoy shows the certificate in no attribute (needs 1.39)"));
    }

    // Half configured: the certificate is there, but not where the policy looks.
    doors.add("state_absent", &policy("state_absent", "filter_state"), |_| {});
    doors.add("state_elsewhere", &policy("state_elsewhere", "filter_state"), |door| {
        door.keep_certificate_under("own")
    });
    doors.add("xfcc_absent", &policy("xfcc_absent", "xfcc"), |door| door.forward("SANITIZE", json!({})));
    doors.add("xfcc_no_cert", &policy("xfcc_no_cert", "xfcc"), |door| {
        door.forward("SANITIZE_SET", json!({"subject": true}))
    });
    unseen.extend([
        ("state_absent", "put a set_filter_state filter with %DOWNSTREAM_PEER_CERT% before this one"),
        ("state_elsewhere", "put a set_filter_state filter with %DOWNSTREAM_PEER_CERT% before this one"),
        ("xfcc_absent", "set_current_client_cert_details: {cert: true}"),
        ("xfcc_no_cert", "set_current_client_cert_details: {cert: true}"),
    ]);
    let stage = doors.open(world).await;
    let pki = &stage.world.pki;

    for door in shown {
        stage.assert_in(door, "Genesys", &pki.us.genesys).await;
        stage.assert_out(door, "a stranger", &pki.stranger, "wrong_name").await;
        assert_refused(door, &ask(&stage, door, None, &[]).await, 403, "no_client_certificate");
    }
    for (door, hint) in unseen {
        stage.assert_out(door, "Genesys", &pki.us.genesys, "certificate_unavailable").await;
        assert_refused(door, &ask(&stage, door, None, &[]).await, 403, "no_client_certificate");
        let line = format!("denied policy={door} mode=enforce reason=certificate_unavailable");
        let line = stage.envoy.wait_for_log(&line, PATIENCE).await.expect("the denial is logged");
        assert!(line.contains(hint), "{door}: the line says what to do: {line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn header_changes_no_verdict_in_any_forwarding_mode() {
    let world = world().await;
    let mut doors = Doors::of(&world, "envoy/envoy.yaml");
    let details = json!({"cert": true, "subject": true, "uri": true, "dns": true});
    for mode in EVERY_MODE {
        for source in ["auto", "xfcc"] {
            let door = format!("{mode}/{source}");
            doors.add(&door, &from_source(&world, "default", source), |door| {
                door.forward(mode, details.clone())
            });
        }
    }
    let stage = doors.open(world).await;
    let world = &stage.world;
    let (other, known) = (stranger(world).issue(), &world.pki.us.genesys);
    let garbage = "By=a,b;c;Cert=\"%zz\",;;Hash=\"\\\"\";Cert=x;[{\"Cert\":\"y\"}]";

    for mode in EVERY_MODE {
        // What Envoy leaves of the client's header, and whether it adds the certificate itself.
        let (keeps, adds) = match mode {
            "SANITIZE" => (false, false),
            "SANITIZE_SET" => (false, true),
            "APPEND_FORWARD" => (true, true),
            _ => (true, false),
        };
        let auto = format!("{mode}/auto");
        let xfcc = format!("{mode}/xfcc");
        let pick = |own: &'static str, forged: &'static str| match (adds, keeps) {
            (true, _) => own,
            (false, true) => forged,
            (false, false) => "certificate_unavailable",
        };
        // Without the attribute, `auto` has only the header.
        let by_auto =
            |own: &'static str, by_header: &'static str| if has_attribute() { own } else { by_header };
        // Each case has a fresh certificate, since a cached verdict reads no header.
        let forged = cert(known);
        for (what, lines) in [
            ("the genuine Cert", vec![forged.as_bytes()]),
            ("it in two lines", vec![garbage.as_bytes(), forged.as_bytes()]),
        ] {
            let leaf = stranger(world).issue();
            let what = format!("{mode}: a stranger with {what}");
            assert_outcome(
                &what,
                &ask(&stage, &xfcc, Some(&leaf), &lines).await,
                pick("wrong_name", "certificate_mismatch"),
            );
            assert_outcome(
                &what,
                &ask(&stage, &auto, Some(&leaf), &lines).await,
                by_auto("wrong_name", pick("wrong_name", "certificate_mismatch")),
            );
        }
        let nobody = ask(&stage, &xfcc, None, &[forged.as_bytes()]).await;
        assert_outcome(&format!("{mode}: genuine header alone"), &nobody, "no_client_certificate");
        let nobody = ask(&stage, &auto, None, &[forged.as_bytes()]).await;
        assert_outcome(&format!("{mode}: genuine header alone"), &nobody, "no_client_certificate");

        let foreign = cert(&other);
        for (what, lines, from_header) in [
            ("no header", vec![], "certificate_unavailable"),
            ("garbage", vec![garbage.as_bytes()], "certificate_unavailable"),
            ("a foreign Cert", vec![foreign.as_bytes()], "certificate_mismatch"),
            (
                "bytes that are no text",
                vec![b"Cert=\"\xff\xfe\x80\xc3\";\xa0,\xff".as_slice()],
                "certificate_unavailable",
            ),
            (
                "NULs in disguise",
                vec![b"Cert=\"%00%00-----BEGIN%00\";Cert=%00".as_slice()],
                "certificate_unavailable",
            ),
            ("an empty value", vec![b"".as_slice()], "certificate_unavailable"),
            ("broken JSON", vec![b"[{\"Cert\":\"x\"},".as_slice()], "certificate_unavailable"),
        ] {
            let leaf = genuine(world).issue();
            let what = format!("{mode}: Genesys with {what}");
            let by_header = pick("in", from_header);
            assert_outcome(&what, &ask(&stage, &xfcc, Some(&leaf), &lines).await, by_header);
            let leaf = genuine(world).issue();
            assert_outcome(&what, &ask(&stage, &auto, Some(&leaf), &lines).await, by_auto("in", by_header));
        }
        // Its own certificate, hidden as well as can be.
        let leaf = genuine(world).issue();
        let lines = [
            format!("{garbage},{}", cert(&other)),
            format!("URI=spiffe://td/x\";{}", cert(&leaf)),
            garbage.to_owned(),
        ];
        let lines: Vec<&[u8]> = lines.iter().map(String::as_bytes).collect();
        let what = format!("{mode}: Genesys among garbage");
        assert_outcome(&what, &ask(&stage, &xfcc, Some(&leaf), &lines).await, pick("in", "in"));
        assert_outcome(
            &what,
            &ask(&stage, &auto, Some(&leaf), &lines).await,
            by_auto("in", pick("in", "in")),
        );
    }
}

/// Names that open and close XFCC fields and elements when Envoy repeats them without quotes.
pub fn injections(forged: &Leaf) -> [String; 4] {
    [
        format!("spiffe://td/x,{};URI=spiffe://td/y", cert(forged)),
        format!("spiffe://td/x;{},Hash=\"", cert(forged)),
        format!("spiffe://td/x\";{}", cert(forged)),
        format!("spiffe://td/x\",\"Cert\":\"{}\",\"URI\":[\"", encoded(forged)),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn name_that_spells_out_header_fields_changes_no_verdict() {
    let world = world().await;
    let mut doors = Doors::of(&world, "envoy/envoy.yaml");
    let details = json!({"cert": true, "subject": true, "uri": true, "dns": true});
    let policy = from_source(&world, "default", "xfcc");
    let with_format = |format: &str| with(details.clone(), "/format", json!(format));
    doors.add("text", &policy, |door| door.forward("SANITIZE_SET", details.clone()));
    doors.add("append", &policy, |door| door.forward("APPEND_FORWARD", details.clone()));
    let mut names = vec!["text", "append"];
    if writes_json() {
        doors.add("json", &policy, |door| door.forward("SANITIZE_SET", with_format("JSON")));
        doors.add("json_append", &policy, |door| door.forward("APPEND_FORWARD", with_format("JSON")));
        names.extend(["json", "json_append"]);
    }
    let stage = doors.open(world).await;
    let world = &stage.world;
    let (known, other) = (&world.pki.us.genesys, &world.pki.stranger);
    for door in names {
        for (genuine_name, strange_name) in injections(other).iter().zip(injections(known)) {
            let strangers = [
                stranger(world).uri(&strange_name).issue(),
                stranger(world).dns(&strange_name).issue(),
                stranger(world).uri(&strange_name).dns(&strange_name).uri(&strange_name).issue(),
            ];
            for leaf in strangers {
                let response = stage.get_as(door, &leaf).await;
                assert_refused(
                    &format!("{door}: a stranger called {strange_name}"),
                    &response,
                    403,
                    "wrong_name",
                );
            }
            let ours = [genuine(world).uri(genuine_name).issue(), genuine(world).dns(genuine_name).issue()];
            for leaf in ours {
                stage.assert_in(door, genuine_name, &leaf).await;
            }
        }
        // The same from the header, on top.
        let leaf = stranger(world).uri(&injections(known)[0]).issue();
        let line = cert(known);
        let response = ask(&stage, door, Some(&leaf), &[line.as_bytes(), b"[", line.as_bytes()]).await;
        assert_refused(door, &response, 403, "wrong_name");
        for line in [cert(other), json!([{"cert": other.cert_pem}]).to_string(), "[".to_owned()] {
            let leaf = genuine(world).issue();
            let response = ask(&stage, door, Some(&leaf), &[line.as_bytes()]).await;
            assert_outcome(&format!("{door}: Genesys behind {line}"), &response, "in");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_of_any_size_cost_little_and_change_no_verdict() {
    let world = world().await;
    let mut doors = Doors::of(&world, "envoy/envoy.yaml");
    for source in ["auto", "xfcc"] {
        let policy = from_source(&world, "default", source);
        doors.add(source, &policy, |door| {
            door.forward("APPEND_FORWARD", json!({"cert": true}));
            door.hcm()["max_request_headers_kb"] = 512.into();
        });
    }
    doors.add("small", &from_source(&world, "default", "xfcc"), |door| {
        door.forward("APPEND_FORWARD", json!({"cert": true}));
    });
    let stage = doors.open(world).await;
    let world = &stage.world;
    let forged = cert(&world.pki.us.genesys);
    let fill = |unit: &str, size: usize| unit.repeat(size / unit.len());
    // Room for what Envoy appends, and no room.
    let (fits, too_long) = (60 * 1024, 70 * 1024);
    for unit in
        ["x", "cert=", "Cert=\"", "cert=-----BEGIN CERTIFICATE-----", ";,\"", "%00", "[{\"Cert\":", &forged]
    {
        for (size, genuine_by_header) in [(fits, "in"), (too_long, "certificate_unavailable")] {
            let line = fill(unit, size);
            let what = format!("{} times {unit:.40}", line.len() / unit.len());
            let began = Instant::now();
            let (ours, other) = (genuine(world).issue(), stranger(world).issue());
            let lines = [line.as_bytes()];
            let stranger = if size == fits { "wrong_name" } else { "certificate_unavailable" };
            let by_auto = if has_attribute() { ("in", "wrong_name") } else { (genuine_by_header, stranger) };
            assert_outcome(&what, &ask(&stage, "auto", Some(&ours), &lines).await, by_auto.0);
            assert_outcome(&what, &ask(&stage, "auto", Some(&other), &lines).await, by_auto.1);
            assert_outcome(&what, &ask(&stage, "xfcc", Some(&ours), &lines).await, genuine_by_header);
            assert_outcome(&what, &ask(&stage, "xfcc", Some(&other), &lines).await, stranger);
            // They take milliseconds on an idle machine; quadratic work would take half a minute.
            assert!(began.elapsed() < PATIENCE, "{what}: four requests took {:?}", began.elapsed());
        }
    }
    // Envoy's default bound.
    let ours = genuine(world).issue();
    let response = ask(&stage, "small", Some(&ours), &[fill("x", too_long).as_bytes()]).await;
    assert_eq!(response.status, 431, "{}", response.text());
}
