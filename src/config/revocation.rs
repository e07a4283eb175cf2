//! `revocation`: which CRLs are consulted, and what a missing one means.

use crate::{
    config::{
        checks::{DAY, HOUR, SECOND},
        error::Form,
        section::Section,
    },
    policy::{Authority, CrlSource, RegionPolicy, Revocation, RevocationMode, is_url_host},
};
use serde_json::Value;
use std::collections::BTreeMap;

/// The largest body that Envoy hands over, in bytes.
const LARGEST: u64 = 32 * 1024 * 1024;

const NO_CLUSTER: &str = "is empty: name the Envoy cluster that reaches the host";

#[inline(never)] // V8 takes more than twice as long for twice the function
pub fn revocation(root: &mut Section<'_>, regions: &[RegionPolicy]) -> Revocation {
    let section = &mut root.object("revocation", "an object with `mode` and `lists`");
    let mode = mode(section);
    let items = section.items("lists");
    let has_lists = !items.is_empty();
    let mut lists = Vec::new();
    for (n, item) in items.into_iter().enumerate() {
        let expected = "an object with `region`, `authority`, `url` and `cluster`";
        let section = section.nested(&format!("lists[{n}]"), item, expected);
        lists.extend(section.and_then(|section| list(section, regions)));
    }
    let discover = discover(section);
    match (mode, has_lists || !discover.is_empty()) {
        (None, true) => section.wrong(
            "mode",
            "required with `lists` or `discover`, since without it no CRL is consulted: give `soft` or `hard`, or `off` if \
             that is meant",
        ),
        (Some(RevocationMode::Soft | RevocationMode::Hard), false) => {
            section.wrong("", "no CRL can be found: give `lists`, or `discover` with the hosts to fetch from");
        }
        _ => {}
    }
    let mode = mode.unwrap_or_default();
    check_signers(root, mode, regions);
    Revocation {
        mode,
        crls: lists,
        discover,
        interval: section.duration("interval", HOUR, SECOND..=7 * DAY),
        timeout: section.duration("timeout", 30 * SECOND, SECOND..=300 * SECOND),
        max_size: section.number("max_size", 8 * 1024 * 1024, 1024..=LARGEST),
    }
}

/// `off` is a boolean to readers of YAML 1.1, Envoy's among them: `mode: off` arrives as `false`.
fn mode(section: &mut Section<'_>) -> Option<RevocationMode> {
    let value = section.take("mode")?;
    if value == Value::Bool(false) {
        return Some(RevocationMode::Off);
    }
    let words =
        [("off", RevocationMode::Off), ("soft", RevocationMode::Soft), ("hard", RevocationMode::Hard)];
    section.word_in("mode", value, &words)
}

fn list(mut section: Section<'_>, regions: &[RegionPolicy]) -> Option<CrlSource> {
    for name in ["region", "authority", "url", "cluster"] {
        section.require(name, "it has no default");
    }
    let id = section.text("region");
    let words = Authority::ALL.map(|authority| (authority.code(), authority));
    let authority = section.word("authority", &words);
    let (url, cluster) = (section.text("url"), section.text("cluster"));
    let (id, authority, url, cluster) = (id?, authority?, url?, cluster?);
    let Some(region) = regions.iter().find(|region| region.id == id) else {
        let message =
            format!("`{id}` is not among the configured regions: add it under `regions`, or correct it");
        section.wrong("region", &message);
        return None;
    };
    let is_trusted = match authority {
        Authority::Genesys => !region.genesys.is_empty(),
        Authority::Digicert => region.digicert.is_some(),
    };
    if !is_trusted {
        let field = authority.code();
        let message = format!(
            "{id} does not trust this authority: configure `regions.{id}.{field}`, or remove the CRL here"
        );
        section.wrong("authority", &message);
    }
    if cluster.is_empty() {
        section.wrong("cluster", NO_CLUSTER);
    }
    let source = CrlSource::new(&id, authority, &url, &cluster);
    if source.is_none() {
        let message =
            format!("`{url}` is not an http:// URL with a host and a path; the cluster decides on TLS");
        section.wrong("url", &message);
    }
    source
}

fn discover(section: &mut Section<'_>) -> BTreeMap<String, String> {
    let mut discover = BTreeMap::new();
    let path = "discover";
    for (host, value) in section.entries(path) {
        let cluster = section.text_in(&format!("{path}.{host}"), value, "text").unwrap_or_default();
        if !is_url_host(&host) {
            let message = format!("`{host}` is not the host of a CRL's URL, port included");
            section.malformed(path, &message, &host, Form::CrlHost);
        }
        if cluster.is_empty() {
            section.wrong(path, &format!("the cluster of `{host}` {NO_CLUSTER}"));
        }
        // As in a URL in normal form.
        let lower = host.to_ascii_lowercase();
        let key = lower.strip_suffix(":80").unwrap_or(&lower);
        if discover.insert(key.to_owned(), cluster).is_some() {
            let message =
                format!("`{host}` is written twice, since letter case makes no other host: keep one");
            section.wrong(path, &message);
        }
    }
    discover
}

/// A CRL proves something only if a configured CA can have signed it.
fn check_signers(root: &Section<'_>, mode: RevocationMode, regions: &[RegionPolicy]) {
    for region in regions.iter().filter(|_| mode != RevocationMode::Off) {
        let issuers = region.digicert.as_ref().map(|digicert| &digicert.issuers);
        if issuers.is_some_and(Vec::is_empty) {
            let message =
                "required with `revocation`: a CRL proves nothing unless the CA that signs it is known";
            root.wrong(&format!("regions.{}.digicert.issuers", region.id), message);
        }
        if mode != RevocationMode::Hard {
            continue;
        }
        for (authority, field) in
            [(Authority::Genesys, "genesys.ca_certificates"), (Authority::Digicert, "digicert.issuers")]
        {
            for ca in region.cas(authority).iter().filter(|ca| !ca.signs_crls) {
                let message = format!(
                    "`{}` may not sign CRLs (keyUsage lacks cRLSign), and `revocation.mode: hard` denies every certificate \
                     that no CRL covers: leave this CA out, or use `soft`",
                    ca.name
                );
                root.wrong(&format!("regions.{}.{field}", region.id), &message);
            }
        }
    }
}
