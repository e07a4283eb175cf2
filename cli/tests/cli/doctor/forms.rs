//! In how many forms a configuration comes, and what is said where a part of it is missing.

use super::{changes, dump, examine, findings, start, world};
use crate::run::{Outcome, run, run_with};
use serde_json::{Value, json};
use testbed::{World, shipped};

fn given(text: &str) -> Outcome {
    run_with(&["doctor", "-", "--json"], text, &[])
}

/// Fields as protobuf's JSON has them by default, and as `egctl` prints them.
fn camel(value: &Value) -> Value {
    let name = |key: &str| {
        let mut parts = key.split('_');
        let first = parts.next().unwrap_or_default().to_owned();
        parts.fold(first, |name, part| {
            let mut letters = part.chars();
            name + &letters
                .next()
                .map(|c| c.to_ascii_uppercase())
                .into_iter()
                .chain(letters)
                .collect::<String>()
        })
    };
    let is_field = |key: &str| key.chars().all(|c| c.is_ascii_lowercase() || c == '_' || c.is_ascii_digit());
    match value {
        Value::Array(items) => items.iter().map(camel).collect(),
        Value::Object(fields)
            if fields.get("@type").is_some_and(|kind| kind.to_string().ends_with(".Struct\"")) =>
        {
            value.clone()
        }
        Value::Object(fields) => {
            let renamed = fields.iter().map(|(key, value)| {
                let key = if is_field(key) { name(key) } else { key.clone() };
                let maps = ["policies", "typedPerFilterConfig", "filterMetadata"];
                let inner = match value {
                    Value::Object(inner) if maps.contains(&key.as_str()) => {
                        inner.iter().map(|(key, value)| (key.clone(), camel(value))).collect()
                    }
                    value => camel(value),
                };
                (key, inner)
            });
            Value::Object(renamed.collect())
        }
        value => value.clone(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_dump_is_judged_alike_in_every_form() {
    let world = world().await;
    for change in
        [|_: &mut Value, _: &World| {}, |b: &mut Value, _: &World| drop(changes::filters(b).remove(1))]
    {
        let envoy = start(&world, "envoy.yaml", change).await.expect("Envoy starts");
        let dump = dump(&envoy).await;
        let expected = findings(&examine(&dump));
        let egctl = json!({"default": {"pod": camel(&dump)}});
        let yaml = yaml(&dump);
        for (form, text) in
            [("camelCase by pod", egctl.to_string()), ("YAML", yaml), ("pretty", format!("{dump:#}"))]
        {
            let outcome = given(&text);
            assert_eq!(findings(&outcome), expected, "{form}: {}", outcome.stdout);
        }
    }
}

/// JSON in flow style with its keys on lines apart: YAML that is no JSON.
fn yaml(value: &Value) -> String {
    let sections = value["configs"].as_array().expect("sections").iter();
    sections.fold("configs:\n".to_owned(), |text, section| text + &format!("- {section}\n"))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_partial_dump_lacks_is_said() {
    let world = world().await;
    let envoy = start(&world, "scope/listener.yaml", |_, _| {}).await.expect("Envoy starts");
    let whole = dump(&envoy).await;
    for (section, expected) in [("Clusters", "Cluster"), ("Bootstrap", "Bootstrap")] {
        let mut part = whole.clone();
        let sections = part["configs"].as_array_mut().expect("sections");
        sections.retain(|one| !one["@type"].as_str().is_some_and(|kind| kind.contains(section)));
        let outcome = given(&part.to_string());
        assert_eq!(outcome.code, 1);
        let said = format!("it has no {expected}: that was not examined");
        assert!(
            outcome.stdout.contains(&said) && outcome.stdout.contains("partial_input"),
            "{}",
            outcome.stdout
        );
        assert!(!outcome.stdout.contains("\"error\""), "no false error: {}", outcome.stdout);
    }
    // `?resource=dynamic_listeners` and its like: entries without their section.
    let listeners = whole["configs"].as_array().expect("sections").iter();
    let listeners =
        listeners.flat_map(|one| one["static_listeners"].as_array().into_iter().flatten().cloned());
    let entries: Vec<Value> = listeners
        .map(|mut entry| {
            entry["@type"] = "type.googleapis.com/envoy.admin.v3.ListenersConfigDump.StaticListener".into();
            entry
        })
        .collect();
    let outcome = given(&json!({"configs": entries}).to_string());
    assert_eq!(outcome.code, 1, "{}", outcome.stderr);
    assert!(outcome.stdout.contains("it has no Bootstrap, Cluster"), "{}", outcome.stdout);
}

#[test]
fn every_shipped_file_is_clean_as_it_is() {
    for name in shipped::BOOTSTRAPS {
        let path = shipped::directory().join(name);
        // The files that it watches are next to it.
        let path =
            if name.starts_with("xds/") { path.parent().expect("a directory").to_owned() } else { path };
        let outcome = run(&["doctor", &path.to_string_lossy(), "--json"]);
        assert_eq!(
            (outcome.code, findings(&outcome)),
            (0, Vec::new()),
            "{name}: {}{}",
            outcome.stdout,
            outcome.stderr
        );
    }
    let alone = run(&["doctor", &shipped::directory().join("xds/bootstrap.yaml").to_string_lossy()]);
    assert_eq!(alone.code, 2, "without its listeners: {}", alone.stdout);
}

#[test]
fn manifests_and_addresses_are_sent_where_they_belong() {
    let manifest = given("apiVersion: v1\nkind: ConfigMap\n");
    assert!(manifest.code == 2 && manifest.stdout.contains("`check` reads those"), "{}", manifest.stdout);
    let address = run(&["doctor", "localhost:9901"]);
    assert!(address.code == 2 && address.stderr.contains("--admin localhost:9901"), "{}", address.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_operator_accepts_is_clean() {
    let world = world().await;
    let envoy = start(&world, "envoy.yaml", |b, _| changes::filters(b).insert(0, changes::lua())).await;
    let dump = dump(&envoy.expect("Envoy starts")).await.to_string();
    let with = |accept: &str| run_with(&["doctor", "-", "--json", "--accept", accept], &dump, &[]);
    let accepted = with("not_examined@listener ingress, filter chain 0, filter my.lua");
    assert_eq!(
        (accepted.code, accepted.json()["accepted"].as_array().map(Vec::len)),
        (0, Some(1)),
        "{}",
        accepted.stdout
    );
    assert_eq!(with("not_examined@*my.lua").code, 0);
    for (other, code) in
        [("not_examined@listener others*", 1), ("guard_missing@*", 1), ("no_such_rule@*", 2), ("x", 2)]
    {
        assert_eq!(with(other).code, code, "{other}");
    }
    let file = world.write("accepted.txt", "# reviewed\n\nnot_examined@*my.lua\n").expect("a file");
    let by_file = run_with(&["doctor", "-", "--accept-file", &file.to_string_lossy()], &dump, &[]);
    assert!(
        by_file.code == 0 && by_file.stdout.contains("clean, 1 accepted"),
        "{}{}",
        by_file.stdout,
        by_file.stderr
    );
}

#[test]
fn a_rejected_update_and_a_module_not_fetched_are_said() {
    let path = shipped::directory().join("envoy.yaml");
    let bootstrap = testbed::config::load_yaml(&path);
    let listener = &bootstrap["static_resources"]["listeners"][0];
    let entry = |listener: &Value| {
        json!({"name": "ingress", "active_state": {"listener": listener},
        "error_state": {"details": "no \u{1b}[2Jsuch thing"}})
    };
    let dump = |listener: &Value| {
        json!({"configs": [
            {"@type": "type.googleapis.com/envoy.admin.v3.BootstrapConfigDump", "bootstrap": bootstrap},
            {"@type": "type.googleapis.com/envoy.admin.v3.ClustersConfigDump",
             "static_clusters": bootstrap["static_resources"]["clusters"].as_array().expect("clusters").iter()
                .map(|cluster| json!({"cluster": cluster})).collect::<Vec<_>>()},
            {"@type": "type.googleapis.com/envoy.admin.v3.ListenersConfigDump", "dynamic_listeners": [entry(listener)]},
        ]})
    };
    let outcome = run_with(&["doctor", "-"], &dump(listener).to_string(), &[]);
    assert!(
        outcome.code == 1 && outcome.stdout.contains("warning[update_rejected] ingress"),
        "{}",
        outcome.stdout
    );
    assert!(outcome.stdout.contains("\\u{1b}[2Jsuch thing"), "escapes do not pass: {}", outcome.stdout);

    let mut denied = listener.clone();
    let filter = &mut denied["filter_chains"][0]["filters"][0]["typed_config"]["http_filters"][0];
    *filter = changes::rbac(json!({"rules": {}, "rules_stat_prefix": "wasm-default-deny"}));
    filter["name"] = "ns.genesys-mtls".into();
    let outcome = run_with(&["doctor", "-"], &dump(&denied).to_string(), &[]);
    assert!(
        outcome.code == 1 && outcome.stdout.contains("error[module_not_fetched]"),
        "{}{}",
        outcome.stdout,
        outcome.stderr
    );
}
