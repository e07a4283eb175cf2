//! `pins` against the stand-in of Genesys Cloud: real TLS, real OAuth, every format, every refusal.

use crate::{
    run::{Outcome, directory, run, run_with},
    transcripts::assert_shown,
};
use serde_json::{Value, json};
use testbed::{
    World,
    genesys::{Credentials, Endpoint, Entity, Fault, ServerIdentity, Status},
    pki::US_EAST_1,
};

const REGION: &str = US_EAST_1.id;

async fn world() -> World {
    World::start().await.expect("the testbed starts")
}

/// Runs it against the world's stand-in, with the credentials that it accepts.
fn ask(world: &World, more: &[&str]) -> Outcome {
    ask_as(world, &world.genesys.credentials(REGION), more)
}

fn ask_as(world: &World, credentials: &Credentials, more: &[&str]) -> Outcome {
    let (roots, address) = (world.path("api-ca.crt"), world.genesys.addr().to_string());
    let roots = roots.to_str().expect("text");
    let fixed = ["pins", "--region", REGION, "--ca-certificates", roots, "--connect-to", &address];
    let variables = [
        ("GENESYS_CLIENT_ID", credentials.client_id.as_str()),
        ("GENESYS_CLIENT_SECRET", credentials.client_secret.as_str()),
    ];
    tokio::task::block_in_place(|| run_with(&[&fixed[..], more].concat(), "", &variables))
}

#[tokio::test(flavor = "multi_thread")]
async fn current_and_upcoming_pins_come_in_every_format() {
    let world = world().await;
    let us = &world.pki.us;
    let upcoming = Entity::digicert(&us.digicert_upcoming, &world.pki.digicert_root.der);
    world.genesys.set_entities(REGION, Status::Upcoming, vec![upcoming]);
    let pins = [us.digicert.pin(), us.digicert_upcoming.pin()];

    let text = ask(&world, &[]);
    assert_eq!(text.code, 0, "{}", text.stderr);
    assert_eq!(text.stdout.lines().count(), 2, "{}", text.stdout);
    let yaml = ask(&world, &["--format", "yaml"]);
    let checked = run_with(&["check", "-", "--json"], &yaml.stdout, &[]);
    assert_eq!(checked.code, 0, "{}\n{}", yaml.stdout, checked.stdout);
    let configmap = ask(&world, &["--format", "configmap", "--name", "pins", "--namespace", "edge"]);
    let parsed = testbed::config::parse_yaml(&configmap.stdout).expect("YAML");
    assert_eq!(
        (parsed["kind"].as_str(), parsed["metadata"]["name"].as_str()),
        (Some("ConfigMap"), Some("pins"))
    );
    assert_eq!(parsed["metadata"]["namespace"], "edge");
    assert_eq!(parsed["data"]["pins"].as_str().map(|pins| pins.lines().count()), Some(2));
    let inner: Value =
        serde_json::from_str(parsed["data"]["pins.json"].as_str().expect("text")).expect("JSON");
    let json = ask(&world, &["--json"]).json();
    assert_eq!(inner, json);
    assert_eq!(
        (&json["skipped"], &json["denied"]),
        (&json!([]), &json!([])),
        "the Genesys CA's is no pin: {json}"
    );
    assert_shown("pins", &text);
    for outcome in [&text, &yaml, &configmap] {
        for pin in &pins {
            assert!(outcome.stdout.contains(pin), "{pin} is missing in {}", outcome.stdout);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn output_of_pins_is_accepted_by_explain() {
    let world = world().await;
    let us = &world.pki.us;
    let leaf = world.write("leaf.pem", &us.digicert.chain_pem).expect("a file");
    let policy = world.write("policy.json", world.policy().to_string()).expect("a file");
    let (leaf, policy) = (leaf.to_str().expect("text"), policy.to_str().expect("text"));
    for format in ["text", "yaml", "configmap", "json"] {
        let pins = world.write("pins", ask(&world, &["--format", format]).stdout).expect("a file");
        let explained =
            run(&["explain", "-c", policy, "--cert", leaf, "--pins", pins.to_str().expect("text"), "--json"]);
        assert_eq!(explained.json()["verdict"], "allow;us-east-1;digicert", "{format}");
    }
}

type Setup = fn(&World);

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_is_named_and_prints_no_pin() {
    let world = world().await;
    let genesys = &world.genesys;
    let cases: [(&str, Setup, &str); 8] = [
        ("no permission", |w| w.genesys.set_permitted(REGION, false), "api_forbidden"),
        (
            "half an answer",
            |w| w.genesys.fault(None, Some(Endpoint::Upcoming), Fault::Status(500)),
            "api_unavailable",
        ),
        (
            "no JSON",
            |w| w.genesys.fault(None, Some(Endpoint::Current), Fault::Body(b"<html>".to_vec())),
            "api_malformed",
        ),
        (
            "too many calls",
            |w| w.genesys.fault(None, Some(Endpoint::Token), Fault::too_many_requests(Some(7))),
            "login_rate_limited",
        ),
        (
            "a redirect",
            |w| {
                let elsewhere = Fault::respond(302, &[("location", "https://login.elsewhere.example/")], "");
                w.genesys.fault(None, Some(Endpoint::Token), elsewhere);
            },
            "login_redirected",
        ),
        ("no such host", |w| w.genesys.fault(None, None, Fault::Reset), "login_unavailable"),
        (
            "an answer without end",
            |w| {
                w.genesys.fault(None, Some(Endpoint::Current), Fault::Body(vec![b' '; 2 << 20]));
            },
            "api_too_large",
        ),
        (
            "nothing usable",
            |w| w.genesys.set_entities(REGION, Status::Current, Vec::new()),
            "no_usable_certificate",
        ),
    ];
    for (what, prepare, expected) in cases {
        prepare(&world);
        let outcome = ask(&world, &[]);
        assert_eq!((outcome.code, outcome.stdout.as_str()), (1, ""), "{what}: {}", outcome.stderr);
        let json = ask(&world, &["--json"]);
        assert_eq!(json.json()["error"], expected, "{what}: {}", json.stdout);
        genesys.clear_faults();
        genesys.set_permitted(REGION, true);
    }
    let wrong = Credentials { client_id: "nobody".into(), client_secret: "planted-secret".into() };
    let outcome = ask_as(&world, &wrong, &["--json"]);
    assert_eq!((outcome.code, outcome.json()["error"].as_str()), (1, Some("login_rejected")));
    assert!(!(outcome.stdout + &outcome.stderr).contains("planted-secret"));
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_go_only_to_a_host_that_proves_its_name() {
    let world = world().await;
    for identity in [
        ServerIdentity::SelfSigned,
        ServerIdentity::UntrustedCa,
        ServerIdentity::WrongHost,
        ServerIdentity::Expired,
    ] {
        world.genesys.set_tls("login.mypurecloud.com", identity);
        let outcome = ask(&world, &[]);
        assert_eq!((outcome.code, outcome.stdout.as_str()), (1, ""), "{identity:?}");
        for part in ["login_unavailable", "login.mypurecloud.com could not be reached from here: "] {
            assert!(outcome.stderr.contains(part), "{identity:?}: {}", outcome.stderr);
        }
        assert!(!outcome.stderr.contains("Envoy"), "{identity:?}: {}", outcome.stderr);
        assert_eq!(world.genesys.count(None, Endpoint::Token), 0, "{identity:?}: the secret was sent");
    }
    world.genesys.set_tls("login.mypurecloud.com", ServerIdentity::Valid);
    world.genesys.set_tls("api.mypurecloud.com", ServerIdentity::WrongHost);
    assert_eq!(ask(&world, &[]).code, 1);
    assert_eq!(world.genesys.count(None, Endpoint::Current), 0, "the token was sent");
}

#[tokio::test(flavor = "multi_thread")]
async fn demanded_issuers_and_other_domains_are_heeded() {
    let world = world().await;
    let issuers = world.write("issuers.pem", &world.pki.digicert_ca.pem).expect("a file");
    assert_eq!(ask(&world, &["--issuers", issuers.to_str().expect("text")]).code, 0);
    let others = directory("fixtures").join("genesys-root.pem");
    for (arguments, reason) in [
        (["--issuers", others.to_str().expect("text")], "unknown_issuer"),
        (["--certificate-name", "dataactions.other.example"], "wrong_name"),
    ] {
        let outcome = ask(&world, &[&["--json"][..], &arguments].concat());
        assert_eq!((outcome.code, &outcome.json()["error"]), (1, &json!("no_usable_certificate")));
        assert_eq!(outcome.json()["denied"][0]["reason"], reason, "{}", outcome.stdout);
        assert!(outcome.stderr.contains(&format!("would be denied: {reason}")), "{}", outcome.stderr);
    }
    let outcome =
        ask(&world, &["--domain", "mypurecloud.com", "--certificate-name", US_EAST_1.certificate_name]);
    assert_eq!(outcome.code, 0, "{}", outcome.stderr);
}

/// As the filter's gauge and log line: weeks before the day on which a caller is lost.
#[tokio::test(flavor = "multi_thread")]
async fn an_announced_certificate_that_would_be_denied_is_named() {
    let world = world().await;
    let us = &world.pki.us;
    let next = world.pki.stranger_ca.leaf().key_name("next").name(us.region.certificate_name).issue();
    let upcoming =
        vec![Entity::digicert(&next, &world.pki.stranger_ca.der), Entity::genesys(&world.pki.impostor_leaf)];
    world.genesys.set_entities(REGION, Status::Upcoming, upcoming);
    let file =
        |name: &str, pem: &str| world.write(name, pem).expect("a file").to_str().expect("text").to_owned();
    let (issuers, root) = (file("issuers.pem", &world.pki.digicert_ca.pem), file("root.pem", &us.root.pem));
    let arguments = ["--issuers", &issuers, "--genesys-ca", &root];

    let text = ask(&world, &arguments);
    assert_eq!(text.code, 1, "{}", text.stderr);
    let warnings: Vec<&str> =
        text.stderr.lines().filter(|line| line.starts_with("warning: upcoming")).collect();
    assert_eq!(warnings.len(), 2, "{}", text.stderr);
    assert!(text.stderr.contains(&next.sha256) && text.stderr.contains(&world.pki.impostor_leaf.sha256));
    assert_eq!(text.stdout.lines().count(), 1, "the pin in use: {}", text.stdout);
    assert!(text.stdout.contains(&us.digicert.pin()));

    let json = ask(&world, &[&["--json"][..], &arguments].concat());
    assert_eq!(json.code, 1);
    let mut denied: Vec<String> = Vec::new();
    for one in json.json()["denied"].as_array().expect("a list") {
        let of = |field: &str| one[field].as_str().expect("text").to_owned();
        assert!(of("not_before") < of("not_after") && !of("issuer").is_empty() && !of("detail").is_empty());
        denied.push(format!("{} {} {} {}", of("authority"), of("status"), of("reason"), of("sha256")));
    }
    denied.sort();
    let expected = [
        format!("digicert upcoming unknown_issuer {}", next.sha256),
        format!("genesys upcoming bad_signature {}", world.pki.impostor_leaf.sha256),
    ];
    assert_eq!(denied, expected);
    // Without the root the Genesys CA's certificates cannot be judged.
    let json = ask(&world, &["--json", "--issuers", &issuers]);
    assert_eq!(json.json()["denied"].as_array().map(Vec::len), Some(1));
    for (flag, usage) in [("--issuers", "no PEM"), ("--genesys-ca", "")] {
        let path = file("wrong.pem", usage);
        let outcome = ask(&world, &[flag, &path]);
        assert_eq!(outcome.code, 2, "{flag}: {}", outcome.stderr);
        assert!(outcome.stderr.contains("wrong.pem"), "{flag}: {}", outcome.stderr);
    }
}
