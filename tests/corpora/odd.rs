//! Every parser that a caller, the API or a CRL's host can reach gives a typed answer to each file of a collection of odd
//! certificates, and never panics. None of them is allowed.

use aws_lc_verifier::AwsLcVerifier;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use genesys_mtls_filter::{
    config,
    decision::{Outcome, Reason, decide, trust::Trust},
    peer::bind::{Shown, bind, from_hop},
    policy::{HopEncoding, NameRule, Policy},
    time::Monotonic,
    x509::{
        ca::CaCertificate,
        certificate::ClientCertificate,
        crl::Crl,
        fingerprint::Fingerprint,
        pem::{self, PemError},
    },
};
use std::{
    collections::{BTreeMap, HashSet},
    fmt::Write as _,
    fs,
};
use testbed::{document, paths, vectors};

/// Larger files hold numbers, and no certificate.
const MAX_FILE: usize = 1024 * 1024;

/// How often each answer was given, by what gave it.
#[derive(Default)]
struct Answers(BTreeMap<&'static str, BTreeMap<String, usize>>);

impl Answers {
    fn note(&mut self, parser: &'static str, answer: impl Into<String>) {
        *self.0.entry(parser).or_default().entry(answer.into()).or_default() += 1;
    }

    fn table(&self) -> String {
        let mut text = "| to | inputs | answers |\n|---|--:|---|\n".to_owned();
        for (parser, answers) in &self.0 {
            let list: Vec<String> =
                answers.iter().map(|(answer, count)| format!("{answer} {count}")).collect();
            let _ =
                writeln!(text, "| {parser} | {} | {} |", answers.values().sum::<usize>(), list.join(", "));
        }
        text
    }
}

/// All that could be DER: files, the content of their PEM blocks, and every long SEQUENCE inside, which is how PKCS #7,
/// PKCS #12, OCSP answers and cross certificate pairs hold certificates. Each of them once.
fn sequences(files: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let blocks = files.iter().flat_map(|file| blocks(file));
    let whole: Vec<Vec<u8>> = files.iter().cloned().chain(blocks).collect();
    let inside = whole.iter().flat_map(|bytes| {
        let starts = bytes.windows(4).enumerate().skip(1).filter(|(_, head)| head.starts_with(&[0x30, 0x82]));
        starts.filter_map(|(at, head)| {
            let length = usize::from(u16::from_be_bytes([head[2], head[3]]));
            bytes.get(at..at + 4 + length).map(<[u8]>::to_vec)
        })
    });
    let inside: Vec<_> = inside.collect();
    let mut seen = HashSet::new();
    whole.into_iter().chain(inside).filter(|bytes| seen.insert(Fingerprint::of(bytes))).collect()
}

/// The content of the blocks of a PEM file, with any label.
fn blocks(file: &[u8]) -> Vec<Vec<u8>> {
    let text = String::from_utf8_lossy(file);
    let bodies = text.split("-----BEGIN ").skip(1);
    let bodies = bodies.filter_map(|block| block.split_once("-----")?.1.split_once("-----END "));
    bodies.filter_map(|(body, _)| STANDARD.decode(body.split_whitespace().collect::<String>()).ok()).collect()
}

fn policy() -> Policy {
    let ca = &testbed::Pki::standard().us.root.pem;
    let document = serde_json::json!({"regions": {"us-east-1": {"genesys": {"ca_certificates": ca}}}});
    let mut policy = config::load(document.to_string().as_bytes()).unwrap();
    policy.names = NameRule::SanOrCn;
    policy
}

/// Lets the policy want exactly this certificate's name, at a time at which it is valid.
fn decision(certificate: &ClientCertificate, policy: &mut Policy) -> String {
    let names = certificate.dns_names.iter().chain(&certificate.common_names);
    policy.regions[0].certificate_name = names.clone().next().cloned().unwrap_or_default();
    policy.region_names = super::names(policy);
    let at = certificate.not_after;
    match decide(certificate, policy, &Trust::default(), &(), &AwsLcVerifier, at, Monotonic::ZERO).outcome {
        Outcome::Allow { .. } => panic!("allowed: {}", certificate.summary().subject),
        Outcome::Deny(reason) => reason.to_string(),
    }
}

/// A CRL, or nothing for what looks like none.
fn list(answers: &mut Answers, der: &[u8], authorities: &[CaCertificate]) {
    let verified = Crl::verify(der, authorities, &AwsLcVerifier).and_then(|crl| crl.for_each_serial(|_| ()));
    let answer = verified.map_or_else(|error| error.code().code(), |()| "verified");
    answers.note("`Crl`, with every CA among the inputs", answer);
}

#[test]
fn each_odd_certificate_has_a_typed_answer() {
    let Some(directory) = vectors::directory() else { return };
    let kinds = ["x509", "pkcs7", "pkcs12", "asymmetric"];
    let paths = kinds.iter().flat_map(|kind| vectors::files(&directory.join(kind)));
    let mut files: Vec<Vec<u8>> = paths.map(|path| fs::read(path).unwrap()).collect();
    files.retain(|file| file.len() <= MAX_FILE);
    assert!(files.len() > 2000, "only {} files", files.len());
    let inputs = sequences(&files);

    let mut answers = Answers::default();
    let mut policy = policy();
    let mut authorities = Vec::new();
    for der in &inputs {
        match ClientCertificate::parse(der) {
            Ok(certificate) => {
                answers.note("`ClientCertificate`", "read");
                answers.note("the decision, by another CA", decision(&certificate, &mut policy));
            }
            Err(error) => answers.note("`ClientCertificate`", Reason::from(&error).to_string()),
        }
        match CaCertificate::parse(der) {
            Ok(authority) => {
                answers.note("`Authority`", "fit");
                authorities.push(authority);
            }
            Err(unfit) => {
                let text = format!("{unfit:?}");
                answers.note("`Authority`", text.split('(').next().unwrap_or_default());
            }
        }
    }
    for der in &inputs {
        list(&mut answers, der, &authorities);
    }
    for file in &files {
        answers.note(
            "PEM, as pasted",
            match pem::certificates(file) {
                Ok(_) => "read",
                Err(PemError::Empty) => "no block",
                Err(PemError::PrivateKey) => "private key",
                Err(PemError::Foreign(_)) => "another block",
                Err(PemError::Unreadable(_) | PemError::Form(_)) => "unreadable",
            },
        );
        // The digest of no certificate: a match would be a collision of SHA-256.
        let nobody = Fingerprint::of(b"no certificate");
        let header = [b"Cert=\"", &file[..file.len().min(60_000)], b"\""].concat();
        let shown = [Shown::Pem(file.clone()), Shown::Xfcc(header.clone())];
        answers.note("XFCC, bound to a digest", Reason::from(bind(&nobody, shown).unwrap_err()).to_string());
        let hop = from_hop(&header, HopEncoding::Xfcc)
            .map_or_else(|error| Reason::from(error).to_string(), |_| "one certificate".to_owned());
        answers.note("XFCC of a hop", hop);
    }
    let table = format!("{} files, {} inputs.\n\n{}", files.len(), inputs.len(), answers.table());
    println!("{table}");
    document::check(&paths::workspace_root().join("tests/corpora/results.txt"), "odd", &table);
}
