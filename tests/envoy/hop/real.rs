//! A real Envoy as the hop: its callers cannot make it write another certificate than their own.

use super::{HOP_NAME, PEM, XFCC, hop, say, trusting};
use crate::{
    peer::{cert, encoded, injections, stranger, writes_json},
    setup::{assert_refused, world},
    stage::{Door, Doors, by_ca},
};
use serde_json::{Value, json};
use testbed::{World, envoy::Envoy, pki::Leaf};

/// The way from the hop, which has this certificate, to a listener of the Envoy behind it.
fn cluster(world: &World, inner: &Envoy, door: &str, me: &Leaf) -> Value {
    let address = inner.listener_addr(door);
    let (chain, key) = world.write_leaf("hop", me).expect("files");
    json!({
        "name": door,
        "type": "STATIC",
        "load_assignment": {"cluster_name": door, "endpoints": [{"lb_endpoints": [{"endpoint": {"address": {
            "socket_address": {"address": address.ip().to_string(), "port_value": address.port()},
        }}}]}]},
        "transport_socket": {"name": "envoy.transport_sockets.tls", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
            "sni": "service.example",
            "common_tls_context": {
                "tls_certificates": [{"certificate_chain": {"filename": chain}, "private_key": {"filename": key}}],
                "validation_context": {"trusted_ca": {"filename": world.path("api-ca.crt")}},
            },
        }},
    })
}

/// Makes a listener one of the hop's: without filter and guard, its requests go there.
fn lead(door: &mut Door, cluster: &str) {
    door.filters().drain(..2);
    door.routes()[0]["route"]["cluster"] = cluster.into();
}

#[tokio::test(flavor = "multi_thread")]
async fn client_cannot_inject_into_the_xfcc_of_a_real_hop() {
    let world = world().await;
    let me = hop(&world).issue();
    let mut doors = Doors::of(&world, "envoy/strict.yaml");
    doors.add("inner", &trusting(&world, XFCC, json!({"sha256": [me.sha256]})), |door| {
        door.forward("FORWARD_ONLY", json!({}));
    });
    let inner = doors.launch(&world).await;

    // The front proxy allows every caller and forwards all details.
    let cluster = cluster(&world, &inner, "inner", &me);
    let mut doors = Doors::of(&world, "envoy/envoy.yaml");
    let formats = if writes_json() { vec!["TEXT", "JSON"] } else { vec!["TEXT"] };
    for &format in &formats {
        doors.add(format, &by_ca(&world), |door| {
            lead(door, "inner");
            let mut details = json!({"cert": true, "subject": true, "uri": true, "dns": true});
            if writes_json() {
                details["format"] = format.into();
            }
            door.forward("SANITIZE_SET", details);
        });
        // It is not configured to forward the certificate: then no caller may add one.
        doors.add(&format!("{format} without cert"), &by_ca(&world), |door| {
            lead(door, "inner");
            let mut details = json!({"subject": true, "uri": true, "dns": true});
            if writes_json() {
                details["format"] = format.into();
            }
            door.forward("SANITIZE_SET", details);
        });
    }
    doors.clusters().push(cluster);
    let stage = doors.open(world).await;
    let world = &stage.world;
    let ours = &world.pki.us.genesys;
    let size = 17_000;
    for door in formats {
        stage.assert_in(door, "Genesys", ours).await;
        stage.assert_out(door, "a stranger", &world.pki.stranger, "wrong_name").await;
        stage.assert_in(door, "Genesys again", ours).await;
        let response = stage.client(door).build().get("/").await.expect("an answer");
        assert_refused("no certificate", &response, 403, "no_client_certificate");
        let served = world.upstream.count();
        for name in injections(ours) {
            for leaf in [
                stranger(world).uri(&name).issue(),
                stranger(world).dns(&name).issue(),
                // Too large to be looked at: if it were passed over, the one in its name would be left.
                stranger(world).uri(&name).email("x".repeat(size)).issue(),
                stranger(world).dns(&name).email("x".repeat(size)).issue(),
            ] {
                let response = stage.get_as(door, &leaf).await;
                assert_eq!(response.status, 403, "{door}: a stranger called {name}: {}", response.text());
            }
        }
        let door = format!("{door} without cert");
        assert_eq!(stage.get_as(&door, ours).await.status, 403, "{door}: Genesys");
        for name in injections(ours) {
            for leaf in [stranger(world).uri(&name).issue(), stranger(world).dns(&name).issue()] {
                let response = stage.get_as(&door, &leaf).await;
                assert_eq!(response.status, 403, "{door}: a stranger called {name}: {}", response.text());
            }
        }
        assert_eq!(world.upstream.count(), served, "{door}: no stranger reached the service");
    }
    drop(inner);
}

/// Genesys Cloud's certificate is public: a caller that can write the header can claim to be Genesys Cloud.
#[tokio::test(flavor = "multi_thread")]
async fn only_a_header_that_a_hop_merely_overwrites_is_forgeable() {
    let world = world().await;
    let me = hop(&world).issue();
    let mut doors = Doors::of(&world, "envoy/behind-proxy.yaml");
    for (door, header) in [("xfcc", XFCC), ("pem", PEM)] {
        doors.add(door, &trusting(&world, header, json!({"dns_san": HOP_NAME})), |door| {
            door.forward("FORWARD_ONLY", json!({}));
        });
    }
    let inner = doors.launch(&world).await;

    let mut doors = Doors::of(&world, "envoy/envoy.yaml");
    // As the documentation has it.
    doors.add("sanitizes", &by_ca(&world), |door| {
        lead(door, "xfcc");
        door.forward("SANITIZE_SET", json!({"cert": true}));
    });
    let overwrite = |door: &mut Door| {
        lead(door, "pem");
        door.routes()[0]["request_headers_to_add"] = json!([{
            "header": {"key": PEM, "value": "%DOWNSTREAM_PEER_CERT%"},
            "append_action": "OVERWRITE_IF_EXISTS_OR_ADD",
        }]);
    };
    doors.add("removes, then writes", &by_ca(&world), |door| {
        overwrite(door);
        let strip = &mut door.hcm()["early_header_mutation_extensions"][0]["typed_config"];
        strip["mutations"].as_array_mut().expect("mutations").push(json!({"remove": PEM}));
    });
    // As it warns of.
    doors.add("overwrites", &by_ca(&world), overwrite);
    let ways = ["xfcc", "pem"].map(|door| cluster(&world, &inner, door, &me));
    doors.clusters().extend(ways);
    let stage = doors.open(world).await;
    let pki = &stage.world.pki;
    let forged = [(XFCC, cert(&pki.us.genesys)), (PEM, encoded(&pki.us.genesys))];
    let forged = forged.each_ref().map(|(name, value)| (*name, value.as_str()));
    for door in ["sanitizes", "removes, then writes", "overwrites"] {
        stage.assert_in(door, "Genesys", &pki.us.genesys).await;
        let client = stage.client(door).identity(&pki.stranger).build();
        let response = say(&mut client.connect().await.expect("a handshake"), &forged).await;
        assert_refused(&format!("{door}: a stranger"), &response, 403, "wrong_name");
        let mut nobody = stage.client(door).build().connect().await.expect("a handshake");
        let response = say(&mut nobody, &[]).await;
        assert_refused(&format!("{door}: no certificate"), &response, 403, "no_client_certificate");
        let response = say(&mut nobody, &forged).await;
        if door == "overwrites" {
            assert_eq!(response.status, 200, "it is safe by now, say so: {}", response.text());
        } else {
            let who = format!("{door}: no certificate, and Genesys' in the header");
            assert_refused(&who, &response, 403, "no_client_certificate");
        }
    }
}
