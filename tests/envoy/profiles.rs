//! The two shipped profiles do what they promise about TLS, streams, headers, logs and gRPC.

use crate::{
    setup::{PATIENCE, assert_refused, with, world},
    stage::{Doors, Stage, by_ca},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::Request;
use serde_json::{Value, json};
use testbed::{
    client::{AlertDescription, Error, TlsVersions},
    config, paths,
    upstream::echoed,
};
use time::{Duration, OffsetDateTime};

const FILES: [&str; 2] = ["envoy/envoy.yaml", "envoy/strict.yaml"];
const IDENTITY: &str = "x-genesys-cloud-client";

fn post(path: &str, headers: &[(&str, &str)]) -> Request<Vec<u8>> {
    let request =
        headers.iter().fold(Request::post(path), |request, (name, value)| request.header(*name, *value));
    request.body(b"{}".to_vec()).expect("a request")
}

#[test]
fn the_profiles_differ_in_tls_only_and_both_bound_their_streams() {
    let files = FILES.map(|file| config::load_yaml(&paths::workspace_root().join(file)));
    let [explain, strict] = files.map(|mut file| {
        let chain = &mut file["static_resources"]["listeners"][0]["filter_chains"][0];
        let context = chain["transport_socket"]["typed_config"].take();
        let connections = &chain["filters"][0]["typed_config"];
        let seconds = connections["stream_idle_timeout"].as_str().and_then(|text| text.strip_suffix('s'));
        let seconds: u32 =
            seconds.and_then(|seconds| seconds.parse().ok()).expect("stream_idle_timeout in seconds");
        assert!((1..=300).contains(&seconds), "a request that no worker resumes ends after {seconds} s");
        assert_eq!(connections["http_filters"][0]["typed_config"]["config"]["failure_policy"], "FAIL_RELOAD");
        (file, context)
    });
    assert_eq!(explain.0, strict.0);
    assert_eq!(explain.1["require_client_certificate"], false);
    assert_eq!(strict.1["require_client_certificate"], true);
}

#[tokio::test(flavor = "multi_thread")]
async fn strict_ends_strangers_in_the_handshake_and_resumes_nothing() {
    let world = world().await;
    let mut doors = Doors::of(&world, "envoy/strict.yaml");
    doors.add("ingress", &by_ca(&world), |_| {});
    let stage = doors.open(world).await;
    let pki = &stage.world.pki;
    for versions in [TlsVersions::Tls12, TlsVersions::Tls13] {
        for (who, leaf) in [
            ("a stranger", Some(&pki.stranger)),
            ("an impostor", Some(&pki.impostor_leaf)),
            ("expired", Some(&pki.us.genesys_expired)),
            ("no certificate", None),
        ] {
            let client = stage.client("ingress").versions(versions);
            let client = leaf.map_or(client.clone(), |leaf| client.identity(leaf)).build();
            let error = client.get("/").await.expect_err(who);
            assert!(matches!(error, Error::Alert(_)), "{versions:?}: {who}: {error}");
        }
        // The chain alone identifies no client.
        for (who, leaf, reason) in [
            ("a customer of DigiCert's", &pki.email, "wrong_name"),
            ("another region", &pki.eu.genesys, "wrong_region"),
            ("DigiCert without a pin", &pki.us.digicert, "unknown_issuer"),
        ] {
            let client = stage.client("ingress").identity(leaf).versions(versions).build();
            assert_refused(who, &client.get("/").await.expect("an answer"), 403, reason);
        }
        let client =
            stage.client("ingress").identity(&pki.us.genesys).versions(versions).resumption().build();
        for _ in 0..3 {
            let mut connection = client.connect().await.expect("a handshake");
            assert_eq!(connection.get("/").await.expect("an answer").status, 200);
            assert!(!connection.tls().expect("TLS").resumed, "{versions:?}");
        }
    }
    let nobody =
        stage.client("ingress").versions(TlsVersions::Tls13).build().get("/").await.expect_err("a refusal");
    assert_eq!(nobody.alert(), Some(AlertDescription::CertificateRequired));
}

#[tokio::test(flavor = "multi_thread")]
async fn expired_certificate_is_denied_on_open_and_resumed_sessions() {
    let world = world().await;
    let mut doors = Doors::of(&world, "envoy/envoy.yaml");
    doors.add("ingress", &with(by_ca(&world), "/clock_skew", json!("0s")), |_| {});
    let stage = doors.open(world).await;
    let us = &stage.world.pki.us;
    // Times in certificates are whole seconds.
    let leaf = us.root.leaf().key_name("genesys").name(us.region.certificate_name);
    let leaf = leaf.valid_from_now(Duration::minutes(-1), Duration::seconds(4)).issue();
    let client = |versions| stage.client("ingress").identity(&leaf).versions(versions).resumption().build();
    let clients = [client(TlsVersions::Tls12), client(TlsVersions::Tls13)];
    let mut connections = Vec::new();
    for client in &clients {
        let mut connection = client.connect().await.expect("a handshake");
        let response = connection.get("/").await.expect("an answer");
        assert_eq!(response.status, 200, "in time: {}", response.text());
        connections.push(connection);
    }
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while connections[0].get("/").await.expect("an answer").status == 200 {
        assert!(tokio::time::Instant::now() < deadline, "it never expires");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    for connection in &mut connections {
        assert_refused("an open connection", &connection.get("/").await.expect("an answer"), 403, "expired");
    }
    for client in &clients {
        let mut connection = client.connect().await.expect("a handshake");
        let tls = connection.tls().expect("TLS").clone();
        assert!(tls.resumed, "{tls:?}");
        assert_refused(&format!("{tls:?}"), &connection.get("/").await.expect("an answer"), 403, "expired");
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_identity_header_is_the_filters_alone() {
    let world = world().await;
    let mut doors = Doors::of(&world, "envoy/envoy.yaml");
    let policy = by_ca(&world);
    doors.add("identified", &with(policy.clone(), "/identity", json!({})), |_| {});
    doors.add("plain", &policy, |_| {});
    // Without Envoy's removal of the header, the filter removes it.
    doors.add("unstripped", &with(policy.clone(), "/identity", json!({})), |door| {
        door.hcm().as_object_mut().expect("an object").remove("early_header_mutation_extensions");
    });
    let shadow = with(with(policy, "/identity", json!({})), "/mode", json!("shadow"));
    doors.add("shadow", &shadow, |door| {
        door.hcm().as_object_mut().expect("an object").remove("early_header_mutation_extensions");
        door.filters().remove(1);
    });
    let stage = doors.open(world).await;
    let us = &stage.world.pki.us;
    let until = OffsetDateTime::now_utc() + Duration::days(30);
    let leaf = us.root.leaf().key_name("genesys").name(us.region.certificate_name);
    let leaf = leaf.valid(until - Duration::days(60), until).issue();
    let sha256: Vec<u8> = (0..64)
        .step_by(2)
        .map(|at| u8::from_str_radix(&leaf.sha256[at..at + 2], 16).expect("hexadecimal digits"))
        .collect();
    let expected = format!(
        "region=\"us-east-1\", authority=genesys, sha256=:{}:, not-after=@{}",
        STANDARD.encode(sha256),
        until.unix_timestamp()
    );
    // RFC 9651, as a service would read it.
    let identity: sfv::Dictionary = sfv::Parser::new(&expected).parse().expect("a dictionary");
    let member = |key: &str| match identity.get(key) {
        Some(sfv::ListEntry::Item(item)) if item.params.is_empty() => item.bare_item.clone(),
        other => panic!("{key}: {other:?}"),
    };
    assert_eq!(member("region").as_string().map(sfv::StringRef::as_str), Some("us-east-1"));
    assert_eq!(member("authority").as_token().map(sfv::TokenRef::as_str), Some("genesys"));
    assert_eq!(member("sha256").as_byte_sequence().map(hex), Some(leaf.sha256.clone()));
    assert_eq!(
        member("not-after").as_date().map(|date| i64::from(date.unix_seconds())),
        Some(until.unix_timestamp())
    );
    assert_eq!(identity.len(), 4);
    let forged = [
        vec![],
        vec![(IDENTITY, "forged")],
        vec![(IDENTITY, "forged"), (IDENTITY, "twice"), (IDENTITY, "")],
        vec![("X-Genesys-Cloud-Client", "forged"), ("x-GENESYS-cloud-CLIENT", "twice")],
    ];
    for (door, wanted) in [
        ("identified", Some(&expected)),
        ("unstripped", Some(&expected)),
        ("plain", None),
        ("shadow", Some(&expected)),
    ] {
        for http2 in [false, true] {
            let client = stage.client(door).identity(&leaf);
            let client = if http2 { client.http2() } else { client }.build();
            let mut connection = client.connect().await.expect("a handshake");
            for headers in &forged {
                // Twice, since the second time the verdict is cached.
                for _ in 0..2 {
                    let response = connection.send(post("/", headers)).await.expect("an answer");
                    let seen = echoed(&response.json(), IDENTITY);
                    assert_eq!(seen.first(), wanted, "{door}, {headers:?}");
                    assert!(seen.len() <= 1, "{door}, {headers:?}: {seen:?}");
                }
            }
        }
        // Letter case survives in raw bytes only.
        let request = "GET / HTTP/1.1\r\nhost: x\r\nX-Genesys-Cloud-Client: a\r\nX-GENESYS-CLOUD-CLIENT: b\r\n\
                       x-genesys-cloud-client:\r\nconnection: close\r\n\r\n";
        let client = stage.client(door).identity(&leaf).build();
        client.raw(request.as_bytes(), std::time::Duration::from_secs(5)).await.expect("an answer");
        let seen = echoed(&stage.world.upstream.last().expect("a request"), IDENTITY);
        assert_eq!(seen.iter().collect::<Vec<_>>(), wanted.into_iter().collect::<Vec<_>>(), "{door}, raw");

        let served = stage.world.upstream.count();
        for name in ["x_genesys_cloud_client", "X_Genesys-Cloud_Client"] {
            let response = client.send(post("/", &[(name, "forged")])).await.expect("an answer");
            assert_eq!(response.status, 400, "{door}, {name}");
        }
        assert_eq!(stage.world.upstream.count(), served);
    }
    // In shadow mode a denied client reaches the service, without a name.
    let client = stage.client("shadow").identity(&stage.world.pki.stranger).build();
    let response = client.send(post("/", &[(IDENTITY, "forged")])).await.expect("an answer");
    assert_eq!((response.status, echoed(&response.json(), IDENTITY).len()), (200, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_service_learns_from_envoy_who_connected() {
    for file in FILES {
        let world = world().await;
        let mut doors = Doors::of(&world, file);
        doors.add("ingress", &by_ca(&world), |_| {});
        let stage = doors.open(world).await;
        let client = stage.client("ingress").identity(&stage.world.pki.us.genesys).build();
        let response = client.send(post("/", &[("x-forwarded-for", "10.0.0.1")])).await.expect("an answer");
        let addresses = echoed(&response.json(), "x-forwarded-for").join(",");
        let (written, connected) = addresses.split_once(',').unwrap_or_default();
        assert_eq!(written, "10.0.0.1", "{file}: {addresses}");
        assert!(connected.parse::<std::net::IpAddr>().is_ok(), "{file}: {addresses}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_denial_says_why_to_http_to_grpc_and_to_the_access_log() {
    let world = world().await;
    // A refresh that never succeeds, so that there is a 503 to be had.
    world.genesys.stop().await;
    let policy = with(world.policy(), "/refresh/on_unknown_certificate/hold", json!("0s"));
    let mut doors = Doors::of(&world, "envoy/envoy.yaml");
    doors.add("ingress", &policy, |door| door.hcm()["preserve_external_request_id"] = true.into());
    let stage = doors.open(world).await;
    let pki = &stage.world.pki;
    let cases = [
        (Some(&pki.us.genesys), 200, "", ""),
        (None, 403, "no_client_certificate", "7"),
        (Some(&pki.stranger), 403, "wrong_name", "7"),
        (Some(&pki.us.genesys_expired), 403, "expired", "7"),
        (Some(&pki.us.digicert), 503, "trust_not_loaded", "14"),
    ];
    for (leaf, status, code, grpc_status) in cases {
        for http2 in [false, true] {
            let client = stage.client("ingress");
            let client = leaf.map_or(client.clone(), |leaf| client.identity(leaf));
            let client = if http2 { client.http2() } else { client }.build();
            // The second time the verdict is cached, if such a verdict may be.
            for round in 1..=2 {
                let id = format!("{status}-{code}-{http2}-{round}");
                let request =
                    Request::get("/").header("x-request-id", &id).body(Vec::new()).expect("a request");
                let response = client.send(request).await.expect("an answer");
                if code.is_empty() {
                    assert_eq!(response.status, 200, "{id}: {}", response.text());
                } else {
                    assert_refused(&id, &response, status, code);
                    assert_eq!(response.header("cache-control"), Some("no-store"), "{id}");
                    assert_eq!(response.header("retry-after"), (status == 503).then_some("5"), "{id}");
                }
                let known_as = match &echoed(&response.json(), "x-request-id")[..] {
                    [id] => id.clone(),
                    _ => {
                        response.json()["request_id"].as_str().expect("a denial names the request").to_owned()
                    }
                };
                let line = logged(&stage, &known_as).await;
                if code.is_empty() {
                    assert_eq!(line["verdict"], "allow;us-east-1;genesys", "{id}: {line}");
                } else {
                    assert_eq!(line["details"], format!("genesys_mtls:{code}"), "{id}: {line}");
                    assert_eq!(line["verdict"], format!("deny;{code}"), "{id}: {line}");
                }
                assert_eq!(line["status"], status, "{id}: {line}");
            }
        }
        let client = stage.client("ingress").http2();
        let client = leaf.map_or(client.clone(), |leaf| client.identity(leaf)).build();
        let headers = [("content-type", "application/grpc"), ("te", "trailers")];
        let response = client.send(post("/package.Service/Method", &headers)).await.expect("an answer");
        if code.is_empty() {
            assert!(response.header("grpc-status").is_none(), "the service answers: {response:?}");
        } else {
            assert_eq!(response.status, 200, "{code}: gRPC has its own status");
            assert_eq!(response.header("grpc-status"), Some(grpc_status), "{code}: {response:?}");
            assert_eq!(response.header("content-type"), Some("application/grpc"), "{code}: {response:?}");
            assert!(response.header("grpc-message").is_some_and(|text| text.contains(code)), "{response:?}");
        }
    }
}

/// The access log's line of a request.
async fn logged(stage: &Stage, request_id: &str) -> Value {
    let id = format!("\"request_id\":\"{request_id}\"");
    let line = stage.envoy.wait_for_log(&id, PATIENCE).await.expect("an access log");
    serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"))
}
