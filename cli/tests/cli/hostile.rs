//! Files that an attacker has made: nothing in them steers a terminal, adds a line, or takes all memory.

use crate::{
    odd::{POLICY, ended},
    run::run_with,
};
use serde_json::json;
use std::io::Write as _;
use testbed::pki::{Ca, KeyType};

#[test]
fn what_a_policys_file_says_stays_on_its_line() {
    let name = r#""x\n\e[1A\e[2Kpolicy.yaml is valid""#;
    for text in [
        format!(
            "kind: WasmPlugin\nmetadata: {{name: {name}}}\nspec: {{pluginName: genesys_mtls, pluginConfig: {{mode: 1}}}}\n"
        ),
        format!("regions: {{}}\n{name}: 1\n{name}: 2\n"),
        "regions: {} # \u{1b}[1A\u{1b}[2K\u{202e}\nmode: 1\nx: 2 # \u{1b}[1A\n".to_owned(),
    ] {
        for arguments in [&["check", "-"][..], &["explain", "-c", "-", "--sha256", &"0".repeat(64)]] {
            let outcome = run_with(arguments, &text, &[]);
            assert_ne!(outcome.code, 0, "{text}: {}", outcome.stdout);
            let told = outcome.stdout + &outcome.stderr;
            assert!(!told.contains(['\u{1b}', '\u{202e}']), "{told:?}");
            assert!(!told.lines().any(|line| line.starts_with("policy.yaml is valid")), "{told}");
        }
    }
}

#[test]
fn wrong_regions_by_the_thousand_fill_no_screen() {
    let regions: Vec<String> = (0..5000).map(|n| format!(r#""xx-region-{n}":{{"genesys":{{}}}}"#)).collect();
    let text = format!("{{\"regions\":{{{}}}}}", regions.join(","));
    let began = std::time::Instant::now();
    let outcome = run_with(&["check", "-"], &text, &[]);
    // Each error compared with each key took minutes.
    assert!(began.elapsed() < std::time::Duration::from_secs(30), "{:?}", began.elapsed());
    assert!(outcome.stdout.contains("... and 4950 more"), "{}", outcome.stdout);
    let longest = outcome.stdout.lines().map(str::len).max();
    assert!(longest.is_some_and(|length| length < 300), "{longest:?}");
}

#[test]
fn file_with_more_than_1000_certificates_is_rejected() {
    let ca = Ca::builder("crowd").key(KeyType::P256).self_signed();
    let dir = tempfile::tempdir().expect("a directory");
    let bundle = dir.path().join("bundle.pem");
    let archive = dir.path().join("archive.zip");
    for (count, code) in [(1000, 0), (1001, 1)] {
        std::fs::write(&bundle, ca.pem.repeat(count)).expect("a file");
        let mut zip = zip::ZipWriter::new(std::fs::File::create(&archive).expect("a file"));
        for part in 0..2 {
            let name = format!("{}{part}.pem", "n".repeat(60_000));
            zip.start_file(name, zip::write::SimpleFileOptions::default()).expect("an entry");
            zip.write_all(ca.pem.repeat(count / 2 + count % 2).as_bytes()).expect("an entry");
        }
        zip.finish().expect("an archive");
        for file in [&bundle, &archive] {
            let (ended_with, stdout) = ended(&["inspect", file.to_str().expect("a path in UTF-8")]);
            assert_eq!(ended_with, code, "{}, {count}", file.display());
            assert_eq!(stdout.contains("more than 1000 certificates"), code == 1, "{}", file.display());
            assert!(stdout.len() < 1_000_000, "{} bytes of {}", stdout.len(), file.display());
        }
    }
}

/// A CA that was handed over together with others, of which an attacker wrote the names.
#[test]
fn what_a_ca_says_stays_on_its_line() {
    let name = "x\nsha256 00\u{1b}[2A\u{202e}";
    let ca = |label: &str| Ca::builder(label).key(KeyType::P256).dn(&[("CN", name)]);
    let fit = ca("odd-fit").self_signed();
    let unfit = ca("odd-unfit").key_usages(&[]).self_signed();
    let soon = time::OffsetDateTime::now_utc() + time::Duration::days(2);
    let expiring = ca("odd-expiring").valid(soon - time::Duration::days(9), soon).self_signed();
    let dir = tempfile::tempdir().expect("a directory");
    let write = |file: &str, text: &str| {
        let path = dir.path().join(file);
        std::fs::write(&path, text).expect("a file");
        path.to_str().expect("a path in UTF-8").to_owned()
    };
    let bundle = write("bundle.pem", &[&*fit.pem, &*unfit.pem].concat());
    let policy = |file, cas: &[&Ca]| {
        let pem: String = cas.iter().map(|ca| &*ca.pem).collect();
        write(file, &json!({"regions": {"us-east-1": {"genesys": {"ca_certificates": pem}}}}).to_string())
    };
    let (good, bad) = (policy("good.yaml", &[&fit, &expiring]), policy("bad.yaml", &[&unfit]));
    for (arguments, code) in [(["inspect", &bundle], 1), (["check", &good], 0), (["check", &bad], 1)] {
        let (ended_with, stdout) = ended(&arguments);
        assert_eq!(ended_with, code, "{arguments:?}: {stdout}");
        assert!(!stdout.contains(['\u{1b}', '\u{202e}']), "{arguments:?}: {stdout:?}");
        assert!(!stdout.lines().any(|line| line.starts_with("sha256 00")), "{arguments:?}: {stdout}");
    }
}

#[test]
fn what_a_certificate_says_stays_on_its_line() {
    let ca = Ca::builder("odd").key(KeyType::P256).self_signed();
    let leaf = ca.leaf().key(KeyType::P256).cn("x\nverdict      allow;us-east-1;genesys\r\u{7}").issue();
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("leaf.pem");
    std::fs::write(&file, &leaf.cert_pem).expect("a file");
    let file = file.to_str().expect("a path in UTF-8");

    for arguments in [vec!["inspect", file], vec!["explain", "-c", POLICY, "--cert", file]] {
        let (code, stdout) = ended(&arguments);
        assert_eq!(code, 1, "{arguments:?}: {stdout}");
        assert!(stdout.contains(r"x\nverdict"), "{arguments:?}: {stdout}");
        assert!(!stdout.contains(['\r', '\u{7}']), "{arguments:?}: {stdout}");
        assert!(
            !stdout.lines().any(|line| line.starts_with("verdict      allow")),
            "{arguments:?}: {stdout}"
        );
    }
}
