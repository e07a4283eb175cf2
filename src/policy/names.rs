//! The name of a certificate: which of its fields count, and whose it is.

use crate::{regions, x509::certificate::ClientCertificate};
use std::collections::BTreeMap;

/// Which fields of a certificate are its name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NameRule {
    /// The SAN's DNS names if it has any, else the one common name.
    #[default]
    SanOrCn,
    /// Only DNS names of the SAN.
    San,
    /// Only the one common name.
    Cn,
}

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

/// Which region each name is of: the one that is configured with it, or else the one that the catalogue has it of. So a region
/// that is configured with a new name keeps its published one besides.
#[derive(Clone, Debug)]
pub struct RegionNames(BTreeMap<String, String>);

impl RegionNames {
    /// Names and the ids of their regions, as they are configured.
    pub fn new<'a>(configured: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        // Collecting into a map brings a sort of 5 KB.
        let mut regions = BTreeMap::new();
        for (name, region) in configured {
            regions.insert(name.to_ascii_lowercase(), region.to_owned());
        }
        Self(regions)
    }

    /// The id of the region whose client a certificate is by its name, if it is configured under that name. An error has the
    /// ids of all regions whose names are anywhere in it, if they are several: no certificate of Genesys Cloud's is
    /// like that, in each field that can count.
    pub fn owner(&self, certificate: &ClientCertificate, rule: NameRule) -> Result<Option<&str>, Vec<&str>> {
        let all_names = certificate.dns_names.iter().chain(&certificate.common_names);
        let mut regions: Vec<&str> = Vec::new();
        for region in all_names.filter_map(|name| self.region(name)) {
            if let Err(place) = regions.binary_search(&region) {
                regions.insert(place, region);
            }
        }
        if regions.len() > 1 {
            return Err(regions);
        }
        Ok(names(certificate, rule).iter().find_map(|name| self.configured(name)))
    }

    fn configured(&self, name: &str) -> Option<&str> {
        self.0.get(&name.to_ascii_lowercase()).map(String::as_str)
    }

    fn region(&self, name: &str) -> Option<&str> {
        self.configured(name).or_else(|| regions::by_certificate_name(name).map(|region| region.id))
    }
}

#[cfg(test)]
mod tests;
