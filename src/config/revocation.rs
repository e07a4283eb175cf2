//! The `revocation` part: which lists are consulted, and what happens without one.

use crate::{
    config::{ConfigError, values::Span},
    policy::{CrlSource, RegionPolicy, Revocation, RevocationMode},
};
use crate::{
    policy::Authority,
    x509::{ca::CaCertificate, uri},
};
use serde::{
    Deserialize, Deserializer,
    de::{self, IntoDeserializer as _, Unexpected, Visitor},
};
use std::{collections::BTreeMap, fmt, time::Duration};

#[cfg(feature = "schema")]
use crate::config::schema;
#[cfg(feature = "schema")]
use schemars::JsonSchema;

/// The largest body that Envoy hands over, in bytes.
const LARGEST: u32 = 32 * 1024 * 1024;

/// Lists of one authority of a region that are followed because certificates named them. A CA has a few; more would be
/// somebody playing. Whoever names them uses up no other authority's.
const MAX_DISCOVERED: usize = 8;

const NO_CLUSTER: &str = "is empty: name the Envoy cluster that reaches the host";

/// Revocation lists (CRLs), fetched through Envoy and checked on every request.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct RevocationDocument {
    /// What a missing list means.
    #[serde(deserialize_with = "mode", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(schema_with = "schema::revocation_mode", extend("default" = "off")))]
    pub mode: Option<RevocationMode>,
    /// Lists known in advance.
    pub lists: Vec<ListDocument>,
    /// Hosts from which lists named by a certificate itself are fetched, and the cluster for each.
    pub discover: BTreeMap<String, String>,
    /// Time between two fetches of a list.
    pub interval: Span,
    /// Time that fetching a list may take.
    pub timeout: Span,
    /// The largest list read, in bytes.
    #[cfg_attr(feature = "schema", schemars(range(min = 1024, max = 33_554_432)))]
    pub max_size: u32,
}

/// One list.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ListDocument {
    /// One of the configured regions.
    pub region: String,
    /// Which of its authorities signs the list.
    pub authority: ListAuthority,
    /// `http://` URL, as in the certificate's CRL distribution point.
    pub url: String,
    /// Envoy cluster that reaches its host.
    pub cluster: String,
}

/// Whose certificates a list is about.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum ListAuthority {
    Genesys,
    Digicert,
}

/// `off` is a boolean to YAML readers, Envoy's among them: `mode: off` arrives as `false`.
fn mode<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<RevocationMode>, D::Error> {
    struct Word;
    impl Visitor<'_> for Word {
        type Value = RevocationMode;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("`off`, `soft` or `hard`")
        }

        fn visit_bool<E: de::Error>(self, truth: bool) -> Result<RevocationMode, E> {
            if truth { Err(E::invalid_type(Unexpected::Bool(truth), &self)) } else { Ok(RevocationMode::Off) }
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<RevocationMode, E> {
            RevocationMode::deserialize(text.into_deserializer())
        }
    }
    deserializer.deserialize_any(Word).map(Some)
}

impl Default for RevocationDocument {
    fn default() -> Self {
        Self {
            mode: None,
            lists: Vec::new(),
            discover: BTreeMap::new(),
            interval: Span(Duration::from_hours(1)),
            timeout: Span(Duration::from_secs(30)),
            max_size: 8 * 1024 * 1024,
        }
    }
}

impl Revocation {
    pub(super) fn build(document: &RevocationDocument, regions: &[RegionPolicy]) -> (Self, Vec<ConfigError>) {
        let mut errors = Vec::new();
        let mut add = |path: &str, message: String| errors.push(ConfigError::new(path, message));
        let mode = document.mode.unwrap_or_default();
        if document.mode.is_none() && !(document.lists.is_empty() && document.discover.is_empty()) {
            add(
                "revocation.mode",
                "required beside `lists` or `discover`, since without it no list is consulted: give `soft` or `hard`, or \
                 `off` if that is meant"
                    .into(),
            );
        }
        if mode != RevocationMode::Off {
            if document.lists.is_empty() && document.discover.is_empty() {
                add(
                    "revocation",
                    "no list can be found: give `lists`, or `discover` with the hosts to fetch from".into(),
                );
            }
            for region in regions {
                if region.digicert.as_ref().is_some_and(|digicert| digicert.issuers.is_empty()) {
                    add(
                        &format!("regions.{}.digicert.issuers", region.id),
                        "required with `revocation`: a list proves nothing unless the CA that signs it is known".into(),
                    );
                }
            }
        }
        if mode == RevocationMode::Hard {
            for (path, ca) in authorities(regions).filter(|(_, ca)| !ca.signs_lists) {
                add(
                    &path,
                    format!(
                        "`{}` may not sign revocation lists (keyUsage lacks cRLSign), and `revocation.mode: hard` refuses \
                         every certificate that no list covers: leave this CA out, or use `soft`",
                        ca.name
                    ),
                );
            }
        }
        let second = Duration::from_secs(1);
        for (path, value, low, high) in [
            ("revocation.interval", document.interval.0, second, Duration::from_hours(7 * 24)),
            ("revocation.timeout", document.timeout.0, second, Duration::from_mins(5)),
        ] {
            if value < low || value > high {
                let show = humantime::format_duration;
                add(path, format!("{} is outside {} to {}", show(value), show(low), show(high)));
            }
        }
        if !(1024..=LARGEST).contains(&document.max_size) {
            add("revocation.max_size", format!("{} is outside 1024 to {LARGEST} bytes", document.max_size));
        }
        let mut lists = Vec::new();
        for (index, list) in document.lists.iter().enumerate() {
            let path = format!("revocation.lists[{index}]");
            let Some(region) = regions.iter().find(|region| region.id == list.region) else {
                add(
                    &format!("{path}.region"),
                    format!(
                        "`{}` is not among the configured regions: add it under `regions`, or correct it",
                        list.region
                    ),
                );
                continue;
            };
            let (authority, missing) = match list.authority {
                ListAuthority::Genesys => (Authority::Genesys, region.genesys.is_empty()),
                ListAuthority::Digicert => (Authority::Digicert, region.digicert.is_none()),
            };
            if missing {
                let field = if authority == Authority::Genesys { "genesys" } else { "digicert" };
                let message = format!(
                    "{0} does not trust this authority: configure `regions.{0}.{field}`, or remove the list",
                    list.region
                );
                add(&format!("{path}.authority"), message);
            }
            if list.cluster.is_empty() {
                add(&format!("{path}.cluster"), NO_CLUSTER.into());
            }
            match CrlSource::new(&list.region, authority, &list.url, &list.cluster) {
                Some(source) => lists.push(source),
                None => add(
                    &format!("{path}.url"),
                    format!(
                        "`{}` is not an http:// URL with a host and a path; the cluster decides on TLS",
                        list.url
                    ),
                ),
            }
        }
        let mut discover = BTreeMap::new();
        for (host, cluster) in &document.discover {
            let path = "revocation.discover";
            if !is_host(host) {
                let rest = host.rsplit("://").next().unwrap_or_default();
                let near = rest.split('/').next().filter(|near| is_host(near));
                let hint = near.map(|near| format!("; `{near}` would be one")).unwrap_or_default();
                add(
                    path,
                    format!("`{host}` is not a host as it stands in the URL of a list, port included{hint}"),
                );
            }
            if cluster.is_empty() {
                add(path, format!("the cluster of `{host}` {NO_CLUSTER}"));
            }
            // As in a URL in normal form.
            let lower = host.to_ascii_lowercase();
            let key = lower.strip_suffix(":80").unwrap_or(&lower);
            if discover.insert(key.to_owned(), cluster.clone()).is_some() {
                add(
                    path,
                    format!("`{host}` stands here twice, since letter case makes no other host: keep one"),
                );
            }
        }
        let revocation = Self {
            mode,
            lists,
            discover,
            interval: document.interval.0,
            timeout: document.timeout.0,
            max_size: usize::try_from(document.max_size).unwrap_or(usize::MAX),
        };
        (revocation, errors)
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
        let discovered = known.iter().filter(|list| !self.lists.contains(list)).count();
        let is_known = known.iter().any(|list| list.url == source.url);
        (!is_known && discovered < MAX_DISCOVERED).then(|| CrlSource { cluster: cluster.clone(), ..source })
    }
}

impl CrlSource {
    fn new(region: &str, authority: Authority, url: &str, cluster: &str) -> Option<Self> {
        let url = uri::normalize(url);
        let rest = url.strip_prefix("http://")?;
        let (host, path) = rest.split_at_checked(rest.find('/')?)?;
        let plain = url.len() <= 2048 && url.bytes().all(|byte| byte.is_ascii_graphic());
        let (host, path) = (host.to_owned(), path.to_owned());
        let (region, cluster) = (region.to_owned(), cluster.to_owned());
        (plain && is_host(&host)).then_some(Self { region, authority, url, host, path, cluster })
    }
}

/// Whether this can be the host of a URL, with or without a port.
fn is_host(host: &str) -> bool {
    !host.is_empty() && host.bytes().all(|b| b.is_ascii_alphanumeric() || b".-:".contains(&b))
}

/// Every configured CA, and where it is configured.
fn authorities(regions: &[RegionPolicy]) -> impl Iterator<Item = (String, &CaCertificate)> {
    regions.iter().flat_map(|region| {
        [(Authority::Genesys, "genesys.ca_certificates"), (Authority::Digicert, "digicert.issuers")]
            .into_iter()
            .flat_map(|(authority, field)| {
                let path = format!("regions.{}.{field}", region.id);
                region.cas(authority).iter().map(move |ca| (path.clone(), ca))
            })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn off_is_off_also_where_yaml_makes_it_a_boolean() {
        let read = |mode: serde_json::Value| {
            let document: Result<RevocationDocument, _> =
                serde_json::from_value(serde_json::json!({ "mode": mode }));
            document.map(|document| document.mode).map_err(|error| error.to_string())
        };
        assert_eq!(read("off".into()), Ok(Some(RevocationMode::Off)));
        assert_eq!(read(false.into()), Ok(Some(RevocationMode::Off)));
        assert_eq!(read("hard".into()), Ok(Some(RevocationMode::Hard)));
        for wrong in [true.into(), serde_json::json!(1), "on".into()] {
            assert!(read(wrong).unwrap_err().contains("`soft`"));
        }
    }

    #[test]
    fn no_list_may_be_larger_than_envoy_hands_over() {
        for (size, fine) in [(1023, false), (1024, true), (32 << 20, true), ((32 << 20) + 1, false)] {
            let document = RevocationDocument { max_size: size, ..RevocationDocument::default() };
            let (_, errors) = Revocation::build(&document, &[]);
            assert_eq!(errors.is_empty(), fine, "{size}: {errors:?}");
        }
    }

    #[test]
    fn each_authority_of_a_region_may_name_a_few_lists_beside_those_configured() {
        let configured = (0..9).map(|n| {
            let url = format!("http://crl.example/configured{n}");
            CrlSource::new("us", Authority::Digicert, &url, "cluster").unwrap()
        });
        let document = RevocationDocument {
            discover: BTreeMap::from([("CRL.example:80".to_owned(), "crl".to_owned())]),
            ..RevocationDocument::default()
        };
        let (revocation, _) = Revocation::build(&document, &[]);
        let revocation = Revocation { lists: configured.collect(), ..revocation };
        let mut known = revocation.lists.clone();
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
        for url in [
            "http://elsewhere.example/1",
            "https://crl.example/1",
            "http://crl.example/configured0",
            "HTTP://CRL.example:80/%63onfigured0",
        ] {
            let known = revocation.lists.iter();
            assert_eq!(revocation.discovered("us", Authority::Digicert, url, known), None, "{url}");
        }
    }
}
