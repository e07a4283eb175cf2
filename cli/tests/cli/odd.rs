//! Each file of a collection of odd certificates on the command line: an answer, never a panic.

use crate::run::run;
use serde_json::Value;
use std::{collections::BTreeMap, fmt::Write as _, path::PathBuf, sync::Mutex, thread};
use testbed::{document, paths, vectors};

/// Its CA has no part in the collection; it demands a list (`hard`).
pub const POLICY: &str = "revocation-hard.yaml";

/// Shares into which the files are divided, to be worked at in parallel.
const SHARES: usize = 2;

fn files() -> Option<Vec<String>> {
    let vectors = vectors::directory()?;
    let kinds = ["x509", "pkcs7", "pkcs12"].map(|kind| vectors.join(kind));
    let files: Vec<PathBuf> = kinds.iter().flat_map(|kind| vectors::files(kind)).collect();
    assert!(files.len() > 1500, "only {} files", files.len());
    Some(files.iter().map(|path| path.to_str().expect("text").to_owned()).collect())
}

/// A code that is a normal end, and no word of a panic.
pub fn ended(arguments: &[&str]) -> (i32, String) {
    let outcome = run(arguments);
    let calm = (0..=2).contains(&outcome.code) && !outcome.stderr.contains("panicked");
    assert!(calm, "{arguments:?}: {}\n{}", outcome.code, outcome.stderr);
    assert!(outcome.code == 2 || !outcome.stdout.is_empty(), "{arguments:?} says nothing");
    (outcome.code, outcome.stdout)
}

/// How often each answer was given, to which command.
type Answers = BTreeMap<&'static str, BTreeMap<String, usize>>;

fn note(answers: &Mutex<Answers>, command: &'static str, answer: &str) {
    let mut answers = answers.lock().expect("answers");
    *answers.entry(command).or_default().entry(answer.to_owned()).or_default() += 1;
}

fn inspect(files: &[String], answers: &Mutex<Answers>) {
    for some in files.chunks(200) {
        let arguments: Vec<&str> =
            ["--json", "inspect"].into_iter().chain(some.iter().map(String::as_str)).collect();
        let (_, stdout) = ended(&arguments);
        let report: Value = serde_json::from_str(&stdout).expect("JSON");
        let list = |name: &str| report[name].as_array().expect("a list").clone();
        for certificate in list("certificates") {
            note(answers, "`inspect`", certificate["role"].as_str().expect("a role"));
        }
        for _ in list("problems") {
            note(answers, "`inspect`", "problem");
        }
        for _ in list("other") {
            note(answers, "`inspect`", "named: no certificate");
        }
        // Each file is accounted for, in the order they were given.
        let text = ended(&[&["inspect"], &arguments[2..]].concat()).1;
        let unsaid: Vec<&String> = some.iter().filter(|file| !text.contains(*file)).collect();
        assert!(unsaid.is_empty(), "not a word about {unsaid:?}");
    }
}

/// The file as the certificate that is asked about.
fn explain(file: &str, answers: &Mutex<Answers>) {
    let (code, stdout) = ended(&["--json", "explain", "-c", POLICY, "--at=2026-06-01", "--cert", file]);
    assert_ne!(code, 0, "{file} is allowed");
    let report: Value = serde_json::from_str(&stdout).unwrap_or_default();
    note(answers, "`explain --cert`", report["reason"].as_str().unwrap_or("usage"));
}

/// Files as revocation lists. Where one is no list in PEM all of them are a wrong usage.
fn explain_lists(files: &[String], answers: &Mutex<Answers>) {
    let question = ["--json", "explain", "-c", POLICY, "--at=2026-06-01", "--cert", "crl-good.pem"];
    let lists = files.iter().flat_map(|file| ["--crl", file]);
    let (code, stdout) = ended(&question.into_iter().chain(lists).collect::<Vec<_>>());
    match (code, files) {
        (0, _) => panic!("one of {files:?} clears a caller"),
        (2, [_]) => note(answers, "`explain --crl`", "usage"),
        (2, _) => files.iter().for_each(|file| explain_lists(std::slice::from_ref(file), answers)),
        _ => {
            let report: Value = serde_json::from_str(&stdout).expect("JSON");
            let told = report["revocation_lists"].as_array().expect("a list");
            assert_eq!(told.len(), files.len());
            for one in told {
                note(answers, "`explain --crl`", one["refused"].as_str().expect("a code"));
            }
        }
    }
}

#[test]
fn an_odd_file_gets_an_answer() {
    let Some(files) = files() else { return };
    let answers = Mutex::new(Answers::new());
    inspect(&files, &answers);
    thread::scope(|scope| {
        for some in files.chunks(files.len().div_ceil(SHARES)) {
            scope.spawn(|| some.iter().for_each(|file| explain(file, &answers)));
            scope.spawn(|| some.chunks(20).for_each(|some| explain_lists(some, &answers)));
        }
    });
    let mut text = format!("{} files.\n\n| command | answers |\n|---|---|\n", files.len());
    for (command, answers) in answers.into_inner().expect("answers") {
        let list: Vec<String> = answers.iter().map(|(answer, count)| format!("{answer} {count}")).collect();
        let _ = writeln!(text, "| {command} | {} |", list.join(", "));
    }
    document::check(&paths::workspace_root().join("tests/corpora/results.txt"), "odd-cli", &text);
}
