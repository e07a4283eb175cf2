//! The log says enough to act on, says it once, and shows no secret.

use crate::{
    pace::{REGION, fast},
    setup::{PATIENCE, Running, assert_refused, digicert, start, start_with, with, world},
    stage::by_ca,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::Request;
use serde_json::{Value, json};
use testbed::{client::Response, genesys::Status, pki::Leaf};

async fn ask(run: &Running, leaf: &Leaf, request_id: &str) -> Response {
    let request = Request::get("/").header("x-request-id", request_id).body(Vec::new()).expect("a request");
    let client = run.world.client(run.ingress).identity(leaf).build();
    client.send(request).await.expect("an answer")
}

#[tokio::test(flavor = "multi_thread")]
async fn denial_line_is_found_by_its_id_and_no_id_forges_one() {
    let world = world().await;
    let policy = by_ca(&world);
    let run = start_with(world, "envoy/envoy.yaml", &policy, 1, |bootstrap| {
        let chain = &mut bootstrap["static_resources"]["listeners"][0]["filter_chains"][0];
        chain["filters"][0]["typed_config"]["preserve_external_request_id"] = true.into();
    })
    .await;
    let (stranger, expired) = (&run.world.pki.stranger, &run.world.pki.us.genesys_expired);
    // The first decision, a cached one, and one on another certificate.
    for leaf in [stranger, stranger, expired] {
        let response = run.get_as(leaf).await;
        let id = response.json()["request_id"].as_str().expect("a denial names the request").to_owned();
        let line = run.envoy.wait_for_log(&format!("request_id=\"{id}\""), PATIENCE).await.expect("a line");
        assert!(
            line.contains("genesys_mtls: denied policy=default") && line.contains(&leaf.sha256),
            "{line}"
        );
        assert!(line.contains("[warning]"), "{line}");
    }
    let too_long = "x".repeat(129);
    for id in ["a b", "a\" reason=forged", "a\tb", "<script>", &too_long] {
        let response = ask(&run, expired, id).await;
        assert_refused(id, &response, 403, "expired");
        assert_eq!(response.json()["request_id"], Value::Null, "{id:?}");
    }
    run.envoy.wait_for_log("request_id=\"\"", PATIENCE).await.expect("a line without an id");
    assert_eq!(run.envoy.count_in_log("genesys_mtls: denied policy=default mode=enforce reason=forged"), 0);
    assert!(!lines(&run, "denied").iter().any(|line| line.contains("script") || line.contains(&too_long)));
}

/// Our lines that contain this.
fn lines(run: &Running, text: &str) -> Vec<String> {
    let log = run.envoy.log();
    log.lines()
        .filter(|line| line.contains("genesys_mtls: ") && line.contains(text))
        .map(str::to_owned)
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn flood_of_denials_writes_ten_lines_a_minute_per_reason() {
    let world = world().await;
    let policy = by_ca(&world);
    let run = start(world, "envoy/envoy.yaml", &policy, 1).await;
    let pki = &run.world.pki;
    let mut connection =
        run.world.client(run.ingress).identity(&pki.stranger).build().connect().await.expect("TLS");
    for _ in 0..300 {
        assert_eq!(connection.get("/").await.expect("an answer").status, 403);
    }
    run.assert_out("expired", &pki.us.genesys_expired, 403, "expired").await;
    run.envoy.wait_for_log("reason=expired", PATIENCE).await.expect("another reason has its own budget");
    assert_eq!(lines(&run, "reason=wrong_name").len(), 10);
    let stat = "wasmcustom.genesys_mtls.default.decisions.deny.wrong_name";
    run.envoy.wait_for_stat(stat, |n| n == 300, PATIENCE).await.expect("all are counted");
}

#[tokio::test(flavor = "multi_thread")]
async fn change_of_a_pin_is_logged_once_for_all_workers() {
    let world = world().await;
    let policy = with(fast(&world), "/refresh/keep_removed", json!("2s"));
    let run = start(world, "envoy/envoy.yaml", &policy, 4).await;
    let us = run.world.pki.us.clone();
    let said = async |text: &str, leaf: &Leaf| {
        let text = format!("{text} policy=default region={REGION} sha256={}", leaf.sha256);
        let line = run.envoy.wait_for_log(&text, PATIENCE).await;
        (text, line.expect("a line"))
    };
    let mut all = vec![said("pinned, the API names it", &us.digicert).await];
    run.world.genesys.set_entities(
        REGION,
        Status::Upcoming,
        vec![digicert(&run.world, &us.digicert_upcoming)],
    );
    all.push(said("pinned, the API names it", &us.digicert_upcoming).await);
    run.world.genesys.rotate(REGION);
    all.push(said("pin kept for 2s, the API stopped naming it", &us.digicert).await);
    all.push(said("pin lapsed, the API stopped naming it", &us.digicert).await);
    // As long again, for a worker that would log it late.
    run.refreshes(REGION, crate::pace::outcome(&run, "ok").await + 3).await;
    let levels = ["[info]", "[info]", "[warning]", "[warning]"];
    for ((text, line), level) in all.iter().zip(levels) {
        assert_eq!(run.envoy.count_in_log(text), 1, "{text}");
        assert!(line.contains(level) && line.contains(" until=2"), "{line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_secret_is_said_and_counted_once_per_proxy() {
    let world = world().await;
    let policy = with(
        world.policy(),
        "/refresh/oauth",
        json!({"client_id_env": "ABSENT", "client_secret_env": "ABSENT"}),
    );
    let run = start(world, "envoy/envoy.yaml", &policy, 4).await;
    run.envoy.wait_for_log("reason=no_credentials", PATIENCE).await.expect("a line");
    let stat = format!("wasmcustom.genesys_mtls.default.refreshes.no_credentials.{REGION}");
    run.envoy.wait_for_stat(&stat, |n| n == 1, PATIENCE).await.expect("it is counted");
    // Each of the workers has had its turn once it has decided.
    for _ in 0..20 {
        run.assert_in("by CA", &run.world.pki.us.genesys).await;
    }
    let said = lines(&run, "reason=no_credentials");
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(said[0].contains("ABSENT") && said[0].contains("[error]"), "{said:?}");
    assert_eq!(run.envoy.stat(&stat).await.expect("statistics"), 1);
}

/// Texts that would show a certificate, a key or a credential, and what each is.
fn secrets(run: &Running) -> Vec<(String, String)> {
    let client = run.world.genesys.credentials(REGION);
    let basic = STANDARD.encode(format!("{}:{}", client.client_id, client.client_secret));
    let mut secrets = vec![
        ("the client secret".to_owned(), client.client_secret),
        ("the credentials".to_owned(), basic),
        ("the token".to_owned(), format!("token-{REGION}")),
        ("a private key".to_owned(), "PRIVATE KEY".to_owned()),
    ];
    let pki = &run.world.pki;
    for (who, leaf) in
        [("ours", &pki.us.genesys), ("DigiCert's", &pki.us.digicert), ("a stranger's", &pki.stranger)]
    {
        // A line from the middle of the PEM: Envoy may show line breaks as escapes.
        let line = leaf.cert_pem.lines().nth(4).expect("a long certificate").to_owned();
        secrets.push((format!("a certificate, {who}"), line));
    }
    secrets
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_and_certificates_appear_in_no_log_or_statistic() {
    let world = world().await;
    let mut bootstrap = world.bootstrap("envoy/envoy.yaml");
    let policy = with(fast(&world), "/identity", json!({}));
    testbed::config::set_plugin_configuration(&mut bootstrap, &policy);
    let envoy = world.envoy(bootstrap).concurrency(2).component_log_level("wasm:trace").start().await;
    let envoy = envoy.expect("Envoy starts");
    let ingress = envoy.listener_addr("ingress");
    let run = Running { world, envoy, ingress };
    run.refreshed().await;
    let pki = run.world.pki.clone();
    for leaf in [&pki.us.genesys, &pki.us.digicert] {
        run.assert_in("Genesys", leaf).await;
    }
    // Every kind of refusal that shows something of a certificate, and failures of both hosts.
    for leaf in [&pki.stranger, &pki.impostor_leaf, &pki.email, &pki.us.genesys_expired, &pki.eu.genesys] {
        assert_eq!(run.get_as(leaf).await.status, 403);
    }
    let forged = format!("Cert=\"{}\"", pki.stranger.cert_pem.replace('\n', "%0A"));
    let request =
        Request::get("/").header("x-forwarded-client-cert", forged).body(Vec::new()).expect("a request");
    run.world.client(run.ingress).identity(&pki.stranger).build().send(request).await.expect("an answer");
    run.world.genesys.revoke_tokens(REGION);
    run.world.genesys.set_permitted(REGION, false);
    run.envoy.wait_for_log("reason=api_forbidden", PATIENCE).await.expect("a failure");
    run.envoy.wait_for_log("\"verdict\":\"deny;wrong_region\"", PATIENCE).await.expect("the access log");

    let (log, stats) = (run.envoy.log(), run.envoy.admin_get("/stats").await.expect("statistics"));
    let dump = run.envoy.config_dump().await.expect("the configuration").to_string();
    for (what, secret) in secrets(&run) {
        for (place, text) in [("log", &log), ("statistics", &stats), ("configuration dump", &dump)] {
            assert!(!text.contains(&secret), "{what} is in the {place}");
        }
    }
    // The access log is part of it, with identity and verdict.
    let identity = format!("sha256=:{}", STANDARD.encode(fingerprint(&pki.us.genesys)).trim_end_matches('='));
    assert!(log.contains(&identity), "the access log has the identity");
}

fn fingerprint(leaf: &Leaf) -> [u8; 32] {
    *genesys_mtls_filter::x509::fingerprint::Fingerprint::of(&leaf.der).as_bytes()
}

#[tokio::test(flavor = "multi_thread")]
async fn configuration_with_a_secret_is_rejected_without_showing_it() {
    let world = world().await;
    let bundle = format!("{}{}", world.pki.us.root.pem, world.pki.us.genesys.key_pem);
    let key_line = world.pki.us.genesys.key_pem.lines().nth(1).expect("a key").to_owned();
    let with_key = with(by_ca(&world), &format!("/regions/{REGION}/genesys/ca_certificates"), json!(bundle));
    let with_secret =
        with(world.policy(), "/refresh/oauth", json!({"client_id": "me", "client_secret": "planted-secret"}));
    for (policy, planted, named) in
        [(with_key, key_line, "ca_certificates"), (with_secret, "planted-secret".to_owned(), "refresh.oauth")]
    {
        let mut bootstrap = world.bootstrap("envoy/envoy.yaml");
        testbed::config::set_plugin_configuration(&mut bootstrap, &policy);
        let error = world.envoy(bootstrap).start().await.expect_err("a refusal").to_string();
        assert!(error.contains("invalid configuration") && error.contains(named), "{error}");
        let ours: Vec<&str> = error.lines().filter(|line| line.contains("genesys_mtls: ")).collect();
        assert!(!ours.is_empty() && !ours.iter().any(|line| line.contains(&planted)), "{ours:?}");
    }
}
