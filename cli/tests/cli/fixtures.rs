//! Where the files under `tests/fixtures` come from, and that they are still what they are said to be.

use crate::run::directory;
use std::{
    fs,
    io::{Read as _, Write as _},
};
use testbed::pki::{
    Ca, CrlBuilder, DistinguishedName, EU_CENTRAL_1, Eku, GeneralSubtree, KeyType, KeyUsagePurpose,
    LeafBuilder, US_EAST_1, serial_of,
};
use time::OffsetDateTime;
use x509_parser::{
    certificate::X509Certificate, extensions::ParsedExtension, pem::Pem, prelude::FromDer as _,
    revocation_list::CertificateRevocationList,
};

/// 2026-01-01, a year later, and ten years around them: what the golden files say.
const YEAR: i64 = 365 * 86_400;
const START: i64 = 1_767_225_600;

type File = (&'static str, Vec<u8>);

/// Keys, serial numbers and signatures are new in each run; the rest has to be as it is made here.
/// `UPDATE_GOLDEN=fixtures cargo test -p genesys-mtls fixtures` writes the files anew, and golden files that quote them have to
/// follow: `UPDATE_GOLDEN=1 cargo test -p genesys-mtls`.
#[test]
fn the_fixtures_are_what_is_made_here() {
    let directory = directory("fixtures");
    for (name, made) in certificates().into_iter().chain(revocation()) {
        let path = directory.join(name);
        if std::env::var("UPDATE_GOLDEN").is_ok_and(|what| what == "fixtures") {
            fs::write(path, made).expect("a fixture is written");
            continue;
        }
        let committed = fs::read(path).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(described(name, &committed), described(name, &made), "{name}");
    }
}

/// What does not change from run to run.
fn described(name: &str, bytes: &[u8]) -> String {
    if let Ok(mut archive) = zip::ZipArchive::new(std::io::Cursor::new(bytes)) {
        let mut text = String::new();
        for index in 0..archive.len() {
            let (mut entry, mut content) = (archive.by_index(index).expect("an entry"), Vec::new());
            entry.read_to_end(&mut content).expect("its bytes");
            text += &described(&entry.name().expect("a name"), &content);
        }
        return format!("{name}:\n{text}");
    }
    let blocks: Vec<Vec<u8>> =
        Pem::iter_from_buffer(bytes).filter_map(|block| Some(block.ok()?.contents)).collect();
    let parts = if blocks.is_empty() { vec![bytes.to_vec()] } else { blocks };
    let described: Option<Vec<String>> =
        parts.iter().map(|der| certificate(der).or_else(|| list(der))).collect();
    let text = described.map_or_else(|| without_pem(bytes), |parts| parts.concat());
    format!("{name}:\n{text}")
}

fn certificate(der: &[u8]) -> Option<String> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let extensions = certificate.extensions().iter().map(|extension| match extension.parsed_extension() {
        ParsedExtension::AuthorityKeyIdentifier(_) | ParsedExtension::SubjectKeyIdentifier(_) => {
            extension.oid.to_string()
        }
        known => format!("{known:?}"),
    });
    let extensions: Vec<String> = extensions.collect();
    Some(format!(
        "{} by {}, {:?}, {}\n",
        certificate.subject(),
        certificate.issuer(),
        certificate.validity(),
        extensions.join(", "),
    ))
}

fn list(der: &[u8]) -> Option<String> {
    let (_, list) = CertificateRevocationList::from_der(der).ok()?;
    let (from, until) = (list.last_update(), list.next_update());
    let entries = list.iter_revoked_certificates().count();
    Some(format!("{}, {from} to {until:?}, number {:?}, {entries}\n", list.issuer(), list.crl_number()))
}

/// Text around PEM blocks.
fn without_pem(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let mut inside = false;
    let lines = text.lines().filter(|line| {
        inside = (inside || line.contains("-----BEGIN")) && !line.contains("-----END");
        !inside
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn at(seconds: i64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(seconds).expect("a time")
}

fn in_2026(leaf: LeafBuilder<'_>) -> LeafBuilder<'_> {
    leaf.valid(at(START), at(START + YEAR))
}

/// Certificates, and a policy that trusts some of them.
fn certificates() -> Vec<File> {
    let ca = |name: &str, cn: &str| {
        Ca::builder(name)
            .dn(&[("C", "US"), ("ST", "Indiana"), ("O", "Example Genesys"), ("CN", cn)])
            .valid(at(START - 5 * YEAR), at(START + 5 * YEAR))
    };
    let us = ca("fixture-us", "Example Root us-east-1").key(KeyType::P256).self_signed();
    let limited = ca("fixture-limited", "Example Limited Root us-east-1")
        .key(KeyType::P256)
        .name_constraints(&[GeneralSubtree::DirectoryName(DistinguishedName::new())], &[])
        .self_signed();
    let eu = ca("fixture-eu", "Example Root eu-central-1").key(KeyType::P384).self_signed();
    let impostor = ca("fixture-impostor", "Example Root us-east-1").key(KeyType::P256).self_signed();
    let digicert = |cn: &'static str| [("C", "US"), ("O", "Example DigiCert Inc"), ("CN", cn)];
    let public_root = Ca::builder("fixture-public-root")
        .key(KeyType::P256)
        .dn(&digicert("Example Public Root"))
        .valid(at(START - 5 * YEAR), at(START + 5 * YEAR))
        .self_signed();
    let public = Ca::builder("fixture-public")
        .key(KeyType::P256)
        .dn(&digicert("Example Public Client CA"))
        .valid(at(START - 5 * YEAR), at(START + 5 * YEAR))
        .signed_by(&public_root);
    let named = |ca: &Ca, name: &str| in_2026(ca.leaf().key(KeyType::P256).name(name)).issue();
    let indented = us.pem.replace('\n', "\n        ");
    let policy = format!(
        "regions:\n  us-east-1:\n    genesys:\n      ca_certificates: |\n        {}\n    digicert:\n      pins: [api]\n",
        indented.trim_end()
    );
    let server = us.leaf().key(KeyType::P256).name("server.example").ekus(&[Eku::ServerAuth]);
    vec![
        ("genesys-root.pem", us.pem.clone().into()),
        ("limited-root.pem", limited.pem.into()),
        ("genesys.pem", named(&us, US_EAST_1.certificate_name).cert_pem.into()),
        ("genesys.der", named(&us, US_EAST_1.certificate_name).der),
        ("other-region.pem", named(&eu, EU_CENTRAL_1.certificate_name).cert_pem.into()),
        ("impostor.pem", named(&impostor, US_EAST_1.certificate_name).cert_pem.into()),
        ("stranger.pem", named(&us, "client.example").cert_pem.into()),
        ("digicert-ca.pem", public.pem.clone().into()),
        ("digicert.pem", (named(&public, US_EAST_1.certificate_name).chain_pem + &public_root.pem).into()),
        ("server.pem", in_2026(server).issue().cert_pem.into()),
        ("policy.yaml", policy.into()),
        ("us-east-1.zip", zipped(&us)),
    ]
}

/// A root as the help page has it.
fn zipped(root: &Ca) -> Vec<u8> {
    let mut archive = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, bytes) in
        [("us-east-1/root.pem", root.pem.as_bytes()), ("us-east-1/root.der", root.der.as_slice())]
    {
        archive.start_file(name, zip::write::SimpleFileOptions::default()).expect("an entry");
        archive.write_all(bytes).expect("its bytes");
    }
    archive.finish().expect("an archive").into_inner()
}

const CRL_URL: &str = "http://crl.example/us-east-1.crl";

fn in_june(crl: CrlBuilder<'_>) -> CrlBuilder<'_> {
    let day = 86_400;
    crl.valid(at(START + 150 * day), at(START + 160 * day)).number(42)
}

/// Revocation lists, the certificates that they are about, and policies. They have a CA of their own, so that they need not
/// follow the other fixtures.
fn revocation() -> Vec<File> {
    let root = Ca::builder("fixture-crl")
        .key(KeyType::P256)
        .dn(&[("C", "US"), ("O", "Example Genesys"), ("CN", "Example Revoking Root")])
        .valid(at(START - 5 * YEAR), at(START + 5 * YEAR))
        .self_signed();
    let silent = Ca::builder("fixture-crl-silent")
        .key(KeyType::P256)
        .key_usages(&[KeyUsagePurpose::KeyCertSign])
        .dn(&[("C", "US"), ("O", "Example Genesys"), ("CN", "Example Root without Lists")])
        .valid(at(START - 5 * YEAR), at(START + 5 * YEAR))
        .self_signed();
    let other = Ca::builder("fixture-crl-other").key(KeyType::P256).self_signed();
    let leaf = |name: &str| {
        let leaf = root.leaf().key(KeyType::P256).key_name(name).name(US_EAST_1.certificate_name);
        in_2026(leaf.crl(CRL_URL)).issue()
    };
    let (revoked, good) = (leaf("revoked"), leaf("good"));
    let list = in_june(root.crl()).padding(3).revoke(&serial_of(&revoked.der));
    let partition = in_june(root.crl()).distribution_point("http://crl.example/2.crl", None);
    let indented = root.pem.replace('\n', "\n        ");
    let policy = |mode: &str| {
        let root = indented.trim_end();
        let text = format!(
            "regions:\n  us-east-1:\n    genesys:\n      ca_certificates: |\n        {root}\nrevocation:\n  mode: {mode}\n  lists:\n  \
             - {{region: us-east-1, authority: genesys, url: \"{CRL_URL}\", cluster: crl}}\n",
        );
        text.into_bytes()
    };
    vec![
        ("crl-root.pem", root.pem.clone().into()),
        ("crl-silent-root.pem", silent.pem.clone().into()),
        ("crl-revoked.pem", revoked.cert_pem.clone().into()),
        ("crl-good.pem", good.cert_pem.clone().into()),
        ("list.crl", list.clone().der()),
        ("list.pem", list.pem().into()),
        ("partition.crl", partition.der()),
        ("other.crl", in_june(other.crl()).der()),
        ("revocation-soft.yaml", policy("soft")),
        ("revocation-hard.yaml", policy("hard")),
    ]
}
