//! What a running Envoy says of itself: statistics, and the addresses of clusters.

use super::{chains::Model, dump::type_of, finding::Finding, input::Live, rules::Rule};
use std::collections::BTreeSet;

pub fn check(model: &Model, live: &Live) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut seen = BTreeSet::new();
    for plugin in model.chains.iter().flat_map(|chain| &chain.plugins) {
        let Some(policy) = plugin.policy().filter(|policy| seen.insert(policy.name.clone())) else {
            continue;
        };
        let prefix = format!("wasmcustom.genesys_mtls.{}.", policy.name);
        let value = |name: &str| live.stats.get(&format!("{prefix}{name}")).copied();
        if !live.stats.range(prefix.clone()..).next().is_some_and(|(name, _)| name.starts_with(&prefix)) {
            findings.push(Finding::new(
                Rule::ModuleNotFetched,
                &plugin.path,
                format!("there is no statistic of policy `{}`: no worker runs the module", policy.name),
                "look for `wasm` in Envoy's log; in a mesh see that the module can be fetched",
            ));
            continue;
        }
        for source in policy.regions.iter().filter_map(|region| region.source.as_ref()) {
            let region = &source.region;
            let failures = value(&format!("refresh_failures_in_a_row.{region}")).unwrap_or_default();
            if failures > 0 {
                findings.push(Finding::new(
                    Rule::RefreshFailing,
                    &plugin.path,
                    format!("the last {failures} refresh(es) of {region} failed: its pins are not renewed"),
                    "the module's log line `refresh failed` says why",
                ));
            }
            let pins = ["named", "kept", "configured"]
                .map(|status| value(&format!("pins.{status}.{region}")).unwrap_or_default());
            if pins.iter().sum::<u64>() == 0 {
                findings.push(Finding::new(
                    Rule::PinsMissing,
                    &plugin.path,
                    format!("no pin of {region} is known: callers with a DigiCert certificate are refused"),
                    "see why refreshes fail, or pin a certificate in the configuration as well",
                ));
            }
            for cluster in [&source.api_cluster, &source.login_cluster] {
                if live.hosts.get(cluster) == Some(&0) {
                    findings.push(Finding::new(
                        Rule::CalloutNoAddress,
                        &format!("cluster {cluster}"),
                        format!("it has no address: refreshes of {region} cannot succeed"),
                        "see that its host name resolves here",
                    ));
                }
            }
        }
    }
    let is_refusal = |name: &str| name.contains("genesys_guard") && name.ends_with(".denied");
    let refused: u64 = live.stats.iter().filter(|(name, _)| is_refusal(name)).map(|(_, count)| count).sum();
    if refused > 0 {
        findings.push(Finding::new(
            Rule::GuardRefuses,
            "the guard",
            format!("it has refused {refused} request(s): the filter answers its own denials, so a worker skips it, or requests came \
                     by a route without it"),
            "look for the reason in Envoy's log (`wasm`, configuration failed), and restart Envoy once it is mended",
        ));
    }
    findings
}

/// A mesh that cannot fetch a module delivers a filter that denies everything.
pub fn not_fetched(model: &Model) -> Vec<Finding> {
    let mut findings = Vec::new();
    for chain in &model.chains {
        for filter in chain
            .filters
            .iter()
            .filter(|filter| type_of(filter.config()) == "RBAC" && filter.name.contains("genesys"))
        {
            if filter.config().to_string().contains("wasm-default-deny") {
                findings.push(Finding::new(
                    Rule::ModuleNotFetched,
                    &format!("{}, filter {}", chain.path, filter.name),
                    "the agent could not fetch the module, put `wasm-default-deny` in its place, and does not try again",
                    "mend registry, URL or digest, then touch the resource (kubectl annotate --overwrite) or restart the pod",
                ));
            }
        }
    }
    findings
}
