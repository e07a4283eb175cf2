//! One worker refreshes for all: at the configured times, with the specified calls, and without showing a secret.

use crate::{
    pace::{API, LOGIN, PATIENCE, REGION, fast, gaps, outcome, reaches, run, seen},
    setup::{Running, asked, with, world},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::json;
use std::{collections::BTreeSet, time::Duration};
use testbed::genesys::{Endpoint, Seen};

#[tokio::test(flavor = "multi_thread")]
async fn one_worker_of_any_number_asks_and_all_are_served() {
    let proxies = [1, 4, 16].map(|workers| tokio::spawn(asks_once_and_serves_all(workers)));
    for proxy in proxies {
        proxy.await.expect("as many requests as there are periods");
    }
}

async fn asks_once_and_serves_all(workers: u32) {
    let world = world().await;
    let interval = Duration::from_secs(2);
    // On a busy machine a call may take longer than usual. That must not cause a failure or a second worker's call.
    let policy = with(with(fast(&world), "/refresh/interval", json!("2s")), "/refresh/timeout", json!("1m"));
    let run = run(world, &policy, |_, _| {}, |envoy| envoy.concurrency(workers)).await;
    run.refreshed().await;
    serves_on_every_worker(&run, workers).await;
    reaches(&run, "ok", 4).await;

    // Counted before and after, since refreshes go on meanwhile.
    let before = done(&run).await;
    let (current, upcoming) = (seen(&run.world, Endpoint::Current), seen(&run.world, Endpoint::Upcoming));
    let after = done(&run).await;
    for (what, requests) in [("current", &current), ("upcoming", &upcoming)] {
        let count = requests.len();
        assert!(
            (before..=after + 1).contains(&count),
            "{workers} workers: {count} {what}, {before} to {after} refreshes"
        );
    }
    assert_eq!(asked(&run.world, Endpoint::Token), 1, "{workers} workers: one token serves all refreshes");
    for (nth, gap) in gaps(&current).into_iter().enumerate() {
        // The first period is any part of the interval.
        let least = if nth == 0 { interval / 10 } else { interval };
        assert!(gap + Duration::from_millis(50) >= least, "{workers} workers: gap {nth} is {gap:?}");
    }
    // One to the login host; two to the API, since the second call is made from within the first one's answer.
    assert!(run.world.genesys.connections() <= 3, "{workers} workers: {}", run.world.genesys.connections());
}

/// Refreshes that have ended.
async fn done(run: &Running) -> usize {
    usize::try_from(outcome(run, "ok").await).expect("few")
}

/// Connects until every worker has had a connection; each is answered from the shared pins.
async fn serves_on_every_worker(run: &Running, workers: u32) {
    let client = run.world.client(run.ingress).identity(&run.world.pki.us.digicert).build();
    let mut connections = Vec::new();
    for _ in 0..10 {
        for _ in 0..40 {
            let mut connection = client.connect().await.unwrap();
            let response = connection.get("/").await.unwrap();
            assert_eq!(response.status, 200, "{workers} workers: {}", response.text());
            connections.push(connection);
        }
        let stats = run.envoy.stats().await.unwrap();
        let served: BTreeSet<&str> = stats
            .iter()
            .filter(|(name, value)| {
                name.starts_with("listener.") && name.ends_with("downstream_cx_total") && **value > 0
            })
            .filter_map(|(name, _)| name.split('.').find(|part| part.starts_with("worker_")))
            .collect();
        if served.len() == workers as usize {
            return;
        }
    }
    panic!("400 connections did not reach all of {workers} workers");
}

fn header<'a>(request: &'a Seen, name: &str) -> Option<&'a str> {
    let mut values = request.headers.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name));
    let value = values.next().map(|(_, value)| value.as_str());
    assert_eq!(values.next(), None, "{name} twice");
    value
}

#[tokio::test(flavor = "multi_thread")]
async fn the_calls_are_as_specified_and_what_they_carry_stays_secret() {
    let world = world().await;
    let policy = fast(&world);
    let levels = "wasm:trace,config:debug,secret:debug";
    let run = run(world, &policy, |_, _| {}, |envoy| envoy.concurrency(2).component_log_level(levels)).await;
    reaches(&run, "ok", 3).await;

    let token = &seen(&run.world, Endpoint::Token)[0];
    assert_eq!((token.method.as_str(), token.target.as_str()), ("POST", "/oauth/token"));
    assert_eq!((token.host.as_str(), token.sni.as_deref()), (LOGIN, Some(LOGIN)));
    assert_eq!(token.body, "grant_type=client_credentials");
    assert_eq!(header(token, "content-type"), Some("application/x-www-form-urlencoded"));
    let client = run.world.genesys.credentials(REGION);
    let basic = STANDARD.encode(format!("{}:{}", client.client_id, client.client_secret));
    assert_eq!(token.authorization.as_deref(), Some(format!("Basic {basic}").as_str()));

    let path = "/api/v2/integrations/actions/certificates";
    for (endpoint, status) in [(Endpoint::Current, "Current"), (Endpoint::Upcoming, "Upcoming")] {
        for call in seen(&run.world, endpoint) {
            assert_eq!((call.method.as_str(), &call.target), ("GET", &format!("{path}?status={status}")));
            assert_eq!((call.host.as_str(), call.sni.as_deref()), (API, Some(API)));
            assert_eq!(call.authorization.as_deref(), Some("Bearer token-us-east-1-1"));
            assert_eq!(call.body, "");
        }
    }
    for call in run.world.genesys.requests() {
        let agent = call.user_agent.as_deref().unwrap_or_default();
        assert_eq!(agent, concat!("genesys-mtls-filter/", env!("CARGO_PKG_VERSION")), "{}", call.target);
        assert_eq!(header(&call, "accept"), Some("application/json"), "{}", call.target);
    }

    // A token that the API no longer takes is renewed once, on the spot; one that lives a minute serves one refresh.
    run.world.genesys.set_expires_in(REGION, Some(json!(60)));
    run.world.genesys.revoke_tokens(REGION);
    let before = run.world.genesys.requests().len();
    let done = outcome(&run, "ok").await;
    reaches(&run, "ok", done + 3).await;
    let asked: Vec<(Endpoint, Option<u16>)> =
        run.world.genesys.requests()[before..].iter().map(|seen| (seen.endpoint, seen.answered)).collect();
    let at = asked.iter().position(|(_, status)| *status == Some(401)).expect("a refused token");
    let expected = [
        (Endpoint::Current, 401),
        (Endpoint::Token, 200),
        (Endpoint::Current, 200),
        (Endpoint::Upcoming, 200),
        (Endpoint::Token, 200),
        (Endpoint::Current, 200),
        (Endpoint::Upcoming, 200),
    ];
    assert_eq!(asked[at..at + 7], expected.map(|(endpoint, status)| (endpoint, Some(status))));
    assert_eq!(outcome(&run, "api_unauthorized").await, 0);

    // Neither appears anywhere in the log, nor in what the admin interface shows.
    let dump = run.envoy.config_dump().await.unwrap().to_string();
    let stats = run.envoy.admin_get("/stats").await.unwrap();
    for secret in [client.client_secret.as_str(), &basic, "token-us-east-1"] {
        for (place, text) in [("log", &run.envoy.log()), ("config_dump", &dump), ("stats", &stats)] {
            assert!(!text.contains(secret), "{secret} is in the {place}");
        }
    }
    assert!(run.envoy.log().contains("[wasm]"), "the log was looked at");
    assert!(dump.contains("GENESYS_CLIENT_SECRET"), "the variable's name is in the configuration");

    // At `debug` Envoy's router writes down the headers of callouts. docs/src/security/secrets.md warns of it.
    run.envoy.admin_post("/logging?router=debug").await.unwrap();
    run.envoy.wait_for_log(&basic, PATIENCE).await.expect("the warning is still due");
}
