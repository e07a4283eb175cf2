//! One row for each rule: what breaks it, and what looks like that and does not.

mod around;
mod guard;
mod row;
mod ways;

use super::{dump, examine, findings, start, world};
use crate::run::run;
use row::{Example, Row};
use serde_json::{Value, json};
use testbed::{World, envoy};

fn rows() -> impl Iterator<Item = &'static Row> {
    guard::ROWS.iter().chain(ways::ROWS).chain(around::ROWS)
}

/// Examines an Envoy with this example; nothing if it is older than the example. A newer one's dump is said to be of 1.38: but
/// for the version it would be the same.
async fn examined(example: &Example, world: &World) -> Option<(i32, Vec<String>, String)> {
    let is_old = envoy::version() < (1, 39);
    if is_old && !example.before_1_39 {
        // `World::localize` has changed the file: the example is no longer what it says.
        return None;
    }
    let envoy = match start(world, example.file, example.change).await {
        Ok(envoy) => envoy,
        Err(error) => return Some((-1, Vec::new(), error.to_string())),
    };
    let mut dump = dump(&envoy).await;
    if example.before_1_39 && !is_old {
        let sections = dump["configs"].as_array_mut().expect("sections");
        let mut nodes = sections.iter_mut().filter_map(|section| section.pointer_mut("/bootstrap/node"));
        let node = nodes.next().expect("a node");
        node["user_agent_build_version"]["version"] = json!({"major_number": 1, "minor_number": 38});
    }
    let outcome = examine(&dump);
    Some((outcome.code, findings(&outcome), outcome.stdout + &outcome.stderr))
}

/// Severity and code of each rule, as the tool lists them.
fn catalogue() -> Vec<(String, String)> {
    let json = run(&["doctor", "--rules", "--json"]).json();
    let text = |rule: &Value, key: &str| rule[key].as_str().expect("text").to_owned();
    json.as_array().expect("rules").iter().map(|rule| (text(rule, "severity"), text(rule, "rule"))).collect()
}

/// Rules about dumps that are not whole, and about what a running Envoy says: their tests are by themselves.
const ELSEWHERE: [&str; 7] = [
    "partial_input",
    "update_rejected",
    "module_not_fetched",
    "refresh_failing",
    "pins_missing",
    "guard_refuses",
    "callout_no_address",
];

#[test]
fn every_rule_has_a_bad_example_and_a_good_one() {
    let rules = catalogue().into_iter().map(|(_, rule)| rule);
    let rules: Vec<String> = rules.filter(|rule| !ELSEWHERE.contains(&rule.as_str())).collect();
    assert_eq!(rows().map(|row| row.rule).collect::<Vec<_>>(), rules);
    for row in rows() {
        assert!(!row.bad.is_empty() && !row.good.is_empty(), "{}", row.rule);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_bad_example_is_found_by_its_own_rule() {
    let (world, catalogue, mut wrong) = (world().await, catalogue(), Vec::new());
    let catalogue = catalogue.iter().filter(|(_, rule)| !ELSEWHERE.contains(&rule.as_str()));
    for (row, (severity, rule)) in rows().zip(catalogue) {
        for example in row.bad {
            let Some((code, found, said)) = examined(example, &world).await else { continue };
            let expected = format!("{severity}[{rule}]");
            if code != i32::from(severity != "note") || !found.contains(&expected) {
                wrong.push(format!("{rule}, {}: {said}", example.what));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn each_good_example_is_clean() {
    let (world, mut wrong) = (world().await, Vec::new());
    for row in rows() {
        for example in row.good {
            let Some((code, found, said)) = examined(example, &world).await else { continue };
            if code != 0 || !found.is_empty() {
                wrong.push(format!("{}, {}: {said}", row.rule, example.what));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
