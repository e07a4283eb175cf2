//! The clusters that credentials and tokens are sent through.

use super::{
    dump::{Dump, has, list, text, truth, type_of, unwrapped},
    finding::Finding,
    plugin::Plugin,
    tls,
};
use serde_json::Value;

pub fn check(plugin: &Plugin, dump: &Dump) -> Vec<Finding> {
    let Ok(policy) = &plugin.policy else { return Vec::new() };
    let mut findings = Vec::new();
    for source in policy.regions.iter().filter_map(|region| region.source.as_ref()) {
        for (cluster, host) in
            [(&source.api_cluster, &source.api_host), (&source.login_cluster, &source.login_host)]
        {
            // With an injected token there is no login call.
            let injected = source.credentials == genesys_mtls_filter::config::Credentials::Injected;
            if injected && cluster == &source.login_cluster {
                continue;
            }
            findings.extend(check_cluster(cluster, host, plugin, dump));
        }
    }
    findings
}

fn check_cluster(name: &str, host: &str, plugin: &Plugin, dump: &Dump) -> Option<Finding> {
    let path = format!("cluster {name}");
    let Some(cluster) = dump.clusters.get(name) else {
        let why =
            format!("{} calls it for {host}, and it does not exist: no refresh can succeed", plugin.path);
        let fix = "define the cluster, or correct refresh.clusters; in Istio, a ServiceEntry makes it \
                   (PILOT_FILTER_GATEWAY_CLUSTER_CONFIG can drop it)";
        return Some(Finding::error("callout_cluster_missing", &path, why, fix));
    };
    let contexts = tls_contexts(cluster);
    if contexts.is_empty() {
        let why = format!("credentials and tokens for {host} travel in plain text");
        return Some(Finding::error("callout_without_tls", &path, why, "give it an UpstreamTlsContext"));
    }
    contexts.iter().find_map(|context| check_context(context, cluster, host, &path))
}

/// TLS contexts of a cluster: its own, and those chosen by endpoint.
fn tls_contexts(cluster: &Value) -> Vec<Value> {
    let own = cluster.pointer("/transport_socket/typed_config");
    let chosen = list(cluster, "/transport_socket_matches").iter();
    let chosen = chosen.filter_map(|choice| choice.pointer("/transport_socket/typed_config"));
    own.into_iter()
        .chain(chosen)
        .map(unwrapped)
        .filter(|config| type_of(config) == "UpstreamTlsContext")
        .collect()
}

fn check_context(context: &Value, cluster: &Value, host: &str, path: &str) -> Option<Finding> {
    let validation = tls::validation(context);
    let anywhere = |pointer: &str| validation.iter().any(|context| has(context, pointer));
    let chain = anywhere("/trusted_ca")
        || anywhere("/system_root_certs")
        || anywhere("/ca_certificate_provider_instance")
        || tls::by_discovery(context);
    let untrusted =
        validation.iter().any(|context| text(context, "/trust_chain_verification") == "ACCEPT_UNTRUSTED");
    if !chain || untrusted {
        return Some(Finding::error(
            "callout_unverified_chain",
            path,
            format!("it accepts any certificate, so whoever poses as {host} receives the client secret"),
            "add a validation_context with trusted_ca: {filename: /etc/ssl/certs/ca-certificates.crt} (`sni` alone \
             verifies nothing)",
        ));
    }
    let protocol = "/typed_extension_protocol_options/envoy.extensions.upstreams.http.v3.HttpProtocolOptions\
                    /upstream_http_protocol_options/auto_san_validation";
    if truth(context, "/auto_sni_san_validation") || truth(cluster, protocol) {
        return None;
    }
    let matchers: Vec<&Value> = validation
        .iter()
        .flat_map(|context| {
            let typed =
                list(context, "/match_typed_subject_alt_names").iter().filter_map(|one| one.get("matcher"));
            typed.chain(list(context, "/match_subject_alt_names"))
        })
        .collect();
    let fix = format!(
        "add match_typed_subject_alt_names: [{{san_type: DNS, matcher: {{exact: {host}}}}}]; in Istio set \
         subjectAltNames, or leave `sni` out"
    );
    if matchers.is_empty() {
        let why =
            format!("any certificate of a trusted CA will do, whatever its name: it need not be {host}'s");
        return Some(Finding::error("callout_unverified_host", path, why, fix));
    }
    let fits = |matcher: &&Value| {
        let (exact, suffix) = (text(matcher, "/exact"), text(matcher, "/suffix"));
        let opaque = has(matcher, "/safe_regex") || has(matcher, "/prefix") || has(matcher, "/contains");
        exact.eq_ignore_ascii_case(host) || (!suffix.is_empty() && host.ends_with(suffix)) || opaque
    };
    (!matchers.iter().any(fits)).then(|| {
        let why =
            format!("it verifies a name that is not {host}: no call can succeed, or another host is called");
        Finding::error("callout_wrong_host", path, why, fix)
    })
}
