//! Log lines: one line each, `key=value`, text from outside quoted and escaped, at most so many per cause and minute.

use crate::filter::{digest::Digest, stream::request_id};
use crate::{
    BUILD,
    crl::{CrlEvent, CrlFetcher},
    decision::Reason,
    host::SharedData,
    pins::{Event, PinChange, PinStatus, SkippedEntities},
    policy::{CrlSource, Mode, Policy},
    shared::claim,
    time::{Monotonic, UnixSeconds},
    x509::{ca::CaCertificate, certificate::ClientCertificate},
};
use log::{error, info, warn};
use std::{
    collections::BTreeMap,
    fmt::Write as _,
    time::{Duration, SystemTime},
};

const PER_WINDOW: u32 = 10;
const WINDOW: Duration = Duration::from_mins(1);

/// Lines written and swallowed per reason.
#[derive(Default)]
pub struct DenialLog(BTreeMap<Reason, Budget>);

#[derive(Default)]
struct Budget {
    began: Monotonic,
    written: u32,
    suppressed: u32,
}

impl DenialLog {
    /// Logs a denial. Whoever made the certificate is not trusted with our log: its text is escaped and cut.
    pub fn denied(
        &mut self,
        policy: &Policy,
        reason: Reason,
        detail: &str,
        digest: Option<&Digest>,
        certificate: Option<&ClientCertificate>,
        now: Monotonic,
    ) {
        let budget = self.0.entry(reason).or_default();
        if budget.written == 0 || now > budget.began + WINDOW {
            *budget = Budget { began: now, written: 0, suppressed: budget.suppressed };
        }
        if budget.written >= PER_WINDOW {
            budget.suppressed = budget.suppressed.saturating_add(1);
            return;
        }
        budget.written += 1;
        let request_id = request_id().unwrap_or_default();
        let digest = digest.map(Digest::to_string).unwrap_or_default();
        let mut line = format!(
            "genesys_mtls: denied policy={} mode={} reason={reason} request_id={request_id:?} detail={detail:?} \
             sha256={digest:?}",
            policy.name,
            if policy.mode == Mode::Shadow { "shadow" } else { "enforce" },
        );
        if let Some(summary) = certificate.map(ClientCertificate::summary) {
            for (key, value) in
                [("subject", &summary.subject), ("issuer", &summary.issuer), ("serial", &summary.serial)]
            {
                let cut: String = value.chars().take(200).collect();
                let _ = write!(line, " {key}={cut:?}");
            }
        }
        match std::mem::take(&mut budget.suppressed) {
            0 => {}
            more => {
                let _ = write!(line, " suppressed={more}");
            }
        }
        warn!("{line}");
    }
}

/// What a refresh did: a line per change of state, not per attempt.
pub fn refresh(policy: &str, region: &str, event: &Event) {
    match event {
        Event::Refreshed { named, kept, changed, recovered } if *changed || *recovered => info!(
            "genesys_mtls: refreshed policy={policy} region={region} pins={named} kept={kept} changed={changed} \
             recovered={recovered}"
        ),
        Event::Failed { failure, failures, next_in, new: true } => warn!(
            "genesys_mtls: refresh failed policy={policy} region={region} reason={} detail={:?} failures={failures} \
             next_in={:.1}s; the trust there was stays in use",
            failure.code,
            failure.detail,
            next_in.as_secs_f64()
        ),
        Event::Skipped(SkippedEntities { reasons, unreadable }) => {
            let mut counts = BTreeMap::<&str, u32>::new();
            for reason in reasons {
                *counts.entry(reason.code()).or_default() += 1;
            }
            info!(
                "genesys_mtls: not pinned from the API's answer policy={policy} region={region} entities={counts:?} \
                 unreadable={unreadable:?}"
            );
        }
        Event::Refreshed { .. } | Event::Failed { .. } => {}
    }
}

/// Pins of which the log tells by one line each, of those that change at once. Two are usual.
const PINS_TOLD: usize = 20;

/// What became of pins.
pub fn pins(policy: &Policy, region: &str, changes: &[PinChange]) {
    for change in changes.iter().take(PINS_TOLD) {
        pin(policy, region, change);
    }
    if let Some(more @ 1..) = changes.len().checked_sub(PINS_TOLD) {
        warn!("genesys_mtls: {more} more pins changed policy={} region={region}", policy.name);
    }
}

/// A caller whose certificate the API stopped naming may be refused soon, or is from now on.
fn pin(policy: &Policy, region: &str, change: &PinChange) {
    let PinChange { pin, status, not_after } = change;
    let line = format!("policy={} region={region} sha256={pin} until={}", policy.name, date(*not_after));
    match status {
        Some(PinStatus::Named) => info!("genesys_mtls: pinned, the API names it {line}"),
        Some(PinStatus::Kept) => warn!(
            "genesys_mtls: pin kept for {}, the API stopped naming it {line}",
            humantime::format_duration(policy.refresh.keep_removed)
        ),
        Some(PinStatus::Stale) => {
            warn!("genesys_mtls: pin out of use, no refresh has succeeded within max_staleness {line}");
        }
        None => warn!("genesys_mtls: pin lapsed, the API stopped naming it {line}"),
    }
}

/// A region whose pins cannot be fetched. Said once per proxy and configuration: true if it was.
pub fn no_credentials(policy: &Policy, region: &str, variable: &str) -> bool {
    let key = format!("genesys_mtls/{}/no_credentials/{region}", policy.name);
    let first = claim(&mut SharedData, &key, policy.digest.as_bytes());
    if first {
        error!(
            "genesys_mtls: refresh off policy={} region={region} reason=no_credentials detail=\"environment variable \
             {variable} is not set in this VM: add it to vm_config.environment_variables (Istio: vmConfig.env)\"",
            policy.name
        );
    }
    first
}

/// What fetching a revocation list did.
pub fn list(policy: &str, list: &CrlFetcher, event: &CrlEvent) {
    let (id, CrlSource { region, authority, url, .. }) = (&list.id, &list.source);
    let authority = authority.code();
    // Of a certificate's choice, where lists are discovered.
    let url: String = url.chars().take(200).collect();
    match event {
        CrlEvent::Fetched { entries, changed, recovered } if *changed || *recovered => info!(
            "genesys_mtls: revocation list fetched policy={policy} region={region} authority={authority} list={id} url={url:?} \
             entries={entries} changed={changed} recovered={recovered}"
        ),
        CrlEvent::Failed { failure, failures, next_in, new: true } => warn!(
            "genesys_mtls: fetching a revocation list failed policy={policy} region={region} authority={authority} \
             list={id} url={url:?} reason={} detail={:?} failures={failures} next_in={:.1}s; the list there was stays in use",
            failure.code,
            failure.detail,
            next_in.as_secs_f64()
        ),
        CrlEvent::Fetched { .. } | CrlEvent::Failed { .. } => {}
    }
}

/// What this policy trusts and until when: once per proxy and configuration, whatever the number of workers.
pub fn announce(policy: &Policy, now: UnixSeconds) {
    let key = format!("genesys_mtls/{}/announced", policy.name);
    if !claim(&mut SharedData, &key, policy.digest.as_bytes()) {
        return;
    }
    let mode = if policy.mode == Mode::Shadow { "shadow" } else { "enforce" };
    info!(
        "genesys_mtls: configured build={BUILD} policy={} mode={mode} regions={}",
        policy.name,
        policy.regions.len()
    );
    for region in &policy.regions {
        let (pins, api) =
            region.digicert.as_ref().map_or((0, false), |digicert| (digicert.pins.len(), digicert.api));
        info!(
            "genesys_mtls: trusts policy={} region={} name={} genesys_cas={} digicert_pins={pins} digicert_api={api}",
            policy.name,
            region.id,
            region.certificate_name,
            region.genesys.len(),
        );
        let issuers = region.digicert.iter().flat_map(|digicert| &digicert.issuers);
        for authority in region.genesys.iter().chain(issuers) {
            announce_authority(policy, &region.id, authority, now);
        }
    }
}

fn announce_authority(policy: &Policy, region: &str, authority: &CaCertificate, now: UnixSeconds) {
    let until = date(authority.not_after);
    let line = format!("policy={} region={region} subject={:?} until={until}", policy.name, authority.name);
    if now > authority.not_after {
        warn!("genesys_mtls: this CA has expired and vouches for nobody: {line}");
    } else {
        info!("genesys_mtls: trusts CA {line}");
    }
}

/// Seconds since 1970 as RFC 3339; as a number where that has no form for them (the formatter refuses, and
/// `to_string` would panic on its refusal).
fn date(at: UnixSeconds) -> String {
    let since =
        u64::try_from(at).ok().and_then(|at| SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(at)));
    let mut text = String::new();
    match since.map(|at| write!(text, "{}", humantime::format_rfc3339_seconds(at))) {
        Some(Ok(())) => text,
        _ => at.to_string(),
    }
}
