//! The algorithms that verify certificates agree with Project Wycheproof's signature vectors.

use crate::record::Recorder;
use genesys_mtls_filter::x509::signature::with_algorithms;
use rustls_pki_types::{AlgorithmIdentifier, SignatureVerificationAlgorithm, alg_id};
use std::{collections::BTreeMap, fmt::Debug};
use wycheproof::{
    TestResult,
    ecdsa::{TestName as Ecdsa, TestSet as EcdsaSet},
    rsa_pkcs1_verify::{TestName as Rsa, TestSet as RsaSet},
};

/// What the filter does with vectors that Wycheproof leaves to the implementation, by their flag. A vector with another
/// flag, or that comes out another way, fails the test; so does a row that no vector needs.
const LEFT_TO_US: &[(&str, Verdict, &str)] = &[(
    "MissingNull",
    Verdict::Refused,
    "RFC 8017, section 9.2 wants NULL parameters in the DigestInfo; certificates have had them for decades",
)];

/// Valid vectors that are refused: set, number, reason. One that is accepted after all fails the test.
const REFUSED_THOUGH_VALID: &[(&str, usize, &str)] = &[];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Accepted,
    Refused,
}

/// Key and signature of the algorithms that a vector is tried with.
type Kinds<'k> = &'k [(AlgorithmIdentifier, AlgorithmIdentifier)];

/// One vector and what came of it.
struct Outcome {
    set: String,
    number: usize,
    flags: Vec<String>,
    expected: TestResult,
    verdict: Verdict,
}

/// Verifies one vector with every algorithm: it counts as accepted if any of them accepts it.
fn run(kinds: Kinds<'_>, key: &[u8], message: &[u8], signature: &[u8]) -> Verdict {
    let accepts = |one: &dyn SignatureVerificationAlgorithm| {
        kinds.contains(&(one.public_key_alg_id(), one.signature_alg_id()))
            && one.verify_signature(key, message, signature).is_ok()
    };
    let accepted = with_algorithms(&Recorder, |algorithms| algorithms.iter().any(|one| accepts(*one)));
    if accepted.expect("a verifier") { Verdict::Accepted } else { Verdict::Refused }
}

fn names(flags: &[impl Debug]) -> Vec<String> {
    flags.iter().map(|flag| format!("{flag:?}")).collect()
}

fn rsa(name: Rsa, kinds: Kinds<'_>) -> Vec<Outcome> {
    let set = RsaSet::load(name).expect("vectors");
    let groups = set.test_groups.iter();
    let tests = groups.flat_map(|group| group.tests.iter().map(move |test| (&group.asn_key, test)));
    tests
        .map(|(key, test)| Outcome {
            set: format!("{name:?}"),
            number: test.tc_id,
            flags: names(&test.flags),
            expected: test.result,
            verdict: run(kinds, key, &test.msg, &test.sig),
        })
        .collect()
}

fn ecdsa(name: Ecdsa, kinds: Kinds<'_>) -> Vec<Outcome> {
    let set = EcdsaSet::load(name).expect("vectors");
    let groups = set.test_groups.iter();
    let tests = groups.flat_map(|group| group.tests.iter().map(move |test| (&group.key.key, test)));
    tests
        .map(|(key, test)| Outcome {
            set: format!("{name:?}"),
            number: test.tc_id,
            flags: names(&test.flags),
            expected: test.result,
            verdict: run(kinds, key, &test.msg, &test.sig),
        })
        .collect()
}

#[test]
pub fn the_algorithms_agree_with_every_vector_of_their_kind() {
    let rsa_with = |signature| [(alg_id::RSA_ENCRYPTION, signature)];
    let p256 = |signature| [(alg_id::ECDSA_P256, signature)];
    let p384 = |signature| [(alg_id::ECDSA_P384, signature)];
    let (sha256, sha384, sha512) =
        (alg_id::RSA_PKCS1_SHA256, alg_id::RSA_PKCS1_SHA384, alg_id::RSA_PKCS1_SHA512);
    let mut outcomes = Vec::new();
    for (name, signature) in [
        (Rsa::Rsa2048Sha256, sha256),
        (Rsa::Rsa2048Sha384, sha384),
        (Rsa::Rsa2048Sha512, sha512),
        (Rsa::Rsa3072Sha256, sha256),
        (Rsa::Rsa3072Sha384, sha384),
        (Rsa::Rsa3072Sha512, sha512),
        (Rsa::Rsa4096Sha256, sha256),
        (Rsa::Rsa4096Sha384, sha384),
        (Rsa::Rsa4096Sha512, sha512),
        (Rsa::Rsa8192Sha256, sha256),
        (Rsa::Rsa8192Sha384, sha384),
        (Rsa::Rsa8192Sha512, sha512),
    ] {
        outcomes.extend(rsa(name, &rsa_with(signature)));
    }
    outcomes.extend(ecdsa(Ecdsa::EcdsaSecp256r1Sha256, &p256(alg_id::ECDSA_SHA256)));
    outcomes.extend(ecdsa(Ecdsa::EcdsaSecp256r1Sha512, &p256(alg_id::ECDSA_SHA512)));
    outcomes.extend(ecdsa(Ecdsa::EcdsaSecp384r1Sha256, &p384(alg_id::ECDSA_SHA256)));
    outcomes.extend(ecdsa(Ecdsa::EcdsaSecp384r1Sha384, &p384(alg_id::ECDSA_SHA384)));
    outcomes.extend(ecdsa(Ecdsa::EcdsaSecp384r1Sha512, &p384(alg_id::ECDSA_SHA512)));
    assert!(outcomes.len() > 3000, "only {} vectors", outcomes.len());

    let mut rows: BTreeMap<&str, usize> = BTreeMap::new();
    let mut wrong = Vec::new();
    for Outcome { set, number, flags, expected, verdict } in &outcomes {
        let refused = REFUSED_THOUGH_VALID.iter().any(|row| row.0 == set && row.1 == *number);
        let wanted = match expected {
            TestResult::Valid if refused => Some(Verdict::Refused),
            TestResult::Valid => Some(Verdict::Accepted),
            TestResult::Invalid => Some(Verdict::Refused),
            TestResult::Acceptable => {
                let row = LEFT_TO_US.iter().find(|row| flags.iter().any(|flag| flag == row.0));
                row.map(|row| {
                    *rows.entry(row.0).or_default() += 1;
                    row.1
                })
            }
        };
        if wanted != Some(*verdict) {
            wrong.push(format!("{set} {number} {flags:?}: {expected:?}, but {verdict:?}"));
        }
    }
    assert!(wrong.is_empty(), "{} of {} vectors:\n{}", wrong.len(), outcomes.len(), wrong.join("\n"));
    for (flag, ..) in LEFT_TO_US {
        assert!(rows.contains_key(flag), "no vector needs the row {flag}");
    }
    for (set, number, _) in REFUSED_THOUGH_VALID {
        let known = outcomes.iter().any(|outcome| outcome.set == *set && outcome.number == *number);
        assert!(known, "no vector {set} {number}");
    }
}

/// Other hashes, other curves, other encodings, larger keys: however valid, no algorithm takes them for its own.
#[test]
pub fn no_vector_of_another_kind_is_accepted_by_any_algorithm() {
    let all: Vec<_> = with_algorithms(&Recorder, |algorithms| {
        algorithms.iter().map(|one| (one.public_key_alg_id(), one.signature_alg_id())).collect()
    })
    .expect("a verifier");
    let of = |keys: &[AlgorithmIdentifier]| -> Vec<_> {
        all.iter().copied().filter(|(key, _)| keys.contains(key)).collect()
    };
    let (by_rsa, by_ecdsa) = (of(&[alg_id::RSA_ENCRYPTION]), of(&[alg_id::ECDSA_P256, alg_id::ECDSA_P384]));
    assert_eq!((by_rsa.len(), by_ecdsa.len()), (3, 6));
    let mut outcomes = Vec::new();
    for name in [Rsa::Rsa2048Sha224, Rsa::Rsa2048Sha512_256, Rsa::Rsa3072Sha3_384] {
        outcomes.extend(rsa(name, &by_rsa));
    }
    for name in [
        Ecdsa::EcdsaSecp256r1Sha3_256,
        Ecdsa::EcdsaSecp256r1Sha256P1363,
        Ecdsa::EcdsaSecp384r1Sha384P1363,
        Ecdsa::EcdsaSecp256k1Sha256,
        Ecdsa::EcdsaBrainpool256r1Sha256,
        Ecdsa::EcdsaSecp521r1Sha512,
    ] {
        outcomes.extend(ecdsa(name, &by_ecdsa));
    }
    // A set for one hash holds a few signatures over another, to show that they are distinguished.
    outcomes.retain(|outcome| !outcome.flags.iter().any(|flag| flag == "WrongHash"));
    assert!(outcomes.len() > 2500, "only {} vectors", outcomes.len());
    let accepted: Vec<String> = outcomes
        .iter()
        .filter(|outcome| outcome.verdict == Verdict::Accepted)
        .map(|outcome| format!("{} {} {:?}", outcome.set, outcome.number, outcome.flags))
        .collect();
    assert!(
        accepted.is_empty(),
        "{} of {} vectors:\n{}",
        accepted.len(),
        outcomes.len(),
        accepted.join("\n")
    );
}

/// One signature of each kind with damaged keys and signatures: bits turned, ends missing, bytes added, and points that are
/// written in the short form or do not lie on their curve.
#[test]
pub fn damaged_keys_and_signatures_verify_nothing() {
    let rsa_kind = [(alg_id::RSA_ENCRYPTION, alg_id::RSA_PKCS1_SHA256)];
    let p256 = [(alg_id::ECDSA_P256, alg_id::ECDSA_SHA256)];
    let p384 = [(alg_id::ECDSA_P384, alg_id::ECDSA_SHA384)];
    for name in [Rsa::Rsa2048Sha256, Rsa::Rsa4096Sha256] {
        let set = RsaSet::load(name).expect("vectors");
        let group = &set.test_groups[0];
        let test = group.tests.iter().find(|test| test.result == TestResult::Valid).expect("a valid one");
        damage(&rsa_kind, &group.asn_key, &test.msg, &test.sig);
    }
    for (name, kind) in [(Ecdsa::EcdsaSecp256r1Sha256, &p256), (Ecdsa::EcdsaSecp384r1Sha384, &p384)] {
        let set = EcdsaSet::load(name).expect("vectors");
        let group = &set.test_groups[0];
        let test = group.tests.iter().find(|test| test.result == TestResult::Valid).expect("a valid one");
        damage(kind, &group.key.key, &test.msg, &test.sig);
        let (x, y) = group.key.key[1..].split_at(group.key.key.len() / 2);
        let sign = 2 + (y[y.len() - 1] & 1);
        for sign in [sign, 5 - sign] {
            run(kind, &[&[sign][..], x].concat(), &test.msg, &test.sig);
        }
    }
}

fn damage(kinds: Kinds<'_>, key: &[u8], message: &[u8], signature: &[u8]) {
    assert_eq!(run(kinds, key, message, signature), Verdict::Accepted);
    let refused = |key: &[u8], message: &[u8], signature: &[u8]| {
        assert_eq!(run(kinds, key, message, signature), Verdict::Refused, "{key:?} {signature:?}");
    };
    let turned = |bytes: &[u8], at: usize| {
        let mut bytes = bytes.to_vec();
        bytes[at] ^= 1 << (at % 8);
        bytes
    };
    for at in (0..key.len()).step_by(5).chain([0, 1, 2, 3, key.len() - 1]) {
        refused(&turned(key, at), message, signature);
        refused(&key[..at], message, signature);
    }
    for at in (0..signature.len()).step_by(5).chain([0, 1, 2, 3, signature.len() - 1]) {
        refused(key, message, &turned(signature, at));
        refused(key, message, &signature[..at]);
    }
    refused(&[key, &[0]].concat(), message, signature);
    refused(key, message, &[signature, &[0]].concat());
    refused(key, message, &[&[0], signature].concat());
    refused(key, &[message, &[0]].concat(), signature);
    refused(key, message, &vec![0; signature.len()]);
    refused(key, message, &vec![0xff; signature.len()]);
}
