//! The clusters that credentials and tokens are sent through.

use super::{
    dump::{Dump, list, text, truth, type_of, unwrapped},
    finding::Finding,
    plugin::Plugin,
    rules::Rule,
    tls::Validation,
};
use genesys_mtls_filter::config::Credentials;
use serde_json::Value;

pub fn check(plugin: &Plugin, dump: &Dump) -> Vec<Finding> {
    let Ok(policy) = &plugin.policy else { return Vec::new() };
    let mut findings = Vec::new();
    for source in policy.regions.iter().filter_map(|region| region.source.as_ref()) {
        for (cluster, host) in
            [(&source.api_cluster, &source.api_host), (&source.login_cluster, &source.login_host)]
        {
            // With an injected token there is no login call.
            let injected = source.credentials == Credentials::Injected;
            if injected && cluster == &source.login_cluster {
                continue;
            }
            findings.extend(check_cluster(cluster, host, plugin, dump));
        }
    }
    // Lists are signed: their clusters need no TLS, but to be there.
    let lists = policy.revocation.lists.iter().map(|list| (&list.cluster, &list.host));
    let discovered = policy.revocation.discover.iter().map(|(host, cluster)| (cluster, host));
    let absent = lists.chain(discovered).filter(|(cluster, _)| !dump.clusters.contains_key(*cluster));
    findings.extend(absent.map(|(cluster, host)| missing(cluster, host, plugin)));
    findings
}

fn missing(name: &str, host: &str, plugin: &Plugin) -> Finding {
    Finding::new(
        Rule::CalloutClusterMissing,
        &format!("cluster {name}"),
        format!("{} calls it for {host}, and it does not exist: no refresh can succeed", plugin.path),
        "define the cluster, or correct its name in the policy; in Istio, a ServiceEntry makes it \
         (PILOT_FILTER_GATEWAY_CLUSTER_CONFIG can drop it)",
    )
}

fn check_cluster(name: &str, host: &str, plugin: &Plugin, dump: &Dump) -> Option<Finding> {
    let path = format!("cluster {name}");
    let Some(cluster) = dump.clusters.get(name) else { return Some(missing(name, host, plugin)) };
    let contexts = tls_contexts(cluster);
    if contexts.is_empty() {
        let why = format!("credentials and tokens for {host} travel in plain text");
        return Some(Finding::new(Rule::CalloutWithoutTls, &path, why, "give it an UpstreamTlsContext"));
    }
    contexts.iter().find_map(|context| {
        check_context(&Validation::of(context, dump), host, &path, verifies_sni(context, cluster))
    })
}

/// Whether Envoy is told to verify the name that it asks for.
fn verifies_sni(context: &Value, cluster: &Value) -> bool {
    let protocol = "/typed_extension_protocol_options/envoy.extensions.upstreams.http.v3.HttpProtocolOptions\
                    /upstream_http_protocol_options/auto_san_validation";
    truth(context, "/auto_sni_san_validation") || truth(cluster, protocol)
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

fn check_context(validation: &Validation<'_>, host: &str, path: &str, verifies_sni: bool) -> Option<Finding> {
    if !validation.has_anchor() || validation.accepts_untrusted() {
        return Some(Finding::new(
            Rule::CalloutUnverifiedChain,
            path,
            format!("it accepts any certificate, so whoever poses as {host} receives the client secret"),
            "add a validation_context with trusted_ca: {filename: /etc/ssl/certs/ca-certificates.crt} (`sni` alone \
             verifies nothing)",
        ));
    }
    if verifies_sni {
        return None;
    }
    let matchers: Vec<&Value> = validation
        .parts
        .iter()
        .flat_map(|part| {
            let typed = list(part, "/match_typed_subject_alt_names");
            let typed = typed.iter().filter_map(|one| one.get("matcher"));
            typed.chain(list(part, "/match_subject_alt_names"))
        })
        .collect();
    let fix = format!(
        "add match_typed_subject_alt_names: [{{san_type: DNS, matcher: {{exact: {host}}}}}]; in Istio set \
         subjectAltNames, or leave `sni` out"
    );
    if matchers.is_empty() {
        let why =
            format!("any certificate of a trusted CA will do, whatever its name: it need not be {host}'s");
        return Some(Finding::new(Rule::CalloutUnverifiedHost, path, why, fix));
    }
    if let Some(matcher) = matchers.iter().find(|matcher| is_broad(matcher, host)) {
        let why = format!("{matcher} is met by names of others: the certificate need not be {host}'s");
        return Some(Finding::new(Rule::CalloutUnverifiedHost, path, why, fix));
    }
    let is_other = |matcher: &&Value| {
        !text(matcher, "/exact").is_empty() && !text(matcher, "/exact").eq_ignore_ascii_case(host)
    };
    matchers.iter().all(is_other).then(|| {
        let why =
            format!("it verifies a name that is not {host}: no call can succeed, or another host is called");
        Finding::new(Rule::CalloutWrongHost, path, why, fix)
    })
}

/// Whether a matcher can be met by names outside the host's domain. Of an expression it is only seen that it spells the
/// domain out.
fn is_broad(matcher: &Value, host: &str) -> bool {
    let domain = host.split_once('.').map_or(host, |(_, domain)| domain);
    let (suffix, regex) = (text(matcher, "/suffix"), text(matcher, "/safe_regex/regex"));
    let spells = regex.replace('\\', "").contains(domain);
    text(matcher, "/exact").is_empty() && !suffix.ends_with(domain) && !spells
}
