//! What an access log holds: a verdict, a fingerprint, or a line with both.

use super::{
    meaning,
    rows::{ROWS, row_of},
    trust::Assumed,
};
use crate::output::{self, BAD, GOOD, Report, STRONG, Usage, paint};
use genesys_mtls_filter::{decision::Reason, policy::Policy, x509::fingerprint::Fingerprint};
use serde_json::{Value, json};
use std::fmt::Write as _;

/// Explains a verdict, and what is known of the certificate.
pub fn explain(value: &str, field: &str, policy: &Policy, trust: &Assumed) -> Result<Report, Usage> {
    let text = if value == "-" { output::read_text("-")? } else { value.to_owned() };
    let logged = Logged::read(text.trim(), field).or_else(|| {
        let line = text.lines().rfind(|line| !line.trim().is_empty())?;
        Logged::read(without_prefix(line.trim()), field)
    });
    match logged {
        Some(Logged { verdict: None, digest: Some(digest) }) => Ok(fingerprint_alone(digest, policy, trust)),
        Some(Logged { verdict: Some(verdict), digest }) => {
            let mut report = told(&verdict);
            if let Some(digest) = digest {
                let pinned = fingerprint_alone(digest, policy, trust);
                report.text.push_str(&pinned.text);
                report.json["certificate"] = pinned.json;
            }
            Ok(report)
        }
        _ => Err(Usage::new(
            "there is no verdict (`allow;...` or `deny;...`) and no SHA-256 in this. Give one of them alone, the body of the \
             answer, or a line of JSON with the fields `verdict` (--verdict-field, if it has another name) and `certificate`, \
             as the shipped files log it: of any other field a caller may have written a part. A request whose `verdict` is \
             empty was never seen by the filter, and the guard refuses it",
        )),
    }
}

/// What Envoy and the filter wrote into a line, nothing of what a caller did.
struct Logged {
    verdict: Option<String>,
    digest: Option<Fingerprint>,
}

impl Logged {
    /// Nothing if there is neither.
    fn read(text: &str, field: &str) -> Option<Self> {
        let logged = match serde_json::from_str::<Value>(text) {
            Ok(object @ Value::Object(_)) => {
                if let Some(line) = docker_line(&object) {
                    return Self::read(line.trim(), field);
                }
                let verdict = verdict(member(&object, field)).or_else(|| denied(&object));
                // Without a verdict it was denied, even if it is pinned.
                let digest = verdict.as_ref().and_then(|_| member(&object, "certificate").parse().ok());
                Self { verdict, digest }
            }
            _ => Self { verdict: verdict(text), digest: text.parse().ok() },
        };
        (logged.verdict.is_some() || logged.digest.is_some()).then_some(logged)
    }
}

/// A member by its name, or by its path: `genesys.verdict`.
fn member<'v>(object: &'v Value, name: &str) -> &'v str {
    let nested = || name.split('.').try_fold(object, |value, name| value.get(name));
    object.get(name).or_else(nested).and_then(Value::as_str).unwrap_or_default()
}

/// The verdict that the body of the filter's answer tells: always a denial.
fn denied(body: &Value) -> Option<String> {
    let is_body = member(body, "type") == "about:blank" && body.get("status").is_some_and(Value::is_u64);
    let code = Reason::ALL.into_iter().map(Reason::code).find(|code| *code == member(body, "code"));
    code.filter(|_| is_body).map(|code| format!("deny;{code}"))
}

/// The line in an entry of docker's `json-file`: nothing else has just these members.
fn docker_line(object: &Value) -> Option<&str> {
    let members = object.as_object()?;
    let is_entry = members.keys().all(|key| matches!(key.as_str(), "log" | "stream" | "time" | "attrs"))
        && matches!(member(object, "stream"), "stdout" | "stderr");
    members.get("log").filter(|_| is_entry)?.as_str()
}

/// A line without what log collectors write in front of it: `[pod/name/container]`, a time, `stdout F`, `name-1  |`. After any other
/// word the rest is left alone: it may be a caller's.
fn without_prefix(line: &str) -> &str {
    let mut rest = line;
    loop {
        let (word, after) = rest.split_once(' ').unwrap_or((rest, ""));
        let after = after.trim_start();
        let is_name = |text: &str| {
            !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_./".contains(&b))
        };
        let is_time = word.starts_with(|c: char| c.is_ascii_digit())
            && word.contains(':')
            && word.bytes().all(|b| b.is_ascii_digit() || b"-+:.TZ".contains(&b));
        let is_pod = word.strip_prefix('[').and_then(|word| word.strip_suffix(']')).is_some_and(is_name);
        let is_compose = is_name(word) && after.starts_with("| ");
        if !(is_time || is_pod || is_compose || matches!(word, "stdout" | "stderr" | "F" | "|")) {
            return rest;
        }
        rest = after;
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
