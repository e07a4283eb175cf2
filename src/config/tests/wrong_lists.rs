//! Revocation that would check nothing, or refuse everybody, and the words in which the operator learns it.

use crate::config::tests::{
    wrong::{assert_wrong, us, with},
    *,
};
use crate::policy::RevocationMode;
use testbed_pki::{KeyType, KeyUsagePurpose, pem_block};

fn revocation(revocation: Value) -> Value {
    with(json!({"revocation": revocation}))
}

#[test]
fn crl_lists_without_a_mode_are_rejected() {
    let list = json!([{"region": "us-east-1", "authority": "genesys", "url": "http://crl.example/a", "cluster": "c"}]);
    let expected = "revocation.mode: required with `lists` or `discover`, since without it no CRL is consulted: give \
                    `soft` or `hard`, or `off` if that is meant";
    for way in [json!({"lists": list}), json!({"discover": {"crl.example": "crl"}})] {
        assert_wrong(&revocation(way.clone()), &[expected]);
        for mode in ["off", "soft", "hard"] {
            assert!(load(&revocation(merged(&way, &json!({"mode": mode})))).is_ok(), "{mode}");
        }
    }
    assert!(load(&revocation(json!({"interval": "30m"}))).is_ok());
}

#[test]
fn hosts_that_no_url_can_have_are_refused() {
    let path = "revocation.discover";
    let twice = "is written twice, since letter case makes no other host: keep one";
    let no_host = "is not the host of a CRL's URL, port included";
    for (hosts, expected) in [
        (json!({"http://crl.example/": "crl"}), vec![format!("`http://crl.example/` {no_host}")]),
        (json!({"crl.example:80/a.crl": "crl"}), vec![format!("`crl.example:80/a.crl` {no_host}")]),
        (json!({"*.crl.example": "crl"}), vec![format!("`*.crl.example` {no_host}")]),
        (
            json!({"": ""}),
            vec![
                format!("`` {no_host}"),
                "the cluster of `` is empty: name the Envoy cluster that reaches the host".to_owned(),
            ],
        ),
        (
            json!({"crl.example": ""}),
            vec![
                "the cluster of `crl.example` is empty: name the Envoy cluster that reaches the host"
                    .to_owned(),
            ],
        ),
        (json!({"CRL.example": "a", "crl.example": "a"}), vec![format!("`crl.example` {twice}")]),
    ] {
        let expected: Vec<String> = expected.iter().map(|line| format!("{path}: {line}")).collect();
        let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
        assert_wrong(&revocation(json!({"mode": "soft", "discover": hosts})), &expected);
    }
    for host in ["crl.example", "CRL.example", "crl.example:8080", "127.0.0.1", "crl"] {
        assert!(load(&revocation(json!({"mode": "soft", "discover": {host: "crl"}}))).is_ok(), "{host}");
    }
}

#[test]
fn hard_revocation_takes_cas_that_sign_lists() {
    let silent =
        ca("unit-silent").key(KeyType::P256).key_usages(&[KeyUsagePurpose::KeyCertSign]).self_signed();
    let genesys = json!({"ca_certificates": cast().us_ca.pem.clone() + &pem_block(&silent.der)});
    let digicert = json!({"pins": ["sha256:".to_owned() + &"0".repeat(64)], "issuers": silent.pem});
    let wrong = |path: &str| {
        format!(
            "regions.us-east-1.{path}: `CN=unit-silent` may not sign CRLs (keyUsage lacks cRLSign), and \
             `revocation.mode: hard` denies every certificate that no CRL covers: leave this CA out, or use `soft`"
        )
    };
    for (region, path) in [
        (json!({"genesys": genesys}), "genesys.ca_certificates"),
        (json!({"digicert": digicert}), "digicert.issuers"),
    ] {
        let with_mode = |mode: &str| {
            merged(
                &us(region.clone()),
                &json!({"revocation": {"mode": mode, "discover": {"crl.example": "crl"}}}),
            )
        };
        assert_wrong(&with_mode("hard"), &[&wrong(path)]);
        assert!(load(&with_mode("soft")).is_ok() && load(&with_mode("off")).is_ok(), "{path}");
    }
}

#[test]
fn off_counts_also_where_yaml_makes_it_a_boolean() {
    let mode = |mode: Value| {
        let document = revocation(json!({"mode": mode, "discover": {"crl.example": "crl"}}));
        load(&document).map(|policy| policy.revocation.mode).map_err(|errors| errors[0].message.clone())
    };
    assert_eq!(mode("off".into()), Ok(RevocationMode::Off));
    assert_eq!(mode(false.into()), Ok(RevocationMode::Off));
    assert_eq!(mode("hard".into()), Ok(RevocationMode::Hard));
    for wrong in [true.into(), json!(1), "on".into()] {
        assert!(mode(wrong).unwrap_err().contains("`soft`"));
    }
}

#[test]
fn no_list_may_be_larger_than_envoy_hands_over() {
    for (size, fine) in [(1023, false), (1024, true), (32 << 20, true), ((32 << 20) + 1, false)] {
        assert_eq!(load(&revocation(json!({"max_size": size}))).is_ok(), fine, "{size}");
    }
}
