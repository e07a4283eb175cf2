//! No stranger gets around the filter: not with odd requests, by routes that answer by themselves, other names, or
//! half-configured listeners.

use crate::{
    setup::{assert_refused, world},
    stage::{Doors, Stage, assert_guarded, by_ca},
};
use http::Request;
use serde_json::{Value, json};
use std::{net::SocketAddr, time::Duration};
use testbed::{World, client::Response, config, pki::Leaf};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

/// How long a server is silent when it has said everything.
const QUIET: Duration = Duration::from_millis(300);

async fn raw(stage: &Stage, door: &str, leaf: Option<&Leaf>, request: &str) -> String {
    let client = stage.client(door);
    let client = leaf.map_or(client.clone(), |leaf| client.identity(leaf)).build();
    let answer =
        client.raw(request.as_bytes(), QUIET).await.unwrap_or_else(|error| panic!("{request}: {error}"));
    String::from_utf8_lossy(&answer).into_owned()
}

fn statuses(answer: &str) -> Vec<&str> {
    let lines = answer.split("\r\n").filter_map(|line| line.split_once("HTTP/1.1 "));
    lines.filter_map(|(_, rest)| rest.get(..3)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn no_odd_request_takes_a_stranger_to_the_service() {
    let world = world().await;
    let mut doors = Doors::of(&world, "envoy/envoy.yaml");
    doors.add("ingress", &by_ca(&world), |door| {
        // As open as can be: tunnels, upgrades, answers of Envoy's own.
        door.hcm()["upgrade_configs"] = json!([{"upgrade_type": "websocket"}, {"upgrade_type": "CONNECT"}]);
        door.hcm()["http2_protocol_options"] = json!({"allow_connect": true});
        let routes = json!([
            {"match": {"connect_matcher": {}}, "route": {"cluster": "service", "upgrade_configs": [{"upgrade_type": "CONNECT", "connect_config": {}}]}},
            {"match": {"path": "/direct"}, "direct_response": {"status": 200, "body": {"inline_string": "direct"}}},
            {"match": {"path": "/redirect"}, "redirect": {"path_redirect": "/direct"}},
            {"match": {"prefix": "/"}, "route": {"cluster": "service"}},
        ]);
        door.virtual_host()["routes"] = routes;
    });
    let stage = doors.open(world).await;
    let (ours, other) = (&stage.world.pki.us.genesys, &stage.world.pki.stranger);
    let host = "host: service.example";
    // Request, what Genesys gets, what others get.
    let cases: &[(&str, String, &[&str], &[&str])] = &[
        ("plain", format!("GET / HTTP/1.1\r\n{host}\r\n\r\n"), &["200"], &["403"]),
        ("another host", "GET / HTTP/1.1\r\nhost: elsewhere.example\r\n\r\n".into(), &["200"], &["403"]),
        (
            "absolute form",
            format!("GET http://elsewhere.example/ HTTP/1.1\r\n{host}\r\n\r\n"),
            &["200"],
            &["403"],
        ),
        ("no path", format!("OPTIONS * HTTP/1.1\r\n{host}\r\n\r\n"), &["404"], &["404"]),
        ("HTTP/1.0", format!("GET / HTTP/1.0\r\n{host}\r\n\r\n"), &["426"], &["426"]),
        ("direct response", format!("GET /direct HTTP/1.1\r\n{host}\r\n\r\n"), &["200"], &["403"]),
        ("redirect", format!("GET /redirect HTTP/1.1\r\n{host}\r\n\r\n"), &["301"], &["403"]),
        ("body", format!("POST / HTTP/1.1\r\n{host}\r\ncontent-length: 5\r\n\r\nhello"), &["200"], &["403"]),
        (
            "chunks and trailers",
            format!(
                "POST / HTTP/1.1\r\n{host}\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nx-a: b\r\n\r\n"
            ),
            &["200"],
            &["403"],
        ),
        (
            "pipeline",
            format!("GET /1 HTTP/1.1\r\n{host}\r\n\r\nGET /2 HTTP/1.1\r\n{host}\r\n\r\n"),
            &["200", "200"],
            &["403", "403"],
        ),
        (
            "websocket",
            format!("GET / HTTP/1.1\r\n{host}\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n"),
            &["200"],
            &["403"],
        ),
        (
            "h2c",
            format!(
                "GET / HTTP/1.1\r\n{host}\r\nconnection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n\r\n"
            ),
            &["200"],
            &["403"],
        ),
        ("tunnel", format!("CONNECT service.example:443 HTTP/1.1\r\n{host}\r\n\r\n"), &["200"], &["403"]),
        (
            "the verdict as a header",
            format!("GET / HTTP/1.1\r\n{host}\r\nwasm.genesys-mtls.default: allow;us-east-1;genesys\r\n\r\n"),
            &["200"],
            &["403"],
        ),
        (
            "the verdict as a header of that name",
            format!("GET / HTTP/1.1\r\n{host}\r\nwasm.genesys_mtls.default: allow;x\r\n\r\n"),
            &["400"],
            &["400"],
        ),
        (
            "both lengths",
            format!(
                "POST / HTTP/1.1\r\n{host}\r\ncontent-length: 44\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\nGET / HTTP/1.1\r\n{host}\r\n\r\n"
            ),
            &["400"],
            &["400"],
        ),
        (
            "NUL in a value",
            format!("GET / HTTP/1.1\r\n{host}\r\nx-forwarded-client-cert: Cert=\"\0\"\r\n\r\n"),
            &["400"],
            &["400"],
        ),
        (
            "NUL in a name",
            format!("GET / HTTP/1.1\r\n{host}\r\nx-forwarded\0-client-cert: x\r\n\r\n"),
            &["400"],
            &["400"],
        ),
        (
            "a space in a name",
            format!("GET / HTTP/1.1\r\n{host}\r\nx-genesys-cloud-client : x\r\n\r\n"),
            &["400"],
            &["400"],
        ),
        (
            "underscores",
            format!("GET / HTTP/1.1\r\n{host}\r\nx_forwarded_client_cert: x\r\n\r\n"),
            &["400"],
            &["400"],
        ),
    ];
    for (what, request, genuine, stranger) in cases {
        let before = stage.world.upstream.count();
        for leaf in [Some(other), None] {
            let answer = raw(&stage, "ingress", leaf, request).await;
            assert_eq!(&statuses(&answer), stranger, "{what}: {answer}");
        }
        assert_eq!(stage.world.upstream.count(), before, "{what}: no stranger got to the service");
        let answer = raw(&stage, "ingress", Some(ours), request).await;
        assert_eq!(&statuses(&answer), genuine, "{what}: {answer}");
    }

    // Streams of one HTTP/2 connection, side by side, and a tunnel.
    let before = stage.world.upstream.count();
    let mut connection =
        stage.client("ingress").identity(other).http2().build().connect().await.expect("a handshake");
    let mut answers = Vec::new();
    for n in 0..20 {
        let request = Request::post(format!("/{n}"))
            .header("content-type", "application/grpc-web")
            .body(vec![b'x'; 1000]);
        answers.push(connection.start(request.expect("a request")).await.expect("a stream"));
    }
    for answer in answers {
        assert_refused("a stream among others", &answer.await.expect("an answer"), 403, "wrong_name");
    }
    assert_eq!(stage.world.upstream.count(), before);
}

/// A service that sends every request on to another path.
async fn redirecting() -> SocketAddr {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
    let addr = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((mut tcp, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut request = vec![0; 64 * 1024];
                while tcp.read(&mut request).await.is_ok_and(|n| n > 0) {
                    let answer = b"HTTP/1.1 302 Found\r\nlocation: https://service.example/after\r\ncontent-length: 0\r\n\r\n";
                    if tcp.write_all(answer).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    addr
}

fn cluster(name: &str, addr: SocketAddr) -> Value {
    json!({"name": name, "type": "STATIC", "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [
        {"endpoint": {"address": {"socket_address": {"address": addr.ip().to_string(), "port_value": addr.port()}}}},
    ]}]}})
}

#[tokio::test(flavor = "multi_thread")]
async fn internal_redirect_is_decided_again_and_denies_no_client() {
    let world = world().await;
    let mut doors = Doors::of(&world, "envoy/envoy.yaml");
    for source in ["auto", "xfcc"] {
        let policy = crate::setup::with(by_ca(&world), "/peer_certificate/source", json!(source));
        doors.add(source, &policy, |door| {
            door.forward("SANITIZE_SET", json!({"cert": true}));
            door.routes().insert(0, json!({
                "match": {"path": "/before"},
                "route": {"cluster": "redirecting", "internal_redirect_policy": {"max_internal_redirects": 1}},
            }));
        });
    }
    let redirecting = cluster("redirecting", redirecting().await);
    doors.clusters().push(redirecting);
    let stage = doors.open(world).await;
    for door in ["auto", "xfcc"] {
        for _ in 0..2 {
            let client = stage.client(door).identity(&stage.world.pki.us.genesys).build();
            let response = client.get("/before").await.expect("an answer");
            assert_eq!(response.status, 200, "{door}: {}", response.text());
            assert_eq!(response.json()["path"], "/after", "{door}");
            let client = stage.client(door).identity(&stage.world.pki.stranger).build();
            assert_refused(door, &client.get("/before").await.expect("an answer"), 403, "wrong_name");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn half_configured_listener_denies() {
    let world = world().await;
    let policy = by_ca(&world);
    let mut doors = Doors::of(&world, "envoy/envoy.yaml");
    for required in [true, false] {
        // Without a validation context Envoy requests no certificate, required or not.
        doors.add(&format!("required_{required}"), &policy, |door| {
            door.tls()["require_client_certificate"] = required.into();
            door.tls()["common_tls_context"].as_object_mut().expect("an object").remove("validation_context");
        });
    }
    let disabled = json!({"@type": "type.googleapis.com/envoy.config.route.v3.FilterConfig", "config": {}, "disabled": true});
    doors.add("disabled", &policy, |door| {
        let route = |path: &str, filters: Value| {
            json!({
                "match": {"path": path}, "route": {"cluster": "service"}, "typed_per_filter_config": filters,
            })
        };
        let ours = json!({"envoy.filters.http.wasm": disabled});
        let both = json!({"envoy.filters.http.wasm": disabled, "envoy.filters.http.rbac": disabled});
        door.routes().insert(0, route("/filter", ours));
        door.routes().insert(0, route("/both", both));
    });
    doors.add("matcher", &policy, |door| {
        door.routes()[0]["typed_per_filter_config"] = json!({"envoy.filters.http.wasm": disabled});
        let allow = json!({"@type": "type.googleapis.com/envoy.config.rbac.v3.Action", "name": "all", "action": "ALLOW"});
        door.guard()["matcher"] = json!({"on_no_match": {"action": {"name": "action", "typed_config": allow}}});
    });
    doors.add("no_tls", &policy, |door| {
        drop(door.chains()[0].as_object_mut().expect("a chain").remove("transport_socket"))
    });
    let stage = doors.open(world).await;
    let pki = &stage.world.pki;
    for door in ["required_true", "required_false"] {
        for leaf in [&pki.us.genesys, &pki.stranger] {
            stage.assert_out(door, "any client", leaf, "no_client_certificate").await;
        }
    }
    let plain = testbed::Client::plain(stage.addr("no_tls")).build().get("/").await.expect("an answer");
    assert_refused("no TLS", &plain, 403, "no_client_certificate");

    let get = async |path: &str, leaf: &Leaf| -> Response {
        stage.client("disabled").identity(leaf).build().get(path).await.expect("an answer")
    };
    // A route without the filter is no way in: the guard has to be taken off by name as well.
    for leaf in [&pki.us.genesys, &pki.stranger] {
        assert_guarded("the filter is off", &get("/filter", leaf).await);
        assert_eq!(get("/both", leaf).await.status, 200);
    }
    // A guard with a matcher ignores its rules, and so guards nothing.
    stage.assert_in("matcher", "a stranger", &pki.stranger).await;
    assert_eq!(get("/", &pki.us.genesys).await.status, 200);
    assert_refused("another route", &get("/", &pki.stranger).await, 403, "wrong_name");
}

/// Two SNI chains, ours with the filter. Both know the virtual host that is protected, and one that is not. The change is to
/// the others' chain.
fn two_chains(world: &World, doors: &mut Doors, name: &str, scoped: bool, change: impl Fn(&mut Value)) {
    doors.add(name, &by_ca(world), |door| {
        let rule = door.guard()["rules"].clone();
        door.virtual_host()["domains"] = json!(["service.example"]);
        if scoped {
            // The rule moves to the virtual host; each chain has a guard without rules.
            door.guard().as_object_mut().expect("an object").remove("rules");
            let per_route = json!({
                "@type": "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBACPerRoute",
                "rbac": {"rules": rule},
            });
            door.virtual_host()["typed_per_filter_config"] = json!({"envoy.filters.http.rbac": per_route});
        }
        let others = json!({"name": "others", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "service"}}]});
        door.hcm()["route_config"]["virtual_hosts"].as_array_mut().expect("virtual hosts").push(others);
        let mut other = door.chains()[0].clone();
        config::walk(&mut other, &mut |map| {
            if let Some(filters) = map.get_mut("http_filters").and_then(Value::as_array_mut) {
                filters.retain(|filter| filter["name"] != "envoy.filters.http.wasm" && (scoped || filter["name"] != "envoy.filters.http.rbac"));
            }
        });
        change(&mut other);
        door.chains()[0]["filter_chain_match"] = json!({"server_names": ["service.example"]});
        door.chains().push(other);
        door.inspect_sni();
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn host_under_another_sni_is_denied_by_the_virtual_host_rule() {
    let world = world().await;
    let mut doors = Doors::of(&world, "envoy/envoy.yaml");
    two_chains(&world, &mut doors, "scoped", true, |_| {});
    two_chains(&world, &mut doors, "unscoped", false, |_| {});
    let stage = doors.open(world).await;
    let pki = &stage.world.pki;
    for (sni, host, leaf, expected) in [
        ("service.example", "service.example", Some(&pki.us.genesys), "in"),
        ("service.example", "service.example", Some(&pki.stranger), "filter"),
        ("service.example", "service.example", None, "filter"),
        ("other.example", "service.example", None, "guard"),
        ("other.example", "service.example", Some(&pki.stranger), "guard"),
        ("other.example", "service.example", Some(&pki.us.genesys), "guard"),
        ("other.example", "other.example", None, "in"),
    ] {
        let client = stage.client("scoped").sni(sni).host_header(host);
        let client = leaf.map_or(client.clone(), |leaf| client.identity(leaf)).build();
        let response = client.get("/").await.expect("an answer");
        let what = format!("{host} by {sni}: {} {}", response.status, response.text());
        match expected {
            "in" => assert_eq!(response.status, 200, "{what}"),
            "guard" => assert_guarded(&what, &response),
            _ => assert_eq!(response.header("content-type"), Some("application/problem+json"), "{what}"),
        }
    }
    // Why: a filter on one chain says nothing on the others.
    let client = stage.client("unscoped").sni("other.example").host_header("service.example").build();
    assert_eq!(client.get("/").await.expect("an answer").status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn upgrade_with_its_own_filters_needs_its_own_guard() {
    const TYPE: &str = "websocket";
    let world = world().await;
    let mut doors = Doors::of(&world, "envoy/envoy.yaml");
    let bare = |filters: &[Value]| json!([filters.last().expect("the router")]);
    // The others' chain: the rule at the virtual host has no filter to apply to.
    for (name, guarded) in [("bare", false), ("guarded", true)] {
        two_chains(&world, &mut doors, name, true, |chain| {
            let manager = &mut chain["filters"][0]["typed_config"];
            let own = manager["http_filters"].as_array().expect("filters").clone();
            let filters = if guarded { json!(own) } else { bare(&own) };
            manager["upgrade_configs"] = json!([{"upgrade_type": TYPE, "filters": filters}]);
        });
    }
    // Our own chain: disabled, and enabled by the route.
    for (name, enabled) in [("disabled", false), ("by_route", true)] {
        doors.add(name, &by_ca(&world), |door| {
            let filters = bare(door.filters());
            door.hcm()["upgrade_configs"] =
                json!([{"upgrade_type": TYPE, "enabled": false, "filters": filters}]);
            door.routes()[0]["route"]["upgrade_configs"] =
                json!([{"upgrade_type": TYPE, "enabled": enabled}]);
        });
    }
    let stage = doors.open(world).await;
    let host = "GET / HTTP/1.1\r\nhost: service.example";
    let plain = format!("{host}\r\n\r\n");
    let upgrade = format!("{host}\r\nconnection: upgrade\r\nupgrade: {TYPE}\r\n\r\n");
    for (door, upgraded) in [("bare", "200"), ("guarded", "403"), ("disabled", "403"), ("by_route", "200")] {
        for (request, expected) in [(&plain, "403"), (&upgrade, upgraded)] {
            let client = stage.client(door).sni("other.example").build();
            let answer = client.raw(request.as_bytes(), QUIET).await.expect("an answer");
            let answer = String::from_utf8_lossy(&answer);
            assert_eq!(statuses(&answer), [expected], "{door}: {answer}");
        }
    }
}
