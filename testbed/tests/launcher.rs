//! The testbed's launcher, client and upstream work with a real Envoy.

use std::{net::SocketAddr, time::Duration};

use http::{HeaderValue, Request};
use serde_json::{Value, json};
use testbed::{
    Client, Envoy, World,
    client::{AlertDescription, Error, SERVICE_HOST, TlsVersions},
    config,
    genesys::{Fault, ServerIdentity},
    upstream::echoed,
};

const SOON: Duration = Duration::from_secs(10);
const API: &str = "api.mypurecloud.com";
const HCM: &str =
    "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";
const DOWNSTREAM: &str = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext";
const ROUTER: &str = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router";
const LUA: &str = "type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua";

/// `/direct` is answered by Envoy, all else by the upstream; a Lua filter marks the answer.
fn bootstrap(strict: bool) -> Value {
    let mut validation = json!({"trusted_ca": {"filename": "/nowhere/ca.crt"}});
    if !strict {
        validation["trust_chain_verification"] = "ACCEPT_UNTRUSTED".into();
    }
    json!({
        "static_resources": {
            "listeners": [{
                "name": "ingress",
                "address": {"socket_address": {"address": "0.0.0.0", "port_value": 8443}},
                "filter_chains": [{
                    "transport_socket": {"name": "envoy.transport_sockets.tls", "typed_config": {
                        "@type": DOWNSTREAM,
                        "require_client_certificate": strict,
                        "common_tls_context": {
                            "alpn_protocols": ["h2", "http/1.1"],
                            "tls_certificates": [{
                                "certificate_chain": {"filename": "/nowhere/a.crt"},
                                "private_key": {"filename": "/nowhere/a.key"},
                            }],
                            "validation_context": validation,
                        },
                    }},
                    "filters": [{"name": "hcm", "typed_config": {
                        "@type": HCM,
                        "stat_prefix": "ingress",
                        "http_filters": [
                            {"name": "mark", "typed_config": {"@type": LUA, "default_source_code": {"inline_string": mark("one")}}},
                            {"name": "router", "typed_config": {"@type": ROUTER}},
                        ],
                        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [
                            {"match": {"path": "/direct"}, "direct_response": {"status": 200, "body": {"inline_string": "direct"}}},
                            {"match": {"prefix": "/"}, "route": {"cluster": "service"}},
                        ]}]},
                    }}],
                }],
            }],
            "clusters": [{
                "name": "service",
                "type": "STRICT_DNS",
                "dns_lookup_family": "V4_ONLY",
                "load_assignment": {"cluster_name": "service", "endpoints": [{"lb_endpoints": [
                    {"endpoint": {"address": {"socket_address": {"address": "service", "port_value": 80}}}},
                ]}]},
            }],
        },
    })
}

fn mark(text: &str) -> String {
    format!("function envoy_on_response(h) h:headers():add('x-mark', '{text}') end")
}

struct Scene {
    world: World,
    envoy: Envoy,
    ingress: SocketAddr,
}

impl Scene {
    async fn start(strict: bool) -> Self {
        Self::with(strict, |_, _| ()).await
    }

    async fn with(strict: bool, change: impl FnOnce(&World, &mut Value)) -> Self {
        let world = World::start().await.unwrap();
        let mut bootstrap = bootstrap(strict);
        world.localize(&mut bootstrap);
        change(&world, &mut bootstrap);
        let envoy = world.envoy(bootstrap).start().await.unwrap();
        let ingress = envoy.listener_addr("ingress");
        Self { world, envoy, ingress }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn mutual_tls_to_the_upstream() {
    let Scene { world, envoy, ingress } = Scene::start(false).await;
    let client = world.client(ingress).identity(&world.pki.us.genesys).build();
    assert_eq!(client.get("/direct").await.unwrap().text(), "direct");

    let odd = HeaderValue::from_bytes(b"caf\xe9").unwrap();
    let request =
        Request::post("/echo?x=1").header("x-twice", "a").header("x-twice", "b").header("x-odd", odd);
    let answer = client.send(request.body(b"body".to_vec()).unwrap()).await.unwrap();
    let json = answer.json();
    assert_eq!((json["method"].as_str(), json["path"].as_str()), (Some("POST"), Some("/echo?x=1")));
    assert_eq!((json["authority"].as_str(), json["body"].as_str()), (Some(SERVICE_HOST), Some("body")));
    assert_eq!(echoed(&json, "x-twice").join(","), "a,b");
    assert_eq!(echoed(&json, "x-odd"), ["caf\u{fffd}"]);
    assert_eq!(answer.header("x-mark"), Some("one"));
    assert_eq!(world.upstream.count(), 1);
    assert_eq!(world.upstream.last(), Some(json));

    // Other SNI than Host, and no certificate: this listener requires none.
    let fronting = world.client(ingress).sni("other.example").host_header("wanted.example").build();
    assert_eq!(fronting.get("/").await.unwrap().json()["authority"], "wanted.example");
    assert_eq!(world.client(ingress).no_sni().build().get("/direct").await.unwrap().status, 200);

    let served = envoy.wait_for_stat("http.ingress.downstream_rq_2xx", |n| n >= 4, SOON).await.unwrap();
    assert_eq!(served, 4);
    assert_eq!(envoy.stat("no.such.stat").await.unwrap(), 0);
    assert!(envoy.prometheus().await.unwrap().contains("envoy_http_downstream_rq_xx"));
    assert!(envoy.config_dump().await.unwrap()["configs"].is_array());
    envoy.quit().await.unwrap();
    assert!(matches!(client.get("/").await, Err(Error::Connect(_))));
}

#[tokio::test(flavor = "multi_thread")]
async fn http2_and_requests_side_by_side() {
    let Scene { world, envoy: _envoy, ingress } = Scene::start(false).await;
    let client = world.client(ingress).identity(&world.pki.us.digicert).http2().build();
    let mut connection = client.connect().await.unwrap();
    assert_eq!(connection.tls().unwrap().alpn.as_deref(), Some("h2"));
    let request = |path: &str| Request::get(path).body(Vec::new()).unwrap();
    let first = connection.start(request("/1")).await.unwrap();
    let second = connection.start(request("/2")).await.unwrap();
    let (second, first) = (second.await.unwrap(), first.await.unwrap());
    assert_eq!((first.json()["path"].as_str(), second.json()["path"].as_str()), (Some("/1"), Some("/2")));
    assert_eq!(second.nth_on_connection, 2);
    assert_eq!(connection.get("/direct").await.unwrap().text(), "direct");
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_in_the_handshake_show_their_alert() {
    let Scene { world, envoy: _envoy, ingress } = Scene::start(true).await;
    for versions in [TlsVersions::Tls12, TlsVersions::Tls13] {
        for http2 in [false, true] {
            let client = |leaf: Option<&testbed::pki::Leaf>| {
                let builder = world.client(ingress).versions(versions);
                let builder = if http2 { builder.http2() } else { builder };
                leaf.map_or(builder.clone(), |leaf| builder.identity(leaf)).build()
            };
            for leaf in [&world.pki.us.genesys, &world.pki.us.digicert, &world.pki.email] {
                assert_eq!(client(Some(leaf)).get("/").await.unwrap().status, 200);
            }
            for leaf in [&world.pki.stranger, &world.pki.impostor_leaf, &world.pki.us.genesys_expired] {
                let error = client(Some(leaf)).get("/").await.unwrap_err();
                assert!(error.alert().is_some(), "{versions:?} {http2} {error:?}");
            }
            let error = client(None).get("/").await.unwrap_err();
            let missing = [AlertDescription::CertificateRequired, AlertDescription::HandshakeFailure];
            assert!(error.alert().is_some_and(|a| missing.contains(&a)), "{error:?}");
        }
    }
    let strangers = world.client(ingress).identity(&world.pki.stranger).build();
    let raw = strangers.raw(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n", SOON).await;
    assert!(raw.unwrap_err().alert().is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_resume_if_requested() {
    let Scene { world, envoy: _envoy, ingress } = Scene::start(false).await;
    for versions in [TlsVersions::Tls12, TlsVersions::Tls13] {
        let builder = world.client(ingress).identity(&world.pki.us.genesys).versions(versions);
        let (resuming, fresh) = (builder.clone().resumption().build(), builder.build());
        for (client, expected) in [(resuming, true), (fresh, false)] {
            assert_eq!(client.get("/").await.unwrap().status, 200);
            let mut second = client.connect().await.unwrap();
            assert_eq!(second.tls().unwrap().resumed, expected, "{versions:?}");
            assert_eq!(second.get("/").await.unwrap().status, 200);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn raw_bytes_and_closed_connections() {
    let Scene { world, envoy: _envoy, ingress } = Scene::start(false).await;
    let client = world.client(ingress).build();
    let answer =
        client.raw(b"GET /direct HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n", SOON).await.unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 200"));
    let bad = client.raw(b"GET /direct HTTP/1.1\r\nhost: x\r\nx: a\0b\r\n\r\n", SOON).await.unwrap();
    assert!(bad.starts_with(b"HTTP/1.1 400"));
    let mut connection = client.connect().await.unwrap();
    let closing = Request::get("/direct").header("connection", "close").body(Vec::new()).unwrap();
    assert_eq!(connection.send(closing).await.unwrap().status, 200);
    assert!(connection.wait_closed(SOON).await);
    assert!(!connection.is_open());
    assert!(matches!(connection.get("/direct").await, Err(Error::Closed(_))));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_filter_serves_the_next_request_on_an_open_connection() {
    let mut typed = Value::Null;
    let Scene { world, envoy, ingress } = Scene::with(false, |world, bootstrap| {
        typed = config::filter_from_file(bootstrap, "mark", &world.path("filter.json")).unwrap();
    })
    .await;
    let mut connection = world.client(ingress).build().connect().await.unwrap();
    assert_eq!(connection.get("/").await.unwrap().header("x-mark"), Some("one"));
    typed["default_source_code"]["inline_string"] = mark("two").into();
    config::write_filter(&world.path("filter.json"), 2, "mark", &typed).unwrap();
    let reloads = "extension_config_discovery.http_filter.mark.config_reload";
    envoy.wait_for_stat(reloads, |n| n >= 2, SOON).await.unwrap();
    let answer = connection.get("/").await.unwrap();
    assert_eq!((answer.header("x-mark"), answer.nth_on_connection), (Some("two"), 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn listeners_from_a_file_can_be_exchanged() {
    let mut listeners = Vec::new();
    let Scene { world, mut envoy, .. } = Scene::with(false, |world, bootstrap| {
        listeners = config::listeners_from_file(bootstrap, &world.path("listeners.json")).unwrap();
    })
    .await;
    let mut more = listeners[0].clone();
    more["name"] = "second".into();
    listeners.push(more);
    config::write_listeners(&world.path("listeners.json"), 2, &listeners).unwrap();
    envoy.wait_for_stat("listener_manager.total_listeners_active", |n| n == 2, SOON).await.unwrap();
    envoy.refresh_listeners().await.unwrap();
    let second = world.client(envoy.listener_addr("second")).build();
    assert_eq!(second.get("/direct").await.unwrap().status, 200);
}

/// An Envoy that talks to the API as a callout would: chain and host name verified.
fn towards_the_api() -> Value {
    json!({
        "static_resources": {
            "listeners": [{
                "name": "plain",
                "address": {"socket_address": {"address": "127.0.0.1", "port_value": 80}},
                "filter_chains": [{"filters": [{"name": "hcm", "typed_config": {
                    "@type": HCM,
                    "stat_prefix": "plain",
                    "http_filters": [{"name": "router", "typed_config": {"@type": ROUTER}}],
                    "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [
                        {"match": {"prefix": "/"}, "route": {"cluster": "genesys_api", "host_rewrite_literal": API}},
                    ]}]},
                }}]}],
            }],
            "clusters": [{
                "name": "genesys_api",
                "type": "LOGICAL_DNS",
                "load_assignment": {"cluster_name": "genesys_api", "endpoints": [{"lb_endpoints": [
                    {"endpoint": {"address": {"socket_address": {"address": API, "port_value": 443}}}},
                ]}]},
                "transport_socket": {"name": "envoy.transport_sockets.tls", "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
                    "sni": API,
                    "auto_sni_san_validation": true,
                    "common_tls_context": {"validation_context": {"trusted_ca": {"filename": "/nowhere/ca.crt"}}},
                }},
            }],
        },
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_verifies_the_stand_in() {
    let world = World::start().await.unwrap();
    let mut bootstrap = towards_the_api();
    world.localize(&mut bootstrap);
    let envoy = world.envoy(bootstrap).start().await.unwrap();
    let client = Client::plain(envoy.listener_addr("plain")).build();
    let path = "/api/v2/integrations/actions/certificates";
    assert_eq!(client.get(path).await.unwrap().json()["code"], "authentication.required");
    assert_eq!(world.genesys.requests()[0].sni.as_deref(), Some(API));
    let impostors = [
        ServerIdentity::SelfSigned,
        ServerIdentity::UntrustedCa,
        ServerIdentity::WrongHost,
        ServerIdentity::Expired,
    ];
    for (count, identity) in (1..).zip(impostors) {
        world.genesys.set_tls(API, identity);
        assert_eq!(client.get(path).await.unwrap().status, 503, "{identity:?}");
        world.genesys.wait_failed_handshakes(count, SOON).await.unwrap();
    }
    assert_eq!(world.genesys.requests().len(), 1, "no impostor was asked anything");
    world.genesys.set_tls(API, ServerIdentity::Valid);
    for (fault, status) in [(Fault::Reset, 503), (Fault::Raw(b"?".to_vec()), 502), (Fault::Status(429), 429)]
    {
        world.genesys.script(None, None, [fault.clone()]);
        assert_eq!(client.get(path).await.unwrap().status, status, "{fault:?}");
    }
    world.genesys.script(None, None, [Fault::ResetMidBody]);
    assert!(matches!(client.get(path).await, Err(Error::Closed(_))));
    world.genesys.stop().await;
    assert_eq!(client.get(path).await.unwrap().status, 503);
    world.genesys.resume().await.unwrap();
    assert_eq!(client.get(path).await.unwrap().status, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn shipped_configurations_fit_and_their_guard_denies_alone() {
    for (file, strict) in [("envoy/envoy.yaml", false), ("envoy/strict.yaml", true)] {
        let world = World::start().await.unwrap();
        let mut bootstrap = config::load_yaml(&testbed::paths::workspace_root().join(file));
        config::walk(&mut bootstrap, &mut |map| {
            if let Some(filters) = map.get_mut("http_filters").and_then(Value::as_array_mut) {
                filters.retain(|f| f["name"] != "envoy.filters.http.wasm");
            }
        });
        world.localize(&mut bootstrap);
        let envoy = world.envoy(bootstrap).start().await.unwrap();
        let ingress = envoy.listener_addr("ingress");
        let genuine = world.client(ingress).identity(&world.pki.us.digicert).build().get("/").await;
        assert_eq!(genuine.unwrap().status, 403);
        let stranger = world.client(ingress).identity(&world.pki.stranger).build().get("/").await;
        assert_eq!(stranger.is_err_and(|e| e.alert().is_some()), strict);
        assert_eq!(world.upstream.count(), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_configuration_is_reported_with_the_log() {
    let error = Envoy::builder(json!({"static_resources": {"clusters": [{"nonsense": 1}]}})).start().await;
    let text = error.unwrap_err().to_string();
    assert!(text.contains("ended before it was ready") && text.contains("nonsense"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_envoy_ends_with_its_value() {
    let Scene { world, envoy, ingress } = Scene::start(false).await;
    assert!(envoy.admin_post("/logging?main=info").await.unwrap().contains("main: info"));
    let line = envoy.wait_for_log("active downstream connections", SOON).await.unwrap();
    assert!(line.contains("[warning]") && envoy.count_in_log(&line) == 1);
    let missing = envoy.wait_for_log("never said", Duration::from_millis(50)).await.unwrap_err();
    assert!(missing.to_string().contains("never said"));
    let dir = envoy.dir().to_path_buf();
    let pid = envoy.pid();
    drop(envoy);
    assert!(!dir.exists());
    assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
    let client = Client::tls(ingress, &world.pki.server_ca).build();
    assert!(matches!(client.get("/").await, Err(Error::Connect(_))));
}
