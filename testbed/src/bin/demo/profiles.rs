//! The acts with other Envoys: the *strict* profile, and one that skips the filter.

use std::{io, path::PathBuf};

use serde_json::{Value, json};
use testbed::{World, config, envoy::Error};

use crate::{
    acts::EXPLAIN,
    checks::{
        Demo,
        Expect::{Alert, Guarded, LetIn, Refused, Unguarded},
    },
    stage::{Caller, Stage},
};

pub const STRICT: &str = "envoy/strict.yaml";

/// The CAs that a comment in the file says to trust: the region's root and the one above DigiCert's client CA.
pub fn strict_authorities(world: &World) -> io::Result<PathBuf> {
    world.write("strict-ca.crt", world.pki.us.root.pem.clone() + &world.pki.digicert_root.pem)
}

pub async fn strict(demo: &mut Demo, stage: &Stage) -> Result<(), Error> {
    demo.screen.act(
        4,
        "the strict profile",
        "envoy/strict.yaml: TLS demands a certificate that chains to the Genesys CA or to DigiCert's root. Strangers \
         end in the handshake, without an answer. Whoever else is DigiCert's customer does not, and meets the filter.",
    );
    stage.metric("refreshes.ok", |n| n > 0).await?;
    let pki = demo.world.pki.clone();
    demo.screen.columns("caller");
    let rows = [
        ("Genesys Cloud, by the Genesys CA", Some(&pki.us.genesys), LetIn("genesys")),
        ("Genesys Cloud, by DigiCert, in the API", Some(&pki.us.digicert_upcoming), LetIn("digicert")),
        ("without a certificate", None, Alert("CertificateRequired")),
        ("a stranger, by its own CA", Some(&pki.stranger), Alert("UnknownCA")),
        ("Genesys Cloud's other region, eu-central-1", Some(&pki.eu.genesys), Alert("UnknownCA")),
        ("Genesys Cloud, expired a month ago", Some(&pki.us.genesys_expired), Alert("CertificateExpired")),
        ("an impostor CA with the Genesys CA's name", Some(&pki.impostor_leaf), Alert("UnknownCA")),
        ("an e-mail certificate, by DigiCert", Some(&pki.email), Refused(403, "wrong_name")),
        ("the same with our name, not in the API", Some(&pki.digicert_lookalike), Refused(403, "not_pinned")),
        ("the other region, by DigiCert", Some(&pki.eu.digicert), Refused(403, "wrong_region")),
    ];
    let seen = demo.table(stage, &rows).await?;
    let answers = seen.iter().filter(|seen| seen.response.is_some()).count();
    let entries = stage.envoy.count_in_log("\"GET /demo/");
    demo.fact(
        "entries in the access log",
        &format!("{answers}, one per answer"),
        &entries.to_string(),
        entries == answers,
    );
    demo.show_log_if_wrong(stage);
    Ok(())
}

/// What the filter needs of Envoy, but for the callback that decides.
const CAPABILITIES: [&str; 33] = [
    "proxy_on_context_create",
    "proxy_on_configure",
    "proxy_on_tick",
    "proxy_on_http_call_response",
    "proxy_on_delete",
    "proxy_log",
    "proxy_get_log_level",
    "proxy_get_property",
    "proxy_set_property",
    "proxy_send_local_response",
    "proxy_http_call",
    "proxy_call_foreign_function",
    "proxy_get_buffer_bytes",
    "proxy_get_header_map_value",
    "proxy_add_header_map_value",
    "proxy_replace_header_map_value",
    "proxy_remove_header_map_value",
    "proxy_set_tick_period_milliseconds",
    "proxy_get_shared_data",
    "proxy_set_shared_data",
    "proxy_define_metric",
    "proxy_get_metric",
    "proxy_increment_metric",
    "proxy_record_metric",
    "proxy_get_current_time_nanoseconds",
    "proxy_set_effective_context",
    "proxy_continue_stream",
    "environ_get",
    "environ_sizes_get",
    "clock_time_get",
    "random_get",
    "fd_write",
    "proc_exit",
];

/// Makes Envoy skip the filter, and adds a listener `unguarded` that lacks the guard.
pub fn skip_filter(bootstrap: &mut Value) {
    config::each_plugin(bootstrap, |plugin| {
        let allowed: serde_json::Map<_, _> =
            CAPABILITIES.iter().map(|c| ((*c).to_owned(), json!({}))).collect();
        plugin.insert("capability_restriction_config".into(), json!({"allowed_capabilities": allowed}));
    });
    let listeners = &mut bootstrap["static_resources"]["listeners"];
    let mut unguarded = listeners[0].clone();
    unguarded["name"] = "unguarded".into();
    config::walk(&mut unguarded, &mut |map| {
        if let Some(filters) = map.get_mut("http_filters").and_then(Value::as_array_mut) {
            filters.retain(|filter| filter["name"] != "envoy.filters.http.rbac");
        }
    });
    if let Some(listeners) = listeners.as_array_mut() {
        listeners.push(unguarded);
    }
}

pub async fn guard(demo: &mut Demo, stage: &mut Stage) -> Result<(), Error> {
    demo.screen.act(
        5,
        "a filter that is skipped",
        &format!(
            "Envoy has ways to skip a wasm filter without a word; here {EXPLAIN} has a capability list in which one \
             callback is missing. The guard behind the filter lets nobody through who has no verdict."
        ),
    );
    let pki = demo.world.pki.clone();
    demo.screen.columns("caller or metric");
    let rows = [
        ("a stranger", Some(&pki.stranger), Guarded),
        ("Genesys Cloud, by the Genesys CA", Some(&pki.us.genesys), Guarded),
    ];
    demo.table(stage, &rows).await?;
    let stat = "http.ingress.rbac.genesys_guard_.denied";
    let denied = stage.envoy.stat(stat).await?;
    demo.fact("metric ...rbac.genesys_guard_.denied", "2", &denied.to_string(), denied == 2);
    stage.listener = "unguarded";
    let without = Caller::new("a stranger, had the guard been left out", &pki.stranger);
    demo.check(stage, without, Unguarded).await?;
    demo.show_log_if_wrong(stage);
    Ok(())
}
