//! NIST's Public Key Interoperability Test Suite (PKITS, 1.0.1) through the filter's own code: one policy that trusts every
//! CA of the suite fit to be configured, follows every revocation list of it (`hard`), and decides on every end entity.
//!
//! PKITS is about paths of any length. The filter trusts what a *configured* CA signed directly, and asks no other CA
//! about it: a case whose fault lies higher up has the other verdict, and is in the table of exceptions with the
//! reason. An exception that is no longer needed fails, like a case with another verdict.

mod cases;

use aws_lc_verifier::AwsLcVerifier;
use cases::{CASES, EXCEPTIONS, POLICIES, REFUSED_CAS, REFUSED_LISTS, Section};
use genesys_mtls_filter::{
    config,
    crl::{CrlEvent, CrlFetcher},
    decision::{Outcome, Reason, Revocations, decide, trust::Trust},
    http::HttpResponse,
    policy::{Authority, NameRule, Policy, RegionPolicy},
    shared::MemoryStore,
    time::{Clock, Monotonic, Now, UnixSeconds},
    x509::{
        ca::{CaCertificate, CaError},
        certificate::ClientCertificate,
        crl::RevocationStatus,
    },
};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs,
    path::Path,
    rc::Rc,
};
use testbed::{document, paths, vectors};

/// 2020-01-01: the suite's certificates and lists are current, but for those that are not meant to be.
const AT: UnixSeconds = 1_577_836_800;

const US_EAST_1: usize = 0;

/// The suite, as an operator would configure it.
struct World {
    policy: Policy,
    lists: Vec<CrlFetcher>,
    /// What kept a CA certificate out of the configuration, by file.
    refused_cas: BTreeMap<String, &'static str>,
    /// What was wrong with a list, by file.
    refused_lists: BTreeMap<String, &'static str>,
    /// Certificates of end entities (and of CAs that stand for one), by file.
    end_entities: BTreeMap<String, Vec<u8>>,
}

impl World {
    fn load(pkits: &Path) -> Self {
        let (mut authorities, mut refused_cas, mut end_entities) =
            (Vec::new(), BTreeMap::new(), BTreeMap::new());
        for (name, der) in read(&pkits.join("certs")) {
            if name.ends_with("EE") {
                end_entities.insert(name, der);
                continue;
            }
            match CaCertificate::parse(&der) {
                Ok(authority) => authorities.push(authority),
                Err(unfit) => drop(refused_cas.insert(name, code(&unfit))),
            }
        }
        let crls = read(&pkits.join("crls"));
        let followed = Rc::new(policy(&crls, authorities.clone()));
        let mut world = Self {
            policy: policy(&crls, authorities),
            lists: Vec::new(),
            refused_cas,
            refused_lists: BTreeMap::new(),
            end_entities,
        };
        world.follow(&followed, crls);
        world
    }

    /// Has one worker fetch each list.
    fn follow(&mut self, policy: &Rc<Policy>, crls: Vec<File>) {
        let now = Now { mono: Monotonic::from_millis(1000), wall: AT, random: 0.5 };
        let mut store = MemoryStore::default();
        for (source, (name, der)) in policy.revocation.crls.iter().zip(crls) {
            let mut list = CrlFetcher::new(policy, source.clone(), None, 1).unwrap();
            assert!(list.tick(&AwsLcVerifier, &mut store, now).0.is_some(), "{name} is fetched");
            let response = HttpResponse { status: 200, body: Some(der), retry_after: None };
            match list.on_response(Ok(response), &AwsLcVerifier, &mut store, now).unwrap() {
                CrlEvent::Fetched { .. } => self.lists.push(list),
                CrlEvent::Failed { failure, .. } => {
                    self.refused_lists.insert(name, failure.code.code());
                }
            }
        }
    }

    /// `allow`, or the code of the reason against it.
    fn decide(&mut self, end_entity: &str) -> &'static str {
        let der = self.end_entities.get(end_entity).unwrap_or_else(|| panic!("no {end_entity}"));
        self.decide_on(&der.clone())
    }

    /// The same, for a certificate whose name the policy wants.
    fn decide_on(&mut self, der: &[u8]) -> &'static str {
        let certificate = match ClientCertificate::parse(der) {
            Ok(certificate) => certificate,
            Err(error) => return Reason::from(&error).code(),
        };
        let name = certificate.common_names.first().cloned().unwrap_or_default();
        self.policy.regions[US_EAST_1].certificate_name = name;
        self.policy.region_names = super::names(&self.policy);
        let verdict =
            decide(&certificate, &self.policy, &Trust::default(), self, &AwsLcVerifier, AT, Monotonic::ZERO);
        match verdict.outcome {
            Outcome::Allow { .. } => "allow",
            Outcome::Deny(reason) => reason.code(),
        }
    }
}

impl Revocations for World {
    fn status(
        &self,
        _: &RegionPolicy,
        _: Authority,
        signer: &CaCertificate,
        certificate: &ClientCertificate,
        clock: &mut Clock,
    ) -> RevocationStatus {
        let lists = self.lists.iter();
        let said = lists.filter_map(|list| list.status(signer, certificate, clock));
        said.max().unwrap_or(RevocationStatus::Unknown)
    }
}

/// Name without extension, and content.
type File = (String, Vec<u8>);

fn read(directory: &Path) -> Vec<File> {
    let stem = |path: &Path| path.file_stem().unwrap().to_str().unwrap().to_owned();
    let files = vectors::files(directory);
    files.iter().map(|path| (stem(path), fs::read(path).unwrap())).collect()
}

/// The name of the one region is each certificate's in turn: PKITS is not about names of clients.
fn policy(crls: &[File], authorities: Vec<CaCertificate>) -> Policy {
    let lists = crls.iter().map(|(name, _)| {
        serde_json::json!({"region": "us-east-1", "authority": "genesys", "cluster": "crl",
                           "url": format!("http://pkits.example/{name}")})
    });
    let stand_in = &testbed::Pki::standard().us.root.pem;
    let document = serde_json::json!({
        "regions": {"us-east-1": {"genesys": {"ca_certificates": stand_in}}},
        "revocation": {"mode": "hard", "lists": lists.collect::<Vec<_>>()},
    });
    let mut policy = config::load(document.to_string().as_bytes()).unwrap();
    policy.regions[US_EAST_1].genesys = authorities;
    policy.names = NameRule::Cn;
    policy
}

fn code(unfit: &CaError) -> &'static str {
    match unfit {
        CaError::Malformed(_) => "malformed",
        CaError::NotACa(_) => "not a CA",
        CaError::NoCertSign(_) | CaError::NoKeyUsage(_) => "no keyCertSign",
        CaError::Key(_) => "key",
        CaError::DirectoryNames(_) => "directory names",
    }
}

/// The number that a test has within its section: `ValidTwoCRLsTest7EE`, of section 4.4, is 4.4.7.
fn number(end_entity: &str) -> u32 {
    let digits = end_entity.trim_end_matches("EE").rsplit("Test").next().unwrap();
    digits.parse().unwrap_or_else(|_| panic!("{end_entity} has no number"))
}

/// The names of the suite's end entities are NIST's verdicts.
fn is_valid(end_entity: &str) -> bool {
    assert!(end_entity.starts_with("Valid") || end_entity.starts_with("Invalid"), "{end_entity}");
    end_entity.starts_with("Valid")
}

fn exception(section: &str, number: u32) -> Option<&'static str> {
    let of_section = EXCEPTIONS.iter().filter(|(of, ..)| *of == section);
    of_section.clone().find(|(_, numbers, _)| numbers.contains(&number)).map(|(.., reason)| *reason)
}

#[test]
fn each_case_comes_out_as_nist_says_or_has_its_reason() {
    let Some(vectors) = vectors::directory() else { return };
    let mut world = World::load(&vectors.join("x509/PKITS_data"));
    let mut wrong = Vec::new();
    let mut differ = |what: &str, expected: &str, actual: &str| {
        if expected != actual {
            wrong.push(format!("{what}: {actual}, not {expected}"));
        }
    };
    for (table, actual) in [(REFUSED_CAS, &world.refused_cas), (REFUSED_LISTS, &world.refused_lists)] {
        let expected: BTreeMap<&str, &str> = table.iter().copied().collect();
        let files: BTreeSet<&str> =
            actual.keys().map(String::as_str).chain(expected.keys().copied()).collect();
        for file in files {
            let expected = expected.get(file).unwrap_or(&"accepted");
            differ(file, expected, actual.get(file).unwrap_or(&"accepted"));
        }
    }
    let mut rest: BTreeSet<String> = world.end_entities.keys().cloned().collect();
    for Section { number: section, cases, .. } in CASES {
        for &(end_entity, expected) in *cases {
            let id = format!("{section}.{} {end_entity}", number(end_entity));
            assert!(rest.remove(end_entity), "{id} stands twice");
            differ(&id, expected, world.decide(end_entity));
            let agrees = is_valid(end_entity) == (expected == "allow");
            match exception(section, number(end_entity)) {
                None if !agrees => differ(&id, "NIST's verdict, or an exception with a reason", expected),
                Some(_) if agrees => {
                    differ(&id, "an exception", "NIST's verdict: the exception is not needed")
                }
                _ => {}
            }
        }
    }
    for (section, numbers, _) in EXCEPTIONS {
        let of_section = CASES.iter().find(|one| one.number == *section);
        let known: Vec<u32> =
            of_section.map_or(&[][..], |one| one.cases).iter().map(|one| number(one.0)).collect();
        for number in numbers.iter().filter(|number| !known.contains(number)) {
            differ(&format!("{section}.{number}"), "a case", "an exception only");
        }
    }
    // What is left is about certificate policies, which the filter does not ask for.
    for end_entity in &rest {
        let row = POLICIES.iter().find(|row| row.0 == end_entity);
        differ(end_entity, row.map_or("allow", |row| row.1), world.decide(end_entity));
    }
    for (end_entity, ..) in POLICIES.iter().filter(|row| !rest.contains(row.0)) {
        differ(end_entity, "about policies", "no such case");
    }
    assert!(wrong.is_empty(), "{} of PKITS:\n{}", wrong.len(), wrong.join("\n"));
    document::check(
        &paths::workspace_root().join("tests/corpora/results.txt"),
        "pkits",
        &report(&world, rest.len()),
    );
}

#[test]
fn no_byte_of_a_certificate_can_be_changed() {
    let Some(vectors) = vectors::directory() else { return };
    let mut world = World::load(&vectors.join("x509/PKITS_data"));
    let der = world.end_entities["ValidCertificatePathTest1EE"].clone();
    assert_eq!(world.decide_on(&der), "allow");
    for at in 0..der.len() {
        let mut changed = der.clone();
        changed[at] ^= 1 << (at % 8);
        assert_ne!(world.decide_on(&changed), "allow", "byte {at}");
    }
}

/// The tables of the documentation.
fn report(world: &World, policies: usize) -> String {
    let mut text = String::from(
        "| section of PKITS | cases | valid: allowed | invalid: refused | exceptions |\n|---|--:|--:|--:|--:|\n",
    );
    let mut sums = [0; 4];
    for Section { number: section, title, cases } in CASES {
        let excepted = |name: &str| exception(section, number(name)).is_some();
        let count =
            |valid| cases.iter().filter(|(name, _)| is_valid(name) == valid && !excepted(name)).count();
        let exceptions = cases.iter().filter(|(name, _)| excepted(name)).count();
        let row = [cases.len(), count(true), count(false), exceptions];
        sums = std::array::from_fn(|column| sums[column] + row[column]);
        let [all, valid, invalid, exceptions] = row;
        let _ = writeln!(text, "| {section} {title} | {all} | {valid} | {invalid} | {exceptions} |");
    }
    let [all, valid, invalid, exceptions] = sums;
    let _ = writeln!(text, "| **all** | **{all}** | **{valid}** | **{invalid}** | **{exceptions}** |\n");
    let _ = writeln!(
        text,
        "The other {policies} end entities, of sections 4.8 to 4.12, are about certificate policies, which the filter does not \
         ask for: they are allowed, but for {} (CA certificates, and CAs that sign their CRL with another key). The configuration rejects {} of the suite's CA \
         certificates, and {} of its {} CRLs are rejected.\n",
        POLICIES.len(),
        world.refused_cas.len(),
        world.refused_lists.len(),
        world.lists.len() + world.refused_lists.len()
    );
    let allowed = |case: &&(&str, &str)| case.1 == "allow" && !is_valid(case.0);
    let allowed = CASES.iter().flat_map(|section| section.cases).filter(allowed).count();
    let _ = writeln!(
        text,
        "{allowed} of the exceptions are allowed though NIST says invalid, the other {} are denied though NIST says valid:\n",
        exceptions - allowed
    );
    text.push_str("| exceptions | NIST | filter | why |\n|---|---|---|---|\n");
    for (section, numbers, reason) in EXCEPTIONS {
        let of_section = CASES.iter().find(|one| one.number == *section).unwrap();
        let case = |n: u32| of_section.cases.iter().find(|case| number(case.0) == n).unwrap();
        let verdicts: BTreeSet<&str> = numbers.iter().map(|n| case(*n).1).collect();
        let nist = if is_valid(case(numbers[0]).0) { "valid" } else { "invalid" };
        assert!(
            numbers.iter().all(|n| is_valid(case(*n).0) == (nist == "valid")),
            "{section}: one verdict a row"
        );
        let list: Vec<String> = numbers.iter().map(|n| format!("{section}.{n}")).collect();
        let verdicts = verdicts.into_iter().map(|code| format!("`{code}`")).collect::<Vec<_>>().join(", ");
        let _ = writeln!(text, "| {} | {nist} | {verdicts} | {reason} |", list.join(", "));
    }
    text
}
