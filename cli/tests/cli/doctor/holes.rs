//! Ways past the guard. Each is proven first: a stranger's request reaches the service through a real Envoy. Then the doctor has to
//! name it, with the rule and the place.

mod cases;

use super::{dump, examine, start, world};
use cases::{CASES, Case};
use std::{sync::Arc, time::Duration};
use testbed::{Client, Envoy, World, client::ClientBuilder};
use tokio::{sync::Semaphore, task::JoinSet};
use ureq::http::Request;

/// How many Envoys run at once.
const AT_ONCE: usize = 3;

/// A stranger comes by the way that the case opens.
async fn reaches_the_service(case: &Case, envoy: &Envoy, world: &World, path: &str) -> Result<(), String> {
    let addr = envoy.listener_addr(case.listener);
    let client: ClientBuilder = if case.tls { world.client(addr) } else { Client::plain(addr) };
    let client = client.sni(case.host.split(':').next().unwrap_or_default()).verify_name("localhost");
    let mut request = Request::get(path);
    for (name, value) in case.headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Vec::new()).expect("a request");
    let answer = client.host_header(case.host).build().send(request).await.map_err(|error| error.to_string());
    // A copy may still be on its way.
    for _ in 0..50 {
        if world.upstream.count_of(path) > 0 {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Err(answer.map_or_else(|error| error, |answer| format!("{} {}", answer.status, answer.text())))
}

/// What is wrong with a case; nothing if the hole is real and was found.
async fn fault(case: &Case, index: usize, world: &World) -> Option<String> {
    let envoy = match start(world, case.file, case.change).await {
        Ok(envoy) => envoy,
        Err(error) => return Some(format!("Envoy does not start: {error}")),
    };
    let path = format!("/hole-{index}");
    if let Err(answer) = reaches_the_service(case, &envoy, world, &path).await {
        return Some(format!("the stranger did not reach the service: {answer}\n{}", envoy.log_tail(5)));
    }
    let dump = dump(&envoy).await;
    let outcome = tokio::task::block_in_place(|| examine(&dump));
    let found = outcome.code == 1
        && outcome.json()["findings"].as_array().is_some_and(|findings| {
            findings.iter().any(|finding| {
                let has =
                    |key: &str, text: &str| finding[key].as_str().is_some_and(|value| value.contains(text));
                finding["rule"] == case.rule
                    && has("path", case.place)
                    && !has("fix", "\n")
                    && finding["fix"] != ""
            })
        });
    (!found)
        .then(|| format!("not found as {} at {}: {} {}", case.rule, case.place, outcome.code, outcome.stdout))
}

#[tokio::test(flavor = "multi_thread")]
async fn every_way_past_the_guard_is_found() {
    let permits = Arc::new(Semaphore::new(AT_ONCE));
    let mut running = JoinSet::new();
    for (index, case) in CASES.iter().enumerate() {
        let permits = permits.clone();
        running.spawn(async move {
            let _permit = permits.acquire_owned().await.expect("a permit");
            let world = world().await;
            fault(case, index, &world).await.map(|fault| format!("{}: {fault}", case.what))
        });
    }
    let faults: Vec<String> = running.join_all().await.into_iter().flatten().collect();
    assert!(faults.is_empty(), "{} of {}:\n{}", faults.len(), CASES.len(), faults.join("\n"));
}
