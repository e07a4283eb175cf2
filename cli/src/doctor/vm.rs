//! The wasm VM: what happens when it fails, what it may call, and whose environment it has.

use super::{
    chains::Chain,
    dump::{Dump, has, list, text, truth, type_of},
    finding::Finding,
    plugin::Plugin,
    rules::Rule,
};
use genesys_mtls_filter::policy::{Credentials, Policy};
use serde_json::Value;

/// The first Envoy that gives plugins of one VM their own environment.
const ENVIRONMENTS_SINCE: (u64, u64) = (1, 39);

/// What the filter needs where capabilities are restricted, and what comes of leaving it out.
const CALLBACKS: [(&str, &str); 6] = [
    ("proxy_on_request_headers", "the filter is never asked, and requests pass it by"),
    ("proxy_on_configure", "it never loads its policy"),
    ("proxy_on_context_create", "it cannot be asked"),
    (
        "proxy_on_tick",
        "it never refreshes, held requests never go on, and what expires is let in for 1,024 more requests a worker",
    ),
    ("proxy_on_http_call_response", "it never learns what the API answers"),
    ("proxy_on_delete", "every request leaks memory, and a reload waits for its lease to run out"),
];
const CALLS: [&str; 23] = [
    "proxy_log",
    "proxy_get_property",
    "proxy_set_property",
    "proxy_send_local_response",
    "proxy_http_call",
    "proxy_call_foreign_function",
    "proxy_get_buffer_bytes",
    "proxy_get_header_map_value",
    "proxy_add_header_map_value",
    "proxy_remove_header_map_value",
    "proxy_set_tick_period_milliseconds",
    "proxy_get_shared_data",
    "proxy_set_shared_data",
    "proxy_define_metric",
    "proxy_increment_metric",
    "proxy_get_metric",
    "proxy_record_metric",
    "proxy_set_effective_context",
    "proxy_continue_stream",
    "environ_get",
    "environ_sizes_get",
    "clock_time_get",
    "random_get",
];

pub fn check(plugin: &Plugin) -> Vec<Finding> {
    let mut findings: Vec<Finding> = [failure_policy(plugin), capabilities(plugin), stop_iteration(plugin)]
        .into_iter()
        .flatten()
        .collect();
    if let Some(policy) = plugin.policy() {
        findings.extend(credentials(plugin, policy));
    }
    findings
}

fn failure_policy(plugin: &Plugin) -> Option<Finding> {
    let fix = "set failure_policy: FAIL_RELOAD (Istio: failStrategy: FAIL_RELOAD)";
    let open = truth(plugin.config, "/fail_open");
    match text(plugin.config, "/failure_policy") {
        "FAIL_RELOAD" if !open => None,
        "FAIL_OPEN" => Some(Finding::new(
            Rule::FailOpen,
            &plugin.path,
            "after a crash the filter is skipped, and the guard refuses everybody without a reason",
            fix,
        )),
        _ if open => {
            Some(Finding::new(Rule::FailOpen, &plugin.path, "fail_open: true skips a crashed filter", fix))
        }
        _ => Some(Finding::new(
            Rule::FailurePolicy,
            &plugin.path,
            "after a crash of its VM a worker answers 503 until Envoy is restarted",
            fix,
        )),
    }
}

fn capabilities(plugin: &Plugin) -> Option<Finding> {
    // 1.40 calls the place next to vm_config deprecated; older versions know no other.
    let places = ["/vm_config/capability_restriction_config", "/capability_restriction_config"];
    let lists = places
        .iter()
        .filter_map(|place| plugin.config.pointer(place)?.get("allowed_capabilities")?.as_object());
    // An empty list restricts nothing.
    let allowed = lists.into_iter().find(|allowed| !allowed.is_empty())?;
    let callbacks: Vec<String> = CALLBACKS
        .iter()
        .filter(|(name, _)| !allowed.contains_key(*name))
        .map(|(name, consequence)| format!("without {name} {consequence}"))
        .collect();
    let calls: Vec<&str> = CALLS.into_iter().filter(|name| !allowed.contains_key(*name)).collect();
    let mut why = callbacks;
    if !calls.is_empty() {
        why.push(format!("it needs {}", calls.join(", ")));
    }
    (!why.is_empty()).then(|| {
        Finding::new(
            Rule::CapabilityMissing,
            &plugin.path,
            why.join("; "),
            "add them to capability_restriction_config.allowed_capabilities, or remove the restriction",
        )
    })
}

/// Envoy then takes a pause for one of the headers alone, and the body resumes the request.
fn stop_iteration(plugin: &Plugin) -> Option<Finding> {
    truth(plugin.config, "/allow_on_headers_stop_iteration").then(|| {
        Finding::new(
            Rule::HeadersStopIteration,
            &plugin.path,
            "with allow_on_headers_stop_iteration a request that waits for a refresh goes on as soon as its body arrives, \
             without a verdict: a guard refuses it, one in shadow lets it through",
            "remove it",
        )
    })
}

/// Whether the VM is given the variables that the policy reads, and not in plain sight.
fn credentials(plugin: &Plugin, policy: &Policy) -> Vec<Finding> {
    let environment = plugin.config.pointer("/vm_config/environment_variables").cloned().unwrap_or_default();
    let passed = |name: &str| list(&environment, "/host_env_keys").iter().any(|key| key == name);
    let written = |name: &str| environment.get("key_values").is_some_and(|values| values.get(name).is_some());
    let mut findings = Vec::new();
    for source in policy.regions.iter().filter_map(|region| region.source.as_ref()) {
        let Credentials::Environment { client_id, client_secret } = &source.credentials else { continue };
        let names = [client_id, client_secret].into_iter().map(String::as_str);
        let missing: Vec<&str> = names.filter(|name| !passed(name) && !written(name)).collect();
        if !missing.is_empty() {
            findings.push(Finding::new(
                Rule::CredentialsNotPassed,
                &plugin.path,
                format!(
                    "the VM is not given {}: the pins of {} are never fetched",
                    missing.join(" and "),
                    source.region
                ),
                "add it to vm_config.environment_variables.host_env_keys (Istio: vmConfig.env)",
            ));
        }
        if written(client_secret) {
            findings.push(Finding::new(
                Rule::SecretInConfiguration,
                &plugin.path,
                format!(
                    "{client_secret} is written in Envoy's configuration, where every config dump shows it"
                ),
                "use host_env_keys, and set it in Envoy's own environment",
            ));
        }
    }
    findings
}

/// Below 1.39 plugins of one VM all see the environment of the first.
pub fn check_shared(chains: &[Chain], dump: &Dump) -> Vec<Finding> {
    if !dump.is_before(ENVIRONMENTS_SINCE) {
        return Vec::new();
    }
    let wasm = || {
        let filters = chains.iter().flat_map(|chain| &chain.filters);
        filters
            .filter(|filter| type_of(filter.config()) == "Wasm")
            .filter_map(|filter| filter.config().get("config"))
    };
    let vm = |config: &Value| {
        let part = |pointer: &str| config.pointer(pointer).cloned().unwrap_or_default();
        [part("/vm_config/vm_id"), part("/vm_config/code"), part("/vm_config/configuration")]
    };
    let environment =
        |config: &Value| config.pointer("/vm_config/environment_variables").cloned().unwrap_or_default();
    let ours = chains.iter().flat_map(|chain| &chain.plugins);
    ours.filter(|plugin| has(plugin.config, "/vm_config"))
        .filter(|plugin| {
            wasm().any(|other| {
                vm(other) == vm(plugin.config) && environment(other) != environment(plugin.config)
            })
        })
        .map(|plugin| {
            Finding::new(
                Rule::SharedEnvironment,
                &plugin.path,
                "another plugin has the same module and vm_id but another environment; before Envoy 1.39 both get the \
                 environment of whichever was configured first, so this one may use the other's OAuth client, or none",
                "give each its own vm_id, or both the same environment",
            )
        })
        .collect()
}
