//! Log lines: one line each, `key=value`, text from outside quoted and escaped, at most so many per cause and minute.

use crate::{
    crl::{CrlEvent, CrlFetcher},
    decision::Reason,
    engine::io::Io,
    peer::digest::Digest,
    pins::{Event, Forecast, PinChange, PinStatus, Refresher},
    policy::{Authority, CrlSource, Mode, Policy},
    time::{Monotonic, UnixSeconds},
    x509::{ca::IssuerError, certificate::ClientCertificate},
};
use log::Level;
use std::{
    collections::BTreeMap,
    fmt::Write as _,
    time::{Duration, SystemTime},
};

/// Release and commit of this build, so that a running module can be identified by its log.
const BUILD: &str = env!("GENESYS_MTLS_BUILD");

/// Lines per reason and window.
const PER_WINDOW: u32 = 10;
const WINDOW: Duration = Duration::from_mins(1);

/// Pins that get a line each, of those that change at once. Two are usual.
const MAX_PIN_LINES: usize = 20;

/// Characters shown of a text from outside.
const MAX_TEXT: usize = 200;

/// What a denial's line says.
#[derive(Debug)]
pub struct Denial<'a> {
    pub reason: Reason,
    pub detail: &'a str,
    pub request_id: Option<String>,
    pub digest: Option<&'a Digest>,
    pub certificate: Option<&'a ClientCertificate>,
}

/// Lines written and suppressed per reason.
#[derive(Debug, Default)]
pub struct DenialLog(BTreeMap<Reason, Budget>);

#[derive(Debug, Default)]
struct Budget {
    began: Monotonic,
    written: u32,
    suppressed: u32,
}

impl DenialLog {
    /// Whether this reason may have a line now. If not, the next line says how many it had to do without.
    pub fn admits(&mut self, reason: Reason, now: Monotonic) -> bool {
        let budget = self.0.entry(reason).or_default();
        if budget.written == 0 || now > budget.began + WINDOW {
            *budget = Budget { began: now, written: 0, suppressed: budget.suppressed };
        }
        if budget.written >= PER_WINDOW {
            budget.suppressed = budget.suppressed.saturating_add(1);
            return false;
        }
        budget.written += 1;
        true
    }

    /// The line of a denial. The client wrote the certificate: its text is escaped and cut.
    pub fn denied(&mut self, io: &mut Io<'_>, policy: &Policy, denial: &Denial<'_>) {
        let Denial { reason, detail, request_id, digest, certificate } = denial;
        let mut text = format!(
            "{} policy={} mode={} reason={reason} request_id={:?} detail={detail:?} sha256={:?}",
            if policy.mode == Mode::Shadow { "would be denied" } else { "denied" },
            policy.name,
            mode(policy),
            request_id.as_deref().unwrap_or_default(),
            digest.map(Digest::to_string).unwrap_or_default()
        );
        if let Some(certificate) = certificate {
            let summary = certificate.summary();
            for (key, value) in
                [("subject", &summary.subject), ("issuer", &summary.issuer), ("serial", &summary.serial)]
            {
                let _ = write!(text, " {key}={:?}", cut(value));
            }
        }
        let suppressed = self.0.get_mut(reason).map_or(0, |budget| std::mem::take(&mut budget.suppressed));
        if suppressed > 0 {
            let _ = write!(text, " suppressed={suppressed}");
        }
        io.log(Level::Warn, text);
    }
}

fn mode(policy: &Policy) -> &'static str {
    if policy.mode == Mode::Shadow { "shadow" } else { "enforce" }
}

fn cut(text: &str) -> String {
    text.chars().take(MAX_TEXT).collect()
}

/// What a refresh did: a line per change of state, not per attempt.
pub fn refresh(io: &mut Io<'_>, policy: &Policy, region: &str, refresher: &Refresher, event: &Event) {
    let (policy, now) = (&policy.name, io.now().mono);
    match event {
        Event::Refreshed { named, kept, changed, recovered } if *changed || *recovered => io.log(
            Level::Info,
            format!(
                "refreshed policy={policy} region={region} pins={named} kept={kept} changed={changed} \
                 recovered={recovered}"
            ),
        ),
        Event::Failed { failure, failures, next_in, new: true } => io.log(
            Level::Warn,
            format!(
                "refresh failed policy={policy} region={region} reason={} detail={:?} failures={failures} \
                 next_in={:.1}s; {}",
                failure.code.code(),
                failure.detail,
                next_in.as_secs_f64(),
                if refresher.age(now).is_some() {
                    "the pins there are stay in use"
                } else {
                    "there are no pins of the API yet"
                }
            ),
        ),
        Event::Skipped { reasons, unreadable } => {
            let mut counts = BTreeMap::<&str, u32>::new();
            for reason in reasons {
                *counts.entry(reason.code()).or_default() += 1;
            }
            let level = if unreadable.is_empty() { Level::Info } else { Level::Warn };
            io.log(
                level,
                format!(
                    "not pinned from the API's answer policy={policy} region={region} entities={counts:?} \
                     unreadable={unreadable:?}"
                ),
            );
        }
        Event::Refreshed { .. } | Event::Failed { .. } => {}
    }
}

/// What became of pins.
pub fn pins(io: &mut Io<'_>, policy: &Policy, region: &str, changes: &[PinChange]) {
    for change in changes.iter().take(MAX_PIN_LINES) {
        pin(io, policy, region, change);
    }
    if let Some(more @ 1..) = changes.len().checked_sub(MAX_PIN_LINES) {
        let text = format!("{more} more pins changed policy={} region={region}", policy.name);
        io.log(Level::Warn, text);
    }
}

/// A client whose certificate the API stopped naming may be denied soon, or is from now on.
fn pin(io: &mut Io<'_>, policy: &Policy, region: &str, change: &PinChange) {
    let PinChange { pin, status, not_after } = change;
    let about = format!("policy={} region={region} sha256={pin} until={}", policy.name, date(*not_after));
    let (level, news) = match status {
        Some(PinStatus::Named) => (Level::Info, "pinned, the API names it".to_owned()),
        Some(PinStatus::Kept) => {
            let kept = humantime::format_duration(policy.refresh.keep_removed);
            (Level::Warn, format!("pin kept for {kept}, the API stopped naming it"))
        }
        Some(PinStatus::Stale) => {
            (Level::Warn, "pin out of use, no refresh has succeeded within max_staleness".to_owned())
        }
        None => (Level::Warn, "pin lapsed, the API stopped naming it".to_owned()),
    };
    io.log(level, format!("{news} {about}"));
}

/// Certificates that the API names and this policy denies, now or from their first day on.
pub fn denied_ahead(io: &mut Io<'_>, policy: &Policy, region: &str, news: &[Forecast]) {
    for forecast in news.iter().take(MAX_PIN_LINES) {
        let Forecast { authority, status, fingerprint, issuer, not_before, not_after, denied, detail } =
            forecast;
        io.log(
            Level::Warn,
            format!(
                "announced certificate will be denied policy={} region={region} authority={} status={} reason={} issuer={:?} \
                 sha256={} not_before={} not_after={} detail={detail:?}",
                policy.name,
                authority.code(),
                status.code(),
                denied.map_or("", Reason::code),
                cut(issuer),
                fingerprint.map(|of| of.to_string()).unwrap_or_default(),
                date(*not_before),
                date(*not_after),
            ),
        );
    }
}

/// A region whose pins cannot be fetched.
pub fn no_credentials(io: &mut Io<'_>, policy: &Policy, region: &str, variable: &str) {
    io.log(
        Level::Error,
        format!(
            "refresh off policy={} region={region} reason=no_credentials detail=\"environment variable {variable} is not \
             set or is empty: set it for Envoy itself, name it in vm_config.environment_variables.host_env_keys (Istio: \
             vmConfig.env with valueFrom: HOST), and restart Envoy\"",
            policy.name
        ),
    );
}

/// What fetching a CRL did.
pub fn crl(io: &mut Io<'_>, policy: &Policy, crl: &CrlFetcher, uncovered: Option<&str>, event: &CrlEvent) {
    let (CrlSource { region, authority, url, .. }, now) = (&crl.source, io.now());
    // A certificate chooses the URL where CRLs are discovered.
    let about = format!(
        "policy={} region={region} authority={} list={} url={:?}",
        policy.name,
        authority.code(),
        crl.id,
        cut(url)
    );
    match event {
        CrlEvent::Fetched { entries, changed, recovered } if *changed || *recovered => {
            let text = format!("fetched {about} entries={entries} changed={changed} recovered={recovered}");
            io.log(Level::Info, format!("revocation list {text}"));
            if let Some(point) = uncovered {
                let text = format!(
                    "revocation list covers no certificate known here {about} distribution_point={:?}: neither its URL nor a \
                     certificate seen so far names that",
                    cut(point)
                );
                io.log(Level::Warn, text);
            }
        }
        CrlEvent::Failed { failure, failures, next_in, new: true } => io.log(
            Level::Warn,
            format!(
                "fetching a revocation list failed {about} reason={} detail={:?} failures={failures} next_in={:.1}s; {}",
                failure.code.code(),
                failure.detail,
                next_in.as_secs_f64(),
                if crl.gauges(now).is_some() { "the list there is stays in use" } else { "there is no list yet" }
            ),
        ),
        CrlEvent::Fetched { .. } | CrlEvent::Failed { .. } => {}
    }
}

/// What this policy trusts, and until when. Returns how many CAs cannot be used.
pub fn announce(io: &mut Io<'_>, policy: &Policy) -> usize {
    let mut unusable = 0;
    let (name, regions, now) = (&policy.name, policy.regions.len(), io.now().wall);
    io.log(
        Level::Info,
        format!("configured build={BUILD} policy={name} mode={} regions={regions}", mode(policy)),
    );
    for region in &policy.regions {
        let (id, certificate_name, cas) = (&region.id, &region.certificate_name, region.genesys.len());
        let (pins, api) =
            region.digicert.as_ref().map_or((0, false), |digicert| (digicert.pins.len(), digicert.api));
        io.log(
            Level::Info,
            format!(
                "trusts policy={name} region={id} name={certificate_name} genesys_cas={cas} digicert_pins={pins} \
                 digicert_api={api}"
            ),
        );
        for ca in Authority::ALL.into_iter().flat_map(|authority| region.cas(authority)) {
            let (level, text) = if now > ca.not_after {
                (Level::Warn, "this CA has expired and verifies no certificate:")
            } else {
                (Level::Info, "trusts CA")
            };
            let until = date(ca.not_after);
            if let Some(doubt) = ca.doubt {
                let text =
                    format!("a later release will refuse this CA, since {doubt}: policy={name} region={id}");
                io.log(Level::Warn, format!("{text} subject={:?}", ca.name));
            }
            io.log(level, format!("{text} policy={name} region={id} subject={:?} until={until}", ca.name));
            let text = match ca.check_key(io.verifier) {
                Err(IssuerError::BadSignature) => {
                    "this CA's key verifies nothing, not even its own signature:"
                }
                Err(IssuerError::UnsupportedAlgorithm) => {
                    "this CA's own signature has an algorithm that is not verified; certificates so signed are denied:"
                }
                _ => continue,
            };
            unusable += 1;
            io.log(Level::Warn, format!("{text} policy={name} region={id} subject={:?}", ca.name));
        }
    }
    unusable
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
