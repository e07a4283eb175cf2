//! Regions, authorities and hops that would protect nothing, and the words in which the operator learns it.

use crate::config::tests::{
    wrong::{assert_wrong, hop, us, with},
    *,
};
use crate::test_support::{EU, US};
use testbed_pki::{DistinguishedName, GeneralSubtree, KeyUsagePurpose, pem_block};

#[test]
fn invalid_region_is_reported_with_the_fix() {
    let named = |name: &str| json!({"certificate_name": name});
    for (document, expected) in [
        (
            us(json!({})),
            "regions.us-east-1: no authority vouches for this region: configure `genesys`, `digicert` or both",
        ),
        (
            json!({"regions": {"us-esat-1": genesys()}}),
            "regions.us-esat-1: `us-esat-1` is not in the catalogue: give certificate_name, the name in its \
             client certificate",
        ),
        (
            json!({"regions": {"mars-north-1": genesys()}}),
            "regions.mars-north-1: `mars-north-1` is not in the catalogue: give certificate_name, the name in its \
             client certificate",
        ),
        (
            json!({"regions": {"mars-north-1": merged(&by_api(), &named("client.mars.example"))}}),
            "regions.mars-north-1: `mars-north-1` is not in the catalogue: give domain, under which api.<domain> \
             answers",
        ),
        (
            json!({"regions": {"eusc-de-east-1": genesys()}}),
            "regions.eusc-de-east-1: Genesys publishes no name for this region: give certificate_name, the name in \
             its client certificate",
        ),
        (
            json!({"regions": {"US-East-1": genesys()}}),
            "regions.US-East-1: a region id is 1 to 63 of a-z, 0-9 and -",
        ),
        (
            us(merged(&genesys(), &named("*.mypurecloud.com"))),
            "regions.us-east-1.certificate_name: `*.mypurecloud.com` is not a host name: give the name in \
             the client certificate, in full",
        ),
        (
            us(merged(&genesys(), &named(EU))),
            "regions.us-east-1.certificate_name: `dataactions.prod-euc1.eu-central-1.mypurecloud.com` is the name of \
             eu-central-1: configure it under `regions.eu-central-1`",
        ),
        (
            json!({"regions": {
                "a": merged(&genesys(), &named("same.example")),
                "b": merged(&genesys(), &named("SAME.example")),
            }}),
            "regions.b.certificate_name: `same.example` is the name of `a` as well, and a name tells one region only",
        ),
        (
            us(merged(&by_api(), &json!({"domain": "https://api.mypurecloud.com"}))),
            "regions.us-east-1.domain: `https://api.mypurecloud.com` is not a host name: give the domain alone, \
             such as `mypurecloud.com`",
        ),
        (
            us(merged(&by_api(), &json!({"domain": "api.mypurecloud.com"}))),
            "regions.us-east-1.domain: `api.` is put before the domain by the filter itself: write `mypurecloud.com`",
        ),
        (
            us(merged(&genesys(), &json!({"refresh": {"oauth": "injected"}}))),
            "regions.us-east-1.refresh: has no effect, since `api` is not among this region's digicert.pins: add it \
             there, or remove `refresh`",
        ),
        (
            us(merged(&by_api(), &json!({"refresh": {"oauth": {"client_id_env": ""}}}))),
            "regions.us-east-1.refresh.oauth.client_id_env: is not the name of an environment variable (capital \
             letters, digits and _): give the variable's name, never what it holds",
        ),
        (
            us(merged(&by_api(), &json!({"refresh": {"clusters": {"api": "", "login": "x"}}}))),
            "regions.us-east-1.refresh.clusters.api: is empty: give the name of an Envoy cluster",
        ),
        (
            us(json!({"digicert": {"pins": []}})),
            "regions.us-east-1.digicert.pins: is empty, so no certificate could pass: add `api`, or `sha256:<hex>` \
             of the client certificate",
        ),
        (
            merged(&us(by_api()), &json!({"refresh": {"oauth": "injected"}})),
            "regions.us-east-1.digicert.issuers: required with `oauth: injected`: without a secret the \
             filter can trust pins shared between workers only if it can verify who issued them",
        ),
    ] {
        assert_wrong(&document, &[expected]);
    }
    let regions = |eu: Value, us: Value| {
        let own = json!({"refresh": {"oauth": {"client_id_env": "US_ID", "client_secret_env": "US_SECRET"}}});
        json!({"regions": {"eu-west-1": merged(&by_api(), &eu), "us-east-1": merged(&merged(&by_api(), &own), &us)}})
    };
    assert_wrong(
        &regions(json!({}), json!({})),
        &[
            "regions.us-east-1.refresh.clusters: cluster `genesys_api` serves eu-west-1 already, so one region's \
             secret would reach the other's host: use a template such as `outbound|443||{host}`, or name clusters per \
             region",
            "regions.us-east-1.refresh.clusters: cluster `genesys_login` serves eu-west-1 already, so one region's \
             secret would reach the other's host: use a template such as `outbound|443||{host}`, or name clusters per \
             region",
        ],
    );
    // One region's API host must not be another's login host either.
    let crossed = |api: &str, login: &str| json!({"refresh": {"clusters": {"api": api, "login": login}}});
    assert_wrong(
        &regions(crossed("a", "b"), crossed("b", "c")),
        &[
            "regions.us-east-1.refresh.clusters: cluster `b` serves eu-west-1 already, so one region's secret would \
             reach the other's host: use a template such as `outbound|443||{host}`, or name clusters per region",
        ],
    );
}

#[test]
fn no_two_regions_have_one_oauth_secret() {
    let template = json!({"clusters": {"api": "{host}", "login": "{host}"}});
    let two = |eu: Value, us: Value| {
        let region = |oauth| merged(&by_api(), &json!({"refresh": {"oauth": oauth}}));
        json!({"regions": {"eu-west-1": region(eu), "us-east-1": region(us)}, "refresh": template})
    };
    let variables = |id: &str, secret: &str| json!({"client_id_env": id, "client_secret_env": secret});
    for (eu, us, shared) in [
        (json!({}), json!({}), "GENESYS_CLIENT_SECRET"),
        (variables("EU_ID", "SECRET"), variables("US_ID", "SECRET"), "SECRET"),
        (json!({"client_secret_env": "GENESYS_CLIENT_SECRET"}), json!({}), "GENESYS_CLIENT_SECRET"),
    ] {
        assert_wrong(
            &two(eu, us),
            &[&format!(
                "regions.us-east-1.refresh.oauth: `{shared}` is the secret of `eu-west-1` as well, and would be sent to the \
                 login hosts of both: an organisation and its OAuth client are in one region, so name variables per region \
                 (`client_id_env`, `client_secret_env`)"
            )],
        );
    }
    policy(&two(variables("ID", "EU_SECRET"), json!({})));
    policy(&two(variables("EU_ID", "EU_SECRET"), variables("US_ID", "US_SECRET")));
}

#[test]
fn authorities_that_would_not_protect_are_refused() {
    let path = "regions.us-east-1.genesys.ca_certificates";
    let genesys = |pem: &str| us(json!({"genesys": {"ca_certificates": pem}}));
    let unfit = || ca("unit-unfit");
    let directory = GeneralSubtree::DirectoryName(DistinguishedName::new());
    let limited = unfit().name_constraints(&[directory], &[]).self_signed();
    let good = &cast().us_ca.pem;
    for (what, document, expected) in [
        (
            "DigiCert's CA",
            genesys(&cast().digicert_ca.pem),
            format!(
                "{path}: `C=US, O=Testbed DigiCert Inc, CN=Unit Client CA G2` is a DigiCert CA, which issues \
                 certificates to the public: configure it as digicert.issuers, next to pins (danger_public_ca: true \
                 if you mean it)"
            ),
        ),
        (
            "nothing",
            genesys(""),
            format!("{path}: no `-----BEGIN CERTIFICATE-----` block found; give the certificate itself as PEM text, not its path"),
        ),
        (
            "a file name",
            genesys("/etc/ssl/genesys.pem"),
            format!("{path}: no `-----BEGIN CERTIFICATE-----` block found; give the certificate itself as PEM text, not its path"),
        ),
        (
            "line breaks lost",
            genesys(&good.replace('\n', " ")),
            format!(
                "{path}: not readable as PEM: a block has no END line; if its line breaks got lost, write `|` before \
                 it in YAML, or \\n in JSON"
            ),
        ),
        (
            "a character damaged",
            genesys(&good.replacen("MII", "M.I", 1)),
            format!(
                "{path}: not readable as PEM: a block is not base64; check that no part of it is missing"
            ),
        ),
        (
            "an indented block",
            genesys(&format!("{good}  {}", good.replace('\n', "\n  "))),
            format!(
                "{path}: not readable as PEM: a block would be passed over; BEGIN and END need lines of their own \
                 without indentation, and the label CERTIFICATE"
            ),
        ),
        (
            "a private key",
            genesys(&us_leaf(&cast().us_ca).key_pem),
            format!(
                "{path}: holds a private key, which this filter never needs: remove it, and replace the key if this \
                 file was shared"
            ),
        ),
        (
            "a request",
            genesys("-----BEGIN CERTIFICATE REQUEST-----\nAQID\n-----END CERTIFICATE REQUEST-----\n"),
            format!("{path}: holds a `Csr` block; only CERTIFICATE blocks belong here"),
        ),
        (
            "something else in PEM",
            genesys(&pem_block(b"hello")),
            format!("{path}: certificate 1 of the bundle: cannot be parsed"),
        ),
        (
            "the client's certificate",
            genesys(&(good.clone() + &us_leaf(&cast().us_ca).cert_pem)),
            format!(
                "{path}: certificate 2 of the bundle: `CN={US}` is not a CA (basicConstraints lacks CA:TRUE): give the \
                 certificate of its issuer"
            ),
        ),
        (
            "a CA that may not sign",
            genesys(&unfit().key_usages(&[KeyUsagePurpose::CrlSign]).self_signed().pem),
            format!(
                "{path}: certificate 1 of the bundle: `CN=unit-unfit` may not sign certificates (keyUsage lacks \
                 keyCertSign)"
            ),
        ),
        (
            "a weak key",
            genesys(&unfit().bogus_rsa_key(1024).self_signed().pem),
            format!(
                "{path}: certificate 1 of the bundle: `CN=unit-unfit` has a key that is not supported: RSA with 2048 \
                 to 8192 bits, P-256 or P-384 is needed"
            ),
        ),
        (
            "an issuer that is none",
            us(json!({"digicert": {"pins": ["api"], "issuers": us_leaf(&cast().us_ca).cert_pem}})),
            format!(
                "regions.us-east-1.digicert.issuers: certificate 1 of the bundle: `CN={US}` is not a CA \
                 (basicConstraints lacks CA:TRUE): give the certificate of its issuer"
            ),
        ),
        (
            "an issuer with a limit that cannot be checked",
            us(json!({"digicert": {"pins": ["api"], "issuers": limited.pem}})),
            "regions.us-east-1.digicert.issuers: certificate 1 of the bundle: `CN=unit-unfit` limits directory names \
             (nameConstraints), which cannot be checked here, so every client certificate of this CA would be denied: \
             give a certificate of this CA without that limit, or DigiCert's pins without `issuers`"
                .to_owned(),
        ),
        (
            "no issuer",
            us(json!({"digicert": {"pins": ["api"], "issuers": ""}})),
            "regions.us-east-1.digicert.issuers: no `-----BEGIN CERTIFICATE-----` block found; give the certificate \
             itself as PEM text, not its path"
                .to_owned(),
        ),
    ] {
        let error = load(&document).map(|_| ()).expect_err(what);
        let line = error.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
        if expected.ends_with("cannot be parsed") {
            assert!(line.starts_with(&expected), "{what}: {line}");
        } else {
            assert_wrong(&document, &[&expected]);
        }
    }
    let meant = json!({"genesys": {"ca_certificates": cast().digicert_ca.pem, "danger_public_ca": true}});
    assert!(load(&us(meant)).is_ok());
}

#[test]
fn a_trusted_hop_is_configured_completely_or_not_at_all() {
    let path = "peer_certificate.danger_trusted_hop";
    let peer = json!({"dns_san": "edge.example.com"});
    let either = format!(
        "{path}.peer: give either sha256 (a list) or dns_san (a host name) of the hop's certificate, not both"
    );
    let digest = "0".repeat(64);
    for (document, expected) in [
        (hop(json!({"header": "x-cert", "peer": {}})), either.clone()),
        (hop(json!({"header": "x-cert", "peer": {"sha256": []}})), either.clone()),
        (
            hop(json!({"header": "x-cert", "peer": {"sha256": [digest], "dns_san": "edge.example.com"}})),
            either.clone(),
        ),
        (hop(json!({"header": "x-cert", "peer": {"dns_san": "*.example.com"}})), either.clone()),
        (hop(json!({"header": "x-cert", "peer": {"dns_san": "edge"}})), either),
        (
            hop(json!({"header": "x-cert", "peer": {"sha256": ["abc"]}})),
            format!(
                "{path}.peer.sha256[0]: `abc`: expected 64 hexadecimal digits, as `openssl x509 -fingerprint -sha256` \
                 prints them (colons are fine)"
            ),
        ),
        (
            hop(json!({"header": "host", "peer": peer})),
            format!("{path}.header: `host` already has a meaning: choose another header"),
        ),
        (
            hop(json!({"header": "", "peer": peer})),
            format!("{path}.header: `` is not a header name: use letters, digits and - only"),
        ),
        (
            with(json!({"peer_certificate": {
                "source": "xfcc", "danger_trusted_hop": {"header": "x-cert", "peer": peer},
            }})),
            format!(
                "{path}: excludes `source` and `filter_state_key`, since the certificate is read from its header: remove them"
            ),
        ),
        (
            with(json!({"peer_certificate": {
                "filter_state_key": "k", "danger_trusted_hop": {"header": "x-cert", "peer": peer},
            }})),
            format!(
                "{path}: excludes `source` and `filter_state_key`, since the certificate is read from its header: remove them"
            ),
        ),
    ] {
        assert_wrong(&document, &[&expected]);
    }
}
