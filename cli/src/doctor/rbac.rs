//! What the rules of a native RBAC filter make of the filter's verdict.

use super::{
    chains::{Chain, Filter},
    dump::{has, list, text, truth},
};
use serde_json::Value;

const KEY_PREFIX: &str = "wasm.genesys_mtls.";

/// What a set of rules does with the verdict under one key.
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

/// The rules of an RBAC configuration that are in force. Beside a `matcher` Envoy ignores them.
pub fn rules(config: &Value) -> Option<&Value> {
    config.get("rules").filter(|_| !has(config, "/matcher"))
}

/// The same for rules that only take note.
pub fn shadow_rules(config: &Value) -> Option<&Value> {
    config.get("shadow_rules").filter(|_| !has(config, "/shadow_matcher"))
}

/// Judges the `rules` or `shadow_rules` of an RBAC filter.
pub fn judge(rules: &Value, key: &str) -> Rules {
    let text = rules.to_string();
    if !text.contains(KEY_PREFIX) {
        return Rules::Unrelated;
    }
    if !text.contains(&format!("\"{key}\"")) {
        let mut words = text.split('"').filter(|word| word.starts_with(KEY_PREFIX));
        return Rules::OtherKey(words.next().unwrap_or_default().to_owned());
    }
    match super::dump::text(rules, "/action") {
        "" | "ALLOW" => {}
        "DENY" if policies(rules).any(|policy| denies_without(policy, &|id| is_verdict(id, key))) => {
            return Rules::Demand;
        }
        action => return Rules::Weak(format!("its action is {action}, not ALLOW")),
    }
    let principals = || policies(rules).flat_map(|policy| list(policy, "/principals"));
    if let Some(wrong) = principals().find_map(|principal| wrong_match(principal, key)) {
        return Rules::Weak(wrong);
    }
    if principals().all(|principal| demands(principal, key)) {
        Rules::Demand
    } else {
        Rules::Weak("another of its principals passes without an `allow;` verdict".to_owned())
    }
}

fn policies(rules: &Value) -> impl Iterator<Item = &Value> {
    rules.get("policies").and_then(Value::as_object).into_iter().flatten().map(|(_, policy)| policy)
}

/// Whether a policy of a DENY filter denies everything that has not got something.
fn denies_without(policy: &Value, something: &dyn Fn(&Value) -> bool) -> bool {
    let met = |ids: &str| list(policy, ids).iter().any(|id| is_met_without(id, something));
    let unconditional = !has(policy, "/condition") && !has(policy, "/checked_condition");
    unconditional && met("/permissions") && met("/principals")
}

/// Whether a principal is met only with an `allow;` verdict under the key.
fn demands(principal: &Value, key: &str) -> bool {
    is_met_only_with(principal, &|principal| is_verdict(principal, key))
}

/// Whether a principal is such a verdict.
fn is_verdict(principal: &Value, key: &str) -> bool {
    let Some(state) = principal.get("filter_state") else { return false };
    let starts = |matcher: &str| text(state, &format!("/string_match/{matcher}")).starts_with("allow;");
    text(state, "/key") == key && (starts("prefix") || starts("exact"))
}

/// Whether a principal or permission, however nested, needs something to be met.
fn is_met_only_with(id: &Value, something: &dyn Fn(&Value) -> bool) -> bool {
    let (all, any) = nested(id);
    something(id)
        || all.iter().any(|id| is_met_only_with(id, something))
        || (!any.is_empty() && any.iter().all(|id| is_met_only_with(id, something)))
}

/// Whether a principal or permission, however nested, is met by whatever has not got something.
fn is_met_without(id: &Value, something: &dyn Fn(&Value) -> bool) -> bool {
    let (all, any) = nested(id);
    let not = id.get("not_id").or_else(|| id.get("not_rule"));
    id["any"] == true
        || not.is_some_and(|id| is_met_only_with(id, something))
        || (!all.is_empty() && all.iter().all(|id| is_met_without(id, something)))
        || any.iter().any(|id| is_met_without(id, something))
}

/// What stands in a principal or permission: all of it has to be met, or any.
fn nested(id: &Value) -> (Vec<Value>, Vec<Value>) {
    let either = |a: &str, b: &str| [list(id, a), list(id, b)].concat();
    (either("/and_ids/ids", "/and_rules/rules"), either("/or_ids/ids", "/or_rules/rules"))
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

/// Whether this filter has no rules of its own: per-route configurations bring them.
pub fn is_empty(filter: &Filter) -> bool {
    filter.is_rbac() && !has(&filter.config, "/rules") && !has(&filter.config, "/matcher")
}

/// Whether this filter's rules stop requests without the verdict, if they are asked.
pub fn would_enforce(filter: &Filter, key: &str) -> bool {
    let demands = |config| rules(config).is_some_and(|rules| judge(rules, key) == Rules::Demand);
    filter.is_rbac() && filter.configs().all(demands)
}

/// Whether this filter, as the chain configures it, stops requests without the verdict.
pub fn enforces(filter: &Filter, key: &str) -> bool {
    would_enforce(filter, key) && !filter.may_be_skipped()
}

/// A filter that only takes note of the verdict, and a later one that demands its note: what becomes of an
/// `AuthorizationPolicy` of Istio. Their positions.
pub fn noted(filters: &[Filter], key: &str) -> Option<(usize, usize)> {
    let taker = filters.iter().position(|filter| takes_note(filter, key))?;
    let note = filters.get(taker)?;
    let mut later = filters.iter().enumerate().skip(taker + 1);
    let (reader, _) = later.find(|(_, filter)| demands_note(filter, note))?;
    let overwritten = filters.get(taker + 1..=reader)?.iter().any(|filter| writes_over(filter, note));
    (!overwritten).then_some((taker, reader))
}

/// Whether a filter notes something else in the same place.
fn writes_over(filter: &Filter, taker: &Filter) -> bool {
    let notes = has(&filter.config, "/shadow_rules") || has(&filter.config, "/shadow_matcher");
    filter.is_rbac() && notes && note_key(filter) == note_key(taker)
}

/// Where an RBAC filter notes what its shadow rules came to.
fn note_key(filter: &Filter) -> String {
    format!("{}shadow_engine_result", text(&filter.config, "/shadow_rules_stat_prefix"))
}

pub fn takes_note(filter: &Filter, key: &str) -> bool {
    filter.is_rbac()
        && !filter.may_be_skipped()
        && shadow_rules(&filter.config).is_some_and(|rules| judge(rules, key) == Rules::Demand)
}

/// Whether a filter lets nothing through without the `allowed` that the other has noted.
pub fn demands_note(filter: &Filter, taker: &Filter) -> bool {
    let key = note_key(taker);
    let note = |id: &Value| {
        id.get("metadata").is_some_and(|metadata| {
            !truth(metadata, "/invert")
                && text(metadata, "/filter") == "envoy.filters.http.rbac"
                && text(metadata, "/path/0/key") == key
                && text(metadata, "/value/string_match/exact") == "allowed"
        })
    };
    let needs = |ids: &[Value]| !ids.is_empty() && ids.iter().all(|id| is_met_only_with(id, &note));
    let demands = |rules: &Value| match text(rules, "/action") {
        "" | "ALLOW" => policies(rules)
            .all(|policy| needs(list(policy, "/permissions")) || needs(list(policy, "/principals"))),
        "DENY" => policies(rules).any(|policy| denies_without(policy, &note)),
        _ => false,
    };
    filter.is_rbac()
        && !filter.may_be_skipped()
        && filter.configs().all(|config| rules(config).is_some_and(demands))
}

/// Whether requests of this chain have to carry the verdict, as long as a route does not say otherwise.
pub fn guards(chain: &Chain, key: &str) -> bool {
    chain.filters.iter().any(|filter| enforces(filter, key)) || noted(&chain.filters, key).is_some()
}
