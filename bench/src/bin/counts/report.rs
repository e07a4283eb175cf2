//! The table, the baseline, and the comparison of the two.

use crate::cases::Case;
use bench::document::{self, thousands};
use serde_json::{Map, Value, json};
use std::{fmt::Write as _, fs, path::PathBuf};
use testbed::paths;

/// How much a number may grow before it is an error, in percent.
const TOLERANCE: u64 = 2;
/// The same for memory: whether a large list grows in place or moves depends on the certificates, which differ in each
/// checkout. A list near the limit takes 3,264 or 3,840 KiB.
const MEMORY_TOLERANCE: u64 = 20;

const UPDATE: &str = "make bench-counts";

/// Budgets: a case, and the most instructions and host calls that it may take.
const BUDGETS: [(&str, u64, u64); 2] = [("warm_allow", 2_650, 2), ("first_rsa4096", 426_000, 6)];

/// Memory of a VM, in bytes.
const MEMORY: u64 = 4 * 1024 * 1024;
/// What a CRL of 50,000 entries may add.
const MEMORY_OF_CRL: u64 = 3_500_000;

fn baseline() -> PathBuf {
    paths::workspace_root().join("bench/baseline.json")
}

/// Markdown: a row per case.
pub fn table(cases: &[Case], size: u64, compiler: &str) -> String {
    let mut text = String::from(
        "| case | guest instructions | host calls | by name | memory of the VM |\n|---|--:|--:|---|--:|\n",
    );
    for case in cases {
        let calls: Vec<String> =
            case.cost.calls.iter().map(|(name, count)| format!("{} {count}", short(name))).collect();
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} KiB |",
            case.title,
            about(case.cost.instructions),
            thousands(case.cost.host_calls()),
            calls.join(", "),
            thousands(case.memory / 1024)
        );
    }
    let _ = write!(text, "\nModule: {} bytes, built by {compiler}.", thousands(size));
    text
}

/// Large numbers to three digits: they move a little with the certificates, which are made afresh.
fn about(number: u64) -> String {
    let unit = 10_u64.pow(number.checked_ilog10().unwrap_or(0).saturating_sub(2));
    if number < 100_000 { thousands(number) } else { thousands((number + unit / 2) / unit * unit) }
}

fn short(name: &str) -> &str {
    name.strip_prefix("proxy_").unwrap_or(name)
}

fn numbers(cases: &[Case], size: u64) -> Value {
    let rows = cases.iter().map(|case| {
        let numbers = json!({"instructions": case.cost.instructions, "host_calls": case.cost.host_calls(), "memory": case.memory});
        (case.id.to_owned(), numbers)
    });
    let mut all: Map<String, Value> = rows.collect();
    all.insert("module".into(), json!({"bytes": size}));
    all.into()
}

/// Compares with the baseline of this compiler, and with the budgets.
pub fn compare(cases: &[Case], size: u64, compiler: &str) -> Result<String, String> {
    let mut errors = over_budget(cases);
    let read = fs::read_to_string(baseline()).map_err(|error| error.to_string());
    let known: Value =
        read.and_then(|text| serde_json::from_str(&text).map_err(|error| error.to_string()))?;
    let note = match known.get(compiler) {
        Some(known) => {
            errors.extend(grown(known, &numbers(cases, size)));
            format!("No number is more than {TOLERANCE} % above bench/baseline.json.")
        }
        // Another compiler's numbers say nothing about a change of ours.
        None => format!("bench/baseline.json has no numbers for {compiler}; only the budgets were checked."),
    };
    if errors.is_empty() {
        Ok(note)
    } else {
        Err(format!("{}\nTo accept the numbers: {UPDATE}", errors.join("\n")))
    }
}

fn over_budget(cases: &[Case]) -> Vec<String> {
    let mut errors = Vec::new();
    for case in cases {
        let budget = MEMORY + if case.id.starts_with("crl_") { MEMORY_OF_CRL } else { 0 };
        if case.memory > budget {
            errors.push(format!("{}: {} bytes of memory, the budget is {budget}", case.id, case.memory));
        }
    }
    let first = |id| cases.iter().find(|case| case.id == id).map_or(0, |case| case.cost.instructions);
    let (plain, large) = (first("first_rsa4096"), first("first_large_policy"));
    if large * 10 > plain * 11 {
        errors.push(format!("first_large_policy: {large} instructions, more than 10 % above {plain}"));
    }
    let within = |(id, instructions, calls): &(&str, u64, u64)| {
        let case = cases.iter().find(|case| case.id == *id)?;
        let (cost, host_calls) = (case.cost.instructions, case.cost.host_calls());
        (cost > *instructions || host_calls > *calls).then(|| {
            format!("{id}: {cost} instructions and {host_calls} host calls, the budget is {instructions} and {calls}")
        })
    };
    errors.extend(BUDGETS.iter().filter_map(within));
    errors
}

fn grown(known: &Value, found: &Value) -> Vec<String> {
    let mut errors = Vec::new();
    for (id, numbers) in found.as_object().into_iter().flatten() {
        for (unit, number) in numbers.as_object().into_iter().flatten() {
            let Some(before) = known[id][unit].as_u64() else {
                errors.push(format!("{id}: not in the baseline"));
                break;
            };
            let now = number.as_u64().unwrap_or(u64::MAX);
            let tolerance = if unit == "memory" { MEMORY_TOLERANCE } else { TOLERANCE };
            if now * 100 > before * (100 + tolerance) {
                errors.push(format!("{id}: {unit} grew from {before} to {now}"));
            }
        }
    }
    errors
}

/// Writes the baseline of this compiler, and the report.
pub fn write(cases: &[Case], size: u64, compiler: &str) -> Result<String, String> {
    let known = fs::read_to_string(baseline()).ok().and_then(|text| serde_json::from_str(&text).ok());
    let mut known: Value = known.unwrap_or_else(|| json!({}));
    known[compiler] = numbers(cases, size);
    let text = serde_json::to_string_pretty(&known).map_err(|error| error.to_string())? + "\n";
    fs::write(baseline(), text).map_err(|error| error.to_string())?;
    let file =
        document::report("counts", &table(cases, size, compiler)).map_err(|error| error.to_string())?;
    Ok(format!("bench/baseline.json and {} are written.", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_that_grows_beyond_the_tolerance_is_an_error() {
        let known = json!({"a": {"instructions": 100, "host_calls": 2}});
        let found =
            |instructions, host_calls| json!({"a": {"instructions": instructions, "host_calls": host_calls}});
        assert!(grown(&known, &found(102, 2)).is_empty());
        assert!(grown(&known, &found(50, 1)).is_empty());
        assert_eq!(grown(&known, &found(103, 2)), ["a: instructions grew from 100 to 103"]);
        assert_eq!(grown(&known, &found(100, 3)), ["a: host_calls grew from 2 to 3"]);
        assert_eq!(grown(&known, &json!({"b": {"instructions": 1}})), ["b: not in the baseline"]);
    }
}
