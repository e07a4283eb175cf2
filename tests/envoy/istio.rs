//! The examples under `envoy/examples` for Istio, as a gateway's Envoy gets them, allow Genesys Cloud and deny all others.

use crate::setup::{PATIENCE, assert_refused, with, world};
use genesys_mtls_filter::{config::load, regions::REGIONS};
use http::Request;
use serde_json::{Value, json};
use std::net::SocketAddr;
use testbed::{
    World,
    client::AlertDescription,
    config,
    envoy::Envoy,
    genesys::{Endpoint, ServerIdentity},
    istio,
    manifests::{self, example, kind, strings},
    pki::Leaf,
    upstream::echoed,
};

const GUARDED: [&str; 2] = ["istio/enforce", "istio-authorization-policy/enforce"];

const REGION: &str = "us-east-1";

struct Gateway {
    world: World,
    envoy: Envoy,
    addr: SocketAddr,
}

/// A gateway with these manifests, the region's own CA added to the policy.
async fn gateway(world: World, name: &str, change: impl FnOnce(&mut Value)) -> Gateway {
    gateway_of(world, example(name), change).await
}

async fn gateway_of(world: World, mut manifests: Vec<Value>, change: impl FnOnce(&mut Value)) -> Gateway {
    for manifest in &mut manifests {
        if manifest["kind"] == "WasmPlugin" {
            manifest["spec"]["pluginConfig"]["regions"][REGION]["genesys"] =
                json!({"ca_certificates": world.pki.us.root.pem});
            manifest["spec"]["pluginConfig"]["refresh"]["retry"] = json!({"base": "200ms", "max": "500ms"});
        }
    }
    let mut bootstrap = istio::gateway(&manifests, &world);
    change(&mut bootstrap);
    let mut envoy = world.envoy(bootstrap).concurrency(2);
    for region in [REGION, "eu-central-1"] {
        let prefix = format!("GENESYS_{}", region.to_uppercase().replace('-', "_"));
        let credentials = world.genesys.credentials(region);
        envoy = envoy
            .env(&format!("{prefix}_CLIENT_ID"), &credentials.client_id)
            .env(&format!("{prefix}_CLIENT_SECRET"), &credentials.client_secret);
    }
    let envoy = envoy.start().await.expect("Envoy starts");
    let addr = envoy.listener_addr(istio::LISTENER);
    Gateway { world, envoy, addr }
}

impl Gateway {
    async fn refreshed(&self) {
        self.refreshed_of(REGION).await;
    }

    async fn refreshed_of(&self, region: &str) {
        let stat = format!("wasmcustom.genesys_mtls.default.refreshes.ok.{region}");
        self.envoy.wait_for_stat(&stat, |n| n >= 1, PATIENCE).await.expect("a refresh succeeds");
    }

    async fn status(&self, leaf: &Leaf) -> u16 {
        let client = self.world.client(self.addr).identity(leaf).build();
        client.get("/").await.expect("an answer").status
    }

    async fn assert_out(&self, who: &str, leaf: &Leaf, reason: &str) {
        let client = self.world.client(self.addr).identity(leaf).build();
        assert_refused(who, &client.get("/").await.expect("an answer"), 403, reason);
    }
}

/// Takes the plugin out of the listener, as if it had never been there.
fn without_plugin(bootstrap: &mut Value) {
    let mut removed = 0;
    config::walk(bootstrap, &mut |map| {
        if let Some(filters) = map.get_mut("http_filters").and_then(Value::as_array_mut) {
            let before = filters.len();
            filters.retain(|filter| filter.get("config_discovery").is_none());
            removed += before - filters.len();
        }
    });
    assert_eq!(removed, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn genesys_clients_pass_either_guard_and_others_learn_why_not() {
    for directory in GUARDED {
        let run = gateway(world().await, directory, |_| {}).await;
        run.refreshed().await;
        let pki = &run.world.pki;
        assert_eq!(run.status(&pki.us.genesys).await, 200, "{directory}: by the Genesys CA");
        assert_eq!(run.status(&pki.us.digicert).await, 200, "{directory}: by DigiCert, pinned by the API");
        run.assert_out("the same name without a pin", &pki.digicert_lookalike, "not_pinned").await;
        run.assert_out("another region", &pki.eu.genesys, "wrong_region").await;
        run.assert_out("expired", &pki.email, "wrong_name").await;
        let nobody = run.world.client(run.addr).build().get("/").await.expect("an answer");
        assert_refused(directory, &nobody, 403, "no_client_certificate");
        run.assert_out("a stranger of another CA", &pki.stranger, "wrong_name").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn strict_profile_denies_strangers_in_the_handshake() {
    let run = gateway(world().await, "istio-strict/enforce", |_| {}).await;
    run.refreshed().await;
    let pki = &run.world.pki;
    assert_eq!(run.status(&pki.us.genesys).await, 200);
    run.assert_out("another region", &pki.eu.genesys, "wrong_region").await;
    let nobody = run.world.client(run.addr).build().get("/").await.expect_err("a certificate is required");
    assert_eq!(nobody.alert(), Some(AlertDescription::CertificateRequired));
    let stranger = run.world.client(run.addr).identity(&pki.stranger).build().get("/").await;
    let alert = stranger.expect_err("TLS verifies what a client shows").alert();
    assert_eq!(alert, Some(AlertDescription::UnknownCA));
    assert_eq!(run.world.upstream.count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn guard_without_the_plugin_denies_every_request() {
    for directory in GUARDED {
        let run = gateway(world().await, directory, without_plugin).await;
        assert_eq!(run.status(&run.world.pki.us.genesys).await, 403, "{directory}");
        assert_eq!(run.world.upstream.count(), 0, "{directory}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn policy_on_the_guards_note_is_the_only_one_that_counts() {
    let allow_all = json!({"kind": "AuthorizationPolicy", "metadata": {"name": "allow-all"},
                           "spec": {"action": "ALLOW", "rules": [{}]}});
    let manifests = [example("istio-authorization-policy/enforce"), vec![allow_all]].concat();
    let run = gateway_of(world().await, manifests.clone(), |_| {}).await;
    assert_eq!(run.status(&run.world.pki.us.genesys).await, 200);
    run.assert_out("a stranger", &run.world.pki.email, "wrong_name").await;
    let run = gateway_of(world().await, manifests, without_plugin).await;
    assert_eq!(run.status(&run.world.pki.us.genesys).await, 403);
    assert_eq!(run.world.upstream.count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn identity_claimed_by_a_client_does_not_reach_the_service() {
    let run = gateway(world().await, "istio/enforce", |_| {}).await;
    let client = run.world.client(run.addr).identity(&run.world.pki.us.genesys).build();
    let forged =
        |name: &str| Request::get("/").header(name, "region=us-east-1").body(Vec::new()).expect("a request");
    for name in ["x-genesys-cloud-client", "x_genesys_cloud_client", "X-Genesys_Cloud-Client"] {
        let response = client.send(forged(name)).await.expect("an answer");
        assert_eq!(response.status, 200, "{}", response.text());
        let name = name.to_lowercase();
        assert_eq!(echoed(&response.json(), &name), Vec::<String>::new(), "{name}");
    }
    let response = client.send(forged("my_header")).await.expect("an answer");
    assert_eq!(echoed(&response.json(), "my_header"), ["region=us-east-1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_go_only_to_a_host_that_proves_its_name() {
    for identity in [ServerIdentity::WrongHost, ServerIdentity::UntrustedCa, ServerIdentity::SelfSigned] {
        let world = world().await;
        world.genesys.set_tls("login.mypurecloud.com", identity);
        let run = gateway(world, "istio/enforce", |_| {}).await;
        run.world.genesys.wait_failed_handshakes(1, PATIENCE).await.expect("Envoy refuses the host");
        assert_eq!(run.world.genesys.count(None, Endpoint::Token), 0, "{identity:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_plugin_reaches_open_connections() {
    let run = gateway(world().await, "istio/enforce", |_| {}).await;
    let client = run.world.client(run.addr).identity(&run.world.pki.us.genesys).build();
    let mut connection = client.connect().await.expect("a connection");
    assert_eq!(connection.get("/").await.expect("an answer").status, 200);

    let mut plugin =
        example("istio/enforce").into_iter().find(|m| m["kind"] == "WasmPlugin").expect("the plugin");
    let region = json!({"genesys": {"ca_certificates": run.world.pki.eu.root.pem}});
    plugin["spec"]["pluginConfig"] = json!({"regions": {"eu-central-1": region}});
    let typed = istio::wasm_filter(&plugin);
    config::write_filter(&istio::plugin_file(&run.world), 2, "istio-ingress.genesys-mtls", &typed)
        .expect("the file");
    let updated = "extension_config_discovery.http_filter.istio-ingress.genesys-mtls.config_reload";
    run.envoy
        .wait_for_stats(
            "the plugin's second version",
            |stats| stats.iter().find(|(name, n)| name.ends_with(updated) && **n >= 2).map(drop),
            PATIENCE,
        )
        .await
        .expect("the update arrives");
    let response = connection.get("/").await.expect("an answer");
    assert_refused("after the change", &response, 403, "wrong_region");
}

#[tokio::test(flavor = "multi_thread")]
async fn shadow_example_denies_no_request() {
    let run = gateway(world().await, "istio/shadow", |_| {}).await;
    run.refreshed().await;
    let pki = &run.world.pki;
    for leaf in [&pki.us.digicert, &pki.stranger, &pki.digicert_lookalike] {
        assert_eq!(run.status(leaf).await, 200);
    }
    assert_eq!(run.world.client(run.addr).build().get("/").await.expect("an answer").status, 200);
    let denied = "wasmcustom.genesys_mtls.default.decisions.deny.wrong_name";
    run.envoy.wait_for_stat(denied, |n| n >= 1, PATIENCE).await.expect("the stranger is counted");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_regions_refresh_with_their_own_credentials() {
    let world = world().await;
    let mut manifests = example("two-regions/enforce");
    for manifest in &mut manifests {
        if manifest["kind"] == "WasmPlugin" {
            let policy = &mut manifest["spec"]["pluginConfig"];
            for region in [REGION, "eu-central-1"] {
                policy["regions"][region]["digicert"]["issuers"] = world.pki.digicert_ca.pem.clone().into();
            }
        }
    }
    let run = gateway_of(world, manifests, |_| {}).await;
    for region in [REGION, "eu-central-1"] {
        run.refreshed_of(region).await;
    }
    let pki = &run.world.pki;
    assert_eq!(run.status(&pki.us.digicert).await, 200);
    assert_eq!(run.status(&pki.eu.digicert).await, 200);
    run.assert_out("no authority of eu-central-1", &pki.eu.genesys, "unknown_issuer").await;
}

#[test]
fn requests_are_bounded_in_time() {
    let connection =
        example("istio/enforce").into_iter().find(|m| m["metadata"]["name"] == "genesys-mtls-connection");
    let manager =
        &connection.expect("the manifest")["spec"]["configPatches"][0]["patch"]["value"]["typed_config"];
    assert_eq!(manager["stream_idle_timeout"], "60s");
}

#[test]
fn each_region_of_the_chart_asks_its_own_hosts() {
    let Some(helm) = manifests::helm() else { return };
    let regions: Vec<Value> = REGIONS
        .iter()
        .map(|region| {
            let mut values = json!({"id": region.id, "oauthSecret": format!("oauth-{}", region.id), "digicert": {"pins": ["api"]}});
            if region.certificate_name.is_none() {
                values["certificateName"] = "dataactions.example".into();
            }
            values
        })
        .collect();
    let mut values = config::load_yaml(&manifests::examples().join("istio/values.yaml"));
    values["rollout"] = "D".into();
    values["regions"] = regions.into();
    let manifests =
        manifests::render(&helm, "istio-ingress", &values).unwrap_or_else(|error| panic!("{error}"));
    let plugin = kind(&manifests, "WasmPlugin")[0];
    let policy =
        load(plugin["spec"]["pluginConfig"].to_string().as_bytes()).unwrap_or_else(|e| panic!("{e:?}"));
    assert_eq!(policy.regions.len(), REGIONS.len());
    let (entries, rules) = (kind(&manifests, "ServiceEntry"), kind(&manifests, "DestinationRule"));
    for region in REGIONS {
        let hosts = ["api", "login"].map(|service| format!("{service}.{}", region.domain));
        let entry = |entry: &&&Value| strings(&entry["spec"]["hosts"]).eq(hosts.iter().map(String::as_str));
        assert_eq!(entries.iter().filter(entry).count(), 1, "{}", region.id);
        let policy =
            policy.regions.iter().find(|policy| policy.id == region.id).expect("the region's policy");
        let source = policy.source.as_ref().expect("a source");
        for (cluster, host) in [(&source.api_cluster, &hosts[0]), (&source.login_cluster, &hosts[1])] {
            assert_eq!(*cluster, format!("outbound|443||{host}"), "{}", region.id);
            let rule = rules.iter().find(|rule| rule["spec"]["host"] == **host).expect("a rule for the host");
            let tls = &rule["spec"]["trafficPolicy"]["tls"];
            assert_eq!(
                (&tls["mode"], &tls["sni"], &tls["subjectAltNames"]),
                (&json!("SIMPLE"), &json!(host), &json!([host]))
            );
        }
    }
}

#[test]
fn each_example_has_a_guard_for_its_policy() {
    for name in ["istio", "istio-authorization-policy", "istio-gateway-api", "two-regions"] {
        for (state, strategy) in [("shadow", "FAIL_OPEN"), ("enforce", "FAIL_RELOAD")] {
            let manifests = example(&format!("{name}/{state}"));
            let guard =
                manifests.iter().find(|m| m["metadata"]["name"] == "genesys-mtls-guard").expect("a guard");
            let plugin = kind(&manifests, "WasmPlugin")[0];
            assert!(plugin["spec"]["pluginConfig"]["name"].is_null(), "the default name");
            assert!(guard.to_string().contains("\"wasm.genesys_mtls.default\""), "{name}");
            assert_eq!(plugin["spec"]["failStrategy"], strategy, "{name}/{state}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_that_only_watches_needs_a_guard_that_only_watches() {
    let world = world().await;
    let mut manifests = example("istio/enforce");
    for manifest in &mut manifests {
        if manifest["kind"] == "WasmPlugin" {
            let policy =
                json!({"regions": {REGION: {"genesys": {"ca_certificates": world.pki.us.root.pem}}}});
            manifest["spec"]["pluginConfig"] = with(policy, "/mode", json!("shadow"));
        }
    }
    let bootstrap = istio::gateway(&manifests, &world);
    let envoy = world.envoy(bootstrap).start().await.expect("Envoy starts");
    let addr = envoy.listener_addr(istio::LISTENER);
    // The half-switched state is the safe one: the plugin answers no request, and the guard still denies.
    let refused =
        world.client(addr).identity(&world.pki.eu.genesys).build().get("/").await.expect("an answer");
    assert_eq!((refused.status, refused.text().as_str()), (403, "RBAC: access denied"));
    let allowed =
        world.client(addr).identity(&world.pki.us.genesys).build().get("/").await.expect("an answer");
    assert_eq!(allowed.status, 200);
}
