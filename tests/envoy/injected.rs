//! `oauth: injected`: Envoy adds the token on its way to the API, and the filter has no secret.

use crate::{
    pace::{LOGIN, PATIENCE, REGION, fast, more, outcome, reaches, run, seen},
    setup::{digicert, with, world},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use std::path::Path;
use testbed::{
    Client, World,
    genesys::{Endpoint, Status},
    volume::Volume,
};

pub fn policy(world: &World) -> Value {
    let policy = with(fast(world), "/refresh/oauth", json!("injected"));
    with(policy, &format!("/regions/{REGION}/digicert/issuers"), json!(world.pki.digicert_ca.pem))
}

/// Makes the API's cluster add what this kind of credential gives it.
fn inject(bootstrap: &mut Value, kind: &str, mut credential: Value) {
    credential["@type"] = format!(
        "type.googleapis.com/envoy.extensions.http.injected_credentials.{kind}.v3.{}",
        match kind {
            "generic" => "Generic",
            _ => "OAuth2",
        }
    )
    .into();
    let filters = json!([
        {
            "name": "envoy.filters.http.credential_injector",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.http.credential_injector.v3.CredentialInjector",
                "credential": {"name": format!("envoy.http.injected_credentials.{kind}"), "typed_config": credential},
            },
        },
        {
            "name": "envoy.filters.http.upstream_codec",
            "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.upstream_codec.v3.UpstreamCodec"},
        },
    ]);
    let clusters = bootstrap["static_resources"]["clusters"].as_array_mut().expect("clusters");
    let api =
        clusters.iter_mut().find(|cluster| cluster["name"] == "genesys_api").expect("the API's cluster");
    api["typed_extension_protocol_options"] = json!({
        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
            "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
            "explicit_http_config": {"http_protocol_options": {}},
            "http_filters": filters,
        },
    });
    bootstrap["node"] = json!({"id": "test", "cluster": "test"});
}

/// The content of a Secret that Envoy watches.
fn secret(value: &str) -> [(&'static str, String); 1] {
    let secret = json!({"resources": [{
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret",
        "name": "genesys",
        "generic_secret": {"secret": {"inline_string": value}},
    }]});
    [("token.yaml", secret.to_string())]
}

/// Where Envoy finds it, as the book has it.
fn mounted(directory: &Path) -> Value {
    let source = json!({"path": directory.join("token.yaml"), "watched_directory": {"path": directory}});
    json!({"name": "genesys", "sds_config": {"path_config_source": source, "resource_api_version": "V3"}})
}

/// A token as the process that updates the file would fetch it.
pub async fn token(world: &World) -> String {
    let client = world.genesys.credentials(REGION);
    let basic = STANDARD.encode(format!("{}:{}", client.client_id, client.client_secret));
    let login = Client::tls(world.genesys.addr(), &world.pki.server_ca).host(LOGIN).build();
    let request = http::Request::post("/oauth/token")
        .header("authorization", format!("Basic {basic}"))
        .header("content-type", "application/x-www-form-urlencoded")
        .body(b"grant_type=client_credentials".to_vec());
    let answer = login.send(request.expect("a request")).await.expect("an answer").json();
    answer["access_token"].as_str().expect("a token").to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn injected_token_is_used_and_followed_when_it_changes() {
    let world = world().await;
    let policy = policy(&world);
    let directory = world.path("token");
    let bearer = |token: &str| format!("Bearer {token}");
    let first = token(&world).await;
    let mut volume = Volume::new(&directory, &secret(&bearer(&first))).expect("a volume");
    let credential = json!({"credential": mounted(&directory)});
    let calls = seen(&world, Endpoint::Token).len();
    let inject = |_: &World, bootstrap: &mut Value| inject(bootstrap, "generic", credential);
    let run = run(world, &policy, inject, |envoy| envoy.concurrency(4)).await;
    run.refreshed().await;
    let pki = &run.world.pki;
    run.assert_in("pinned", &pki.us.digicert).await;
    run.assert_out("another's", &pki.email, 403, "wrong_name").await;

    // The token ends before its time: the filter has none to renew, and reports a failure until the file has a new one.
    run.world.genesys.revoke_tokens(REGION);
    more(&run, "api_unauthorized", 2).await;
    run.assert_in("the last known good", &pki.us.digicert).await;
    let second = token(&run.world).await;
    volume.publish(&secret(&bearer(&second))).expect("another token");
    more(&run, "ok", 1).await;
    run.world.genesys.set_entities(
        REGION,
        Status::Current,
        vec![digicert(&run.world, &pki.us.digicert_upcoming)],
    );
    more(&run, "ok", 2).await;
    run.assert_in("rotated", &pki.us.digicert_upcoming).await;

    let sent: Vec<String> =
        seen(&run.world, Endpoint::Current).into_iter().filter_map(|call| call.authorization).collect();
    assert_eq!(sent.first(), Some(&bearer(&first)));
    assert_eq!(sent.last(), Some(&bearer(&second)));
    assert_eq!(seen(&run.world, Endpoint::Token).len(), calls + 1, "the filter never asks the login host");
    for (place, text) in [
        ("log", run.envoy.log()),
        ("config_dump", run.envoy.config_dump().await.expect("a dump").to_string()),
    ] {
        assert!(!text.contains(&first) && !text.contains(&second), "a token is in the {place}");
    }
}

/// Why the OAuth2 kind of that filter does not work with Genesys Cloud: its login host requires Basic credentials, and
/// Envoy sends them in the form with any `auth_type`. This test fails if a later Envoy does better.
#[tokio::test(flavor = "multi_thread")]
async fn envoys_oauth2_client_cannot_log_in_to_genesys_cloud() {
    let world = world().await;
    let policy = policy(&world);
    let client = world.genesys.credentials(REGION);
    let directory = world.path("secret");
    Volume::new(&directory, &secret(&client.client_secret)).expect("a volume");
    let credential = json!({
        "token_endpoint": {"uri": format!("https://{LOGIN}/oauth/token"), "cluster": "genesys_login", "timeout": "2s"},
        "client_credentials": {
            "client_id": client.client_id,
            "client_secret": mounted(&directory),
            "auth_type": "BASIC_AUTH",
        },
    });
    let inject = |_: &World, bootstrap: &mut Value| inject(bootstrap, "oauth2", credential);
    let run = run(world, &policy, inject, |envoy| envoy).await;
    run.world
        .genesys
        .wait_answered(Some(REGION), Endpoint::Token, 1, PATIENCE)
        .await
        .expect("Envoy asks for a token");
    // Without a token Envoy itself answers the filter's call at once.
    reaches(&run, "dispatch_failed", 1).await;
    run.envoy.wait_for_log("a filter on it has no credentials to add", PATIENCE).await.expect("a line");
    let call = seen(&run.world, Endpoint::Token).remove(0);
    assert_eq!((call.authorization, call.answered), (None, Some(401)));
    assert!(call.body.contains("client_secret="), "{}", call.body);
    assert_eq!(outcome(&run, "ok").await, 0);
    run.assert_out("nothing is loaded", &run.world.pki.us.digicert, 503, "trust_not_loaded").await;
}
