//! Row 4: the name is exactly a configured region's.

use super::*;

use Reason::{WrongName, WrongRegion};

const SELFMADE: &str = "dataactions.selfmade.example";

/// A policy of us-east-1 by its Genesys CA, with this rule for names.
fn us(names: &str) -> Policy {
    policy(&json!({"names": names, "regions": {"us-east-1": {"genesys": genesys()}}}))
}

/// A certificate of us-east-1's CA with these DNS names and these common names (two at most).
fn certificate(dns: &[&str], common: &[&str]) -> Leaf {
    let leaf = dns.iter().fold(leaf(&cast().us_ca), testbed_pki::LeafBuilder::dns);
    common.iter().fold(leaf, |leaf, name| leaf.cn(name)).issue()
}

fn assert_outcome(policy: &Policy, dns: &[&str], common: &[&str], expected: Result<&str, Reason>) {
    let expected = match expected {
        Ok(region) => Outcome::Allow { region: region.to_owned(), authority: Authority::Genesys },
        Err(reason) => Outcome::Deny(reason),
    };
    let outcome = outcome(&certificate(dns, common), policy);
    assert_eq!(outcome, expected, "{:?}: SAN {dns:?}, CN {common:?}", policy.names);
}

#[test]
fn only_the_exact_name_is_the_regions() {
    let policy = us("san_or_cn");
    for name in [US, &US.to_uppercase(), "DataActions.Prod.US-east-1.mypurecloud.com"] {
        assert_outcome(&policy, &[name], &[], Ok("us-east-1"));
        assert_outcome(&policy, &[], &[name], Ok("us-east-1"));
    }
    let (_, without_first_label) = US.split_once('.').unwrap();
    let not_ascii = US.replace("ns", "n\u{17f}"); // the long s, which upper-cases to S
    for name in [
        "",
        "*",
        ".",
        without_first_label,
        &format!("*.{without_first_label}"),
        &format!("{US}."),
        &format!(".{US}"),
        &format!(" {US}"),
        &format!("{US} "),
        &format!("{US}\0"),
        &format!("{US}\0.evil.example"),
        &format!("evil.example\0{US}"),
        &format!("{US}.evil.example"),
        &format!("evil.{US}"),
        &format!("evil{US}"),
        &format!("evil-{US}"),
        &format!("{US}-evil.example"),
        &format!("{US},{US}"),
        &format!("https://{US}"),
        &US.replace('.', ""),
        &US.replacen('.', "..", 1),
        &US[1..],
        &US[..US.len() - 1],
    ] {
        assert_outcome(&policy, &[name], &[], Err(WrongName));
        assert_outcome(&policy, &[], &[name], Err(WrongName));
    }
    assert_outcome(&policy, &[], &[&not_ascii], Err(WrongName));
}

#[test]
fn which_field_counts_is_the_rules_choice() {
    let other = "other.example";
    for (rule, dns, common, expected) in [
        ("san_or_cn", &[US] as &[_], &[US] as &[_], Ok("us-east-1")),
        ("san_or_cn", &[US], &[other], Ok("us-east-1")),
        ("san_or_cn", &[other, US], &[], Ok("us-east-1")),
        ("san_or_cn", &[], &[US], Ok("us-east-1")),
        ("san_or_cn", &[other], &[US], Err(WrongName)),
        ("san_or_cn", &[], &[US, other], Err(WrongName)),
        ("san_or_cn", &[], &[other, US], Err(WrongName)),
        ("san_or_cn", &[], &[US, US], Err(WrongName)),
        ("san_or_cn", &[US], &[US, other], Ok("us-east-1")),
        ("san_or_cn", &[], &[], Err(WrongName)),
        ("san", &[US], &[other], Ok("us-east-1")),
        ("san", &[], &[US], Err(WrongName)),
        ("san", &[other], &[US], Err(WrongName)),
        ("cn", &[other], &[US], Ok("us-east-1")),
        ("cn", &[], &[US], Ok("us-east-1")),
        ("cn", &[US], &[other], Err(WrongName)),
        ("cn", &[US], &[], Err(WrongName)),
        ("cn", &[US], &[US, other], Err(WrongName)),
    ] {
        assert_outcome(&us(rule), dns, common, expected);
    }
}

#[test]
fn only_dns_names_count_in_a_san() {
    let elsewhere =
        leaf(&cast().us_ca).uri(format!("spiffe://{US}")).uri(US).email(US).email(format!("x@{US}"));
    assert_eq!(outcome(&elsewhere.issue(), &us("san_or_cn")), Outcome::Deny(WrongName));
}

#[test]
fn client_of_another_region_is_distinguished_from_a_stranger() {
    for rule in ["san_or_cn", "san", "cn"] {
        assert_outcome(&us(rule), &[EU], &[EU], Err(WrongRegion));
    }
    let policy = us("san_or_cn");
    assert_outcome(&policy, &[&EU.to_uppercase()], &[], Err(WrongRegion));
    assert_outcome(&policy, &["other.example", EU], &[], Err(WrongRegion));
    assert_outcome(&policy, &[], &[EU], Err(WrongRegion));
    assert_outcome(&policy, &[&format!("{EU}.")], &[], Err(WrongName));
    let detail = verdict(&certificate(&[EU], &[]), &policy).detail;
    assert!(detail.contains("eu-central-1"), "{detail}");
}

/// For each field that can count, and whether or not both regions are configured.
#[test]
fn names_of_two_regions_belong_to_neither() {
    let both = |names: &str| {
        let eu = json!({"genesys": {"ca_certificates": cast().us_ca.pem}});
        policy(&json!({"names": names, "regions": {"us-east-1": {"genesys": genesys()}, "eu-central-1": eu}}))
    };
    for rule in ["san_or_cn", "san", "cn"] {
        for policy in [us(rule), both(rule)] {
            assert_outcome(&policy, &[US, EU], &[], Err(WrongName));
            assert_outcome(&policy, &[EU, US], &[US], Err(WrongName));
            assert_outcome(&policy, &[US], &[EU], Err(WrongName));
            assert_outcome(&policy, &[EU], &[US], Err(WrongName));
            assert_outcome(&policy, &[], &[US, EU], Err(WrongName));
        }
    }
    let detail = verdict(&certificate(&[US, EU], &[]), &us("san")).detail;
    assert_eq!(detail, "names of several regions: eu-central-1, us-east-1");
    // One region's name in two fields is one region.
    assert_outcome(&both("san_or_cn"), &[EU], &[EU], Ok("eu-central-1"));
    assert_outcome(&both("san_or_cn"), &[US], &[US], Ok("us-east-1"));
}

#[test]
fn name_set_by_the_operator_replaces_the_regions_name() {
    let policy = policy(&json!({"regions": {
        "eusc-de-east-1": {"certificate_name": SELFMADE, "genesys": genesys()},
        "us-east-1": {"certificate_name": "new.example", "genesys": genesys()},
    }}));
    assert_outcome(&policy, &[&SELFMADE.to_uppercase()], &[], Ok("eusc-de-east-1"));
    assert_outcome(&policy, &["new.example"], &[], Ok("us-east-1"));
    assert_outcome(&policy, &[SELFMADE, "new.example"], &[], Err(WrongName));
    assert_outcome(&policy, &[SELFMADE, US], &[], Err(WrongName));
    assert_outcome(&policy, &[SELFMADE, EU], &[], Err(WrongName));
    // The catalogue's name of a region that is configured with another one: of that region, but not its name.
    assert_outcome(&policy, &["new.example", US], &[], Ok("us-east-1"));
    assert_outcome(&policy, &[US], &[], Err(WrongName));
    assert_outcome(&policy, &[EU], &[], Err(WrongRegion));
}

#[test]
fn certificate_without_a_name_that_counts_has_its_own_reason() {
    for (dns, common, expected) in [
        (&[][..], &[][..], "no usable name: 0 DNS names and 0 common names"),
        (&[], &[US], ""),
        (&[], &["a.example", "b.example"], "no usable name: 0 DNS names and 2 common names"),
        (&["a.example"], &[], "not the name of a configured region"),
    ] {
        assert_eq!(verdict(&certificate(dns, common), &us("san_or_cn")).detail, expected);
    }
}
