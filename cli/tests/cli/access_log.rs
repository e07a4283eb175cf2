//! `explain --access-log`: verdicts out of logs and answers, and nothing that a caller wrote.

use crate::run::{run, run_with};
use serde_json::Value;

#[test]
fn line_of_the_access_log_is_explained() {
    let line = format!(
        r#"{{"status":403,"verdict":"deny;not_pinned","certificate":"{}","time":"x"}}"#,
        "ab".repeat(32)
    );
    let pin = format!("--api-pin=sha256:{}", "ab".repeat(32));
    let arguments = ["explain", "-c", "policy.yaml", "--access-log", "-", "--json", &pin];
    let outcome = run_with(&arguments, &format!("{line}\n\n"), &[]);
    assert_eq!(outcome.code, 1);
    let json = outcome.json();
    assert_eq!(json["reason"], "not_pinned");
    assert_eq!(json["certificate"]["pinned_by"][0], "the API, for us-east-1");
}

#[test]
fn access_log_is_explained_behind_any_common_prefix() {
    let entry = r#"{"verdict":"deny;not_pinned","status":403}"#;
    let docker =
        serde_json::json!({"log": format!("{entry}\n"), "stream": "stdout", "time": "2026-01-01T00:00:00Z"});
    let body =
        r#"{"type":"about:blank","title":"Forbidden","status":403,"code":"not_pinned","request_id":"x"}"#;
    for line in [
        entry.to_owned(),
        format!("[pod/gateway-5d8/istio-proxy] {entry}"),
        format!("[pod/gateway-5d8/istio-proxy] 2026-01-01T00:00:00.123456789Z {entry}"),
        format!("2026-01-01T00:00:00.1+01:00 stdout F {entry}"),
        format!("envoy-1  | {entry}"),
        format!("envoy-1  | 2026-01-01T00:00:00Z {entry}"),
        docker.to_string(),
        format!("gateway-1 | {docker}"),
        body.to_owned(),
        format!("HTTP/1.1 403 Forbidden\ncontent-type: application/problem+json\n\n{body}"),
        serde_json::to_string_pretty(&serde_json::from_str::<Value>(body).expect("JSON")).expect("JSON"),
    ] {
        let arguments = ["explain", "-c", "policy.yaml", "--access-log", "-", "--json"];
        let outcome = run_with(&arguments, &format!("{line}\n"), &[]);
        assert_eq!(outcome.code, 1, "{line}: {}", outcome.stderr);
        assert_eq!(outcome.json()["reason"], "not_pinned", "{line}");
    }
    for (field, line) in [
        ("genesys", r#"{"genesys":"deny;expired"}"#),
        ("labels.verdict", r#"{"labels":{"verdict":"deny;expired"}}"#),
    ] {
        let arguments =
            ["explain", "-c", "policy.yaml", "--verdict-field", field, "--access-log", line, "--json"];
        assert_eq!(run(&arguments).json()["reason"], "expired", "{line}");
    }
}

const PINNED_AND_NEVER_SEEN: &str =
    r#"{"verdict":"-","certificate":"abababababababababababababababababababababababababababababababab"}"#;

#[test]
fn caller_cannot_have_itself_explained_as_allowed() {
    let arguments = ["explain", "-c", "policy.yaml", "--access-log", "-", "--json"];
    for (line, reason) in [
        (r#"{"request_id":"allow;us-east-1;genesys","verdict":"deny;wrong_name"}"#, Some("wrong_name")),
        (r#"{"request":"allow;us-east-1;genesys","verdict":"-"}"#, None),
        (r#"{"request":"allow;us-east-1;genesys","verdict":null}"#, None),
        (PINNED_AND_NEVER_SEEN, None),
        (r#"{"verdict":"allow;us-east-1;genesys\u001b[2K"}"#, None),
        (r#"["allow;us-east-1;genesys"]"#, None),
        ("GET /allow;us-east-1;genesys allow;us-east-1;genesys deny;wrong_name", None),
        ("allow;us-east-1;genesys deny;wrong_name", None),
        ("nothing here", None),
        (r#"GET /x {"verdict":"allow;us-east-1;genesys"}"#, None),
        (r#"[2026-01-01] "GET / HTTP/1.1" 403 {"verdict":"allow;us-east-1;genesys"}"#, None),
        (r#"{"log":"{\"verdict\":\"allow;us-east-1;genesys\"}","stream":"stdout","verdict":"-"}"#, None),
        (r#"{"type":"about:blank","status":200,"code":"allow;us-east-1;genesys"}"#, None),
    ] {
        let outcome = run_with(&arguments, &format!("{line}\n"), &[]);
        assert_eq!(outcome.code, if reason.is_some() { 1 } else { 2 }, "{line}: {}", outcome.stdout);
        if reason.is_some() {
            assert_eq!(outcome.json()["reason"].as_str(), reason, "{line}");
        } else {
            let error = outcome.json()["error"].to_string();
            assert!(error.contains("no verdict"), "{line}: {error}");
        }
    }
}
