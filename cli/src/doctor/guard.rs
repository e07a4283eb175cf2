//! The guard: a native RBAC filter that lets through only what carries the filter's own verdict.

use super::{
    chains::{Chain, Filter},
    dump::type_of,
    finding::Finding,
    plugin::Plugin,
    rbac::{self, Rules, enforces, judge, would_enforce},
    routes,
    rules::Rule,
};

const RULES: &str = "an RBAC filter with the one principal filter_state: {key: wasm.genesys_mtls.<name>, string_match: \
                     {prefix: \"allow;\"}} directly behind the filter";

/// Filters that Istio has between a plugin and the router: they route nothing and send nothing to others.
const HARMLESS: [&str; 4] = ["Cors", "HTTPFault", "FilterConfig", "PluginConfig"];

/// Everything about guards on the chain itself.
pub fn check(chain: &Chain) -> Vec<Finding> {
    let mut findings = Vec::new();
    for plugin in &chain.plugins {
        let Some(key) = plugin.verdict_key() else { continue };
        let filter = chain.filters.get(plugin.position);
        if filter.is_some_and(|filter| filter.disabled && !routes::any_enables(chain, filter)) {
            findings.push(Finding::new(
                Rule::FilterDisabled,
                &plugin.path,
                "the filter is disabled on the chain, and no route enables it",
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
    let mut findings = Vec::new();
    let between = |guard: usize| -> Vec<&str> {
        let seeing = behind.iter().take(guard).filter(|filter| !HARMLESS.contains(&type_of(&filter.config)));
        seeing.map(|filter| filter.name.as_str()).collect()
    };
    let taker = behind.iter().position(|filter| rbac::takes_note(filter, key));
    let noted = rbac::noted(behind, key).map(|(taker, _)| taker);
    let guard = behind.iter().position(|filter| enforces(filter, key)).or(noted);
    if let Some(guard) = guard {
        let between = between(guard);
        if !between.is_empty() {
            findings.push(Finding::new(
                Rule::GuardNotDirectlyBehind,
                &plugin.path,
                format!(
                    "where Envoy skips the filter, {} see(s) the request before the guard does",
                    between.join(", ")
                ),
                "move the guard directly behind the filter",
            ));
        }
        if plugin.is_shadow() {
            findings.push(Finding::new(
                Rule::HalfSwitched,
                &plugin.path,
                "the policy is in shadow mode, the guard is not: denied requests are refused by the guard, without a reason",
                "use shadow_rules in the guard as well, or mode: enforce in the policy",
            ));
        }
        return findings;
    }
    if taker.is_some() {
        findings.push(if plugin.is_shadow() {
            Finding::new(
                Rule::BothShadow,
                &plugin.path,
                "policy and guard only watch: nobody is refused",
                "nothing while you watch; then `rules` in the guard, and mode: enforce in the policy",
            )
        } else {
            Finding::new(
                Rule::GuardOnlyShadow,
                &plugin.path,
                "the policy enforces, but the guard only counts (shadow_rules): a skipped filter lets everything through",
                "use `rules` in the guard, or let an AuthorizationPolicy demand its shadow result",
            )
        });
        return findings;
    }
    // Without rules on the chain, routes may bring them: `routes::check` judges those.
    if behind.iter().any(|filter| rbac::is_empty(filter) && routes::any_guards(chain, filter, key)) {
        return findings;
    }
    findings.push(missing(before, behind, key, &plugin.path));
    findings
}

/// No guard: the nearest thing to one says best what went wrong.
fn missing(before: &[Filter], behind: &[Filter], key: &str, path: &str) -> Finding {
    let fix = format!("put {RULES} (key {key})");
    if before.iter().any(|filter| enforces(filter, key)) {
        return Finding::new(
            Rule::GuardBeforeFilter,
            path,
            "the guard stands before the filter, so it never sees a verdict and refuses everything",
            "move the guard directly behind the filter",
        );
    }
    for filter in behind.iter().filter(|filter| filter.is_rbac()) {
        if would_enforce(filter, key) {
            let (why, fix) = if filter.disabled {
                ("the guard is disabled", "remove `disabled: true` from it")
            } else {
                (
                    "the guard stands in an ExtensionWithMatcher, which can skip it",
                    "take it out of the matcher",
                )
            };
            return Finding::new(Rule::GuardDisabled, path, why, fix);
        }
        let rules = filter.config.get("rules").or_else(|| filter.config.get("shadow_rules"));
        match rules.map(|rules| judge(rules, key)) {
            Some(Rules::OtherKey(other)) => {
                let why = format!("the guard reads `{other}`, the policy writes `{key}`");
                return Finding::new(Rule::GuardWrongKey, path, why, fix);
            }
            Some(Rules::Weak(why)) => {
                let why = format!("the guard does not hold: {why}");
                return Finding::new(Rule::GuardTooWeak, path, why, fix);
            }
            Some(Rules::Demand) if filter.fallback.is_some() => {
                let why = "the guard does not hold: until Envoy has discovered it, its default_config counts, which does not \
                           demand the verdict";
                return Finding::new(
                    Rule::GuardTooWeak,
                    path,
                    why,
                    "use the same rules there, or leave it out",
                );
            }
            // Good rules that do not enforce: Envoy does not look at them.
            Some(Rules::Demand) => {
                let why =
                    "the guard does not hold: beside a `matcher` (`shadow_matcher`) Envoy ignores its rules";
                return Finding::new(Rule::GuardTooWeak, path, why, "remove the matcher from it");
            }
            _ => {}
        }
    }
    let why = "nothing behind the filter demands its verdict: in a worker where Envoy skips the filter, everything passes";
    Finding::new(Rule::GuardMissing, path, why, fix)
}
