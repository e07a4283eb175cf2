//! The guard: a native RBAC filter that lets through only what carries the filter's own verdict.

use super::{
    chains::{Chain, Filter},
    dump::{has, list, text},
    finding::Finding,
    plugin::Plugin,
};
use serde_json::Value;

const KEY_PREFIX: &str = "wasm.genesys_mtls.";

/// What a set of RBAC rules does with the verdict under one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rules {
    /// Only an `allow;` verdict under the key passes.
    Demand,
    /// They do not look at verdicts.
    Unrelated,
    /// They look at this key instead.
    OtherKey(String),
    /// They look at the right key in the wrong way.
    Weak(String),
}

/// Judges the `rules` or `shadow_rules` of an RBAC filter.
pub fn judge(rules: &Value, key: &str) -> Rules {
    let text = rules.to_string();
    if !text.contains(KEY_PREFIX) {
        return Rules::Unrelated;
    }
    let policies = rules.get("policies").and_then(Value::as_object);
    let principals = || policies.into_iter().flatten().flat_map(|(_, policy)| list(policy, "/principals"));
    if !text.contains(&format!("\"{key}\"")) {
        let mut words = text.split('"').filter(|word| word.starts_with(KEY_PREFIX));
        return Rules::OtherKey(words.next().unwrap_or_default().to_owned());
    }
    match super::dump::text(rules, "/action") {
        "" | "ALLOW" => {}
        "DENY"
            if principals().any(|principal| principal.get("not_id").is_some_and(|not| demands(not, key))) =>
        {
            return Rules::Demand;
        }
        action => return Rules::Weak(format!("its action is {action}, not ALLOW")),
    }
    if let Some(wrong) = principals().find_map(|principal| wrong_match(principal, key)) {
        return Rules::Weak(wrong);
    }
    if principals().all(|principal| demands(principal, key)) {
        Rules::Demand
    } else {
        Rules::Weak("another of its principals passes without an `allow;` verdict".to_owned())
    }
}

/// Whether a principal is met only with an `allow;` verdict under the key.
fn demands(principal: &Value, key: &str) -> bool {
    if let Some(state) = principal.get("filter_state") {
        let starts = |matcher: &str| text(state, &format!("/string_match/{matcher}")).starts_with("allow;");
        return text(state, "/key") == key && (starts("prefix") || starts("exact"));
    }
    let all = list(principal, "/and_ids/ids");
    let any = list(principal, "/or_ids/ids");
    all.iter().any(|id| demands(id, key)) || (!any.is_empty() && any.iter().all(|id| demands(id, key)))
}

/// A match on the right key with a value that is not an `allow;` verdict's.
fn wrong_match(principal: &Value, key: &str) -> Option<String> {
    if let Some(state) = principal.get("filter_state").filter(|state| text(state, "/key") == key) {
        let shown = state.get("string_match").cloned().unwrap_or_default();
        return (!demands(principal, key)).then(|| format!("it matches {shown}, not the prefix `allow;`"));
    }
    let nested = list(principal, "/and_ids/ids").iter().chain(list(principal, "/or_ids/ids"));
    nested.into_iter().find_map(|id| wrong_match(id, key))
}

/// Whether a later RBAC filter (as Istio makes it of an AuthorizationPolicy) demands a shadow engine's `allowed`.
fn demands_shadow_result(filter: &Filter, prefix: &str) -> bool {
    let key = format!("\"{prefix}shadow_engine_result\"");
    let rules = filter.config.get("rules").map(Value::to_string).unwrap_or_default();
    filter.is_rbac() && rules.contains(&key) && rules.contains("\"allowed\"")
}

/// Whether an RBAC filter has no rules of its own: per-route configurations bring them.
pub fn is_empty(filter: &Filter) -> bool {
    filter.is_rbac() && !has(&filter.config, "/rules") && !has(&filter.config, "/matcher")
}

/// Whether this filter, as the chain configures it, stops requests without the verdict.
pub fn enforces(filter: &Filter, key: &str) -> bool {
    filter.is_rbac()
        && !filter.disabled
        && filter.config.get("rules").is_some_and(|rules| judge(rules, key) == Rules::Demand)
}

pub const RULES: &str = "an RBAC filter with the one principal filter_state: {key: wasm.genesys_mtls.<name>, string_match: \
                         {prefix: \"allow;\"}} directly behind the filter";

/// Everything about guards on the chain itself.
pub fn check(chain: &Chain) -> Vec<Finding> {
    let mut findings = Vec::new();
    for plugin in &chain.plugins {
        let Some(key) = plugin.verdict_key() else { continue };
        if chain.filters.get(plugin.position).is_some_and(|filter| filter.disabled) {
            findings.push(Finding::warning(
                "filter_disabled",
                &plugin.path,
                "the filter is disabled on the chain, and enabled by routes at most",
                "enable it on the chain",
            ));
        }
        findings.extend(check_behind(chain, plugin, &key));
    }
    findings
}

fn check_behind(chain: &Chain, plugin: &Plugin, key: &str) -> Vec<Finding> {
    let behind = chain.filters.get(plugin.position + 1..).unwrap_or_default();
    let before = chain.filters.get(..plugin.position).unwrap_or_default();
    let at = |wanted: &dyn Fn(&Filter) -> bool| behind.iter().position(wanted);
    let fix = format!("put {RULES} (key {key})");
    let path = &plugin.path;
    let mut findings = Vec::new();
    if let Some(between) = at(&|filter| enforces(filter, key)) {
        if between > 0 {
            let names: Vec<&str> = behind.iter().take(between).map(|filter| filter.name.as_str()).collect();
            findings.push(Finding::error(
                "guard_not_directly_behind",
                path,
                format!(
                    "where Envoy skips the filter, {} see(s) the request before the guard does",
                    names.join(", ")
                ),
                "move the guard directly behind the filter",
            ));
        }
        if plugin.is_shadow() {
            findings.push(Finding::warning(
                "half_switched",
                path,
                "the policy is in shadow mode, the guard is not: denied requests are refused by the guard, without a reason",
                "use shadow_rules in the guard as well, or mode: enforce in the policy",
            ));
        }
        return findings;
    }
    let shadow = at(&|filter| {
        filter.is_rbac()
            && filter.config.get("shadow_rules").is_some_and(|rules| judge(rules, key) == Rules::Demand)
    });
    if let Some((place, filter)) = shadow.and_then(|place| Some((place, behind.get(place)?))) {
        let prefix = text(&filter.config, "/shadow_rules_stat_prefix");
        let istio = behind.iter().skip(place).any(|later| demands_shadow_result(later, prefix));
        if !istio && !plugin.is_shadow() {
            findings.push(Finding::error(
                "guard_only_shadow",
                path,
                "the policy enforces, but the guard only counts (shadow_rules): a skipped filter lets everything through",
                "use `rules` in the guard, or let an AuthorizationPolicy demand its shadow result",
            ));
        }
        return findings;
    }
    // Without rules on the chain, routes may bring them: `routes::check` judges those.
    if behind.iter().any(|filter| is_empty(filter) && super::routes::any_guards(chain, filter, key)) {
        return findings;
    }
    findings.push(missing(before, behind, key, path, &fix));
    findings
}

/// No guard: the nearest thing to one says best what went wrong.
fn missing(before: &[Filter], behind: &[Filter], key: &str, path: &str, fix: &str) -> Finding {
    if before.iter().any(|filter| enforces(filter, key)) {
        return Finding::error(
            "guard_before_filter",
            path,
            "the guard stands before the filter, so it never sees a verdict and refuses everything",
            "move the guard directly behind the filter",
        );
    }
    for filter in behind.iter().filter(|filter| filter.is_rbac()) {
        if filter.disabled
            && filter.config.get("rules").is_some_and(|rules| judge(rules, key) == Rules::Demand)
        {
            return Finding::error(
                "guard_disabled",
                path,
                "the guard is disabled",
                "remove `disabled: true` from it",
            );
        }
        let rules = filter.config.get("rules").or_else(|| filter.config.get("shadow_rules"));
        match rules.map(|rules| judge(rules, key)) {
            Some(Rules::OtherKey(other)) => {
                return Finding::error(
                    "guard_wrong_key",
                    path,
                    format!("the guard reads `{other}`, the policy writes `{key}`"),
                    fix,
                );
            }
            Some(Rules::Weak(why)) => {
                return Finding::error(
                    "guard_too_weak",
                    path,
                    format!("the guard does not hold: {why}"),
                    fix,
                );
            }
            _ => {}
        }
    }
    let why = "nothing behind the filter demands its verdict: in a worker where Envoy skips the filter, everything passes";
    Finding::error("guard_missing", path, why, fix)
}
