//! The threat model names a test for each attacker: the files it names have to exist, and to hold tests.

use crate::read;
use std::{fs, path::Path};
use testbed::paths;

/// What is in backquotes and looks like a file or directory of tests.
fn named(text: &str) -> Vec<String> {
    let quoted = text.split('`').skip(1).step_by(2);
    let is_path =
        |name: &&str| name.ends_with('/') || Path::new(name).extension().is_some_and(|ending| ending == "rs");
    quoted.filter(is_path).map(str::to_owned).collect()
}

fn has_tests(path: &Path) -> bool {
    if path.is_dir() {
        let entries = fs::read_dir(path).expect("a directory");
        return entries.flatten().any(|entry| has_tests(&entry.path()));
    }
    let text = fs::read_to_string(path).unwrap_or_default();
    text.contains("#[test]") || text.contains("#[tokio::test") || text.contains("mod tests;")
}

#[test]
fn threat_model_names_tests_that_exist() {
    let root = paths::workspace_root();
    let security = read("docs/src/security/threat-model.md");
    let table = security.lines().skip_while(|line| !line.starts_with("| attacker |")).skip(2);
    let rows: Vec<&str> = table.take_while(|line| line.starts_with('|')).collect();
    assert!(rows.len() > 15, "the threat model has lost its table");
    for row in rows {
        let cells: Vec<&str> = row.trim_matches('|').split(" | ").collect();
        let [attacker, _, shown_by] = cells[..] else { panic!("not three cells: {row}") };
        let names = named(shown_by);
        assert!(!names.is_empty(), "no test is named for: {attacker}");
        for name in names {
            // A bare name is a file next to those of tests/envoy or src.
            let places = [name.clone(), format!("tests/envoy/{name}"), format!("src/{name}")];
            let found = places.iter().map(|place| root.join(place)).find(|path| path.exists());
            let path = found.unwrap_or_else(|| panic!("{attacker}: there is no {name}"));
            assert!(has_tests(&path), "{attacker}: {name} holds no test");
        }
    }
}
