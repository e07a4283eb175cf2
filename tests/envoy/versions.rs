//! What differs between the supported versions of Envoy, measured and compared with `docs/src/reference/versions.md`.

use crate::setup::{PATIENCE, policy_of, with_region_clusters, world};
use serde_json::{Value, json};
use std::{env, fs, net::SocketAddr};
use testbed::{World, config, envoy::Envoy, paths};

const TABLE: &str = "docs/src/reference/versions.md";

/// Listeners that are the shipped one with a change each.
struct Doors {
    bootstrap: Value,
    template: Value,
}

impl Doors {
    fn of(world: &World) -> Self {
        let mut bootstrap = with_region_clusters(world.bootstrap("envoy/envoy.yaml"));
        let template = listeners(&mut bootstrap).remove(0);
        Self { bootstrap, template }
    }

    fn add(&mut self, name: &str, policy: &Value, change: impl FnOnce(&mut Value)) {
        let mut listener = self.template.clone();
        listener["name"] = name.into();
        let mut policy = policy.clone();
        policy["name"] = name.into();
        config::set_plugin_configuration(&mut listener, &policy);
        config::each_type(&mut listener, "RBAC", |guard| {
            let mut rules = guard["rules"].take();
            config::walk(&mut rules, &mut |map| {
                if let Some(state) = map.get_mut("filter_state") {
                    state["key"] = format!("wasm.genesys_mtls.{name}").into();
                }
            });
            guard["rules"] = rules;
        });
        change(&mut listener);
        listeners(&mut self.bootstrap).push(listener);
    }
}

fn listeners(bootstrap: &mut Value) -> &mut Vec<Value> {
    bootstrap["static_resources"]["listeners"].as_array_mut().expect("static listeners")
}

/// An Envoy below 1.39 without the documented change: only the attribute shows the certificate.
fn hide_certificate(listener: &mut Value) {
    config::each_type(listener, "HttpConnectionManager", |manager| {
        manager.insert("forward_client_cert_details".into(), "SANITIZE".into());
        manager.remove("set_current_client_cert_details");
    });
}

fn keep_certificate_in_filter_state(listener: &mut Value) {
    let filter = json!({
        "name": "envoy.filters.http.set_filter_state",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.set_filter_state.v3.Config",
            "on_request_headers": [{
                "object_key": "genesys_mtls.peer_certificate",
                "factory_key": "envoy.string",
                "format_string": {"text_format_source": {"inline_string": "%DOWNSTREAM_PEER_CERT%"}},
            }],
        },
    });
    config::each_type(listener, "HttpConnectionManager", |manager| {
        manager["http_filters"].as_array_mut().expect("filters").insert(0, filter.clone());
    });
}

async fn is_let_in(world: &World, addr: SocketAddr) -> bool {
    let client = world.client(addr).identity(&world.pki.us.genesys).build();
    let response = client.get("/").await.expect("an answer");
    let unseen = response.text().contains("certificate_unavailable");
    assert!(response.status == 200 || unseen, "{} {}", response.status, response.text());
    response.status == 200
}

/// Where the certificate can be read.
async fn sources() -> Vec<&'static str> {
    let world = world().await;
    let mut doors = Doors::of(&world);
    let policy = json!({"regions": {"us-east-1": {"genesys": {"ca_certificates": world.pki.us.root.pem}}}});
    doors.add("attribute", &policy, hide_certificate);
    doors.add("filter_state", &policy, |listener| {
        hide_certificate(listener);
        keep_certificate_in_filter_state(listener);
    });
    doors.add("xfcc", &policy, |listener| {
        config::show_certificate_in_xfcc(listener);
    });
    let envoy = world.envoy(doors.bootstrap).start().await.expect("Envoy starts");
    let mut working = Vec::new();
    for source in ["attribute", "filter_state", "xfcc"] {
        if is_let_in(&world, envoy.listener_addr(source)).await {
            working.push(source);
        }
    }
    working
}

/// Whether the second of two plugins of one module gets its own environment; `vm_ids` gives each its own VM.
async fn second_plugin_has_its_own_environment(vm_ids: bool) -> bool {
    let world = world().await;
    let mut doors = Doors::of(&world);
    for region in [&world.pki.us, &world.pki.eu] {
        let name = region.region.id.replace('-', "_");
        let credentials = world.genesys.credentials(region.region.id);
        doors.add(&name, &policy_of(&world, &[region]), |listener| {
            // The same names, other values.
            config::set_plugin_env(
                listener,
                &[
                    ("GENESYS_CLIENT_ID", &credentials.client_id),
                    ("GENESYS_CLIENT_SECRET", &credentials.client_secret),
                ],
            );
            if vm_ids {
                config::each_plugin(listener, |plugin| plugin["vm_config"]["vm_id"] = name.clone().into());
            }
        });
    }
    let envoy = Envoy::builder(doors.bootstrap).start().await.expect("Envoy starts");
    let own = "wasmcustom.genesys_mtls.eu_central_1.refreshes.ok.eu-central-1";
    let refused = "wasmcustom.genesys_mtls.eu_central_1.refreshes.";
    envoy
        .wait_for_stats(
            "a first refresh of the second plugin",
            |stats| {
                if stats.get(own).is_some_and(|n| *n > 0) {
                    return Some(true);
                }
                stats.iter().any(|(name, n)| name.starts_with(refused) && *n > 0).then_some(false)
            },
            PATIENCE,
        )
        .await
        .expect("an outcome")
}

/// The version's row in the table.
fn documented(version: &str) -> Option<String> {
    let table = fs::read_to_string(paths::workspace_root().join(TABLE)).ok()?;
    let row = table.lines().find(|line| line.starts_with(&format!("| {version} |")))?;
    row.split(" | ").skip(1).map(str::to_owned).reduce(|row, cell| format!("{row} | {cell}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_version_offers_what_its_row_in_the_table_says() {
    let sources = sources().await;
    let shared = !second_plugin_has_its_own_environment(false).await;
    assert!(second_plugin_has_its_own_environment(true).await, "a separate VM has its own environment");
    let environment = if shared { "the first's, unless `vm_id` differs" } else { "its own" };
    let measured = format!("{} | {environment} |", sources.join(", "));
    assert!(sources.contains(&"filter_state") && sources.contains(&"xfcc"), "{measured}");

    let version = testbed::envoy::full_version();
    // `make test-matrix` writes the table from what is left here.
    if let Some(file) = env::var_os("ENVOY_VERSION_ROW") {
        fs::write(file, measured).expect("the row's file");
    } else if let Some(row) = documented(&version) {
        assert_eq!(row, measured, "Envoy {version}: correct {TABLE}");
    }
}
