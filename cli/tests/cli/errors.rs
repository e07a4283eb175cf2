//! The catalogue of wrong configurations: every example is run, and every answer is as it was reviewed.

use crate::{
    markdown::{assert_blocks, blocks},
    run::{directory, run_with},
};

pub const CATALOGUE: &str = "cli/tests/book/configuration-errors.txt";

/// An example as `check` gets it: `${file}` becomes the fixture's content, as deep as it stands.
pub fn expanded(yaml: &str) -> String {
    let expand = |line: &str| {
        let text = line.trim_start();
        let Some(file) = text.strip_prefix("${").and_then(|rest| rest.strip_suffix('}')) else {
            return line.to_owned();
        };
        let indent = " ".repeat(line.len() - text.len());
        let content = std::fs::read_to_string(directory("fixtures").join(file)).expect("a fixture");
        content.lines().map(|line| format!("{indent}{line}")).collect::<Vec<_>>().join("\n")
    };
    yaml.lines().map(|line| expand(line) + "\n").collect()
}

#[test]
fn every_wrong_configuration_gets_the_answer_that_was_reviewed() {
    let mut example = String::new();
    let mut examples = 0;
    assert_blocks(CATALOGUE, |block| {
        if block.language == "yaml" {
            example = expanded(&block.text);
            examples += 1;
            return None;
        }
        let outcome = run_with(&["check", "-"], &example, &[]);
        assert_eq!(outcome.code, 1, "{}: {}{}", block.heading, outcome.stdout, outcome.stderr);
        Some(outcome.stdout)
    });
    assert!(examples >= 40, "{examples} examples");
}

/// A message is of use only with its place: in the file, and as a path.
#[test]
fn every_answer_names_a_line_and_shows_it() {
    for block in blocks(CATALOGUE).iter().filter(|block| block.language == "yaml") {
        let outcome = run_with(&["check", "-", "--json"], &expanded(&block.text), &[]);
        let json = outcome.json();
        let errors = json["configurations"][0]["errors"].as_array().expect("errors").clone();
        assert!(!errors.is_empty(), "{}", block.heading);
        for error in errors {
            assert!(error["line"].is_u64() && error["column"].is_u64(), "{}: {error}", block.heading);
            let message = error["message"].as_str().expect("a message");
            assert!(!message.contains("column ") && !message.contains("line 1,"), "{message}");
        }
    }
}

#[test]
fn a_text_that_ends_too_early_is_marked_where_it_opens() {
    let outcome = run_with(&["check", "-"], "{\"regions\": {\n  \"us-east-1\": {}\n\n", &[]);
    assert_eq!(outcome.code, 1, "{}", outcome.stderr);
    assert!(outcome.stdout.contains("--> -:1:13\n"), "{}", outcome.stdout);
}
