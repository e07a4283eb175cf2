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

#[test]
fn credentials_with_marks_are_named_and_never_shown() {
    for secret in ["\"s3cret\"", "'s3cret'", "s3cret ", "s3\ncret", "s3\u{feff}cret"] {
        let variables = [("GENESYS_CLIENT_ID", "id"), ("GENESYS_CLIENT_SECRET", secret)];
        let outcome =
            run_with(&["pins", "--region", "us-east-1", "--connect-to", "127.0.0.1:1"], "", &variables);
        assert_eq!(outcome.code, 2, "{secret:?}: {}", outcome.stderr);
        assert!(outcome.stderr.contains("GENESYS_CLIENT_SECRET holds a quote"), "{}", outcome.stderr);
        assert!(!outcome.stderr.contains("s3cret"), "{}", outcome.stderr);
    }
}
