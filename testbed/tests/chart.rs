//! `envoy/chart`, rendered by helm, gives the shipped examples, and rejects values that cannot work. Without helm these
//! tests are skipped, and say so.

use std::{collections::BTreeMap, fs, path::Path};

use serde_json::{Value, json};
use testbed::{
    config,
    manifests::{documents, example, examples, helm, kind, render},
    paths,
};

fn values(name: &str) -> Value {
    config::load_yaml(&examples().join(name).join("values.yaml"))
}

/// `set(values, "/gateway/use", json!("shared"))`
fn set(mut values: Value, pointer: &str, value: Value) -> Value {
    let mut at = &mut values;
    for key in pointer.split('/').skip(1) {
        at = match key.parse::<usize>() {
            Ok(index) => &mut at[index],
            Err(_) => &mut at[key],
        };
    }
    *at = value;
    values
}

fn namespace(name: &str) -> &'static str {
    if name == "envoy-gateway" { "default" } else { "istio-ingress" }
}

/// By kind and name: versions of helm differ in the order.
fn by_name(manifests: Vec<Value>) -> BTreeMap<String, Value> {
    let count = manifests.len();
    let named: BTreeMap<_, _> =
        manifests.into_iter().map(|m| (format!("{} {}", m["kind"], m["metadata"]["name"]), m)).collect();
    assert_eq!(named.len(), count, "two manifests of one name");
    named
}

fn is_hook(manifest: &Value) -> bool {
    !manifest["metadata"]["annotations"]["helm.sh/hook"].is_null()
}

#[test]
fn examples_are_what_helm_makes_of_their_values() {
    let Some(helm) = helm() else { return };
    let mut compared = 0;
    for entry in fs::read_dir(examples()).expect("a directory") {
        let path = entry.expect("an entry").path();
        let Some(name) = path.file_name().and_then(|name| name.to_str()).filter(|_| path.is_dir()) else {
            continue;
        };
        for (state, file) in [("A", "shadow"), ("D", "enforce")] {
            if !path.join(format!("{file}.yaml")).is_file() {
                assert_eq!((name, state), ("istio-strict", "A"), "only TLS that denies has no shadow");
                continue;
            }
            let rendered = render(&helm, namespace(name), &set(values(name), "/rollout", state.into()));
            let mut rendered = rendered.unwrap_or_else(|error| panic!("{name}: {error}"));
            rendered.retain(|manifest| !is_hook(manifest));
            assert_eq!(
                by_name(rendered),
                by_name(example(&format!("{name}/{file}"))),
                "{name}/{file}: run `make examples`"
            );
            compared += 1;
        }
    }
    assert!(compared >= 10, "{compared}");
}

#[test]
fn copies_in_the_chart_equal_their_originals() {
    let root = paths::workspace_root();
    for (original, copy) in [
        ("src/regions.csv", "regions.csv"),
        ("envoy/observability/alerts.yaml", "alerts.yaml"),
        ("envoy/observability/dashboard.json", "dashboard.json"),
    ] {
        let read =
            |path: &Path| fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let same = read(&root.join(original)) == read(&root.join("envoy/chart/files").join(copy));
        assert!(same, "{copy} is not {original}: run `make examples`");
    }
}

#[test]
fn values_that_cannot_work_are_rejected_with_the_fix() {
    let Some(helm) = helm() else { return };
    let ready = |name: &str| set(values(name), "/rollout", json!("D"));
    let pem = "-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----\n";
    let list = json!([{"region": "us-east-1", "authority": "digicert", "url": "http://crl.example/a.crl"}]);
    let istio = || ready("istio");
    let cases: Vec<(Value, &str)> = vec![
        (set(istio(), "/rollout", json!("E")), "'A', 'B', 'C', 'D'"),
        (set(istio(), "/platform", json!("linkerd")), "'istio', 'istio-gateway-api', 'envoy-gateway'"),
        (set(istio(), "/hots", json!(["a.example"])), "additional properties 'hots' not allowed"),
        (set(istio(), "/hosts", json!([])), "hosts: name each host"),
        (set(istio(), "/hosts", json!(["*.example"])), "'*.example' does not match"),
        (set(istio(), "/hosts", json!(["service.example:443"])), "does not match"),
        (set(istio(), "/regions", json!([])), "regions: name the region"),
        (set(istio(), "/regions/0/id", json!("us-east-9")), "no region of files/regions.csv"),
        (set(istio(), "/regions/0/id", json!("eusc-de-east-1")), "set certificateName"),
        (set(istio(), "/regions/0", json!({"id": "us-east-1"})), "set genesys.caCertificates, digicert.pins"),
        (set(istio(), "/regions/0/oauthSecret", json!("")), "set oauthSecret"),
        (set(istio(), "/regions/0/digicert/pins", json!(["sha1:00"])), "does not match"),
        (
            set(istio(), "/regions/0/digicert/issuers", json!("-----BEGIN PRIVATE KEY-----")),
            "'/regions/0/digicert/issuers'",
        ),
        (
            set(ready("two-regions"), "/regions/1/oauthSecret", json!("genesys-oauth-us")),
            "an OAuth client belongs to one region",
        ),
        (set(ready("two-regions"), "/regions/1/id", json!("us-east-1")), "is there twice"),
        (set(istio(), "/revocation", json!({"mode": "hard"})), "set revocation.lists"),
        (set(istio(), "/revocation", json!({"mode": "off", "lists": list})), "set revocation.mode"),
        (set(istio(), "/revocation", json!({"mode": "soft", "lists": list})), "has no digicert.issuers"),
        (set(ready("two-regions"), "/revocation/lists/0/region", json!("eu-west-1")), "not among regions"),
        (
            set(ready("two-regions"), "/revocation/lists/0/url", json!("https://crl.example/a")),
            "does not match",
        ),
        (set(istio(), "/policy", json!({"mode": "shadow"})), "set rollout"),
        (
            set(istio(), "/policy", json!({"refresh": {"oauth": {}, "clusters": {"api": "x"}}})),
            "set regions[].oauthSecret",
        ),
        (set(istio(), "/module/digest", json!("")), "module.digest: sha256:"),
        (set(istio(), "/module/image", json!("")), "module.image: where"),
        (set(istio(), "/module/image", json!("registry.example/filter:0.1.0")), "does not match"),
        (set(ready("istio-strict"), "/rollout", json!("A")), "set tls.profile to explain"),
        (set(istio(), "/gateway/certificate", json!("")), "gateway.certificate: the Secret"),
        (set(ready("istio-shared"), "/gateway/selector", json!({})), "gateway.selector: the labels"),
        (
            set(ready("envoy-gateway"), "/gateway/selector", json!({"a": "b"})),
            "by gateway.name: leave it out",
        ),
        (
            set(ready("istio-shared"), "/gateway/redirectHttp", json!(true)),
            "only for a gateway that the chart makes",
        ),
        (set(ready("istio-shared"), "/guard", json!("authorization-policy")), "set guard to native"),
        (set(ready("envoy-gateway"), "/guard", json!("authorization-policy")), "set guard to native"),
        (set(ready("envoy-gateway"), "/module/delivery", json!("volume")), "set it to fetch"),
        (set(ready("istio-shared"), "/module/trafficExtension", json!(true)), "leave it out"),
        (set(ready("istio-shared"), "/module/pullSecret", json!("pull")), "set module.delivery to volume"),
        (set(istio(), "/module/registryCa", json!("ca")), "leave it out"),
        (set(ready("envoy-gateway"), "/gateway/use", json!("shared")), "gateway.listener: the listener"),
        (
            set(set(ready("envoy-gateway"), "/gateway/use", json!("existing")), "/backend", json!({})),
            "gateway.routes: the HTTPRoutes",
        ),
        (
            set(istio(), "/tls", json!({"clientCas": format!("{pem}-----BEGIN PRIVATE KEY-----")})),
            "'/tls/clientCas'",
        ),
    ];
    for (values, cure) in cases {
        let error = render(&helm, "istio-ingress", &values).expect_err(cure);
        assert!(error.contains(cure), "expected: {cure}\n{error}");
    }
}

#[test]
fn roll_out_states_set_filter_guard_and_fail_strategy() {
    let Some(helm) = helm() else { return };
    for (state, mode, rules, strategy) in [
        ("A", "shadow", "shadow_rules", "FAIL_OPEN"),
        ("B", "enforce", "shadow_rules", "FAIL_RELOAD"),
        ("C", "shadow", "rules", "FAIL_RELOAD"),
        ("D", "enforce", "rules", "FAIL_RELOAD"),
    ] {
        let of = |name: &str| {
            render(&helm, namespace(name), &set(values(name), "/rollout", state.into()))
                .unwrap_or_else(|e| panic!("{e}"))
        };
        let manifests = of("istio");
        let plugin = &kind(&manifests, "WasmPlugin")[0]["spec"];
        assert_eq!(
            (&plugin["pluginConfig"]["mode"], &plugin["failStrategy"]),
            (&json!(mode), &json!(strategy)),
            "{state}"
        );
        let guard =
            manifests.iter().find(|m| m["metadata"]["name"] == "genesys-mtls-guard").expect("the guard");
        let typed = &guard["spec"]["configPatches"][0]["patch"]["value"]["typed_config"];
        assert_eq!(
            [typed["rules"].is_null(), typed["shadow_rules"].is_null()],
            [rules != "rules", rules == "rules"],
            "{state}"
        );

        let manifests = of("istio-shared");
        let filter = &kind(&manifests, "EnvoyFilter")
            .into_iter()
            .find(|m| m["metadata"]["name"] == "genesys-mtls")
            .expect("it")["spec"]["configPatches"];
        let config = &filter[0]["patch"]["value"]["typed_config"]["config"];
        assert_eq!(config["failure_policy"], strategy, "{state}");
        let policy: Value =
            serde_json::from_str(config["configuration"]["value"].as_str().expect("text")).expect("JSON");
        assert_eq!(policy["mode"], mode, "{state}");
        let at_host = &filter[3]["patch"]["value"]["typed_per_filter_config"]["genesys_guard"]["rbac"];
        for rbac in [&filter[2]["patch"]["value"]["typed_config"], at_host] {
            assert!(!rbac[rules].is_null(), "{state}: {rbac}");
            assert_eq!(rbac["rules"].is_null(), rules != "rules", "{state}");
        }

        let manifests = of("envoy-gateway");
        let wasm = &kind(&manifests, "EnvoyExtensionPolicy")[0]["spec"]["wasm"][0];
        assert_eq!(
            (&wasm["config"]["mode"], &wasm["failOpen"]),
            (&json!(mode), &json!(state == "A")),
            "{state}"
        );
        let guards = kind(&manifests, "SecurityPolicy")
            .iter()
            .filter(|m| m["metadata"]["name"] == "genesys-mtls-guard")
            .count();
        assert_eq!(guards, usize::from(rules == "rules"), "{state}");
    }
}

#[test]
fn secrets_are_named_and_never_contained() {
    for name in ["istio/enforce", "istio-shared/enforce", "envoy-gateway/enforce", "two-regions/enforce"] {
        for manifest in example(name) {
            let text = manifest.to_string();
            assert!(!text.contains("PRIVATE KEY"), "{name}");
            let secret = manifest["kind"] == "Secret";
            assert!(!secret || manifest["metadata"]["name"] == "genesys-ingress-cacert", "{name}: {text}");
        }
    }
}

#[test]
fn monitoring_is_rendered_where_asked_for() {
    let Some(helm) = helm() else { return };
    let mut values = set(values("istio"), "/rollout", json!("D"));
    for part in ["podMonitor", "alerts", "dashboard"] {
        values[part] = json!({"enabled": true, "labels": {"team": "edge"}});
    }
    let manifests = render(&helm, "istio-ingress", &values).unwrap_or_else(|e| panic!("{e}"));
    let alerts = documents(&paths::workspace_root().join("envoy/observability/alerts.yaml")).remove(0);
    assert_eq!(kind(&manifests, "PrometheusRule")[0]["spec"], alerts);
    assert_eq!(kind(&manifests, "PodMonitor")[0]["metadata"]["labels"]["team"], "edge");
    let board =
        manifests.iter().find(|m| m["metadata"]["name"] == "genesys-mtls-dashboard").expect("the dashboard");
    let board = board["data"]["genesys-mtls.json"].as_str().expect("text");
    assert!(serde_json::from_str::<Value>(board).is_ok());
}
