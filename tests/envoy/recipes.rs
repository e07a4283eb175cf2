//! The snippets of the book, as they are written there, do what it says about them.

use crate::{
    injected,
    setup::{PATIENCE, assert_refused, world},
    stage::{Doors, Stage, by_ca},
};
use serde_json::Value;
use std::fs;
use testbed::{client::Client, config, paths, upstream::echoed};

/// The YAML blocks of a page that are marked with this check, below a heading and above the next of its level.
pub fn snippets(page: &str, heading: &str, check: &str) -> Vec<Value> {
    let file = format!("docs/src/{page}.md");
    let text = fs::read_to_string(paths::workspace_root().join(&file)).expect(&file);
    let (_, after) = text.split_once(&format!("# {heading}\n")).expect(heading);
    let section = after.split("\n## ").next().unwrap_or_default();
    let mark = format!("```yaml {check}\n");
    let blocks = section.split(mark.as_str()).skip(1).filter_map(|block| block.split("```").next());
    blocks.map(|block| config::parse_yaml(block).expect(heading)).collect()
}

fn first(list: &Value) -> Value {
    list[0].clone()
}

async fn raw(client: &Client, path: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    let answer = client.raw(request.as_bytes(), std::time::Duration::from_secs(5)).await.expect("an answer");
    String::from_utf8_lossy(&answer).lines().next().unwrap_or_default().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn route_can_require_more_than_the_guard_without_an_alarm() {
    let world = world().await;
    let (us, eu) = (world.pki.us.clone(), world.pki.eu.clone());
    let mut policy = by_ca(&world);
    policy["regions"][eu.region.id] = world.region_policy(&eu);
    policy["regions"][eu.region.id].as_object_mut().expect("a region").remove("digicert");
    let [filter, route] =
        snippets("guide/rights", "Rights by route", "recipe").try_into().expect("two snippets");
    let mut doors = Doors::of(&world, "envoy/envoy.yaml");
    doors.add("ingress", &policy, |door| {
        door.filters().insert(2, first(&filter));
        door.routes().insert(0, first(&route));
        door.hcm()["normalize_path"] = true.into();
        door.hcm()["merge_slashes"] = true.into();
        door.hcm()["path_with_escaped_slashes_action"] = "REJECT_REQUEST".into();
    });
    let stage = doors.open(world).await;
    let client = |leaf| stage.client("ingress").identity(leaf).build();
    let paths = ["/admin", "/admin/x", "/admin?x", "//admin", "/x/../admin"];
    for (path, abroad) in
        paths.map(|path| (path, 403)).into_iter().chain([("/", 200), ("/administrator", 200)])
    {
        assert_eq!(client(&us.genesys).get(path).await.expect("an answer").status, 200, "{path}");
        assert!(raw(&client(&eu.genesys), path).await.contains(&format!(" {abroad} ")), "{path}");
        let stranger = client(&stage.world.pki.stranger).get(path).await.expect("an answer");
        assert_refused(path, &stranger, 403, "wrong_name");
    }
    let served = stage.world.upstream.count();
    for path in ["/x%2f..%2fadmin", "/%2Fadmin", "/x/..%5cadmin", "/x%2f%2e%2e/admin"] {
        let line = raw(&client(&eu.genesys), path).await;
        assert!(line.contains(" 400 "), "{path}: {line}");
    }
    assert_eq!(stage.world.upstream.count(), served);
    let stats = stage.envoy.stats().await.expect("statistics");
    assert_eq!(stats["http.ingress.rbac.genesys_guard_.denied"], 0);
    assert_eq!(stats["http.ingress.rbac.by_route_.denied"], 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn capability_list_is_the_shipped_one_and_is_sufficient() {
    const FIELD: &str = "capability_restriction_config";
    let mut shipped = config::load_yaml(&paths::workspace_root().join("envoy/xds/genesys_mtls.yaml"));
    let mut list = Value::Null;
    config::each_plugin(&mut shipped, |plugin| list = plugin[FIELD].clone());

    let world = world().await;
    let mut policy = world.policy();
    policy["identity"] = serde_json::json!({});
    let mut doors = Doors::of(&world, "envoy/envoy.yaml");
    doors.add("ingress", &policy, |door| door.plugin()[FIELD] = list.clone());
    let stage = doors.open(world).await;
    let ok = "wasmcustom.genesys_mtls.default.refreshes.ok.us-east-1";
    stage.envoy.wait_for_stat(ok, |n| n >= 1, PATIENCE).await.expect("a refresh succeeds");
    let client = stage.client("ingress").identity(&stage.world.pki.us.digicert).build();
    let response = client.get("/").await.expect("an answer");
    assert_eq!(echoed(&response.json(), "x-genesys-cloud-client").len(), 1);
    stage.assert_out("ingress", "a stranger", &stage.world.pki.stranger, "wrong_name").await;
}

/// Asks for everything that looks like the health check and is not, without a certificate. None of it may arrive.
async fn nothing_but_the_health_check(stage: &Stage, client: &Client, refused: u16) {
    for path in [
        "/",
        "/healthz/",
        "/healthz?x",
        "/Healthz",
        "//healthz",
        "/healthz/../x",
        "/x/../healthz",
        "/healthz%2f",
        "/healthz;x",
    ] {
        let line = raw(client, path).await;
        assert!(line.contains(&format!(" {refused} ")), "{path}: {line}");
    }
    for _ in 0..2 {
        let response = client.get("/healthz").await.expect("an answer");
        assert_eq!((response.status, response.body.len()), (200, 0));
        assert!(response.header("x-upstream").is_none(), "Envoy answers by itself");
    }
    assert_eq!(stage.world.upstream.count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn health_checks_need_no_certificate_and_open_no_other_path() {
    let world = world().await;
    let [filter, listener] =
        snippets("guide/readiness", "Health checks", "recipe").try_into().expect("two snippets");
    let mut doors = Doors::of(&world, "envoy/envoy.yaml");
    doors.add("ingress", &by_ca(&world), |door| door.filters().insert(0, first(&filter)));
    let mut own = first(&listener);
    own["address"]["socket_address"] = serde_json::json!({"address": "127.0.0.1", "port_value": 0});
    doors.push(own);
    let stage = doors.open(world).await;
    nothing_but_the_health_check(&stage, &stage.client("ingress").build(), 403).await;
    nothing_but_the_health_check(&stage, &Client::plain(stage.addr("health")).build(), 404).await;
    // The filter's verdict does not depend on the path: the exemption ends with the answer.
    let stranger = stage.client("ingress").identity(&stage.world.pki.stranger).build();
    assert_eq!(stranger.get("/healthz").await.expect("an answer").status, 200);
    assert_eq!(stage.world.upstream.count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn prometheus_gets_only_its_one_path_of_the_admin_interface() {
    let world = world().await;
    let [listener, cluster] = snippets("guide/monitoring", "Metrics without the admin interface", "recipe")
        .try_into()
        .expect("two snippets");
    let mut doors = Doors::of(&world, "envoy/envoy.yaml");
    let mut listener = first(&listener);
    listener["address"]["socket_address"] = serde_json::json!({"address": "127.0.0.1", "port_value": 0});
    doors.push(listener);
    let bootstrap = doors.bootstrap();
    bootstrap["static_resources"]["clusters"].as_array_mut().expect("clusters").push(first(&cluster));
    // In place of the admin interface, whose port is not known beforehand.
    config::set_endpoint(bootstrap, "admin", world.upstream.addr());
    let stage = doors.open(world).await;
    let client = Client::plain(stage.addr("metrics")).build();
    assert_eq!(client.get("/stats/prometheus").await.expect("an answer").status, 200);
    for path in [
        "/",
        "/stats",
        "/stats/",
        "/stats/prometheus/",
        "/stats/prometheus/../../quitquitquit",
        "/config_dump",
        "/quitquitquit",
    ] {
        assert!(raw(&client, path).await.contains(" 404 "), "{path}");
    }
    let post = http::Request::post("/stats/prometheus").body(Vec::new()).expect("a request");
    assert_eq!(client.send(post).await.expect("an answer").status, 404);
    assert_eq!(stage.world.upstream.count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn second_credential_is_demanded_behind_the_guard() {
    let world = world().await;
    let [filter] =
        snippets("start/second-credential", "A second credential", "recipe").try_into().expect("one snippet");
    let mut doors = Doors::of(&world, "envoy/envoy.yaml");
    doors.add("ingress", &by_ca(&world), |door| door.filters().insert(2, first(&filter)));
    let stage = doors.open(world).await;
    let client = stage.client("ingress").identity(&stage.world.pki.us.genesys).build();
    for (key, status) in [(None, 403), (Some("wrong"), 403), (Some("replace-with-your-random-value"), 200)] {
        let request = http::Request::get("/");
        let request = key.into_iter().fold(request, |request, key| request.header("x-api-key", key));
        let answer = client.send(request.body(Vec::new()).expect("a request")).await.expect("an answer");
        assert_eq!(answer.status, status, "{key:?}");
    }
    stage.assert_out("ingress", "a stranger", &stage.world.pki.stranger, "wrong_name").await;
    let stats = stage.envoy.stats().await.expect("statistics");
    assert_eq!(stats["http.ingress.rbac.second_credential_.denied"], 2);
    assert_eq!(stats["http.ingress.rbac.genesys_guard_.denied"], 0, "no alarm");
}

#[tokio::test(flavor = "multi_thread")]
async fn revocation_of_the_guide_fetches_its_list() {
    let world = world().await;
    let [cluster] = snippets("guide/revocation", "Revocation", "recipe").try_into().expect("one snippet");
    let [revocation] = snippets("guide/revocation", "Revocation", "policy").try_into().expect("one snippet");
    world.genesys.set_crl("/us-east-1.crl", 200, world.pki.us.root.crl().der());
    let mut cluster = first(&cluster);
    let crl = world.genesys.crl_addr();
    cluster["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]["address"]["socket_address"] =
        serde_json::json!({"address": crl.ip().to_string(), "port_value": crl.port()});
    let mut policy = by_ca(&world);
    policy["revocation"] = revocation["revocation"].clone();
    let mut doors = Doors::of(&world, "envoy/envoy.yaml");
    doors.add("ingress", &policy, |_| {});
    doors.clusters().push(cluster);
    let stage = doors.open(world).await;
    let ok = "wasmcustom.genesys_mtls.default.crl_fetches.ok.genesys.us-east-1";
    stage.envoy.wait_for_stat(ok, |n| n >= 1, PATIENCE).await.expect("the list is fetched");
}

#[tokio::test(flavor = "multi_thread")]
async fn token_that_envoy_adds_and_own_vm_serve_a_refresh() {
    let world = world().await;
    let [cluster, secret] =
        snippets("guide/vm", "The token from Envoy", "recipe").try_into().expect("two snippets");
    let [vm] = snippets("guide/vm", "A VM for this filter alone", "recipe").try_into().expect("one snippet");
    let here = world.dir().to_str().expect("UTF-8");
    let secret = secret.to_string().replace("<access token>", &injected::token(&world).await);
    world.write("genesys-token.yaml", secret).expect("the token's file");
    let options: Value =
        serde_json::from_str(&cluster.to_string().replace("/etc/envoy", here)).expect("JSON");
    let mut doors = Doors::of(&world, "envoy/envoy.yaml");
    doors.add("ingress", &injected::policy(&world), |door| {
        door.plugin()["vm_config"]["vm_id"] = vm["vm_config"]["vm_id"].clone();
    });
    doors.bootstrap()["node"] = serde_json::json!({"id": "test", "cluster": "test"});
    let api = doors.clusters().iter_mut().find(|cluster| cluster["name"] == "genesys_api");
    let api = api.expect("the API's cluster").as_object_mut().expect("an object");
    api.extend(options.as_object().expect("an object").clone());
    let stage = doors.open(world).await;
    let ok = "wasmcustom.genesys_mtls.default.refreshes.ok.us-east-1";
    stage.envoy.wait_for_stat(ok, |n| n >= 1, PATIENCE).await.expect("a refresh succeeds");
}
