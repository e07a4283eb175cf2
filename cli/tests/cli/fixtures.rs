//! Where the files under `tests/fixtures` come from.

use crate::run::directory;
use std::{fs, io::Write as _};
use testbed::pki::{Ca, CrlBuilder, EU_CENTRAL_1, Eku, KeyType, LeafBuilder, US_EAST_1, serial_of};
use time::OffsetDateTime;

/// 2026-01-01, a year later, and ten years around them: what the golden files say.
const YEAR: i64 = 365 * 86_400;
const START: i64 = 1_767_225_600;

fn at(seconds: i64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(seconds).expect("a time")
}

fn in_2026(leaf: LeafBuilder<'_>) -> LeafBuilder<'_> {
    leaf.valid(at(START), at(START + YEAR))
}

/// Makes the fixtures again. Their bytes differ on each run (serial numbers), so the golden files have to follow:
/// `cargo test -p genesys-mtls fixtures -- --ignored`, then the other tests with `UPDATE_GOLDEN=1`.
#[test]
#[ignore = "rewrites the fixtures"]
fn make_fixtures() {
    let ca = |name: &str, cn: &str| {
        Ca::builder(name)
            .dn(&[("C", "US"), ("ST", "Indiana"), ("O", "Example Genesys"), ("CN", cn)])
            .valid(at(START - 5 * YEAR), at(START + 5 * YEAR))
    };
    let us = ca("fixture-us", "Example Root us-east-1").key(KeyType::P256).self_signed();
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
    let files = [
        ("genesys-root.pem", us.pem.clone()),
        ("genesys.pem", named(&us, US_EAST_1.certificate_name).cert_pem),
        ("other-region.pem", named(&eu, EU_CENTRAL_1.certificate_name).cert_pem),
        ("impostor.pem", named(&impostor, US_EAST_1.certificate_name).cert_pem),
        ("stranger.pem", named(&us, "client.example").cert_pem),
        ("digicert-ca.pem", public.pem.clone()),
        ("digicert.pem", named(&public, US_EAST_1.certificate_name).chain_pem + &public_root.pem),
        (
            "server.pem",
            in_2026(us.leaf().key(KeyType::P256).name("server.example").ekus(&[Eku::ServerAuth]))
                .issue()
                .cert_pem,
        ),
    ];
    let directory = directory("fixtures");
    fs::create_dir_all(&directory).expect("a directory");
    for (name, text) in &files {
        fs::write(directory.join(name), text).expect("a fixture");
    }
    fs::write(directory.join("genesys.der"), named(&us, US_EAST_1.certificate_name).der).expect("a fixture");
    let indented = us.pem.replace('\n', "\n        ");
    let policy = format!(
        "regions:\n  us-east-1:\n    genesys:\n      ca_certificates: |\n        {}\n    digicert:\n      pins: [api]\n",
        indented.trim_end()
    );
    fs::write(directory.join("policy.yaml"), policy).expect("a fixture");
    let file = fs::File::create(directory.join("us-east-1.zip")).expect("a file");
    let mut archive = zip::ZipWriter::new(file);
    for (name, bytes) in
        [("us-east-1/root.pem", us.pem.as_bytes()), ("us-east-1/root.der", us.der.as_slice())]
    {
        archive.start_file(name, zip::write::SimpleFileOptions::default()).expect("an entry");
        archive.write_all(bytes).expect("its bytes");
    }
    archive.finish().expect("an archive");
}

const CRL_URL: &str = "http://crl.example/us-east-1.crl";

fn in_june(crl: CrlBuilder<'_>) -> CrlBuilder<'_> {
    let day = 86_400;
    crl.valid(at(START + 150 * day), at(START + 160 * day)).number(42)
}

/// Makes the revocation lists, the certificates that they are about, and the policies again. They have a CA of their
/// own, so that they need not follow the other fixtures.
#[test]
#[ignore = "rewrites the fixtures"]
fn make_revocation_fixtures() {
    let root = Ca::builder("fixture-crl")
        .key(KeyType::P256)
        .dn(&[("C", "US"), ("O", "Example Genesys"), ("CN", "Example Revoking Root")])
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
    let directory = directory("fixtures");
    let files = [
        ("crl-root.pem", root.pem.clone().into_bytes()),
        ("crl-revoked.pem", revoked.cert_pem.clone().into_bytes()),
        ("crl-good.pem", good.cert_pem.clone().into_bytes()),
        ("list.crl", list.clone().der()),
        ("list.pem", list.pem().into_bytes()),
        ("partition.crl", partition.der()),
        ("other.crl", in_june(other.crl()).der()),
    ];
    for (name, bytes) in files {
        fs::write(directory.join(name), bytes).expect("a fixture");
    }
    let indented = root.pem.replace('\n', "\n        ");
    for mode in ["soft", "hard"] {
        let policy = format!(
            "regions:\n  us-east-1:\n    genesys:\n      ca_certificates: |\n        {}\nrevocation:\n  mode: {mode}\n  lists:\n  \
             - {{region: us-east-1, authority: genesys, url: \"{CRL_URL}\", cluster: crl}}\n",
            indented.trim_end()
        );
        fs::write(directory.join(format!("revocation-{mode}.yaml")), policy).expect("a fixture");
    }
}
