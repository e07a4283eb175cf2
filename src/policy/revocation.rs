//! What the decision and the fetching of CRLs work from.

use crate::x509::uri;
use std::{collections::BTreeMap, time::Duration};

/// What a missing CRL means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RevocationMode {
    /// No CRL is consulted.
    #[default]
    Off,
    /// A revoked certificate is denied; without a current CRL it is not.
    Soft,
    /// Without a current CRL that covers the certificate it is denied.
    Hard,
}

/// What the decision and the fetching work from.
#[derive(Clone, Debug)]
pub struct Revocation {
    pub mode: RevocationMode,
    pub crls: Vec<CrlSource>,
    pub discover: BTreeMap<String, String>,
    pub interval: Duration,
    pub timeout: Duration,
    pub max_size: usize,
}

/// Where one CRL is fetched, and whose it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CrlSource {
    pub region: String,
    pub authority: Authority,
    /// In normal form (RFC 3986, section 6.2).
    pub url: String,
    pub host: String,
    pub path: String,
    pub cluster: String,
}

/// Which of a region's authorities vouched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub enum Authority {
    Genesys,
    Digicert,
}

impl Authority {
    pub const ALL: [Self; 2] = [Self::Genesys, Self::Digicert];

    pub fn code(self) -> &'static str {
        match self {
            Self::Genesys => "genesys",
            Self::Digicert => "digicert",
        }
    }
}

/// CRLs of one authority of a region that are followed because certificates named them. A CA has a few; more would be an
/// attack. Those of one authority use up no other's.
const MAX_DISCOVERED: usize = 8;

impl Revocation {
    /// The CRL that a certificate names, if its host is one to fetch from and the `known` ones leave room for it.
    pub fn discovered<'k>(
        &self,
        region: &str,
        authority: Authority,
        url: &str,
        known: impl Iterator<Item = &'k CrlSource>,
    ) -> Option<CrlSource> {
        let source = CrlSource::new(region, authority, url, "")?;
        let cluster = self.discover.get(&source.host)?;
        let known: Vec<_> =
            known.filter(|list| list.region == region && list.authority == authority).collect();
        let discovered = known.iter().filter(|list| !self.crls.contains(list)).count();
        let is_known = known.iter().any(|list| list.url == source.url);
        (!is_known && discovered < MAX_DISCOVERED).then(|| CrlSource { cluster: cluster.clone(), ..source })
    }
}

impl CrlSource {
    /// Nothing unless the URL is one of HTTP with a host and a path.
    pub fn new(region: &str, authority: Authority, url: &str, cluster: &str) -> Option<Self> {
        let url = uri::normalize(url);
        let rest = url.strip_prefix("http://")?;
        let (host, path) = rest.split_at_checked(rest.find('/')?)?;
        let plain = url.len() <= 2048 && url.bytes().all(|byte| byte.is_ascii_graphic());
        let (host, path) = (host.to_owned(), path.to_owned());
        let (region, cluster) = (region.to_owned(), cluster.to_owned());
        (plain && is_url_host(&host)).then_some(Self { region, authority, url, host, path, cluster })
    }
}

/// Whether this can be the host of a URL, with or without a port.
pub fn is_url_host(host: &str) -> bool {
    !host.is_empty() && host.bytes().all(|b| b.is_ascii_alphanumeric() || b".-:".contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_authority_may_name_a_few_lists_besides_those_configured() {
        let configured = (0..9).map(|n| {
            let url = format!("http://crl.example/configured{n}");
            CrlSource::new("us", Authority::Digicert, &url, "cluster").unwrap()
        });
        let revocation = Revocation {
            mode: RevocationMode::Soft,
            crls: configured.collect(),
            discover: BTreeMap::from([("crl.example".to_owned(), "crl".to_owned())]),
            interval: Duration::from_hours(1),
            timeout: Duration::from_secs(30),
            max_size: 1 << 20,
        };
        let mut known = revocation.crls.clone();
        for region in ["us", "eu"] {
            for authority in Authority::ALL {
                // DigiCert's certificates name each list under two hosts; here it is each list twice.
                let urls = (0..20).flat_map(|n| [n, n]).map(|n| format!("http://crl.EXAMPLE/{n}"));
                let before = known.len();
                for url in urls {
                    known.extend(revocation.discovered(region, authority, &url, known.iter()));
                }
                assert_eq!(known.len() - before, MAX_DISCOVERED, "{region} {authority:?}");
            }
        }
        assert!(known[9..].iter().all(|list| list.cluster == "crl"));
        for url in ["http://elsewhere.example/1", "https://crl.example/1", "http://crl.example/configured0"] {
            let known = revocation.crls.iter();
            assert_eq!(revocation.discovered("us", Authority::Digicert, url, known), None, "{url}");
        }
    }
}
