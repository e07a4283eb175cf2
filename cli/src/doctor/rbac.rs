//! What the rules of a native RBAC filter make of the filter's verdict.

use super::{
    chains::Filter,
    dump::{has, list, text, truth, type_of},
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::Value;
use std::{cell::RefCell, collections::HashMap};

const KEY_PREFIX: &str = "wasm.genesys_mtls.";

/// What a configuration of an RBAC filter does with the verdict under one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rules {
    /// Only an `allow;` verdict under the key passes.
    Demand,
    /// The same for requests to these hosts, in lower case. Others pass.
    DemandOf(Vec<String>),
    /// Nothing passes.
    Closed,
    /// The verdict is demanded by rules that only count (`shadow_rules`).
    Watch,
    /// They do not look at verdicts.
    Unrelated,
    /// They look at this key instead.
    OtherKey(String),
    /// They look at the right key in the wrong way.
    Weak(String),
}

/// Judges configurations, each once.
#[derive(Default)]
pub struct Judge(RefCell<HashMap<(*const Value, String), Rules>>);

impl Judge {
    /// Of an `RBAC` message.
    pub fn of(&self, config: &Value, key: &str) -> Rules {
        let place = (std::ptr::from_ref(config), key.to_owned());
        self.0.borrow_mut().entry(place).or_insert_with(|| judge(config, key)).clone()
    }

    /// Of a filter, as the chain has it.
    pub fn of_filter(&self, filter: &Filter, key: &str) -> Rules {
        if !filter.is_rbac() || filter.undelivered && filter.configs.is_empty() {
            return Rules::Unrelated;
        }
        let mut all = filter.configs.iter().map(|config| self.of(config, key));
        let first = all.next().unwrap_or(Rules::Unrelated);
        match all.find(|other| *other != first) {
            Some(_) => Rules::Weak(
                "until Envoy has discovered it, its default_config counts, which has other rules".to_owned(),
            ),
            None => first,
        }
    }
}

fn judge(config: &Value, key: &str) -> Rules {
    match in_force(config, key) {
        Rules::Unrelated => lax(config, key, "beside a `matcher` (`shadow_matcher`) Envoy ignores its rules"),
        rules => rules,
    }
}

fn in_force(config: &Value, key: &str) -> Rules {
    // With a matcher Envoy ignores rules.
    if let Some(matcher) = config.get("matcher") {
        return of_matcher(matcher, key);
    }
    if let Some(rules) = config.get("rules") {
        return of_rules(rules, key);
    }
    let shadow = config.get("shadow_rules").filter(|_| !has(config, "/shadow_matcher"));
    match shadow.map(|rules| of_rules(rules, key)) {
        Some(Rules::Demand | Rules::DemandOf(_)) => Rules::Watch,
        Some(weak @ (Rules::OtherKey(_) | Rules::Weak(_))) => weak,
        _ => Rules::Unrelated,
    }
}

/// Rules that let something pass without the verdict.
fn lax(rules: &Value, key: &str, why: &str) -> Rules {
    let mut keys = Vec::new();
    verdict_keys(rules, &mut keys);
    match keys.first() {
        None => Rules::Unrelated,
        Some(_) if keys.contains(&key) => Rules::Weak(why.to_owned()),
        Some(other) => Rules::OtherKey((*other).to_owned()),
    }
}

fn verdict_keys<'v>(value: &'v Value, keys: &mut Vec<&'v str>) {
    match value {
        Value::String(text) if text.starts_with(KEY_PREFIX) => keys.push(text),
        Value::Array(items) => items.iter().for_each(|value| verdict_keys(value, keys)),
        Value::Object(fields) => fields.values().for_each(|value| verdict_keys(value, keys)),
        _ => {}
    }
}

fn of_rules(rules: &Value, key: &str) -> Rules {
    let verdict = |id: &Value| is_verdict(id, key);
    match rules.get("action").map(Value::as_str) {
        None | Some(Some("ALLOW")) => {
            let mut hosts: Option<Vec<String>> = None;
            let mut is_closed = true;
            for policy in policies(rules) {
                is_closed = false;
                if needs(policy, &verdict) {
                    continue;
                }
                let Some(named) = hosts_outside(policy) else {
                    return lax(rules, key, &weakness(policy, key));
                };
                // What passes by one of them passes.
                hosts = Some(match hosts {
                    Some(before) => before.into_iter().filter(|host| named.contains(host)).collect(),
                    None => named,
                });
            }
            match hosts {
                _ if is_closed => Rules::Closed,
                Some(hosts) => Rules::DemandOf(hosts),
                None => Rules::Demand,
            }
        }
        Some(Some("DENY")) if policies(rules).any(|policy| denies_without(policy, &verdict)) => Rules::Demand,
        Some(Some("DENY")) => lax(rules, key, "it denies not all that has no `allow;` verdict"),
        Some(action) => lax(rules, key, &format!("its action is {}, not ALLOW", action.unwrap_or("unknown"))),
    }
}

/// Why a policy of an ALLOW filter does not hold.
fn weakness(policy: &Value, key: &str) -> String {
    let ids = list(policy, "/principals").iter().chain(list(policy, "/permissions"));
    let of_key = |id: &&Value| text(id, "/filter_state/key") == key;
    match ids.clone().find(of_key).filter(|id| !is_verdict(id, key)) {
        Some(id) => format!("it matches {}, not the prefix `allow;`", id["filter_state"]["string_match"]),
        None => "another of its principals passes without an `allow;` verdict".to_owned(),
    }
}

fn policies(rules: &Value) -> impl Iterator<Item = &Value> {
    rules.get("policies").and_then(Value::as_object).into_iter().flatten().map(|(_, policy)| policy)
}

/// Whether a policy is met only with something.
fn needs(policy: &Value, something: &dyn Fn(&Value) -> bool) -> bool {
    let all_need = |ids: &[Value]| !ids.is_empty() && ids.iter().all(|id| is_met_only_with(id, something));
    all_need(list(policy, "/permissions")) || all_need(list(policy, "/principals"))
}

/// Whether a policy of a DENY filter denies everything that has not got something.
fn denies_without(policy: &Value, something: &dyn Fn(&Value) -> bool) -> bool {
    let met = |ids: &str| list(policy, ids).iter().any(|id| is_met_without(id, something));
    let unconditional =
        !has(policy, "/condition") && !has(policy, "/checked_condition") && !has(policy, "/cel_config");
    unconditional && met("/permissions") && met("/principals")
}

/// Whether a principal is such a verdict.
fn is_verdict(principal: &Value, key: &str) -> bool {
    let Some(state) = principal.get("filter_state") else { return false };
    let starts = |matcher: &str| text(state, &format!("/string_match/{matcher}")).starts_with("allow;");
    text(state, "/key") == key
        && (starts("prefix") || starts("exact"))
        && !truth(state, "/string_match/ignore_case")
}

/// Whether a principal or permission, however nested, needs something to be met.
fn is_met_only_with(id: &Value, something: &dyn Fn(&Value) -> bool) -> bool {
    let (mut all, any) = nested(id);
    something(id)
        || all.any(|id| is_met_only_with(id, something))
        || (!any.is_empty() && any.iter().all(|id| is_met_only_with(id, something)))
}

/// Whether a principal or permission, however nested, is met by everything that has not got something.
fn is_met_without(id: &Value, something: &dyn Fn(&Value) -> bool) -> bool {
    let (all, any) = nested(id);
    let all: Vec<_> = all.collect();
    let not = id.get("not_id").or_else(|| id.get("not_rule"));
    id["any"] == true
        || not.is_some_and(|id| is_met_only_with(id, something))
        || (!all.is_empty() && all.iter().all(|id| is_met_without(id, something)))
        || any.iter().any(|id| is_met_without(id, something))
}

/// What a principal or permission consists of: all of it has to be met, or any.
fn nested(id: &Value) -> (impl Iterator<Item = &Value>, &[Value]) {
    let all = list(id, "/and_ids/ids").iter().chain(list(id, "/and_rules/rules"));
    let any = list(id, "/or_ids/ids");
    (all, if any.is_empty() { list(id, "/or_rules/rules") } else { any })
}

/// The hosts that a policy does not let pass: its one principal is met by every `:authority` but theirs.
fn hosts_outside(policy: &Value) -> Option<Vec<String>> {
    let alone = |ids: &'static str| match list(policy, ids) {
        [id] => id.pointer("/not_id/header").or_else(|| id.pointer("/not_rule/header")),
        _ => None,
    };
    let header = alone("/principals").or_else(|| alone("/permissions"))?;
    let is_plain = matches!(text(header, "/name"), ":authority" | "host")
        && !truth(header, "/invert_match")
        && !truth(header, "/treat_missing_header_as_empty");
    hosts_of(text(header, "/string_match/safe_regex/regex")).filter(|_| is_plain)
}

/// The hosts of an expression for `:authority` that any spelling of them meets: any case, a dot at the end, and what Envoy ignores
/// behind the last colon.
fn hosts_of(regex: &str) -> Option<Vec<String>> {
    let inner = regex.strip_prefix("(?i)(")?.strip_suffix(r")\.?(:.*)?")?;
    let hosts = inner.split('|').map(|host| {
        let plain = host.replace(r"\.", ".").replace(r"\-", "-");
        let is_quoted = !host.replace(r"\.", "").contains('.');
        let is_name = plain.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'));
        (is_quoted && is_name && !plain.is_empty()).then(|| plain.to_ascii_lowercase())
    });
    hosts.collect()
}

fn of_matcher(matcher: &Value, key: &str) -> Rules {
    let allows = |on_match: &Value| {
        on_match
            .pointer("/action/typed_config")
            .is_none_or(|action| type_of(action) != "Action" || !matches!(text(action, "/action"), "DENY"))
    };
    let why = "its matcher lets something pass without an `allow;` verdict";
    let is_known = matcher.as_object().is_some_and(|fields| {
        fields.keys().all(|key| matches!(key.as_str(), "matcher_list" | "on_no_match"))
    });
    if !is_known || matcher.get("on_no_match").is_some_and(allows) {
        return lax(matcher, key, why);
    }
    let open = list(matcher, "/matcher_list/matchers").iter();
    let open: Vec<&Value> = open.filter(|one| one.get("on_match").is_none_or(allows)).collect();
    let demands =
        |one: &&Value| one.get("predicate").is_some_and(|predicate| predicate_demands(predicate, key));
    match open.as_slice() {
        [] => Rules::Closed,
        open if open.iter().all(demands) => Rules::Demand,
        _ => lax(matcher, key, why),
    }
}

fn predicate_demands(predicate: &Value, key: &str) -> bool {
    let demands = |one: &Value| predicate_demands(one, key);
    let any = list(predicate, "/or_matcher/predicate");
    let expression = predicate.pointer("/single_predicate/custom_match/typed_config/expr_match");
    let parsed =
        ["/cel_expr_parsed/expr", "/cel_expr_checked/expr"].iter().find_map(|at| expression?.pointer(at));
    list(predicate, "/and_matcher/predicate").iter().any(demands)
        || (!any.is_empty() && any.iter().all(demands))
        || parsed.is_some_and(|expression| cel_demands(expression, key))
}

/// Whether a CEL expression is true of `allow;` verdicts only.
fn cel_demands(expression: &Value, key: &str) -> bool {
    let Some(call) = expression.get("call_expr") else { return false };
    let arguments = list(call, "/args");
    let is_state = |value: &Value| {
        text(value, "/call_expr/function") == "_[_]"
            && text(value, "/call_expr/args/0/ident_expr/name") == "filter_state"
            && text(value, "/call_expr/args/1/const_expr/string_value") == key
    };
    let bound = |value: &Value, operator: &str| {
        let call = value.get("call_expr").filter(|call| text(call, "/function") == operator)?;
        let [state, bound] = list(call, "/args") else { return None };
        constant(bound).filter(|_| is_state(state))
    };
    let starts = |value: &Value| constant(value).is_some_and(|value| value.starts_with(b"allow;"));
    match (text(call, "/function"), arguments) {
        ("_||_", all) => !all.is_empty() && all.iter().all(|one| cel_demands(one, key)),
        ("_&&_", all) => {
            let least = all.iter().find_map(|one| bound(one, "_>=_"));
            let below = all.iter().find_map(|one| bound(one, "_<_"));
            let is_range = least.is_some_and(|least| least.starts_with(b"allow;"))
                && below.is_some_and(|below| below.as_slice() <= b"allow<".as_slice());
            is_range || all.iter().any(|one| cel_demands(one, key))
        }
        ("startsWith", [prefix]) => call.get("target").is_some_and(is_state) && starts(prefix),
        ("_==_", [state, value]) => is_state(state) && starts(value),
        ("@in", [state, values]) => {
            let values = list(values, "/list_expr/elements");
            is_state(state) && !values.is_empty() && values.iter().all(starts)
        }
        _ => false,
    }
}

/// A text or bytes in a CEL expression.
fn constant(value: &Value) -> Option<Vec<u8>> {
    let constant = value.get("const_expr")?;
    let text = constant.get("string_value").and_then(Value::as_str).map(|text| text.as_bytes().to_vec());
    text.or_else(|| BASE64_STANDARD.decode(constant.get("bytes_value")?.as_str()?).ok())
}

/// A filter that only takes note of the verdict, and a later one that demands its note: what becomes of an
/// `AuthorizationPolicy` of Istio. Their positions.
pub fn noted(filters: &[Filter], key: &str, judge: &Judge) -> Option<(usize, usize)> {
    let takes = |filter: &&Filter| !filter.may_be_skipped() && takes_note(filter, key, judge);
    let taker = filters.iter().position(|filter| takes(&filter))?;
    let note = filters.get(taker)?;
    let mut later = filters.iter().enumerate().skip(taker + 1);
    let (reader, _) = later.find(|(_, filter)| demands_note(filter, note))?;
    let overwritten = filters.get(taker + 1..=reader)?.iter().any(|filter| writes_over(filter, note));
    (!overwritten).then_some((taker, reader))
}

/// Whether requests have to carry the verdict, as long as a route does not say otherwise.
pub fn guards(filters: &[Filter], key: &str, judge: &Judge) -> bool {
    let demands = |filter: &Filter| !filter.may_be_skipped() && judge.of_filter(filter, key) == Rules::Demand;
    filters.iter().any(demands) || noted(filters, key, judge).is_some()
}

/// Whether a filter looks at what another has noted.
pub fn reads_notes(filters: &[Filter]) -> bool {
    let mut configs = filters.iter().filter(|filter| filter.is_rbac()).flat_map(|filter| &filter.configs);
    configs.any(|config| {
        config.get("rules").is_some_and(|rules| rules.to_string().contains("shadow_engine_result"))
    })
}

/// Whether a filter, as the chain has it, notes what the verdict is.
pub fn takes_note(filter: &Filter, key: &str, judge: &Judge) -> bool {
    let shadow = filter.configs.iter().all(|config| {
        let shadow = config.get("shadow_rules").filter(|_| !has(config, "/shadow_matcher"));
        shadow.is_some_and(|rules| matches!(of_rules(rules, key), Rules::Demand))
    });
    filter.is_rbac() && shadow && !matches!(judge.of_filter(filter, key), Rules::Weak(_))
}

/// Whether a filter notes something else in the same place.
fn writes_over(filter: &Filter, taker: &Filter) -> bool {
    let notes = |config: &&Value| has(config, "/shadow_rules") || has(config, "/shadow_matcher");
    filter.is_rbac()
        && filter.configs.iter().any(|config| notes(config) && note_key(config) == note_key(taker.config()))
}

/// Where an RBAC filter notes what its shadow rules came to.
fn note_key(config: &Value) -> String {
    format!("{}shadow_engine_result", text(config, "/shadow_rules_stat_prefix"))
}

/// Whether a filter lets nothing through without the `allowed` that the other has noted.
fn demands_note(filter: &Filter, taker: &Filter) -> bool {
    let key = note_key(taker.config());
    let note = |id: &Value| {
        id.get("metadata").is_some_and(|metadata| {
            !truth(metadata, "/invert")
                && text(metadata, "/filter") == "envoy.filters.http.rbac"
                && list(metadata, "/path").len() == 1
                && text(metadata, "/path/0/key") == key
                && text(metadata, "/value/string_match/exact") == "allowed"
        })
    };
    let demands = |config: &Value| {
        let rules = config.get("rules").filter(|_| !has(config, "/matcher"));
        rules.is_some_and(|rules| match rules.get("action").map(Value::as_str) {
            None | Some(Some("ALLOW")) => policies(rules).all(|policy| needs(policy, &note)),
            Some(Some("DENY")) => policies(rules).any(|policy| denies_without(policy, &note)),
            Some(_) => false,
        })
    };
    filter.is_rbac() && !filter.may_be_skipped() && filter.configs.iter().all(|config| demands(config))
}
