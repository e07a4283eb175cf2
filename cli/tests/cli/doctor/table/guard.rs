//! Policy, filter and guard.

use super::row::{Row, explain, of};
use crate::doctor::changes::{
    WASM, at, buffer, denied_without_note, enable, filters, guard, guard_from_file, list, matcher_for_all,
    noting_guard, plugin, policy, principals, rbac, route, scoped_to_the_host, second_chain,
    second_policy_and_service, shadow_guard, shadow_policy, skippable, typed,
};
use serde_json::json;

pub(super) const ROWS: &[Row] = &[
    Row {
        rule: "invalid_configuration",
        bad: &[explain("a word that is none", |b, _| policy(b)["mode"] = "shadwo".into())],
        good: &[explain("JSON text", |b, _| {
            let text = policy(b).to_string();
            plugin(b)["configuration"] = testbed::config::plugin_text(&text);
        })],
    },
    Row {
        rule: "shared_name",
        bad: &[explain("two policies, no name", |b, _| {
            let mut filters = filters(b).clone();
            at(&mut filters[0], "/typed_config/config/configuration/value")["clock_skew"] = "30s".into();
            second_chain(b, &filters);
        })],
        good: &[
            explain("one policy on two chains", |b, _| {
                let filters = filters(b).clone();
                second_chain(b, &filters);
            }),
            explain("two names", |b, _| second_policy_and_service(b)),
        ],
    },
    Row {
        rule: "guard_missing",
        bad: &[
            explain("no guard", |b, _| drop(filters(b).remove(1))),
            explain("an RBAC filter about something else", |b, _| {
                *principals(b) = vec![json!({"any": true})]
            }),
        ],
        good: &[
            explain("the rule at the virtual host", |b, _| scoped_to_the_host(b)),
            of("scope/host.yaml", "as shipped", |_, _| {}),
        ],
    },
    Row {
        rule: "guard_before_filter",
        bad: &[explain("filter and guard the wrong way round", |b, _| filters(b).swap(0, 1))],
        good: &[explain("somebody else's RBAC filter in front", |b, _| {
            let rules =
                json!({"policies": {"p": {"permissions": [{"any": true}], "principals": [{"any": true}]}}});
            filters(b).insert(0, rbac(json!({"rules": rules})));
        })],
    },
    Row {
        rule: "guard_not_directly_behind",
        bad: &[
            explain("a filter between", |b, _| filters(b).insert(1, buffer())),
            explain("a filter before the guard that takes note", |b, _| {
                noting_guard(b);
                filters(b).insert(1, buffer());
            }),
        ],
        good: &[
            explain("a filter behind", |b, _| filters(b).insert(2, buffer())),
            explain("a filter of Istio's that routes nothing", |b, _| {
                let cors = typed("envoy.extensions.filters.http.cors.v3.Cors", json!({}));
                filters(b).insert(1, json!({"name": "envoy.filters.http.cors", "typed_config": cors}));
            }),
        ],
    },
    Row {
        rule: "guard_disabled",
        bad: &[
            explain("disabled", |b, _| filters(b)[1]["disabled"] = true.into()),
            explain("a header skips it", |b, _| skippable(&mut filters(b)[1])),
        ],
        good: &[explain("something else is disabled", |b, _| {
            let mut other = buffer();
            other["disabled"] = true.into();
            filters(b).insert(2, other);
        })],
    },
    Row {
        rule: "guard_wrong_key",
        bad: &[
            explain("another policy's key", |b, _| {
                principals(b)[0]["filter_state"]["key"] = "wasm.genesys_mtls.other".into();
            }),
            explain("another policy's name", |b, _| policy(b)["name"] = "other".into()),
        ],
        good: &[explain("both renamed", |b, _| {
            policy(b)["name"] = "other".into();
            principals(b)[0]["filter_state"]["key"] = "wasm.genesys_mtls.other".into();
        })],
    },
    Row {
        rule: "guard_too_weak",
        bad: &[
            explain("a value that denials have too", |b, _| {
                principals(b)[0]["filter_state"]["string_match"] = json!({"contains": ";"});
            }),
            explain("a way out beside the verdict", |b, _| {
                principals(b).push(json!({"header": {"name": "x-let-me-in", "present_match": true}}));
            }),
            explain("a matcher beside its rules", |b, _| guard(b)["matcher"] = matcher_for_all()),
            explain("a matcher beside the rules of its note", |b, _| {
                noting_guard(b);
                guard(b)["shadow_matcher"] = matcher_for_all();
            }),
            explain("rules that are not there until it is discovered", |b, world| {
                guard_from_file(b, world, json!({}));
            }),
            explain("it denies what has no verdict, at times", |b, _| {
                guard(b)["rules"]["action"] = "DENY".into();
                let without = json!({"not_id": principals(b)[0]});
                *principals(b) = vec![without];
                at(guard(b), "/rules/policies/genesys_mtls_allowed")["condition"] =
                    json!({"const_expr": {"bool_value": false}});
            }),
            explain("it logs", |b, _| guard(b)["rules"]["action"] = "LOG".into()),
            explain("another filter writes over its note", |b, _| {
                noting_guard(b);
                let all = json!({"permissions": [{"any": true}], "principals": [{"any": true}]});
                let rules = json!({"policies": {"all": all}});
                let other = json!({"shadow_rules": rules, "shadow_rules_stat_prefix": "genesys_"});
                filters(b).insert(2, rbac(other));
            }),
            explain("its note is demanded beside a matcher", |b, _| {
                noting_guard(b);
                filters(b)[2]["typed_config"]["matcher"] = matcher_for_all();
            }),
            explain("the note must not be there", |b, _| {
                noting_guard(b);
                let note = "/typed_config/rules/policies/p/permissions/0/and_rules/rules/1/metadata";
                at(&mut filters(b)[2], note)["invert"] = true.into();
            }),
            explain("what has no note is denied on some paths only", |b, _| {
                noting_guard(b);
                denied_without_note(b);
                let rules = "/typed_config/rules/policies/p/permissions/0/and_rules/rules";
                list(&mut filters(b)[2], rules).push(json!({"url_path": {"path": {"prefix": "/x"}}}));
            }),
            explain("what has a note is denied", |b, _| {
                noting_guard(b);
                filters(b)[2]["typed_config"]["rules"]["action"] = "DENY".into();
            }),
            explain("its note is demanded on some paths only", |b, _| {
                noting_guard(b);
                at(&mut filters(b)[2], "/typed_config/rules/policies")["hole"] = json!(
                    {"permissions": [{"url_path": {"path": {"prefix": "/x"}}}], "principals": [{"any": true}]});
            }),
            explain("it denies what has no verdict, on some paths", |b, _| {
                guard(b)["rules"]["action"] = "DENY".into();
                let without = json!({"not_id": principals(b)[0]});
                *principals(b) = vec![without];
                at(guard(b), "/rules/policies/genesys_mtls_allowed")["permissions"] =
                    json!([{"url_path": {"path": {"prefix": "/private"}}}]);
            }),
        ],
        good: &[
            explain("it denies what has no verdict", |b, _| {
                guard(b)["rules"]["action"] = "DENY".into();
                let without = json!({"not_id": principals(b)[0]});
                *principals(b) = vec![without];
            }),
            explain("rules that are there before it is discovered", |b, world| {
                let rules = guard(b)["rules"].clone();
                guard_from_file(b, world, json!({"rules": rules}));
            }),
            explain("it asks for a region, and for more", |b, _| {
                principals(b)[0]["filter_state"]["string_match"] = json!({"prefix": "allow;us-east-1;"});
                let more = json!({"header": {"name": "x-api-key", "present_match": true}});
                *principals(b) = vec![json!({"and_ids": {"ids": [principals(b)[0], more]}})];
            }),
        ],
    },
    Row {
        rule: "guard_only_shadow",
        bad: &[explain("it counts", |b, _| shadow_guard(b))],
        good: &[
            explain("its note is demanded by Istio's own filter", |b, _| noting_guard(b)),
            explain("its own filter denies what has no note", |b, _| {
                noting_guard(b);
                denied_without_note(b);
            }),
        ],
    },
    Row {
        rule: "both_shadow",
        bad: &[explain("both only watch", |b, _| {
            shadow_policy(b);
            shadow_guard(b);
        })],
        good: &[explain("neither", |_, _| {})],
    },
    Row {
        rule: "half_switched",
        bad: &[explain("the policy only watches", |b, _| shadow_policy(b))],
        good: &[explain("neither", |_, _| {})],
    },
    Row {
        rule: "filter_disabled",
        bad: &[explain("on the chain", |b, _| filters(b)[0]["disabled"] = true.into())],
        good: &[explain("on the chain, and enabled by each route", |b, _| {
            filters(b)[0]["disabled"] = true.into();
            enable(route(b), WASM);
        })],
    },
];
