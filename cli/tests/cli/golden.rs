//! What the subcommands print, word for word, and how they exit.

use crate::run::{assert_golden, directory, run, run_with};
use serde_json::Value;

const AT: &str = "--at=2026-06-01";
/// A pin of no certificate.
const OTHER_PIN: &str = "--api-pin=sha256:0000000000000000000000000000000000000000000000000000000000000000";

/// Golden file, exit code, arguments.
const CASES: &[(&str, i32, &[&str])] = &[
    ("help.txt", 2, &[]),
    ("help-check.txt", 0, &["help", "check"]),
    ("help-explain.txt", 0, &["help", "explain"]),
    ("help-inspect.txt", 0, &["help", "inspect"]),
    ("help-pins.txt", 0, &["help", "pins"]),
    ("help-doctor.txt", 0, &["help", "doctor"]),
    ("regions.txt", 0, &["regions"]),
    ("regions-zurich.json", 0, &["--json", "regions", "zurich"]),
    ("check-valid.txt", 0, &["check", "policy.yaml", AT]),
    ("check-expired.txt", 0, &["check", "policy.yaml", "--at=2031-06-01"]),
    ("check-expiring.txt", 0, &["check", "policy.yaml", "--at=2030-12-20"]),
    ("check-shape.txt", 1, &["check", "wrong-shape.yaml"]),
    ("check-shape.json", 1, &["check", "wrong-shape.yaml", "--json"]),
    ("check-meaning.txt", 1, &["check", "wrong-meaning.yaml"]),
    ("check-istio.txt", 1, &["check", "istio.yaml", AT]),
    ("check-ecds.txt", 1, &["check", "ecds.json"]),
    ("check-syntax.txt", 1, &["check", "wrong-syntax.yaml"]),
    ("check-nothing.txt", 2, &["check", "other-plugin.yaml"]),
    ("check-unreadable.txt", 2, &["check", "no-such-file.yaml"]),
    ("explain-allow.txt", 0, &["explain", "-c", "policy.yaml", "--cert", "genesys.pem", AT]),
    ("explain-allow.json", 0, &["explain", "-c", "policy.yaml", "--cert", "genesys.der", AT, "--json"]),
    ("explain-expired.txt", 1, &["explain", "-c", "policy.yaml", "--cert", "genesys.pem", "--at=2027-06-01"]),
    ("explain-early.txt", 1, &["explain", "-c", "policy.yaml", "--cert", "genesys.pem", "--at=2025-06-01"]),
    ("explain-not-loaded.txt", 1, &["explain", "-c", "policy.yaml", "--cert", "digicert.pem", AT]),
    ("explain-not-pinned.txt", 1, &["explain", "-c", "policy.yaml", "--cert", "digicert.pem", AT, OTHER_PIN]),
    ("explain-wrong-region.txt", 1, &["explain", "-c", "policy.yaml", "--cert", "other-region.pem", AT]),
    ("explain-wrong-name.txt", 1, &["explain", "-c", "policy.yaml", "--cert", "stranger.pem", AT]),
    ("explain-bad-signature.txt", 1, &["explain", "-c", "policy.yaml", "--cert", "impostor.pem", AT]),
    ("explain-no-client.txt", 1, &["explain", "-c", "policy.yaml", "--cert", "server.pem", AT]),
    (
        "explain-mismatch.txt",
        1,
        &[
            "explain",
            "-c",
            "policy.yaml",
            "--cert",
            "genesys.pem",
            AT,
            "--sha256=0000000000000000000000000000000000000000000000000000000000000000",
        ],
    ),
    ("explain-no-xfcc.txt", 1, &["explain", "-c", "policy.yaml", "--xfcc", "Hash=00;Subject=\"CN=x\"", AT]),
    ("explain-verdict.txt", 1, &["explain", "-c", "policy.yaml", "--access-log", "deny;wrong_region"]),
    (
        "explain-verdict-allow.txt",
        0,
        &["explain", "-c", "policy.yaml", "--access-log", "allow;us-east-1;genesys"],
    ),
    ("explain-nothing-asked.txt", 2, &["explain", "-c", "policy.yaml"]),
    (
        "explain-two-questions.txt",
        2,
        &["explain", "-c", "policy.yaml", "--cert", "genesys.pem", "--xfcc", "x"],
    ),
    ("explain-bad-policy.txt", 2, &["explain", "-c", "wrong-shape.yaml", "--cert", "genesys.pem"]),
    (
        "explain-bad-time.txt",
        2,
        &["explain", "-c", "policy.yaml", "--cert", "genesys.pem", "--at", "tomorrow"],
    ),
    ("explain-crl-none.txt", 1, &["explain", "-c", "revocation-hard.yaml", "--cert", "crl-good.pem", AT]),
    (
        "explain-crl-revoked.txt",
        1,
        &["explain", "-c", "revocation-soft.yaml", "--cert", "crl-revoked.pem", AT, "--crl", "list.crl"],
    ),
    (
        "explain-crl-revoked.json",
        1,
        &[
            "explain",
            "-c",
            "revocation-soft.yaml",
            "--cert",
            "crl-revoked.pem",
            AT,
            "--crl",
            "list.crl",
            "--json",
        ],
    ),
    (
        "explain-crl-good.txt",
        0,
        &["explain", "-c", "revocation-hard.yaml", "--cert", "crl-good.pem", AT, "--crl", "list.pem"],
    ),
    (
        "explain-crl-expired.txt",
        1,
        &[
            "explain",
            "-c",
            "revocation-hard.yaml",
            "--cert",
            "crl-good.pem",
            "--at=2026-08-01",
            "--crl",
            "list.crl",
        ],
    ),
    (
        "explain-crl-early.txt",
        0,
        &[
            "explain",
            "-c",
            "revocation-soft.yaml",
            "--cert",
            "crl-revoked.pem",
            "--at=2026-02-01",
            "--crl",
            "list.crl",
        ],
    ),
    (
        "explain-crl-partition.txt",
        1,
        &[
            "explain",
            "-c",
            "revocation-hard.yaml",
            "--cert",
            "crl-good.pem",
            AT,
            "--crl",
            "partition.crl",
            "--crl",
            "other.crl",
        ],
    ),
    (
        "explain-crl-off.txt",
        0,
        &["explain", "-c", "policy.yaml", "--cert", "genesys.pem", AT, "--crl", "list.crl"],
    ),
    (
        "explain-crl-unreadable.txt",
        0,
        &[
            "explain",
            "-c",
            "policy.yaml",
            "--cert",
            "genesys.pem",
            "--crl",
            "genesys-root.pem",
            "--at=2026-06-01",
        ],
    ),
    ("inspect-zip.txt", 0, &["inspect", "us-east-1.zip", AT]),
    ("inspect-digicert.txt", 0, &["inspect", "digicert.pem", AT]),
    ("inspect-digicert.json", 0, &["inspect", "digicert.pem", AT, "--json"]),
    ("inspect-expired.txt", 1, &["inspect", "genesys-root.pem", "--at=2032-01-01"]),
    ("inspect-other.txt", 1, &["inspect", "server.pem", "stranger.pem", "policy.yaml", "istio.yaml", AT]),
    (
        "inspect-region.txt",
        0,
        &["inspect", "genesys-root.pem", "--region", "eu-central-1", "--configuration", AT],
    ),
    ("inspect-bad-region.txt", 2, &["inspect", "genesys-root.pem", "--region", "moon-1"]),
    ("pins-no-secret.txt", 2, &["pins", "--region", "us-east-1"]),
    ("pins-bad-region.txt", 2, &["pins", "--region", "moon-1"]),
    ("pins-no-name.txt", 2, &["pins", "--region", "eusc-de-east-1"]),
    ("doctor-rules.txt", 0, &["doctor", "--rules"]),
    ("doctor-unreadable.txt", 2, &["doctor", "no-such-file.json"]),
];

#[test]
fn every_answer_is_as_written_down() {
    let mut wrong = Vec::new();
    for (golden, code, arguments) in CASES {
        let outcome = run(arguments);
        if outcome.code != *code {
            wrong.push(format!("{golden}: exit code {}, not {code}: {}", outcome.code, outcome.stderr));
        }
        if *code == 2 {
            assert_eq!(outcome.stdout, "", "{golden}: usage errors belong on standard error");
        }
        let command = format!("$ genesys-mtls {}\n", arguments.join(" "));
        assert_golden(golden, &(command + &outcome.stdout + &outcome.stderr));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn no_golden_file_is_left_over() {
    let known: Vec<&str> = CASES.iter().map(|(golden, ..)| *golden).collect();
    for entry in std::fs::read_dir(directory("golden")).expect("the golden files") {
        let name = entry.expect("an entry").file_name().into_string().expect("text");
        assert!(known.contains(&name.as_str()), "{name} belongs to no case");
    }
}

#[test]
fn every_answer_has_a_json_form() {
    for (golden, code, arguments) in CASES.iter().filter(|(_, code, _)| *code != 2) {
        if arguments.first() == Some(&"help") {
            continue;
        }
        let json: &[&str] = if arguments.contains(&"--json") { &[] } else { &["--json"] };
        let outcome = run(&[*arguments, json].concat());
        assert_eq!(outcome.code, *code, "{golden}");
        let json: Value = outcome.json();
        assert!(json.is_object() || json.is_array(), "{golden}: {json}");
    }
}

#[test]
fn nothing_is_coloured_where_there_is_no_terminal() {
    for (golden, _, arguments) in CASES {
        let outcome = run(arguments);
        assert!(!(outcome.stdout + &outcome.stderr).contains('\u{1b}'), "{golden}");
    }
    let forced = run_with(&["check", "policy.yaml"], "", &[("CLICOLOR_FORCE", "1")]);
    assert!(forced.stdout.contains('\u{1b}'), "colours exist: {}", forced.stdout);
    let refused = run_with(&["check", "policy.yaml"], "", &[("NO_COLOR", "1")]);
    assert!(!refused.stdout.contains('\u{1b}'));
    for (when, is_coloured) in [("always", true), ("never", false), ("auto", false)] {
        let outcome = run_with(&["check", "policy.yaml", "--color", when], "", &[]);
        assert_eq!(outcome.stdout.contains('\u{1b}'), is_coloured, "{when}");
    }
}

#[test]
fn standard_input_serves_as_a_file() {
    let policy = std::fs::read_to_string(directory("fixtures").join("policy.yaml")).expect("the fixture");
    assert_eq!(run_with(&["check", "-"], &policy, &[]).code, 0);
    let root = std::fs::read_to_string(directory("fixtures").join("genesys-root.pem")).expect("the fixture");
    assert_eq!(run_with(&["inspect", "-", AT], &root, &[]).code, 0);
}

#[test]
fn a_header_is_searched_for_the_connections_certificate() {
    let pem = |name: &str| std::fs::read_to_string(directory("fixtures").join(name)).expect("the fixture");
    let encoded = |name: &str| {
        let text = pem(name);
        text.bytes()
            .map(|byte| {
                if byte.is_ascii_alphanumeric() {
                    char::from(byte).to_string()
                } else {
                    format!("%{byte:02X}")
                }
            })
            .collect::<String>()
    };
    let subject = run(&["explain", "-c", "policy.yaml", "--cert", "genesys.pem", AT, "--json"]).json();
    let digest = subject["certificate"]["sha256"].as_str().expect("a digest").to_owned();
    let forged = format!("Cert=\"{}\",Hash=1;Cert=\"{}\"", encoded("impostor.pem"), encoded("genesys.pem"));
    let explain = |header: &str, more: &[&str]| {
        run_with(
            &[&["explain", "-c", "policy.yaml", "--xfcc", "-", AT, "--json"], more].concat(),
            header,
            &[],
        )
    };
    let outcome = explain(&forged, &["--sha256", &digest]);
    assert_eq!((outcome.code, outcome.json()["verdict"].as_str()), (0, Some("allow;us-east-1;genesys")));
    let outcome = explain(&forged, &[]);
    assert_eq!((outcome.code, outcome.json()["reason"].as_str()), (1, Some("certificate_mismatch")));
    let json_form = format!("[{{\"Cert\":\"{}\"}}]", encoded("genesys.pem"));
    assert_eq!(explain(&json_form, &[]).code, 0);

    // A trusted hop's header is bound to nothing: as in the filter, two certificates are one too many.
    let hop = "peer_certificate: {danger_trusted_hop: {header: x-forwarded-client-cert, encoding: xfcc, peer: {dns_san: edge.example}}}";
    let policy = format!("{}\n{hop}\n", pem("policy.yaml"));
    for (header, code) in [(&forged, 1), (&json_form, 0)] {
        let arguments = ["explain", "-c", "-", "--xfcc", header, "--sha256", &digest, AT, "--json"];
        let outcome = run_with(&arguments, &policy, &[]);
        assert_eq!(outcome.code, code, "{header}: {}{}", outcome.stdout, outcome.stderr);
    }
}

#[test]
fn a_private_key_is_named_and_never_shown() {
    let key = "-----BEGIN PRIVATE KEY-----\nc2VjcmV0LWJ5dGVz\n-----END PRIVATE KEY-----\n";
    let outcome = run_with(&["inspect", "-"], key, &[]);
    assert_eq!(outcome.code, 1);
    assert!(outcome.stdout.contains("private key"), "{}", outcome.stdout);
    assert!(!outcome.stdout.contains("c2VjcmV0"), "{}", outcome.stdout);
}

#[test]
fn output_of_inspect_is_accepted_by_check() {
    for file in ["us-east-1.zip", "digicert.pem"] {
        let outcome = run(&["inspect", "--configuration", file, AT]);
        let checked = run_with(&["check", "-", AT], &outcome.stdout, &[]);
        assert_eq!(checked.code, 0, "{file}: {}\n{}", outcome.stdout, checked.stdout);
    }
}

#[test]
fn authority_without_a_crl_is_warned_of_where_crls_are_required() {
    let policy =
        std::fs::read_to_string(directory("fixtures").join("revocation-hard.yaml")).expect("a fixture");
    let also =
        policy.replacen("    genesys:\n", "    digicert: {pins: [api], issuers: ISSUER}\n    genesys:\n", 1);
    let issuer = std::fs::read_to_string(directory("fixtures").join("crl-root.pem")).expect("a fixture");
    let also = also.replace("ISSUER", &serde_json::to_string(&issuer).expect("JSON"));
    let warned = |policy: &str| {
        let outcome = run_with(&["check", "-", AT], policy, &[]);
        assert_eq!(outcome.code, 0, "{}", outcome.stdout);
        outcome.stdout.contains("none is about digicert of us-east-1")
    };
    assert!(warned(&also));
    assert!(!warned(&policy), "there is a list of Genesys");
    assert!(!warned(&also.replace("mode: hard", "mode: soft")), "no caller is refused for that");
}
