//! HTTP/3: the shipped QUIC listener requests no client certificate, so our host is denied. A second Envoy is the client that speaks it.

use super::{Site, cluster};
use crate::{setup::assert_refused, stage::assert_guarded};
use serde_json::{Value, json};
use testbed::{
    Client, World,
    client::Response,
    envoy::{Envoy, EnvoyBuilder},
    pki::Leaf,
};

/// An Envoy that hands plain requests on by HTTP/3, with a client certificate.
async fn http3_client(site: &Site, listener: &str, leaf: &Leaf) -> Envoy {
    let (chain, key) = site.world.write_leaf("http3", leaf).expect("files");
    let mut upstream = cluster("http3", site.envoy.listener_addr(listener));
    upstream["typed_extension_protocol_options"] = json!({"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
        "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": {"http3_protocol_options": {}},
    }});
    upstream["transport_socket"] = json!({"name": "envoy.transport_sockets.quic", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.quic.v3.QuicUpstreamTransport",
        "upstream_tls_context": {
            "sni": "service.example",
            "common_tls_context": {
                "tls_certificates": [{"certificate_chain": {"filename": chain}, "private_key": {"filename": key}}],
                "validation_context": {"trusted_ca": {"filename": site.world.path("api-ca.crt")}},
            },
        },
    }});
    let manager = json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "plain",
        "http_filters": [{"name": "envoy.filters.http.router", "typed_config":
            {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}}],
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"],
            "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "http3"}}]}]},
    });
    let bootstrap = json!({"static_resources": {
        "listeners": [{
            "name": "plain",
            "address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}},
            "filter_chains": [{"filters": [
                {"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}],
        }],
        "clusters": [upstream],
    }});
    Envoy::builder(bootstrap).start().await.expect("Envoy starts")
}

async fn ask(client: &Envoy, host: &str) -> Response {
    let client = Client::plain(client.listener_addr("plain")).host_header(host).build();
    client.get("/").await.expect("an answer")
}

/// The same QUIC listener with the filter of our chain in it.
fn add_listener_with_filter(bootstrap: &mut Value, _: &World) {
    let listeners = bootstrap["static_resources"]["listeners"].as_array_mut().expect("listeners");
    let filters = "/filter_chains/0/filters/0/typed_config/http_filters";
    let filter = listeners[0].pointer(filters).expect("filters")[0].clone();
    let mut second = listeners[1].clone();
    second["name"] = "http3_with_filter".into();
    second.pointer_mut(filters).and_then(Value::as_array_mut).expect("filters").insert(0, filter);
    listeners.push(second);
}

#[tokio::test(flavor = "multi_thread")]
async fn http3_requests_are_denied_and_other_hosts_are_served() {
    let unchanged = |envoy: EnvoyBuilder, _: &World| envoy;
    let site = Site::with("http3.yaml", add_listener_with_filter, unchanged).await;
    let genuine = &site.world.pki.us.digicert;
    let client = http3_client(&site, "http3", genuine).await;
    for host in ["service.example", "service.example:8443"] {
        assert_guarded(host, &ask(&client, host).await);
    }
    assert_eq!(ask(&client, "other.example").await.status, 200);
    assert_eq!(site.envoy.stat("http.http3.downstream_rq_http3_total").await.expect("statistics"), 3);

    let client = http3_client(&site, "http3_with_filter", genuine).await;
    let response = ask(&client, "service.example").await;
    assert_refused("Genesys Cloud's certificate", &response, 403, "no_client_certificate");
    assert_eq!((site.world.upstream.count(), site.others.count()), (0, 1));
}
