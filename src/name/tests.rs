use super::*;
use crate::{
    certificate::ClientCertificate,
    test_support::{EU, US, cast, client, leaf},
};
use NameRule::{Cn, San, SanOrCn};

/// A certificate with these DNS names and these common names (two at most).
fn certificate(dns: &[&str], common: &[&str]) -> ClientCertificate {
    let leaf = dns.iter().fold(leaf(&cast().us_ca), testbed::pki::LeafBuilder::dns);
    client(&common.iter().fold(leaf, |leaf, name| leaf.cn(name)).issue())
}

#[test]
fn which_fields_count_as_the_name() {
    let none: &[&str] = &[];
    for (dns, common, rule, expected) in [
        (&["a", "b"] as &[_], &["c"] as &[_], SanOrCn, &["a", "b"] as &[&str]),
        (&[], &["c"], SanOrCn, &["c"]),
        (&[], &["c", "d"], SanOrCn, none),
        (&[], &[], SanOrCn, none),
        (&["a"], &["c"], San, &["a"]),
        (&[], &["c"], San, none),
        (&["a", "b"], &["c"], Cn, &["c"]),
        (&["a"], &["c", "d"], Cn, none),
        (&["a"], &[], Cn, none),
    ] {
        assert_eq!(names(&certificate(dns, common), rule), expected, "{dns:?} {common:?} {rule:?}");
    }
}

#[test]
fn names_of_other_kinds_do_not_count() {
    let leaf = leaf(&cast().us_ca).uri(format!("https://{US}")).email(format!("x@{US}")).cn("c").issue();
    let certificate = client(&leaf);
    assert_eq!(names(&certificate, San), &[] as &[String]);
    assert_eq!(names(&certificate, SanOrCn), ["c"], "without a DNS name the common name still counts");
}

#[test]
fn names_of_several_regions_are_found_in_any_field() {
    let region_id = |name: &str| match name {
        "us" | "also-us" => Some("us-east-1"),
        "eu" => Some("eu-central-1"),
        _ => None,
    };
    let both = &["eu-central-1", "us-east-1"] as &[&str];
    let none: &[&str] = &[];
    for (dns, common, expected) in [
        (&["us", "eu"] as &[_], &[] as &[_], both),
        (&["us"], &["eu"], both),
        (&[], &["eu", "us"], both),
        (&["us", "also-us"], &["us"], none),
        (&["us", "x"], &["y"], none),
        (&[], &[], none),
    ] {
        assert_eq!(several_regions(&certificate(dns, common), region_id), expected, "{dns:?} {common:?}");
    }
}

#[test]
fn a_certificate_is_of_a_region_by_that_name_and_no_others() {
    let upper = US.to_uppercase();
    let upper = upper.as_str();
    for (dns, common, rule, expected) in [
        (&[US] as &[_], &[US] as &[_], SanOrCn, true),
        (&[upper], &[], SanOrCn, true),
        (&[], &[US], SanOrCn, true),
        (&["other.example", US], &[], SanOrCn, true),
        (&[], &[US], San, false),
        (&[US], &[], Cn, false),
        (&["other.example"], &[US], SanOrCn, false),
        (&["other.example"], &[US], Cn, true),
        (&[], &[US, US], SanOrCn, false),
        (&[EU], &[], SanOrCn, false),
        (&[US, EU], &[], SanOrCn, false),
        (&[US], &[EU], SanOrCn, false),
        (&[US], &[EU], San, false),
        (&[], &[], SanOrCn, false),
    ] {
        let certificate = certificate(dns, common);
        assert_eq!(is_of_region(&certificate, rule, US), expected, "{dns:?} {common:?} {rule:?}");
    }
}
