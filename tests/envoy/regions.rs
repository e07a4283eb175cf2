//! Two regions: each has its own API, OAuth client and pins, and neither can change the other's.

use crate::{
    pace::{PATIENCE, fast},
    setup::{assert_refused, digicert, with, world},
    stage::{Doors, Stage},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use testbed::{
    config,
    genesys::{Endpoint, Fault, Status},
    pki::{EU_CENTRAL_1, Leaf, Region, US_EAST_1},
};

const REGIONS: [Region; 2] = [US_EAST_1, EU_CENTRAL_1];

/// The shipped clusters once per region, named as Istio names them.
fn name_by_host(bootstrap: &mut Value) {
    let clusters = bootstrap["static_resources"]["clusters"].as_array_mut().expect("clusters");
    let is_shipped =
        |cluster: &Value| cluster["name"].as_str().is_some_and(|name| name.starts_with("genesys_"));
    let shipped: Vec<Value> = clusters.iter().filter(|cluster| is_shipped(cluster)).cloned().collect();
    clusters.retain(|cluster| !is_shipped(cluster));
    for region in REGIONS {
        for cluster in &shipped {
            let text = cluster.to_string().replace(US_EAST_1.domain, region.domain);
            let mut own: Value = serde_json::from_str(&text).expect("JSON");
            let host = own["transport_socket"]["typed_config"]["sni"].as_str().expect("a server name");
            own["name"] = format!("outbound|443||{host}").into();
            clusters.push(own);
        }
    }
}

async fn refreshes(stage: &Stage, code: &str, region: &str) -> u64 {
    let stat = format!("wasmcustom.genesys_mtls.default.refreshes.{code}.{region}");
    stage.envoy.stat(&stat).await.expect("statistics")
}

async fn more(stage: &Stage, code: &str, region: &str, more: u64) {
    let stat = format!("wasmcustom.genesys_mtls.default.refreshes.{code}.{region}");
    let until = refreshes(stage, code, region).await + more;
    stage.envoy.wait_for_stat(&stat, |n| n >= until, PATIENCE).await.expect("refreshes end so");
}

/// Asks until the question of this certificate is settled.
async fn assert_not_pinned(stage: &Stage, who: &str, leaf: &Leaf) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    let mut response = stage.get_as("ingress", leaf).await;
    while response.status == 503 && tokio::time::Instant::now() < deadline {
        response = stage.get_as("ingress", leaf).await;
    }
    assert_refused(who, &response, 403, "not_pinned");
}

#[tokio::test(flavor = "multi_thread")]
async fn regions_have_nothing_in_common_but_the_proxy() {
    let world = world().await;
    let pki = world.pki.clone();
    let [us, eu] = REGIONS.map(|region| region.id);
    // Each API names certificates of both regions, as if an attacker had one of them.
    let lists = [
        (us, [&pki.us.digicert, &pki.eu.digicert_upcoming]),
        (eu, [&pki.eu.digicert, &pki.us.digicert_upcoming]),
    ];
    for (region, leaves) in lists {
        let entities = leaves.iter().map(|leaf| digicert(&world, leaf)).collect();
        world.genesys.set_entities(region, Status::Current, entities);
    }
    let policy = with(fast(&world), &format!("/regions/{eu}"), world.region_policy(&pki.eu));
    let template = "outbound|443||{host}";
    let policy = with(policy, "/refresh/clusters", json!({"api": template, "login": template}));
    // Each login hands out tokens for one refresh, so that both calls are made every time.
    let mut policy = policy;
    let mut variables = Vec::new();
    for (region, prefix) in [(us, "US"), (eu, "EU")] {
        world.genesys.set_expires_in(region, Some(json!(60)));
        let [id, secret] = ["CLIENT_ID", "CLIENT_SECRET"].map(|name| format!("{prefix}_{name}"));
        let oauth = json!({"client_id_env": id, "client_secret_env": secret});
        policy = with(policy, &format!("/regions/{region}/refresh/oauth"), oauth);
        let client = world.genesys.credentials(region);
        variables.extend([(id, client.client_id), (secret, client.client_secret)]);
    }
    let mut doors = Doors::of(&world, "envoy/envoy.yaml");
    name_by_host(doors.bootstrap());
    doors.add("ingress", &policy, |_| {});
    let environment: Vec<(&str, &str)> =
        variables.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    config::set_plugin_env(doors.bootstrap(), &environment);
    let stage = doors.open_with(world, |envoy| envoy.concurrency(2)).await;
    for region in [us, eu] {
        more(&stage, "ok", region, 1).await;
    }
    for (who, leaf) in [("us", &pki.us.digicert), ("eu", &pki.eu.digicert)] {
        stage.assert_in("ingress", who, leaf).await;
    }
    assert_not_pinned(&stage, "us, named by eu's API", &pki.us.digicert_upcoming).await;
    assert_not_pinned(&stage, "eu, named by us' API", &pki.eu.digicert_upcoming).await;

    // One region's outage, of either kind, is not the other's.
    for (down, up, endpoint, code) in [
        (us, eu, Endpoint::Token, "login_unavailable"),
        (eu, us, Endpoint::Current, "api_unavailable"),
        (us, eu, Endpoint::Upcoming, "api_unavailable"),
    ] {
        let failed = refreshes(&stage, code, up).await;
        stage.world.genesys.fault(Some(down), Some(endpoint), Fault::Status(503));
        more(&stage, code, down, 2).await;
        more(&stage, "ok", up, 2).await;
        assert_eq!(refreshes(&stage, code, up).await, failed, "{endpoint:?} of {down} is down");
        for (who, leaf) in [("us", &pki.us.digicert), ("eu", &pki.eu.digicert)] {
            stage.assert_in("ingress", &format!("{who}, while {down} is down"), leaf).await;
        }
        stage.world.genesys.clear_faults();
        more(&stage, "ok", down, 1).await;
    }

    // Every secret and token went to the host that it belongs to.
    for call in stage.world.genesys.requests() {
        let region =
            REGIONS.into_iter().find(|region| call.region.as_deref() == Some(region.id)).expect("a region");
        let expected = if call.endpoint == Endpoint::Token {
            let client = stage.world.genesys.credentials(region.id);
            let basic = STANDARD.encode(format!("{}:{}", client.client_id, client.client_secret));
            assert_eq!(call.sni, Some(region.login_host()));
            format!("Basic {basic}")
        } else {
            assert_eq!(call.sni, Some(region.api_host()));
            format!("Bearer token-{}-", region.id)
        };
        assert!(call.authorization.as_deref().is_some_and(|sent| sent.starts_with(&expected)), "{call:?}");
    }
}
