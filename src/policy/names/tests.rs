//! Only the exact name in the configured field makes a certificate a region's.

use super::*;
use crate::{
    test_support::{EU, US, cast, client, leaf},
    x509::certificate::ClientCertificate,
};
use NameRule::{Cn, San, SanOrCn};

/// A certificate with these DNS names and these common names (two at most).
fn certificate(dns: &[&str], common: &[&str]) -> ClientCertificate {
    let leaf = dns.iter().fold(leaf(&cast().us_ca), testbed_pki::LeafBuilder::dns);
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

/// Two regions of the catalogue, one of them under a name of the operator's.
fn regions() -> RegionNames {
    RegionNames::new([(US, "us-east-1"), ("new.example", "eu-central-1")])
}

#[test]
fn names_of_several_regions_are_found_in_any_field() {
    let regions = regions();
    let several = Err(vec!["eu-central-1", "us-east-1"]);
    for (dns, common) in [
        (&[US, EU] as &[_], &[] as &[_]),
        (&[EU, US], &[US]),
        (&[US, "new.example"], &[]),
        (&[US], &[EU]),
        (&["new.example"], &[US]),
        (&[], &[EU, US]),
    ] {
        for rule in [SanOrCn, San, Cn] {
            assert_eq!(
                regions.owner(&certificate(dns, common), rule),
                several,
                "{dns:?} {common:?} {rule:?}"
            );
        }
    }
}

#[test]
fn certificate_belongs_to_the_region_whose_name_it_has() {
    let upper = US.to_uppercase();
    let upper = upper.as_str();
    let (us, eu) = (Some("us-east-1"), Some("eu-central-1"));
    for (dns, common, rule, expected) in [
        (&[US] as &[_], &[US] as &[_], SanOrCn, us),
        (&[upper], &[], SanOrCn, us),
        (&[], &[US], SanOrCn, us),
        (&["other.example", US], &[], SanOrCn, us),
        (&[], &[US], San, None),
        (&[US], &[], Cn, None),
        (&["other.example"], &[US], SanOrCn, None),
        (&["other.example"], &[US], Cn, us),
        (&[], &[US, US], SanOrCn, None),
        (&[], &[], SanOrCn, None),
        (&["new.example"], &[], SanOrCn, eu),
        // Its published name is no other region's, and alone it does not do.
        (&["new.example", EU], &[], SanOrCn, eu),
        (&[EU, "new.example"], &[EU], San, eu),
        (&[EU], &["new.example"], Cn, eu),
        (&[EU], &["new.example"], San, None),
        (&[EU], &[], SanOrCn, None),
    ] {
        let certificate = certificate(dns, common);
        assert_eq!(regions().owner(&certificate, rule), Ok(expected), "{dns:?} {common:?} {rule:?}");
    }
}
