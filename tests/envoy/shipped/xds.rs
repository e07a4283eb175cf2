//! The shipped files that Envoy watches work, and change the policy without a restart.

use crate::setup::{PATIENCE, assert_refused, world};
use serde_json::{Value, json};
use testbed::{
    World, config,
    shipped::{BOOTSTRAPS, PARTS, bootstrap, directory, part},
    volume::Volume,
};

fn replace(world: &World, file: &str, content: &Value) {
    world.write(file, content.to_string()).expect("a file");
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_envoy_watches_serve_and_change_without_a_restart() {
    let world = world().await;
    let bootstrap = bootstrap(&world, "xds/bootstrap.yaml");
    let mut filter = config::load_yaml(&world.path("genesys_mtls.yaml"));
    let envoy = world.envoy(bootstrap).concurrency(2).start().await.expect("Envoy starts");
    let ok = "wasmcustom.genesys_mtls.default.refreshes.ok.us-east-1";
    envoy.wait_for_stat(ok, |n| n >= 1, PATIENCE).await.expect("a refresh succeeds");
    let addr = envoy.listener_addr("ingress");
    let pki = &world.pki;
    let client = world.client(addr).identity(&pki.us.digicert).build();
    let mut connection = client.connect().await.expect("a handshake");
    assert_eq!(connection.get("/").await.expect("an answer").status, 200);
    let stranger = world.client(addr).identity(&pki.stranger).build();
    assert_refused("a stranger", &stranger.get("/").await.expect("an answer"), 403, "wrong_name");
    let nobody = world.client(addr).build();
    assert_refused("none", &nobody.get("/").await.expect("an answer"), 403, "no_client_certificate");

    // Another policy, for open connections too.
    config::each_plugin(&mut filter, |plugin| {
        let regions = json!({"eu-central-1": {"digicert": {"pins": [pki.eu.digicert.pin()]}}});
        plugin["configuration"]["value"]["regions"] = regions;
    });
    replace(&world, "genesys_mtls.yaml", &filter);
    let reloads = "extension_config_discovery.http_filter.genesys_mtls.config_reload";
    envoy
        .wait_for_stats(
            "the second policy",
            |stats| stats.iter().find(|(name, n)| name.ends_with(reloads) && **n >= 2).map(drop),
            PATIENCE,
        )
        .await
        .expect("Envoy reads the file");
    let response = connection.get("/").await.expect("an answer");
    assert_refused("an open connection", &response, 403, "wrong_region");
    let client = world.client(addr).identity(&pki.eu.digicert).build();
    assert_eq!(client.get("/").await.expect("an answer").status, 200);

    // Another server certificate, for new connections.
    let server = pki.server(&["renewed.example"]);
    let (chain, key) =
        (world.write("renewed.crt", &server.chain_pem), world.write("renewed.key", &server.key_pem));
    let mut secret = part(&world, "server-certificate.yaml");
    secret["resources"][0]["tls_certificate"] = json!({
        "certificate_chain": {"filename": chain.expect("a file")}, "private_key": {"filename": key.expect("a file")},
    });
    replace(&world, "server-certificate.yaml", &secret);
    let client = world.client(addr).verify_name("renewed.example").identity(&pki.eu.digicert).build();
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while client.connect().await.is_err() {
        assert!(tokio::time::Instant::now() < deadline, "the certificate is not renewed");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn kubernetes_volume_changes_policy_and_certificate() {
    const FILES: [&str; 8] = [
        "lds.yaml",
        "cds.yaml",
        "genesys_mtls.yaml",
        "server-certificate.yaml",
        "client-cas.yaml",
        "server.crt",
        "server.key",
        "client-ca.crt",
    ];
    let world = world().await;
    let bootstrap = bootstrap(&world, "xds/bootstrap.yaml");
    let (outside, inside) = (world.dir().to_str().expect("UTF-8").to_owned(), world.path("volume"));
    let inside_text = inside.to_str().expect("UTF-8");
    let moved = |text: String| {
        let directory = ["", "/"].map(|end| format!("\"{outside}{end}\""));
        let text = directory.iter().fold(text, |text, dir| text.replace(dir, &format!("\"{inside_text}\"")));
        FILES.iter().fold(text, |text, file| {
            text.replace(&format!("{outside}/{file}"), &format!("{inside_text}/{file}"))
        })
    };
    let read = |file: &str| moved(std::fs::read_to_string(world.path(file)).expect("a file"));
    let mut files = FILES.map(|file| (file, read(file)));
    let mut volume = Volume::new(&inside, &files).expect("a volume");
    let bootstrap = config::parse_yaml(&moved(bootstrap.to_string())).expect("JSON");
    let envoy = world.envoy(bootstrap).start().await.expect("Envoy starts");
    let addr = envoy.listener_addr("ingress");
    let pki = &world.pki;
    let get = async |leaf, name: &str| {
        let client = world.client(addr).verify_name(name).identity(leaf).build();
        client.get("/").await.map(|response| response.status).ok()
    };
    let ok = "wasmcustom.genesys_mtls.default.refreshes.ok.us-east-1";
    envoy.wait_for_stat(ok, |n| n >= 1, PATIENCE).await.expect("a refresh succeeds");
    assert_eq!(get(&pki.us.digicert, "service.example").await, Some(200));

    let server = pki.server(&["renewed.example"]);
    for (file, content) in &mut files {
        match *file {
            "genesys_mtls.yaml" => {
                let mut filter = config::parse_yaml(content).expect("YAML");
                config::each_plugin(&mut filter, |plugin| {
                    let regions = json!({"eu-central-1": {"digicert": {"pins": [pki.eu.digicert.pin()]}}});
                    plugin["configuration"]["value"]["regions"] = regions;
                });
                *content = filter.to_string();
            }
            "server.crt" => content.clone_from(&server.chain_pem),
            "server.key" => content.clone_from(&server.key_pem),
            _ => {}
        }
    }
    volume.publish(&files).expect("a new version");
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while get(&pki.eu.digicert, "renewed.example").await != Some(200) {
        assert!(tokio::time::Instant::now() < deadline, "the volume is not watched");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert_eq!(get(&pki.us.digicert, "renewed.example").await, Some(403));
}

/// Envoy notices no change of a file that is a link, as the files of a ConfigMap are, unless it watches their directory; nor does it
/// try IPv4 where a host has an IPv6 address that cannot be reached, unless it prefers that.
#[test]
fn file_sources_watch_directories_and_clusters_prefer_ipv4() {
    let (mut sources, mut clusters) = (0, 0);
    let recipe = crate::recipes::snippets("guide/vm", "The token from Envoy", "recipe");
    let files = BOOTSTRAPS.iter().chain(&PARTS).map(|file| config::load_yaml(&directory().join(file)));
    for mut file in files.chain(recipe) {
        let is_shipped = file.is_object();
        config::walk(&mut file, &mut |map| {
            if let Some(source) = map.get("path_config_source") {
                let directory =
                    source["path"].as_str().and_then(|path| path.rsplit_once('/')).expect("a path").0;
                assert_eq!(source["watched_directory"]["path"], directory, "{source}");
                sources += 1;
            }
            let secret = ["tls_certificate", "validation_context"].map(|kind| map.get(kind));
            if map.get("@type").is_some_and(|kind| kind.as_str().unwrap_or_default().ends_with(".Secret")) {
                for secret in secret.into_iter().flatten() {
                    assert_eq!(secret["watched_directory"]["path"], "/etc/envoy/certs", "{secret}");
                    sources += 1;
                }
            }
            if is_shipped
                && map.get("type").is_some_and(|kind| kind.as_str().is_some_and(|k| k.ends_with("_DNS")))
            {
                assert_eq!(map["dns_lookup_family"], "V4_PREFERRED", "{}", map["name"]);
                clusters += 1;
            }
        });
    }
    assert_eq!((sources, clusters), (8, 24));
}

#[test]
fn the_watched_files_say_what_the_profile_says() {
    let load = |file: &str| config::load_yaml(&directory().join(file));
    let (profile, clusters) = (load("envoy.yaml"), load("xds/cds.yaml"));
    let mut expected = profile["static_resources"]["clusters"].clone();
    for cluster in expected.as_array_mut().expect("clusters") {
        cluster["@type"] = "type.googleapis.com/envoy.config.cluster.v3.Cluster".into();
    }
    assert_eq!(clusters["resources"], expected);
    let guard = |config: &Value| {
        let manager = config.pointer("/filter_chains/0/filters/0/typed_config").expect("a manager").clone();
        assert_eq!(manager["stream_idle_timeout"], "60s");
        assert!(manager["early_header_mutation_extensions"].is_array());
        manager["http_filters"][1].clone()
    };
    assert_eq!(
        guard(&load("xds/lds.yaml")["resources"][0]),
        guard(&profile["static_resources"]["listeners"][0])
    );
}
