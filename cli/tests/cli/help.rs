//! Help, manual pages and completions, and wrong usage.

use crate::run::{run, run_with};

#[test]
fn usage_errors_are_json_where_json_is_asked_for() {
    for arguments in [
        &["check", "no-such-file.yaml", "--json"][..],
        &["--json", "chekc"],
        &["--json"],
        &["explain", "--json"],
    ] {
        let outcome = run(arguments);
        assert_eq!((outcome.code, outcome.stderr.as_str()), (2, ""), "{arguments:?}");
        assert!(outcome.json()["error"].is_string(), "{arguments:?}: {}", outcome.stdout);
    }
}

/// Examples are pasted: no terminal of 80 columns breaks one.
#[test]
fn examples_in_the_help_are_never_wrapped() {
    for command in ["check", "explain", "inspect", "pins", "regions", "schema", "completions", "man"] {
        let (narrow, wide) = (["80", "200"].map(|columns| {
            let help = run_with(&["help", command], "", &[("COLUMNS", columns)]).stdout;
            help.split_once("Examples:").expect("examples").1.to_owned()
        }))
        .into();
        assert_eq!(narrow, wide, "{command}");
    }
}

#[test]
fn manual_pages_exist_for_the_tool_and_each_command() {
    for arguments in [&["man"][..], &["man", "check"], &["man", "doctor"]] {
        let outcome = run(arguments);
        assert_eq!(outcome.code, 0, "{}", outcome.stderr);
        assert!(outcome.stdout.contains(".TH genesys-mtls"), "{}", outcome.stdout);
        assert!(outcome.stdout.contains("Exit codes"), "{}", outcome.stdout);
    }
    assert_eq!(run(&["man", "nothing"]).code, 2);
}

#[test]
fn every_shell_gets_its_completions_and_editors_their_schema() {
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let outcome = run(&["completions", shell]);
        assert_eq!(outcome.code, 0);
        assert!(outcome.stdout.contains("explain"), "{shell}: {}", outcome.stdout);
    }
    let schema = run(&["schema"]).json();
    assert_eq!(schema["additionalProperties"], false);
    assert!(schema["properties"]["regions"].is_object(), "{schema}");
}
