//! Places in a shipped bootstrap, and changes to it.

use serde_json::{Value, json};
use testbed::{World, config};

pub const RBAC: &str = "envoy.filters.http.rbac";
pub const WASM: &str = "envoy.filters.http.wasm";
const RBAC_PER_ROUTE: &str = "envoy.extensions.filters.http.rbac.v3.RBACPerRoute";
const FILTER_CONFIG: &str = "envoy.config.route.v3.FilterConfig";

pub fn at<'v>(value: &'v mut Value, pointer: &str) -> &'v mut Value {
    value.pointer_mut(pointer).unwrap_or_else(|| panic!("nothing at {pointer}"))
}

pub fn list<'v>(value: &'v mut Value, pointer: &str) -> &'v mut Vec<Value> {
    at(value, pointer).as_array_mut().expect("a list")
}

pub fn remove(value: &mut Value, key: &str) -> Value {
    value.as_object_mut().expect("an object").remove(key).unwrap_or_else(|| panic!("no {key}"))
}

pub fn chain(bootstrap: &mut Value) -> &mut Value {
    at(bootstrap, "/static_resources/listeners/0/filter_chains/0")
}

pub fn manager(bootstrap: &mut Value) -> &mut Value {
    at(chain(bootstrap), "/filters/0/typed_config")
}

pub fn filters(bootstrap: &mut Value) -> &mut Vec<Value> {
    list(manager(bootstrap), "/http_filters")
}

pub fn plugin(bootstrap: &mut Value) -> &mut Value {
    &mut filters(bootstrap)[0]["typed_config"]["config"]
}

pub fn policy(bootstrap: &mut Value) -> &mut Value {
    &mut plugin(bootstrap)["configuration"]["value"]
}

pub fn guard(bootstrap: &mut Value) -> &mut Value {
    &mut filters(bootstrap)[1]["typed_config"]
}

pub fn principals(bootstrap: &mut Value) -> &mut Vec<Value> {
    list(guard(bootstrap), "/rules/policies/genesys_mtls_allowed/principals")
}

pub fn host(bootstrap: &mut Value) -> &mut Value {
    at(manager(bootstrap), "/route_config/virtual_hosts/0")
}

pub fn route(bootstrap: &mut Value) -> &mut Value {
    at(host(bootstrap), "/routes/0")
}

pub fn tls(bootstrap: &mut Value) -> &mut Value {
    at(chain(bootstrap), "/transport_socket/typed_config")
}

pub fn clusters(bootstrap: &mut Value) -> &mut Vec<Value> {
    list(bootstrap, "/static_resources/clusters")
}

pub fn cluster<'v>(bootstrap: &'v mut Value, name: &str) -> &'v mut Value {
    clusters(bootstrap).iter_mut().find(|cluster| cluster["name"] == name).expect("the cluster")
}

pub fn callout_tls(bootstrap: &mut Value) -> &mut Value {
    at(cluster(bootstrap, "genesys_api"), "/transport_socket/typed_config")
}

pub fn callout_validation(bootstrap: &mut Value) -> &mut Value {
    at(callout_tls(bootstrap), "/common_tls_context/validation_context")
}

pub fn callout_names(bootstrap: &mut Value, matchers: &[Value]) {
    let names: Vec<Value> =
        matchers.iter().map(|matcher| json!({"san_type": "DNS", "matcher": matcher})).collect();
    callout_validation(bootstrap)["match_typed_subject_alt_names"] = names.into();
}

/// Fields in the fewest words as a typed configuration.
pub fn typed(kind: &str, mut fields: Value) -> Value {
    fields["@type"] = format!("type.googleapis.com/{kind}").into();
    fields
}

pub fn rbac(fields: Value) -> Value {
    json!({"name": "another.rbac", "typed_config": typed("envoy.extensions.filters.http.rbac.v3.RBAC", fields)})
}

pub fn buffer() -> Value {
    let kind = "envoy.extensions.filters.http.buffer.v3.Buffer";
    json!({"name": "in.between", "typed_config": typed(kind, json!({"max_request_bytes": 1000}))})
}

pub fn router() -> Value {
    json!({"name": "router", "typed_config": typed("envoy.extensions.filters.http.router.v3.Router", json!({}))})
}

/// Switches a filter off on a route or host.
pub fn disable(on: &mut Value, filter: &str) {
    on["typed_per_filter_config"][filter] = typed(FILTER_CONFIG, json!({"disabled": true}));
}

/// Switches a filter on that the chain disables.
pub fn enable(on: &mut Value, filter: &str) {
    on["typed_per_filter_config"][filter] = typed(FILTER_CONFIG, json!({"config": {}}));
}

pub fn rbac_per_route(on: &mut Value, fields: Value) {
    on["typed_per_filter_config"][RBAC] = typed(RBAC_PER_ROUTE, fields);
}

/// An RBAC matcher that lets everything through.
pub fn matcher_for_all() -> Value {
    let allow = typed("envoy.config.rbac.v3.Action", json!({"name": "all", "action": "ALLOW"}));
    json!({"on_no_match": {"action": {"name": "action", "typed_config": allow}}})
}

/// The guard's rules, taken out of it.
fn take_rules(bootstrap: &mut Value) -> Value {
    remove(guard(bootstrap), "rules")
}

/// The guard only counts.
pub fn shadow_guard(bootstrap: &mut Value) {
    let rules = take_rules(bootstrap);
    guard(bootstrap)["shadow_rules"] = rules;
}

pub fn shadow_policy(bootstrap: &mut Value) {
    policy(bootstrap)["mode"] = "shadow".into();
}

/// The guard takes note, and a filter as Istio makes it of an `AuthorizationPolicy` demands its note.
pub fn noting_guard(bootstrap: &mut Value) {
    shadow_guard(bootstrap);
    guard(bootstrap)["shadow_rules_stat_prefix"] = "genesys_".into();
    let note = json!({"metadata": {"filter": RBAC, "path": [{"key": "genesys_shadow_engine_result"}],
                                   "value": {"string_match": {"exact": "allowed"}}}});
    let policies = json!({"p": {"permissions": [{"and_rules": {"rules": [{"any": true}, note]}}],
                                "principals": [{"any": true}]}});
    filters(bootstrap).insert(2, rbac(json!({"rules": {"policies": policies}})));
}

/// The filter that reads the guard's note denies what has none.
pub fn denied_without_note(bootstrap: &mut Value) {
    let rules = at(&mut filters(bootstrap)[2], "/typed_config/rules");
    rules["action"] = "DENY".into();
    let note = at(rules, "/policies/p/permissions/0/and_rules/rules/1").take();
    *at(rules, "/policies/p/permissions/0") =
        json!({"and_rules": {"rules": [{"not_rule": {"or_rules": {"rules": [note]}}}]}});
}

/// The rule moves from the chain to the virtual host, and the chain's RBAC filter is left without any.
pub fn scoped_to_the_host(bootstrap: &mut Value) {
    let rules = take_rules(bootstrap);
    remove(guard(bootstrap), "rules_stat_prefix");
    rbac_per_route(host(bootstrap), json!({"rbac": {"rules": rules}}));
}

/// The guard comes by ECDS, from a file; until then it is this.
pub fn guard_from_file(bootstrap: &mut Value, world: &World, default: Value) {
    let kind = "envoy.extensions.filters.http.rbac.v3.RBAC";
    let file = world.path("guard.json");
    config::write_filter(&file, 1, RBAC, guard(bootstrap)).expect("a file");
    bootstrap["node"] = json!({"id": "doctor", "cluster": "doctor"});
    let source = json!({"path_config_source": {"path": file}, "resource_api_version": "V3"});
    filters(bootstrap)[1] = json!({"name": RBAC, "config_discovery": {
        "config_source": source,
        "type_urls": [format!("type.googleapis.com/{kind}")],
        "default_config": typed(kind, default),
    }});
}

/// A matcher that skips a filter for clients that send a header.
pub fn skippable(filter: &mut Value) {
    let input = typed("envoy.type.matcher.v3.HttpRequestHeaderMatchInput", json!({"header_name": "x-skip"}));
    let skip = typed("envoy.extensions.filters.common.matcher.action.v3.SkipFilter", json!({}));
    let wrapped = json!({
        "extension_config": {"name": "inner", "typed_config": filter["typed_config"].take()},
        "xds_matcher": {"matcher_tree": {
            "input": {"name": "input", "typed_config": input},
            "exact_match_map": {"map": {"1": {"action": {"name": "skip", "typed_config": skip}}}},
        }},
    });
    filter["typed_config"] = typed("envoy.extensions.common.matching.v3.ExtensionWithMatcher", wrapped);
}

/// A second chain, for another server name, with these HTTP filters and the same routes.
pub fn second_chain<'v>(bootstrap: &'v mut Value, http_filters: &[Value]) -> &'v mut Value {
    let mut other = chain(bootstrap).clone();
    other["filter_chain_match"] = json!({"server_names": ["other.example"]});
    other["name"] = "other".into();
    other["filters"][0]["typed_config"]["http_filters"] = http_filters.into();
    let inspector = typed("envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector", json!({}));
    let listener = at(bootstrap, "/static_resources/listeners/0");
    listener["listener_filters"] =
        json!([{"name": "envoy.filters.listener.tls_inspector", "typed_config": inspector}]);
    let chains = list(listener, "/filter_chains");
    chains.push(other);
    chains.last_mut().expect("the second chain")
}

/// Another chain with the same routes, and filter and guard of another policy.
pub fn second_policy(bootstrap: &mut Value) -> &mut Value {
    let mut filters = filters(bootstrap).clone();
    at(&mut filters[0], "/typed_config/config/configuration/value")["name"] = "other".into();
    let principal = "/typed_config/rules/policies/genesys_mtls_allowed/principals/0";
    at(&mut filters[1], principal)["filter_state"]["key"] = "wasm.genesys_mtls.other".into();
    second_chain(bootstrap, &filters)
}

/// The same for another service.
pub fn second_policy_and_service(bootstrap: &mut Value) {
    let theirs = somebody_else(bootstrap);
    let chain = second_policy(bootstrap);
    list(manager_of(chain), "/route_config/virtual_hosts/0/routes")[0] = theirs;
}

/// The manager of a chain.
pub fn manager_of(chain: &mut Value) -> &mut Value {
    at(chain, "/filters/0/typed_config")
}

/// Another team's service, as a cluster and a route to it.
pub fn somebody_else(bootstrap: &mut Value) -> Value {
    clusters(bootstrap).push(json!({"name": "somebody_else", "connect_timeout": "1s"}));
    json!({"match": {"prefix": "/"}, "route": {"cluster": "somebody_else"}})
}

/// A virtual host of others next to ours.
pub fn other_host(bootstrap: &mut Value) -> &mut Value {
    let route = somebody_else(bootstrap);
    host(bootstrap)["domains"] = json!(["service.example"]);
    let hosts = list(manager(bootstrap), "/route_config/virtual_hosts");
    hosts.push(json!({"name": "others", "domains": ["*"], "routes": [route]}));
    hosts.last_mut().expect("the other host")
}

/// The routes come by RDS, from a file.
pub fn routes_from_file(bootstrap: &mut Value, world: &World) {
    let routes = remove(manager(bootstrap), "route_config");
    let resource = typed("envoy.config.route.v3.RouteConfiguration", routes.clone());
    let file = world.write("routes.yaml", json!({"resources": [resource]}).to_string()).expect("a file");
    bootstrap["node"] = json!({"id": "doctor", "cluster": "doctor"});
    manager(bootstrap)["rds"] = json!({
        "route_config_name": routes["name"],
        "config_source": {"path_config_source": {"path": file}, "resource_api_version": "V3"},
    });
}

/// The routes are chosen by a header (scoped routes).
pub fn scoped_routes(bootstrap: &mut Value, world: &World) {
    bootstrap["node"] = json!({"id": "doctor", "cluster": "doctor"});
    scope_routes(manager(bootstrap), world);
}

pub fn scope_routes(manager: &mut Value, world: &World) {
    let routes = remove(manager, "route_config");
    manager["scoped_routes"] = json!({
        "name": "scopes",
        "scope_key_builder": {"fragments": [{"header_value_extractor":
            {"name": "x-scope", "element_separator": ",", "element": {"key": "k", "separator": "="}}}]},
        "rds_config_source": {"path_config_source": {"path": world.path("none.yaml")}},
        "scoped_route_configurations_list": {"scoped_route_configurations": [
            {"name": "one", "key": {"fragments": [{"string_key": "v"}]}, "route_configuration": routes}]},
    });
}

/// The host finds its routes by a matcher tree.
pub fn routes_by_matcher(bootstrap: &mut Value) {
    let routes = remove(host(bootstrap), "routes");
    let route = typed("envoy.config.route.v3.Route", routes[0].clone());
    host(bootstrap)["matcher"] = json!({"on_no_match": {"action": {"name": "route", "typed_config": route}}});
}

/// What clients are verified against comes by SDS, from a file.
pub fn client_cas_from_file(bootstrap: &mut Value, world: &World) {
    let context = remove(at(tls(bootstrap), "/common_tls_context"), "validation_context");
    let secret = sds(bootstrap, world, "cas", context);
    at(tls(bootstrap), "/common_tls_context")["validation_context_sds_secret_config"] = secret;
}

/// What callouts are verified against comes by SDS, but for the name, as Istio has it.
pub fn callout_ca_from_file(bootstrap: &mut Value, world: &World) {
    let mut context = remove(at(callout_tls(bootstrap), "/common_tls_context"), "validation_context");
    let ca = json!({"trusted_ca": remove(&mut context, "trusted_ca")});
    let secret = sds(bootstrap, world, "roots", ca);
    at(callout_tls(bootstrap), "/common_tls_context")["combined_validation_context"] =
        json!({"default_validation_context": context, "validation_context_sds_secret_config": secret});
}

/// A validation context that Envoy reads from a file.
fn sds(bootstrap: &mut Value, world: &World, name: &str, context: Value) -> Value {
    let secret = json!({"name": name, "validation_context": context});
    let secret = typed("envoy.extensions.transport_sockets.tls.v3.Secret", secret);
    let file =
        world.write(&format!("{name}.yaml"), json!({"resources": [secret]}).to_string()).expect("a file");
    bootstrap["node"] = json!({"id": "doctor", "cluster": "doctor"});
    json!({"name": name, "sds_config": {"path_config_source": {"path": file}, "resource_api_version": "V3"}})
}

/// Only the region's own CA, and lists of a host.
pub fn revocation(bootstrap: &mut Value) {
    remove(at(policy(bootstrap), "/regions/us-east-1"), "digicert");
    policy(bootstrap)["revocation"] = json!({"mode": "soft", "discover": {"crl.example": "crl"}});
}

/// The capability list of the shipped file.
pub fn capabilities() -> Value {
    let text = std::fs::read_to_string(testbed::shipped::directory().join("xds/genesys_mtls.yaml"));
    let mut lists = Vec::new();
    config::walk(&mut config::parse_yaml(&text.expect("the file")).expect("YAML"), &mut |map| {
        lists.extend(map.get("capability_restriction_config").cloned());
    });
    let [list] = lists.as_slice() else { panic!("{} lists", lists.len()) };
    list.clone()
}

/// The certificate in XFCC, as Envoy before 1.39 needs it.
pub fn certificate_in_xfcc(bootstrap: &mut Value) {
    manager(bootstrap)["forward_client_cert_details"] = "SANITIZE_SET".into();
    manager(bootstrap)["set_current_client_cert_details"] = json!({"cert": true});
}

/// How Envoy treats `x-forwarded-client-cert`.
pub fn forward(bootstrap: &mut Value, mode: &str) {
    manager(bootstrap)["forward_client_cert_details"] = mode.into();
}

/// Another plugin of the same module, with its own environment.
pub fn another_environment(bootstrap: &mut Value) {
    certificate_in_xfcc(bootstrap);
    let http_filters = filters(bootstrap).clone();
    let other = manager_of(second_chain(bootstrap, &http_filters));
    let wasm = at(other, "/http_filters/0/typed_config/config/vm_config");
    wasm["environment_variables"]["key_values"] = json!({"OTHER": "x"});
}

/// A script that does nothing.
pub fn lua() -> Value {
    lua_code("function envoy_on_request(h) end")
}

pub fn lua_code(code: &str) -> Value {
    let kind = "envoy.extensions.filters.http.lua.v3.Lua";
    let code = json!({"inline_string": code});
    json!({"name": "my.lua", "typed_config": typed(kind, json!({"default_source_code": code}))})
}

/// An HTTP filter that writes filter state.
pub fn writer(key: &str) -> Value {
    let format = json!({"text_format_source": {"inline_string": "allow;us-east-1;digicert"}});
    let value = json!({"object_key": key, "factory_key": "envoy.string", "format_string": format});
    let kind = "envoy.extensions.filters.http.set_filter_state.v3.Config";
    json!({"name": "my.writer", "typed_config": typed(kind, json!({"on_request_headers": [value]}))})
}
