//! What of a valid configuration an operator should know.

use crate::{
    doubts,
    output::{STRONG, foreign, paint},
    times,
};
use genesys_mtls_filter::{
    policy::{Authority, Mode, Peer, Policy, RegionPolicy, RevocationMode},
    time::UnixSeconds,
    x509::ca::CaCertificate,
};
use std::fmt::Write as _;

/// CAs are warned about this long before their end.
const SOON_DAYS: i64 = 30;

/// What the filter accepts at any time, but an operator should know today.
pub fn warnings(policy: &Policy, at: UnixSeconds) -> Vec<(String, String)> {
    let mut warnings = Vec::new();
    for region in &policy.regions {
        let path = format!("regions.{}", region.id);
        for (field, authorities) in authorities(region) {
            for authority in authorities {
                let messages = doubts::of(authority).into_iter().chain(expiry_warning(authority, at));
                warnings.extend(messages.map(|message| (format!("{path}.{field}"), message)));
                if field.starts_with("genesys") && authority.is_digicert {
                    let message = "a public CA is trusted as if it were Genesys' own (danger_public_ca): every \
                                   holder of a certificate with this name that it issues is allowed";
                    warnings.push((format!("{path}.{field}"), message.to_owned()));
                }
            }
        }
        if region.digicert.as_ref().is_some_and(|digicert| !digicert.api) {
            let message =
                "`api` is not among the pins: the next certificate is unknown until this file changes";
            warnings.push((format!("{path}.digicert.pins"), message.to_owned()));
        }
    }
    if policy.revocation.mode == RevocationMode::Hard && policy.revocation.discover.is_empty() {
        for (region, authority) in authorities_without_list(policy) {
            let message = format!(
                "none is about {} of {region}, and `mode: hard` refuses every certificate that no list covers: add its list, or \
                 the list's host to `discover`, or use `soft`",
                authority.code()
            );
            warnings.push(("revocation.lists".to_owned(), message));
        }
    }
    if matches!(policy.peer, Peer::Hop(_)) {
        let message = "certificates are believed from a header: anyone who can pose as the hop can pose as Genesys Cloud";
        warnings.push(("peer_certificate.danger_trusted_hop".to_owned(), message.to_owned()));
    }
    warnings
}

fn authorities_without_list(policy: &Policy) -> impl Iterator<Item = (&str, Authority)> {
    let enabled = policy.regions.iter().flat_map(|region| {
        let genesys = (!region.genesys.is_empty()).then_some(Authority::Genesys);
        let digicert = region.digicert.as_ref().map(|_| Authority::Digicert);
        genesys.into_iter().chain(digicert).map(|authority| (region.id.as_str(), authority))
    });
    enabled.filter(|(region, authority)| {
        !policy.revocation.crls.iter().any(|list| list.region == *region && list.authority == *authority)
    })
}

fn authorities(region: &RegionPolicy) -> [(&'static str, &[CaCertificate]); 2] {
    let issuers = region.digicert.as_ref().map_or(&[][..], |digicert| &digicert.issuers);
    [("genesys.ca_certificates", &region.genesys), ("digicert.issuers", issuers)]
}

fn expiry_warning(authority: &CaCertificate, at: UnixSeconds) -> Option<String> {
    let (name, until) = (&authority.name, times::rfc3339(authority.not_after));
    let away = times::away(authority.not_after, at);
    if at < authority.not_before {
        return Some(format!("`{name}` is not valid before {}", times::rfc3339(authority.not_before)));
    }
    if at > authority.not_after {
        return Some(format!("`{name}` expired on {until} ({away}): nothing that it signed is allowed"));
    }
    (times::days_until(authority.not_after, at) < SOON_DAYS)
        .then(|| format!("`{name}` expires on {until} ({away}): add its successor"))
}

pub fn summary(policy: &Policy, at: UnixSeconds) -> String {
    let mode = match policy.mode {
        Mode::Enforce => "enforce",
        Mode::Shadow => "shadow (records verdicts, denies nothing)",
    };
    let mut text = format!("  policy {}, mode {mode}\n", paint(STRONG, &policy.name));
    for region in &policy.regions {
        let _ = writeln!(text, "  {} as {}", paint(STRONG, &region.id), region.certificate_name);
        for authority in &region.genesys {
            let until = times::rfc3339(authority.not_after);
            let away = times::away(authority.not_after, at);
            let name = foreign(&authority.name);
            let _ = writeln!(text, "    genesys   {name}, until {until} ({away})");
        }
        if let Some(digicert) = &region.digicert {
            let mut pins = Vec::new();
            if let Some(source) = &region.source {
                pins.push(format!("those of {} through cluster {}", source.api_host, source.api_cluster));
            }
            if !digicert.pins.is_empty() {
                pins.push(format!("{} written down", digicert.pins.len()));
            }
            let issuers = match digicert.issuers.len() {
                0 => String::new(),
                n => format!("; must be signed by one of {n} issuer(s)"),
            };
            let _ = writeln!(text, "    digicert  pins: {}{issuers}", pins.join(" and "));
        }
    }
    text
}
