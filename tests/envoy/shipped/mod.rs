//! Envoy accepts every shipped file under `envoy/` as it is, and each allows Genesys Cloud and denies all others.

mod http3;
mod scope;
mod xds;

use crate::{
    setup::{PATIENCE, assert_refused, world},
    stage::assert_guarded,
};
use http::Request;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};
use testbed::{
    Upstream, World,
    client::Response,
    config,
    envoy::{Envoy, EnvoyBuilder},
    pki::Leaf,
    shipped::{BOOTSTRAPS, PARTS, bootstrap, directory, installed},
};

/// Manifests and files for other programs have tests of their own.
const ELSEWHERE: [&str; 4] = ["docker-compose.yaml", "chart/", "examples/", "observability/"];

fn yaml_files(directory: &Path, found: &mut BTreeSet<PathBuf>) {
    for entry in fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            yaml_files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "yaml") {
            found.insert(path);
        }
    }
}

#[test]
fn no_shipped_file_is_left_out() {
    let mut found = BTreeSet::new();
    yaml_files(&directory(), &mut found);
    let names =
        found.iter().map(|path| path.strip_prefix(directory()).expect("below").to_str().expect("UTF-8"));
    let found: BTreeSet<&str> =
        names.filter(|name| !ELSEWHERE.iter().any(|elsewhere| name.starts_with(elsewhere))).collect();
    assert_eq!(found, BOOTSTRAPS.into_iter().chain(PARTS).collect());
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_accepts_each_file_as_it_is_shipped() {
    let world = world().await;
    for name in PARTS {
        let file = name.rsplit('/').next().expect("a name");
        world.write(file, installed(&world, name)).expect("a file");
    }
    for name in BOOTSTRAPS {
        let file = world.write("validated.yaml", installed(&world, name)).expect("a file");
        let binary = testbed::envoy::binary().expect("an Envoy");
        let output = Command::new(binary).args(["--mode", "validate", "--config-path"]).arg(file).output();
        let output = output.expect("Envoy runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{name}: {said}");
        assert!(!said.contains("[critical]") && !said.contains("deprecated"), "{name}: {said}");
    }
}

/// A running Envoy with a shipped file.
struct Site {
    world: World,
    others: Upstream,
    envoy: Envoy,
}

impl Site {
    async fn open(name: &str) -> Self {
        Self::with(name, |_, _| {}, |envoy, _| envoy).await
    }

    async fn with(
        name: &str,
        change: impl FnOnce(&mut Value, &World),
        start: impl FnOnce(EnvoyBuilder, &World) -> EnvoyBuilder,
    ) -> Self {
        let world = world().await;
        let others = Upstream::start().await.expect("another service");
        let mut bootstrap = bootstrap(&world, name);
        if config::clusters(&bootstrap).iter().any(|(cluster, _)| cluster == "others") {
            config::set_endpoint(&mut bootstrap, "others", others.addr());
        }
        change(&mut bootstrap, &world);
        let envoy = start(world.envoy(bootstrap), &world).start().await;
        let envoy = envoy.unwrap_or_else(|error| panic!("{name}: {error}"));
        Self { world, others, envoy }
    }

    /// A request to a listener: by this server name, for this host, with or without a certificate.
    async fn ask(&self, listener: &str, sni: &str, host: &str, leaf: Option<&Leaf>) -> Response {
        let client = self.world.client(self.envoy.listener_addr(listener)).sni(sni).host_header(host);
        let client = leaf.map_or(client.clone(), |leaf| client.identity(leaf)).build();
        client.get("/").await.unwrap_or_else(|error| panic!("{listener}, {host} by {sni}: {error}"))
    }

    async fn at_front_door(&self, leaf: Option<&Leaf>) -> Response {
        self.ask("ingress", "service.example", "service.example", leaf).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pinned_certificate_is_allowed_and_others_learn_why_not() {
    for name in
        ["filter-state.yaml", "http3.yaml", "scope/host.yaml", "scope/listener.yaml", "scope/port.yaml"]
    {
        let site = Site::open(name).await;
        let pki = &site.world.pki;
        let response = site.at_front_door(Some(&pki.us.digicert)).await;
        assert_eq!(response.status, 200, "{name}: {}", response.text());
        for (leaf, reason) in [
            (Some(&pki.digicert_lookalike), "not_pinned"),
            (Some(&pki.stranger), "wrong_name"),
            (Some(&pki.eu.digicert), "wrong_region"),
            (None, "no_client_certificate"),
        ] {
            assert_refused(name, &site.at_front_door(leaf).await, 403, reason);
        }
        assert_eq!(site.world.upstream.count(), 1, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_guard_of_each_file_refuses_where_the_filter_is_missing() {
    for name in BOOTSTRAPS.into_iter().filter(|name| !name.starts_with("xds/")) {
        let without_filter = |bootstrap: &mut Value, _: &World| {
            config::walk(bootstrap, &mut |map| {
                if let Some(filters) = map.get_mut("http_filters").and_then(Value::as_array_mut) {
                    filters.retain(|filter| filter["name"] != "envoy.filters.http.wasm");
                }
            });
        };
        let site = Site::with(name, without_filter, |envoy, _| envoy).await;
        assert_guarded(name, &site.at_front_door(Some(&site.world.pki.us.digicert)).await);
        assert_eq!(site.world.upstream.count(), 0, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn region_is_asked_with_its_secret_and_vouches_for_itself() {
    let site = Site::with(
        "regions.yaml",
        |_, _| {},
        |mut envoy, world| {
            for (prefix, region) in [("US", &world.pki.us), ("EU", &world.pki.eu)] {
                let credentials = world.genesys.credentials(region.region.id);
                envoy = envoy
                    .env(&format!("{prefix}_CLIENT_ID"), &credentials.client_id)
                    .env(&format!("{prefix}_CLIENT_SECRET"), &credentials.client_secret);
            }
            envoy
        },
    )
    .await;
    let pki = &site.world.pki;
    for region in [&pki.us, &pki.eu] {
        let stat = format!("wasmcustom.genesys_mtls.default.refreshes.ok.{}", region.region.id);
        site.envoy.wait_for_stat(&stat, |n| n == 1, PATIENCE).await.expect("a refresh succeeds");
        let response = site.at_front_door(Some(&region.digicert)).await;
        assert_eq!(response.status, 200, "{}: {}", region.region.id, response.text());
        assert_eq!(site.world.genesys.count(Some(region.region.id), testbed::genesys::Endpoint::Token), 1);
    }
    assert_refused("us", &site.at_front_door(Some(&pki.digicert_lookalike)).await, 403, "not_pinned");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_trusted_proxy_is_believed() {
    let site = Site::open("behind-proxy.yaml").await;
    let pki = &site.world.pki;
    let called = |name: &str| pki.digicert_ca.leaf().key_name("hop").dns(name).issue();
    let speak = async |hop: &Leaf, about: &Leaf| {
        let client = site.world.client(site.envoy.listener_addr("ingress")).identity(hop).build();
        let pem = utf8_percent_encode(&about.cert_pem, NON_ALPHANUMERIC);
        let request = Request::get("/").header("x-forwarded-client-cert", format!("Cert=\"{pem}\""));
        client.send(request.body(Vec::new()).expect("a request")).await.expect("an answer")
    };
    let proxy = called("edge.example");
    assert_eq!(speak(&proxy, &pki.us.digicert).await.status, 200);
    assert_refused("a stranger", &speak(&proxy, &pki.stranger).await, 403, "wrong_name");
    let other = speak(&called("edge.example.org"), &pki.us.digicert).await;
    assert_refused("another client of the proxy's CA", &other, 403, "certificate_unavailable");
    let direct = site.at_front_door(Some(&pki.us.digicert)).await;
    assert_refused("Genesys Cloud, past the proxy", &direct, 403, "certificate_unavailable");
    let client = site.world.client(site.envoy.listener_addr("ingress"));
    let foreign = pki.stranger_ca.leaf().dns("edge.example").issue();
    assert!(client.clone().identity(&foreign).build().get("/").await.is_err(), "its name by another CA");
    assert!(client.build().get("/").await.is_err(), "no certificate");
    assert_eq!(site.world.upstream.count(), 1);
}

/// A cluster of one address.
fn cluster(name: &str, address: std::net::SocketAddr) -> Value {
    let address =
        json!({"socket_address": {"address": address.ip().to_string(), "port_value": address.port()}});
    json!({
        "name": name,
        "type": "STATIC",
        "load_assignment": {"cluster_name": name,
                            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}]},
    })
}
