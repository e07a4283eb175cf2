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
    /// For the log: which URLs of CRLs a certificate names, and what becomes of each.
    pub fn describe(&self, region: &str, authority: Authority, urls: &[String]) -> String {
        let is_listed = |list: &CrlSource, url: &str| {
            (list.region.as_str(), list.authority, list.url.as_str()) == (region, authority, url)
        };
        let mut text = (if urls.is_empty() { "it names no URL of one" } else { "it names" }).to_owned();
        for url in urls.iter().take(MAX_DISCOVERED) {
            let fate = match CrlSource::new(region, authority, url, "") {
                None => "no http:// URL, so it is not fetched",
                Some(source) if self.crls.iter().any(|list| is_listed(list, &source.url)) => {
                    "fetched, being in revocation.lists"
                }
                Some(source) if self.discover.contains_key(&source.host) => {
                    "fetched, its host being in revocation.discover"
                }
                Some(_) => "not fetched: add it to revocation.lists, or its host to revocation.discover",
            };
            let url: String = url.chars().take(200).collect();
            text.push_str(&[" ", &url, " (", fate, ")"].concat());
        }
        text
    }

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
    fn each_url_of_a_certificate_has_its_fate() {
        let list = CrlSource::new("us", Authority::Genesys, "http://CRL.example:80/us.crl", "c").unwrap();
        let revocation = Revocation {
            mode: RevocationMode::Hard,
            crls: vec![list],
            discover: BTreeMap::from([("found.example".to_owned(), "crl".to_owned())]),
            interval: Duration::from_hours(1),
            timeout: Duration::from_secs(30),
            max_size: 1 << 20,
        };
        for (authority, url, fate) in [
            (Authority::Genesys, "http://crl.example/us.crl", "fetched, being in revocation.lists"),
            (Authority::Digicert, "http://crl.example/us.crl", "not fetched: add it"),
            (
                Authority::Genesys,
                "HTTP://Found.example:80/a",
                "fetched, its host being in revocation.discover",
            ),
            (Authority::Genesys, "http://found.example:8080/a", "not fetched: add it"),
            (Authority::Genesys, "https://crl.example/us.crl", "no http:// URL"),
            (Authority::Genesys, "ldap://crl.example/us.crl", "no http:// URL"),
        ] {
            let text = revocation.describe("us", authority, &[url.to_owned()]);
            assert!(text.starts_with(&format!("it names {url} ({fate}")), "{text}");
        }
        assert_eq!(revocation.describe("us", Authority::Genesys, &[]), "it names no URL of one");
        let many = vec!["http://x.example/".repeat(100); 100];
        assert!(revocation.describe("us", Authority::Genesys, &many).len() < 3000);
    }

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
