//! The configuration: bytes from Envoy become a [`Policy`]. No step looks at a clock or at the environment: the proxy tries a
//! configuration in a throw-away VM first and *skips the filter* when a worker then disagrees, so both must come to one
//! answer, today and in ten years.

mod checks;
mod error;
mod peer;
mod refresh;
mod regions;
mod revocation;
mod section;
mod tree;

pub use error::{ConfigError, ErrorKind, Form};
pub use tree::MAX_CONFIGURATION;

use crate::{
    policy::{Mode, NameRule, Peer, Policy, names::RegionNames},
    time::UnixSeconds,
    x509::fingerprint::Fingerprint,
};
use checks::{HOUR, is_policy_name, show};
use section::{Errors, Section};
use std::time::Duration;

/// Parses and checks a configuration as Envoy delivers it: JSON text, or a serialized `google.protobuf.Struct`.
///
/// Every error found is returned, not only the first; what values mean is judged once all shapes are right. Bytes that are
/// handed over are given back before the rest is done: a large configuration would else be in memory three times, and a VM
/// returns none of it.
pub fn load(bytes: impl AsRef<[u8]>) -> Result<Policy, Vec<ConfigError>> {
    let digest = Fingerprint::of(bytes.as_ref());
    let document = tree::tree(bytes.as_ref())?;
    drop(bytes);
    let errors = Errors::default();
    let policy = Section::root(document, &errors).map(|root| policy(root, digest));
    let errors = errors.into_first();
    policy.filter(|_| errors.is_empty()).ok_or(errors)
}

fn policy(mut root: Section<'_>, digest: Fingerprint) -> Policy {
    let root = &mut root;
    let name = name(root);
    root.require(
        "regions",
        "name the regions whose client may pass, such as {us-east-1: {digicert: {pins: [api]}}}",
    );
    let entries = root.entries("regions");
    let (refresh, access) = refresh::refresh(root);
    let regions = regions::regions(root, entries, &access);
    let peer = peer::peer(root);
    Policy {
        name,
        names: names(root),
        region_names: RegionNames::new(
            regions.iter().map(|region| (region.certificate_name.as_str(), region.id.as_str())),
        ),
        clock_skew: clock_skew(root),
        revocation: revocation::revocation(root, &regions),
        mode: mode(root),
        identity_header: identity(root, &peer),
        peer,
        regions,
        refresh,
        digest,
    }
}

/// It ends the filter-state key, and labels metrics and log lines.
fn name(root: &mut Section<'_>) -> String {
    let name = root.text("name").unwrap_or_else(|| "default".to_owned());
    if !is_policy_name(&name) {
        let message = format!("`{name}` is not 1 to 32 of a-z, 0-9 and _");
        root.malformed("name", &message, &name, Form::PolicyName);
    }
    name
}

fn names(root: &mut Section<'_>) -> NameRule {
    let words = [("san_or_cn", NameRule::SanOrCn), ("san", NameRule::San), ("cn", NameRule::Cn)];
    root.word("names", &words).unwrap_or_default()
}

fn mode(root: &mut Section<'_>) -> Mode {
    root.word("mode", &[("enforce", Mode::Enforce), ("shadow", Mode::Shadow)]).unwrap_or_default()
}

fn clock_skew(root: &mut Section<'_>) -> UnixSeconds {
    let skew = root.duration("clock_skew", Duration::from_mins(1), Duration::ZERO..=HOUR);
    if skew.subsec_nanos() > 0 {
        let message = format!("{} is not in whole seconds, which is as fine as certificates are", show(skew));
        root.wrong("clock_skew", &message);
    }
    UnixSeconds::try_from(skew.as_secs()).unwrap_or_default()
}

fn identity(root: &mut Section<'_>, peer: &Peer) -> Option<String> {
    let mut section = root.optional_object("identity", "an object with `header`")?;
    let header = section.header("header").unwrap_or_else(|| "x-genesys-cloud-client".to_owned());
    // Those that proxies write; a hop's certificate may be there.
    if header.starts_with("x-forwarded-") || matches!(peer, Peer::Hop(hop) if hop.header == header) {
        section.wrong("header", &format!("`{header}` already has a meaning: choose another header"));
    }
    Some(header)
}

#[cfg(test)]
mod tests;
