//! The guard of a chain: native filters behind ours that let nothing through without its verdict.

use super::{
    chains::{Chain, Filter},
    dump::type_of,
    finding::Finding,
    plugin::Plugin,
    rbac::{self, Judge, Rules},
    routes::{self, Stand},
    rules::Rule,
};

const RULES: &str = "an RBAC filter with the one principal filter_state: {key: wasm.genesys_mtls.<name>, string_match: \
                     {prefix: \"allow;\"}} directly behind the filter";

/// What meshes put between a plugin and the router. It routes nothing and sends nothing to others.
const BETWEEN: [&str; 9] = [
    "Config",
    "Cors",
    "ExtAuthz",
    "FilterConfig",
    "GrpcWeb",
    "HTTPFault",
    "JwtAuthentication",
    "PluginConfig",
    "RBAC",
];

/// Everything about the guard of one plugin of a chain, as long as a route does not say otherwise.
pub fn check(chain: &Chain, plugin: &Plugin, judge: &Judge) -> Vec<Finding> {
    let Some(key) = plugin.verdict_key() else { return Vec::new() };
    let mut findings = Vec::new();
    let behind = chain.filters.get(plugin.position + 1..).unwrap_or_default();
    let rules = |filter: &Filter| judge.of_filter(filter, &key);
    let demands = |filter: &Filter| {
        matches!(rules(filter), Rules::Demand | Rules::DemandOf(_)) && !filter.may_be_skipped()
    };
    let noted = || rbac::noted(behind, &key, judge).map(|(taker, _)| taker);
    if let Some(guard) = behind.iter().position(demands).or_else(noted) {
        let between = behind.iter().take(guard).filter(|filter| !BETWEEN.contains(&type_of(filter.config())));
        let between: Vec<&str> = between.map(|filter| filter.name).collect();
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
    }
    let forwarding = routes::all(chain).filter(routes::Route::forwards);
    let stands: Vec<(bool, Stand)> = forwarding
        .map(|route| {
            let runs = chain.filters.get(plugin.position).is_some_and(|filter| route.runs(filter));
            (runs, route.stand(&key, judge))
        })
        .collect();
    let filter_is_off = chain.filters.get(plugin.position).is_some_and(|filter| filter.disabled);
    let before = chain.filters.get(..plugin.position).unwrap_or_default();
    if before.iter().any(demands) && !behind.iter().any(Filter::is_rbac) {
        findings.push(missing(chain, plugin, &key, judge));
        return findings;
    }
    // Then routes that go without it are reported one by one.
    let has_guard = rbac::guards(&chain.filters, &key, judge);
    let is_on = |(runs, stand): &(bool, Stand)| *runs && *stand != Stand::Closed;
    let best = stands.iter().filter(|one| is_on(one)).map(|(_, stand)| *stand).min();
    findings.extend(match (best, plugin.is_shadow()) {
        (None, _) if !filter_is_off || stands.iter().all(|(_, stand)| *stand == Stand::Closed) => None,
        (None, _) => Some(Finding::new(
            Rule::FilterDisabled,
            &plugin.path,
            "the filter is disabled on the chain, and no route enables it",
            "enable it on the chain, or at the virtual host (FilterConfig)",
        )),
        (Some(Stand::Guarded | Stand::Closed), true) => Some(Finding::new(
            Rule::HalfSwitched,
            &plugin.path,
            "the policy is in shadow mode, the guard is not: denied requests are refused by the guard, without a reason",
            "nothing, if this is a step of the roll-out; then mode: enforce in the policy",
        )),
        (Some(Stand::Guarded | Stand::Closed), false) => None,
        (Some(Stand::Open | Stand::Watched), _) if has_guard => None,
        (Some(Stand::Watched), true) => Some(Finding::new(
            Rule::BothShadow,
            &plugin.path,
            "policy and guard only watch: strangers get through",
            "nothing while you watch (accept it); then `rules` in the guard, and mode: enforce in the policy",
        )),
        (Some(Stand::Watched), false) if rbac::reads_notes(behind) => Some(missing(chain, plugin, &key, judge)),
        (Some(Stand::Watched), false) => Some(Finding::new(
            Rule::GuardOnlyShadow,
            &plugin.path,
            "the policy enforces, the guard only counts (shadow_rules): a worker that skips the filter lets everything through",
            "nothing, if this is a step of the roll-out; then `rules` in the guard",
        )),
        (Some(Stand::Open), _) => Some(missing(chain, plugin, &key, judge)),
    });
    findings
}

/// No guard: the nearest thing to one says best what went wrong.
fn missing(chain: &Chain, plugin: &Plugin, key: &str, judge: &Judge) -> Finding {
    let fix = format!("put {RULES} (key {key})");
    let of = |rule, why: &str, fix: &str| Finding::new(rule, &plugin.path, why, fix);
    let (before, behind) = chain.filters.split_at(plugin.position.min(chain.filters.len()));
    if before.iter().any(|filter| judge.of_filter(filter, key) == Rules::Demand) {
        return of(
            Rule::GuardBeforeFilter,
            "the guard comes before the filter, so it never sees a verdict and refuses everything",
            "move the guard directly behind the filter",
        );
    }
    for filter in behind.iter().filter(|filter| filter.is_rbac()) {
        match judge.of_filter(filter, key) {
            Rules::Demand | Rules::DemandOf(_) if filter.disabled => {
                return of(Rule::GuardDisabled, "the guard is disabled", "remove `disabled: true` from it");
            }
            Rules::Demand | Rules::DemandOf(_) if filter.matched => {
                let why = "the guard is in an ExtensionWithMatcher, which can skip it";
                return of(Rule::GuardDisabled, why, "take it out of the matcher");
            }
            Rules::OtherKey(other) => {
                return of(
                    Rule::GuardWrongKey,
                    &format!("the guard reads `{other}`, the policy writes `{key}`"),
                    &fix,
                );
            }
            Rules::Weak(why) => {
                return of(Rule::GuardTooWeak, &format!("the guard does not hold: {why}"), &fix);
            }
            Rules::Watch => {
                let why = "the guard only counts, and what reads its note does not demand it on every path";
                return of(Rule::GuardTooWeak, why, &fix);
            }
            _ => {}
        }
    }
    let why = "nothing behind the filter demands its verdict: in a worker where Envoy skips the filter, everything passes";
    of(Rule::GuardMissing, why, &fix)
}
