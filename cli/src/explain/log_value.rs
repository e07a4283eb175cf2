//! What an access log holds: a verdict, a fingerprint, or a line with both.

use super::{
    meaning,
    rows::{ROWS, row_of},
    trust::Assumed,
};
use crate::output::{self, BAD, GOOD, Report, STRONG, Usage, paint};
use genesys_mtls_filter::{policy::Policy, x509::fingerprint::Fingerprint};
use serde_json::{Value, json};
use std::fmt::Write as _;

/// Explains a verdict, and what is known of the certificate beside it.
pub fn explain(value: &str, policy: &Policy, trust: &Assumed) -> Result<Report, Usage> {
    let text = if value == "-" { output::read_text("-")? } else { value.to_owned() };
    let line = text.lines().rfind(|line| !line.trim().is_empty()).unwrap_or_default();
    match Logged::read(line.trim()) {
        Logged { verdict: None, digest: Some(digest) } => Ok(fingerprint_alone(digest, policy, trust)),
        Logged { verdict: Some(verdict), digest } => {
            let mut report = told(&verdict);
            if let Some(digest) = digest {
                let pinned = fingerprint_alone(digest, policy, trust);
                report.text.push_str(&pinned.text);
                report.json["certificate"] = pinned.json;
            }
            Ok(report)
        }
        Logged { verdict: None, digest: None } => Err(Usage::new(
            "there is no verdict (`allow;...` or `deny;...`) and no SHA-256 in this. Give one of them alone, or a line of JSON \
             with the fields `verdict` and `certificate`, as the shipped files log it: of any other field a caller may have \
             written a part. A request whose `verdict` is empty was never seen by the filter, and the guard refuses it",
        )),
    }
}

/// What Envoy and the filter wrote into a line, nothing of what a caller did.
struct Logged {
    verdict: Option<String>,
    digest: Option<Fingerprint>,
}

impl Logged {
    fn read(line: &str) -> Self {
        match serde_json::from_str::<Value>(line) {
            Ok(Value::Object(fields)) => {
                let text = |field| fields.get(field).and_then(Value::as_str).unwrap_or_default();
                let verdict = verdict(text("verdict"));
                // Without a verdict it was refused, whatever is pinned.
                let digest = verdict.as_ref().and_then(|_| text("certificate").parse().ok());
                Self { verdict, digest }
            }
            _ => Self { verdict: verdict(line), digest: line.parse().ok() },
        }
    }
}

fn verdict(text: &str) -> Option<String> {
    let is_word = |c: char| c.is_ascii_alphanumeric() || matches!(c, ';' | '_' | '-');
    let is_verdict = (text.starts_with("allow;") || text.starts_with("deny;")) && text.chars().all(is_word);
    is_verdict.then(|| text.to_owned())
}

fn told(verdict: &str) -> Report {
    let mut parts = verdict.split(';');
    let allowed = parts.next() == Some("allow");
    let mut text = String::new();
    if allowed {
        let (region, authority) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        let _ = writeln!(text, "verdict      {}", paint(GOOD, verdict));
        let _ = writeln!(text, "  means      Genesys Cloud's client of {region}, vouched for by {authority}");
        let json = json!({"verdict": verdict, "allowed": true, "region": region, "authority": authority});
        return Report { text, json, good: true };
    }
    let code = parts.next().unwrap_or_default();
    let row = row_of(code).and_then(|row| ROWS.get(row));
    let _ = writeln!(text, "verdict      {}", paint(BAD, verdict));
    if let Some((number, title)) = row {
        let _ = writeln!(text, "  failed     row {number}: {title}");
    }
    let _ = writeln!(text, "  to do      {}", meaning::advice(code));
    let json = json!({
        "verdict": verdict, "allowed": false, "reason": code, "row": row.map(|row| row.0),
        "check": row.map(|row| row.1), "advice": meaning::advice(code),
    });
    Report { text, json, good: false }
}

/// All that a fingerprint tells: whether it is pinned. The rest of the table takes the certificate.
pub fn fingerprint_alone(digest: Fingerprint, policy: &Policy, trust: &Assumed) -> Report {
    let mut text = format!("certificate  sha256 {}\n", paint(STRONG, digest));
    let mut pinned_by = Vec::new();
    for region in &policy.regions {
        let Some(digicert) = &region.digicert else { continue };
        if digicert.pins.contains(&digest) {
            pinned_by.push(format!("the configuration, for {}", region.id));
        }
        if digicert.api && trust.pins.as_ref().is_some_and(|pins| pins.contains(&digest)) {
            pinned_by.push(format!("the API, for {}", region.id));
        }
    }
    if pinned_by.is_empty() {
        let _ = writeln!(text, "  pinned     by nothing ({})", trust.words());
    }
    for one in &pinned_by {
        let _ = writeln!(text, "  pinned     by {one}");
    }
    let _ = writeln!(text, "  the other rows need the certificate itself: --cert or --xfcc");
    let json = json!({"sha256": digest.to_string(), "pinned_by": pinned_by});
    Report { text, json, good: !pinned_by.is_empty() }
}
