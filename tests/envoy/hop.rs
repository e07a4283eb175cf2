//! A fronting proxy that terminates Genesys Cloud's connection: its header is believed only if it is that proxy, and only if
//! the header is unambiguous.

mod real;

use crate::{
    peer::{cert, encoded, genuine, injections, stranger},
    setup::{PATIENCE, assert_refused, with, world},
    stage::{Doors, by_ca},
};
use http::Request;
use serde_json::{Value, json};
use testbed::{
    World,
    client::{Connection, Response},
    pki::{Leaf, LeafBuilder},
};

const XFCC: &str = "x-forwarded-client-cert";
/// As load balancers name it.
const PEM: &str = "x-client-certificate";
const HOP_NAME: &str = "edge.proxy.internal";

/// The fronting proxy's own certificate. Its CA is among those that the strict profile demands.
fn hop(world: &World) -> LeafBuilder<'_> {
    world.pki.digicert_ca.leaf().key_name("hop").dns(HOP_NAME)
}

fn trusting(world: &World, header: &str, peer: Value) -> Value {
    with(by_ca(world), "/peer_certificate/danger_trusted_hop", json!({"header": header, "peer": peer}))
}

async fn say(connection: &mut Connection, lines: &[(&str, &str)]) -> Response {
    let request =
        lines.iter().fold(Request::get("/"), |request, (name, value)| request.header(*name, *value));
    connection.send(request.body(Vec::new()).expect("a request")).await.expect("an answer")
}

#[tokio::test(flavor = "multi_thread")]
async fn hop_is_recognised_and_each_forwarded_certificate_decided() {
    let world = world().await;
    let (current, next) = (hop(&world).issue(), hop(&world).issue());
    let pinned = json!({"sha256": [current.sha256, next.sha256]});
    let named = json!({"dns_san": HOP_NAME.to_uppercase()});
    let mut doors = Doors::of(&world, "envoy/strict.yaml");
    for (form, peer) in [("pinned", &pinned), ("named", &named)] {
        doors.add(&format!("{form}/xfcc"), &trusting(&world, XFCC, peer.clone()), |door| {
            door.forward("FORWARD_ONLY", json!({}));
        });
        doors.add(&format!("{form}/pem"), &trusting(&world, PEM, peer.clone()), |_| {});
    }
    // Envoy replaces what the hop forwarded by the hop's own certificate: an operator's mistake.
    doors.add("replaced", &trusting(&world, XFCC, pinned.clone()), |door| {
        door.forward("SANITIZE_SET", json!({"cert": true}));
    });
    let stage = doors.open(world).await;
    let world = &stage.world;
    let pki = &world.pki;
    let json_form =
        |leaf: &Leaf| json!([{"hash": leaf.sha256, "cert": leaf.cert_pem, "uri": []}]).to_string();

    for form in ["pinned", "named"] {
        for (header, write) in [
            (XFCC, cert as fn(&Leaf) -> String),
            (PEM, encoded),
            (XFCC, |leaf| format!("Cert={}", encoded(leaf))),
        ] {
            let door = format!("{form}/{}", if header == XFCC { "xfcc" } else { "pem" });
            for me in [&current, &next] {
                let mut connection =
                    stage.client(&door).identity(me).build().connect().await.expect("a handshake");
                // Twice each: the second time the verdict is cached.
                for round in 1..=2 {
                    for (leaf, expected) in [
                        (&pki.us.genesys, None),
                        (&pki.stranger, Some("wrong_name")),
                        (&pki.us.genesys_expired, Some("expired")),
                        (&pki.impostor_leaf, Some("bad_signature")),
                        (&genuine(world).issue(), None),
                        (&pki.eu.genesys, Some("wrong_region")),
                    ] {
                        let response = say(&mut connection, &[(header, &write(leaf))]).await;
                        let what = format!("{door}, round {round}, {expected:?}: {}", response.text());
                        match expected {
                            None => assert_eq!(response.status, 200, "{what}"),
                            Some(reason) => assert_refused(&what, &response, 403, reason),
                        }
                    }
                    let response = say(&mut connection, &[]).await;
                    assert_refused(
                        &format!("{door}: nothing forwarded"),
                        &response,
                        403,
                        "no_client_certificate",
                    );
                }
                assert_eq!(
                    say(&mut connection, &[(header, &write(&pki.us.genesys))]).await.nth_on_connection,
                    15
                );
            }
        }
        let door = format!("{form}/xfcc");
        let mut connection =
            stage.client(&door).identity(&current).http2().build().connect().await.expect("a handshake");
        let response = say(&mut connection, &[(XFCC, &json_form(&pki.us.genesys))]).await;
        assert_eq!(response.status, 200, "{door}, JSON over HTTP/2: {}", response.text());
        let response = say(&mut connection, &[(XFCC, &json_form(&pki.stranger))]).await;
        assert_refused(&format!("{door}, JSON over HTTP/2"), &response, 403, "wrong_name");
    }
    let mut connection =
        stage.client("replaced").identity(&current).build().connect().await.expect("a handshake");
    let response = say(&mut connection, &[(XFCC, &cert(&pki.us.genesys))]).await;
    assert_refused("the hop's own certificate", &response, 403, "wrong_name");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_hop_is_believed_and_only_if_unambiguous() {
    let world = world().await;
    let known = hop(&world).issue();
    let mut doors = Doors::of(&world, "envoy/strict.yaml");
    for (form, peer) in
        [("pinned", json!({"sha256": [known.sha256]})), ("named", json!({"dns_san": HOP_NAME}))]
    {
        doors.add(&format!("{form}/xfcc"), &trusting(&world, XFCC, peer.clone()), |door| {
            door.forward("ALWAYS_FORWARD_ONLY", json!({}));
            door.hcm()["max_request_headers_kb"] = 512.into();
        });
        doors.add(&format!("{form}/pem"), &trusting(&world, PEM, peer), |door| {
            door.hcm()["max_request_headers_kb"] = 512.into();
        });
    }
    let stage = doors.open(world).await;
    let world = &stage.world;
    let pki = &world.pki;
    let (ours, other) = (&pki.us.genesys, &pki.stranger);

    let pretenders = [
        ("Genesys itself, not through the hop", ours.clone()),
        ("DigiCert's e-mail customer", pki.email.clone()),
        ("a name below the hop's", hop_called(world, &format!("x.{HOP_NAME}"))),
        (
            "the hop's name among others",
            world.pki.digicert_ca.leaf().dns("mine.example").dns(HOP_NAME).issue(),
        ),
        ("the hop's name, then a NUL", hop_called(world, &format!("{HOP_NAME}\0"))),
        ("the hop's name as a common name", world.pki.digicert_ca.leaf().cn(HOP_NAME).issue()),
        ("the hop's name as a URI", world.pki.digicert_ca.leaf().uri(HOP_NAME).issue()),
    ];
    for (who, leaf) in &pretenders {
        for (door, header, value) in [
            ("pinned/xfcc", XFCC, cert(ours)),
            ("pinned/pem", PEM, encoded(ours)),
            ("named/xfcc", XFCC, cert(ours)),
            ("named/pem", PEM, encoded(ours)),
        ] {
            let mut connection =
                stage.client(door).identity(leaf).build().connect().await.expect("a handshake");
            let response = say(&mut connection, &[(header, &value)]).await;
            assert_refused(&format!("{door}: {who}"), &response, 403, "certificate_unavailable");
        }
    }
    // A CA that the listener does not demand cannot vouch for the hop's name either.
    let foreign = pki.stranger_ca.leaf().dns(HOP_NAME).issue();
    let error = stage.client("named/xfcc").identity(&foreign).build().get("/").await.expect_err("a refusal");
    assert!(error.alert().is_some(), "{error}");

    let (mismatch, unavailable) = ("certificate_mismatch", "certificate_unavailable");
    let large = stranger(world).uri("x".repeat(20_000)).issue();
    for form in ["pinned", "named"] {
        let door = format!("{form}/xfcc");
        let mut connection =
            stage.client(&door).identity(&known).build().connect().await.expect("a handshake");
        let colons: Vec<&str> =
            ours.sha256.as_bytes().chunks(2).filter_map(|pair| str::from_utf8(pair).ok()).collect();
        let (colons, bare) = (colons.join(":"), format!("Cert=\"{}\"", encoded(ours)));
        let (ours, other) = (cert(ours), cert(other));
        let cases: &[(&str, &[&str], &str)] = &[
            ("two elements", &[&format!("{ours},{other}")], mismatch),
            ("two lines", &[&ours, &other], mismatch),
            ("twice the same", &[&ours, &ours], mismatch),
            (
                "a chain in one value",
                &[&format!("Cert=\"{}{}\"", encoded(&pki.us.genesys), encoded(&pki.stranger))],
                mismatch,
            ),
            ("a SAN", &[&format!("{other};URI={}", injections(&pki.us.genesys)[0])], mismatch),
            (
                "a SAN next to an unreadable one",
                &[&format!("Cert=\"%00\";URI={}", injections(&pki.us.genesys)[1])],
                mismatch,
            ),
            (
                "a SAN next to one too large",
                &[&format!("{};URI={}", cert(&large), injections(&pki.us.genesys)[1])],
                mismatch,
            ),
            ("one too large", &[&cert(&large)], "malformed_certificate"),
            ("a Hash as openssl prints it", &[&format!("Hash={};{bare}", colons.to_uppercase())], ""),
            ("no Hash", &[&bare], ""),
            ("a Hash that is a SHA-1", &[&format!("Hash={};{bare}", "a9".repeat(20))], mismatch),
            ("an empty line, and one", &["", &ours], ""),
            ("no Cert", &["Hash=1;Subject=\"CN=x\""], unavailable),
            ("garbage", &["Cert=\"%ff%fe\""], unavailable),
            ("too long", &[&format!("{ours};Subject=\"{}\"", "x".repeat(70_000))], unavailable),
        ];
        for (what, lines, expected) in cases {
            let lines: Vec<_> = lines.iter().map(|line| (XFCC, *line)).collect();
            let response = say(&mut connection, &lines).await;
            match *expected {
                "" => assert_eq!(response.status, 200, "{door}: {what}: {}", response.text()),
                reason => assert_refused(&format!("{door}: {what}"), &response, 403, reason),
            }
        }
        let door = format!("{form}/pem");
        let mut connection =
            stage.client(&door).identity(&known).build().connect().await.expect("a handshake");
        let (ours, other) = (encoded(&pki.us.genesys), encoded(&pki.stranger));
        let cases: &[(&str, &[&str], &str)] = &[
            // A hop that appends its line to the client's.
            ("two lines", &[&ours, &other], mismatch),
            ("two lines the other way round", &[&other, &ours], mismatch),
            ("twice the same", &[&ours, &ours], mismatch),
            ("a chain", &[&format!("{ours}{other}")], mismatch),
            ("one cut short", &[&ours[..ours.len() / 2]], unavailable),
            ("nothing", &[""], "no_client_certificate"),
            ("a dash", &["-"], unavailable),
            ("one too large", &[&encoded(&large)], "malformed_certificate"),
            ("too long", &[&format!("{ours}{}", "%0A".repeat(25_000))], unavailable),
        ];
        for (what, lines, expected) in cases {
            let lines: Vec<_> = lines.iter().map(|line| (PEM, *line)).collect();
            let response = say(&mut connection, &lines).await;
            assert_refused(&format!("{door}: {what}"), &response, 403, expected);
        }
    }
}

fn hop_called(world: &World, name: &str) -> Leaf {
    world.pki.digicert_ca.leaf().key_name("hop").dns(name).issue()
}

#[tokio::test(flavor = "multi_thread")]
async fn only_forwarding_modes_that_keep_the_hops_header_allow() {
    let world = world().await;
    let me = hop(&world).issue();
    let mut doors = Doors::of(&world, "envoy/behind-proxy.yaml");
    let (nothing, bare, full) = (json!(null), json!({}), json!({"cert": true}));
    let modes = [
        ("always_forward_only", &full, ""),
        ("forward_only", &bare, ""),
        ("append_forward", &bare, "certificate_mismatch"),
        ("append_forward", &full, "certificate_mismatch"),
        ("sanitize", &nothing, "no_client_certificate"),
        ("sanitize_set", &bare, "certificate_unavailable"),
        ("sanitize_set", &full, "wrong_name"),
    ];
    for (number, (mode, details, _)) in modes.iter().enumerate() {
        for (form, header) in [("xfcc", XFCC), ("pem", PEM)] {
            let name = format!("{form}_{number}");
            let policy = trusting(&world, header, json!({"sha256": [me.sha256]}));
            doors.add(&name, &with(policy, "/name", json!(name)), |door| {
                door.forward(&mode.to_uppercase(), (*details).clone());
            });
        }
    }
    let stage = doors.open(world).await;
    let ours = &stage.world.pki.us.genesys;
    for (number, (mode, details, expected)) in modes.iter().enumerate() {
        for (form, header, value) in [("xfcc", XFCC, cert(ours)), ("pem", PEM, encoded(ours))] {
            let door = format!("{form}_{number}");
            let what = format!("{form} with {mode}, {details}");
            let mut connection =
                stage.client(&door).identity(&me).build().connect().await.expect("a handshake");
            let response = say(&mut connection, &[(header, &value)]).await;
            if header == PEM || expected.is_empty() {
                assert_eq!(response.status, 200, "{what}: {}", response.text());
                continue;
            }
            assert_refused(&what, &response, 403, expected);
            let line = format!("denied policy={door} mode=enforce reason={expected}");
            let line = stage.envoy.wait_for_log(&line, PATIENCE).await.expect("the denial is logged");
            // If the decision is about the hop itself, the digest is the hop's.
            let hint = if *expected == "wrong_name" { &me.sha256 } else { "FORWARD_ONLY" };
            assert!(line.contains(hint), "{what}: {line}");
        }
    }
}
