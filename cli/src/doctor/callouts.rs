//! The clusters that credentials and tokens are sent through.

use super::{
    dump::{Dump, list, text, truth, type_of, unwrapped},
    finding::Finding,
    plugin::Plugin,
    rules::Rule,
    tls::Validation,
};
use genesys_mtls_filter::policy::Credentials;
use serde_json::{Value, json};

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
    let lists = policy.revocation.crls.iter().map(|list| (&list.cluster, &list.host));
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
    let Some(contexts) = tls_contexts(cluster) else {
        let why = format!(
            "credentials and tokens for {host} travel in plain text, to some of its endpoints or to all"
        );
        let fix = "give it an UpstreamTlsContext, and each of its transport_socket_matches";
        return Some(Finding::new(Rule::CalloutWithoutTls, &path, why, fix));
    };
    contexts.iter().find_map(|context| {
        let validation = Validation::of(context, dump);
        check_chain(&validation, host, &path)
            .or_else(|| check_name(&Name { context, cluster, host, path: &path }, &validation))
    })
}

/// The TLS contexts that a connection may get: those chosen by endpoint, and the cluster's own where no choice fits all
/// endpoints. Nothing if one of its sockets is another.
fn tls_contexts(cluster: &Value) -> Option<Vec<Value>> {
    let choices = list(cluster, "/transport_socket_matches").iter();
    let mut sockets: Vec<Option<&Value>> =
        choices.clone().map(|choice| choice.get("transport_socket")).collect();
    let fits_all = |choice: &Value| choice.get("match").is_none_or(|labels| labels == &json!({}));
    let own = cluster.get("transport_socket");
    if own.is_some() || !choices.clone().any(fits_all) {
        sockets.push(own);
    }
    sockets.into_iter().map(|socket| tls_context(socket?)).collect()
}

/// The TLS context of a socket, or of the one that it wraps.
fn tls_context(socket: &Value) -> Option<Value> {
    let config = unwrapped(socket.get("typed_config")?);
    match type_of(&config) {
        "UpstreamTlsContext" => Some(config),
        "QuicUpstreamTransport" => config.get("upstream_tls_context").cloned(),
        _ => tls_context(config.get("transport_socket")?),
    }
}

fn check_chain(validation: &Validation<'_>, host: &str, path: &str) -> Option<Finding> {
    (!validation.has_anchor() || validation.accepts_untrusted()).then(|| {
        Finding::new(
            Rule::CalloutUnverifiedChain,
            path,
            format!("it accepts any certificate, so whoever poses as {host} receives the client secret"),
            "add a validation_context with trusted_ca: {filename: /etc/ssl/certs/ca-certificates.crt} (`sni` alone \
             verifies nothing)",
        )
    })
}

/// What decides which names a host's certificate may carry.
struct Name<'c> {
    context: &'c Value,
    cluster: &'c Value,
    host: &'c str,
    path: &'c str,
}

fn check_name(name: &Name<'_>, validation: &Validation<'_>) -> Option<Finding> {
    let Name { host, .. } = name;
    // The name that the call is for.
    if name.has_http_option("auto_san_validation") {
        return None;
    }
    // The name that Envoy asks for, whatever other names are listed.
    if truth(name.context, "/auto_sni_san_validation") {
        let asked = name.asked_for();
        if asked.is_empty() {
            let why = "it verifies the names of its endpoints (auto_host_sni), which are not in the dump";
            return Some(name.unverified(why.to_owned()));
        }
        let wrong = asked.iter().find(|asked| !asked.eq_ignore_ascii_case(host));
        return wrong.map(|wrong| match wrong.as_str() {
            "" => {
                name.unverified("it asks for no name (sni), so there is none that it could verify".to_owned())
            }
            wrong => name.wrong_host(format!("it asks for `{wrong}` and verifies that name, not {host}")),
        });
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
    if matchers.is_empty() {
        let why =
            format!("any certificate of a trusted CA will do, whatever its name: it need not be {host}'s");
        return Some(name.unverified(why));
    }
    let is_other = |matcher: &&Value| {
        !text(matcher, "/exact").is_empty() && !text(matcher, "/exact").eq_ignore_ascii_case(host)
    };
    if matchers.iter().all(is_other) {
        return Some(name.wrong_host(format!("it verifies a name that is not {host}")));
    }
    // One of them is enough for Envoy.
    let broad = matchers.iter().find(|matcher| !keeps_to_domain(matcher, host))?;
    let why = format!("{broad} is met by names of others: the certificate need not be {host}'s");
    Some(name.unverified(why))
}

impl Name<'_> {
    fn has_http_option(&self, field: &str) -> bool {
        let options = "/typed_extension_protocol_options/envoy.extensions.upstreams.http.v3.HttpProtocolOptions\
                       /upstream_http_protocol_options";
        truth(self.cluster, &format!("{options}/{field}"))
    }

    /// What Envoy may ask for in the handshake (SNI), an empty text for no name; nothing where that is not in the dump.
    fn asked_for(&self) -> Vec<String> {
        let fixed = text(self.context, "/sni").to_owned();
        if self.has_http_option("auto_sni") {
            return vec![self.host.to_owned()];
        }
        if !truth(self.context, "/auto_host_sni") {
            return vec![fixed];
        }
        let localities = list(self.cluster, "/load_assignment/endpoints").iter();
        let endpoints = localities.flat_map(|locality| list(locality, "/lb_endpoints"));
        let names = endpoints.map(|endpoint| {
            let named = text(endpoint, "/endpoint/hostname");
            let address = text(endpoint, "/endpoint/address/socket_address/address");
            match (named, address.parse::<std::net::IpAddr>()) {
                ("", Ok(_)) => fixed.clone(),
                ("", Err(_)) => address.to_owned(),
                (named, _) => named.to_owned(),
            }
        });
        names.collect()
    }

    fn fix(&self) -> String {
        let host = self.host;
        format!(
            "add match_typed_subject_alt_names: [{{san_type: DNS, matcher: {{exact: {host}}}}}], and no matcher that others \
             meet; in Istio set subjectAltNames, or leave `sni` out"
        )
    }

    fn unverified(&self, why: String) -> Finding {
        Finding::new(Rule::CalloutUnverifiedHost, self.path, why, self.fix())
    }

    fn wrong_host(&self, what: String) -> Finding {
        let why = format!("{what}: no call can succeed, or another host is called");
        Finding::new(Rule::CalloutWrongHost, self.path, why, self.fix())
    }
}

/// Whether only names in the host's domain meet a matcher: a name or suffix in it, or an expression that ends in it.
fn keeps_to_domain(matcher: &Value, host: &str) -> bool {
    let domain = format!(".{}", host.split_once('.').map_or(host, |(_, domain)| domain));
    let ends = |field: &str| text(matcher, field).to_ascii_lowercase().ends_with(&domain);
    ends("/exact") || ends("/suffix") || all_end_with(text(matcher, "/safe_regex/regex"), &domain)
}

/// Whether an expression spells out this end of a name behind all of its alternatives. Envoy matches names as a whole.
fn all_end_with(regex: &str, end: &str) -> bool {
    let regex = regex.strip_suffix('$').unwrap_or(regex);
    let Some(before) = regex.strip_suffix(&end.replace('.', "\\.")) else { return false };
    let (mut groups, mut in_class, mut rest) = (0_u32, false, before.chars());
    while let Some(next) = rest.next() {
        match next {
            // \Q would quote what follows.
            '\\' if rest.next().is_none_or(|escaped| escaped == 'Q') => return false,
            '\\' => {}
            ']' => in_class = false,
            '[' => in_class = true,
            _ if in_class => {}
            '|' | ')' if groups == 0 => return false,
            '(' => groups += 1,
            ')' => groups -= 1,
            _ => {}
        }
    }
    groups == 0 && !in_class
}

#[cfg(test)]
mod tests {
    use super::all_end_with;

    #[test]
    fn regex_matches_a_domain_only_if_each_alternative_does() {
        for (regex, expected) in [
            (r"login\.pure\.cloud", true),
            (r"^(api|login)\.pure\.cloud$", true),
            (r"(?i:api|login)\.pure\.cloud", true),
            (r"[^|(]*\.pure\.cloud", true),
            (r".*pure\.cloud", false),
            (r"login.pure.cloud", false),
            (r"login\.pure\.cloud|evil\.example", false),
            (r"evil\.example|login\.pure\.cloud", false),
            (r"(login|evil\.example|(x)\.pure\.cloud", false),
            (r"login)|(evil\.pure\.cloud", false),
            (r"login\\.pure\.cloud", false),
            (r"[login\.pure\.cloud", false),
            (r"\Q(\E|x\Q)\E\.pure\.cloud", false),
            (r"login\.pure\.cloud.*", false),
            (r"login\.pure\.cloud\$", false),
            (r"", false),
        ] {
            assert_eq!(all_end_with(regex, ".pure.cloud"), expected, "{regex}");
        }
    }
}
