//! The name of a certificate: which of its fields count, and whether it is a region's.

use crate::{certificate::ClientCertificate, config::NameRule, regions};

/// The fields that count as the certificate's name under this rule.
///
/// A common name counts only if it is the only one, and under the default rule only without DNS names (RFC 6125,
/// section 6.4.4).
pub fn names(certificate: &ClientCertificate, rule: NameRule) -> &[String] {
    let the_one_common_name = match certificate.common_names.as_slice() {
        [name] => std::slice::from_ref(name),
        _ => &[],
    };
    match rule {
        NameRule::Cn => the_one_common_name,
        NameRule::SanOrCn if certificate.dns_names.is_empty() => the_one_common_name,
        NameRule::San | NameRule::SanOrCn => &certificate.dns_names,
    }
}

/// The ids of all regions whose name stands anywhere in the certificate, if they are several: no certificate of
/// Genesys Cloud's is like that, whichever field counts.
pub fn several_regions<'r>(
    certificate: &ClientCertificate,
    region_id: impl Fn(&str) -> Option<&'r str>,
) -> Vec<&'r str> {
    let all_names = certificate.dns_names.iter().chain(&certificate.common_names);
    let mut regions: Vec<&str> = all_names.filter_map(|name| region_id(name)).collect();
    regions.sort_unstable();
    regions.dedup();
    if regions.len() > 1 { regions } else { Vec::new() }
}

/// Whether the certificate carries this region's name, and no other region's.
pub fn is_of_region(certificate: &ClientCertificate, rule: NameRule, certificate_name: &str) -> bool {
    let own = |name: &str| name.eq_ignore_ascii_case(certificate_name);
    let region_id = |name: &str| {
        if own(name) {
            Some(certificate_name)
        } else {
            regions::by_certificate_name(name).map(|region| region.id)
        }
    };
    names(certificate, rule).iter().any(|name| own(name))
        && several_regions(certificate, region_id).is_empty()
}

#[cfg(test)]
mod tests;
