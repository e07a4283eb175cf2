//! `genesys-mtls explain`: the decision on one certificate, row by row, taken by the filter's own code.

mod lists;
mod log_value;
mod meaning;
mod rows;
mod shown;
mod trust;

use crate::{
    output::{BAD, GOOD, Report, STRONG, Usage, foreign, paint},
    source, times,
};
use aws_lc_verifier::AwsLcVerifier;
use clap::ArgGroup;
use genesys_mtls_filter::{
    decision::{Outcome, Reason, Verdict, decide},
    policy::Policy,
    time::{Monotonic, UnixSeconds, Window},
    x509::{certificate::ClientCertificate, fingerprint::Fingerprint},
};
use lists::Lists;
use rows::{ROWS, Row, State};
use serde_json::{Value, json};
use shown::Presented;
use std::fmt::Write as _;

/// Explain a decision: each row of the decision table for one certificate, the verdict, and how long it holds
#[derive(Debug, clap::Args)]
#[command(
    group = ArgGroup::new("subject").required(true).args(["cert", "xfcc", "sha256", "access_log"]).multiple(true),
    after_help = "\
Without --api-pin or --pins the decision is that of a proxy whose certificates
API has not answered yet. With one of them it is that of a proxy whose last
refresh brought exactly these pins. Without --crl it is that of a proxy that has
fetched no CRL.

Examples:
  genesys-mtls explain --config envoy.yaml --cert client.pem
  genesys-mtls explain -c envoy.yaml --cert client.der --at 2027-01-01
  genesys-mtls pins --region us-east-1 > pins.txt
  genesys-mtls explain -c envoy.yaml --cert client.pem --pins pins.txt
  genesys-mtls explain -c envoy.yaml --cert client.pem --crl ca.crl
  genesys-mtls explain -c envoy.yaml --xfcc - --sha256 DIGEST < header.txt
  genesys-mtls explain -c envoy.yaml --access-log 'deny;not_pinned'
  kubectl logs gateway | genesys-mtls explain -c envoy.yaml --access-log -

JSON: {policy, time, verdict, allowed, reason, status, detail, advice,
window: {from, until}, worth_asking_the_api, rows: [{row, check, result,
evidence}], certificate, revocation_lists}; of an access log {verdict, allowed,
reason, row, check, advice, certificate: {sha256, pinned_by}}

Exit codes: 0 allowed, 1 denied, 2 usage"
)]
pub struct Arguments {
    /// File that holds the plugin configuration (as for `check`)
    #[arg(long, short, value_name = "FILE")]
    config: String,
    /// Which policy, where the file holds several
    #[arg(long, value_name = "NAME")]
    policy: Option<String>,
    /// The client certificate, PEM or DER; of several blocks the first, as in a TLS handshake
    #[arg(long, value_name = "FILE", conflicts_with_all = ["xfcc", "access_log"])]
    cert: Option<String>,
    /// The value of an x-forwarded-client-cert header, text or JSON form; - reads it from standard input
    #[arg(long, value_name = "VALUE", conflicts_with = "access_log")]
    xfcc: Option<String>,
    /// SHA-256 of the certificate on the TLS connection. With --cert or --xfcc: what they have to be bound to. Alone:
    /// only what a fingerprint can tell
    #[arg(long, value_name = "HEX", value_parser = fingerprint)]
    sha256: Option<Fingerprint>,
    /// A verdict (`deny;expired`), the body of the filter's answer, or a line of a JSON access log with the fields `verdict` and
    /// `certificate`, as in the shipped files, behind what kubectl, docker or a container runtime put in front; - reads it
    /// from standard input
    #[arg(long, value_name = "TEXT", conflicts_with = "sha256")]
    access_log: Option<String>,
    /// The access log's field with the verdict; `a.b` is the field b in the object a
    #[arg(long, value_name = "NAME", default_value = "verdict", requires = "access_log")]
    verdict_field: String,
    /// Decide as of this time instead of now
    #[arg(long, value_name = "TIME", value_parser = times::parse)]
    at: Option<UnixSeconds>,
    /// A pin as if the certificates API had named it; may be repeated
    #[arg(long, value_name = "sha256:HEX", value_parser = fingerprint)]
    api_pin: Vec<Fingerprint>,
    /// Pins as if the API had named them: what `genesys-mtls pins` printed (text, yaml or json)
    #[arg(long, value_name = "FILE")]
    pins: Option<String>,
    /// A revocation list (DER or PEM) as if the proxy had fetched it; may be repeated
    #[arg(long, value_name = "FILE", conflicts_with = "access_log")]
    crl: Vec<String>,
}

fn fingerprint(text: &str) -> Result<Fingerprint, String> {
    let digits = text.strip_prefix("sha256:").unwrap_or(text);
    digits.parse().map_err(|error: genesys_mtls_filter::x509::fingerprint::NotAFingerprint| error.to_string())
}

pub fn run(arguments: &Arguments) -> Result<Report, Usage> {
    let policy = source::select(&arguments.config, arguments.policy.as_deref())?;
    let at = arguments.at.unwrap_or_else(times::now);
    let trust = trust::gather(&policy, arguments.pins.as_deref(), &arguments.api_pin)?;
    if let Some(value) = &arguments.access_log {
        return log_value::explain(value, &arguments.verdict_field, &policy, &trust);
    }
    let presented = if let Some(path) = &arguments.cert {
        shown::from_file(path, arguments.sha256)?
    } else if let Some(value) = &arguments.xfcc {
        shown::from_xfcc(value, arguments.sha256, &policy.peer)?
    } else if let Some(digest) = arguments.sha256 {
        return Ok(log_value::fingerprint_alone(digest, &policy, &trust));
    } else {
        return Err(Usage::new("give one of --cert, --xfcc, --sha256 and --access-log"));
    };
    let lists = Lists::read(&arguments.crl, &policy, at)?;
    Ok(explain(&presented, &policy, &trust, &lists, at))
}

/// What came out, and each row on the way.
fn explain(
    presented: &Presented,
    policy: &Policy,
    trust: &trust::Assumed,
    lists: &Lists,
    at: UnixSeconds,
) -> Report {
    let certificate =
        presented.der.as_ref().map_err(|reason| *reason).map(|der| ClientCertificate::parse(der));
    let (verdict, parsed) = match certificate {
        Err(reason) => (refusal(reason.into(), presented.note.clone()), None),
        Ok(Err(error)) => (refusal(Reason::from(&error), error.to_string()), None),
        Ok(Ok(certificate)) => (
            decide(&certificate, policy, &trust.trust, lists, &AwsLcVerifier, at, Monotonic::ZERO),
            Some(certificate),
        ),
    };
    let region = parsed.as_ref().and_then(|certificate| rows::region_of(certificate, policy));
    let told = parsed.as_ref().zip(region).map(|(certificate, region)| lists.tell(region, certificate));
    let told = told.unwrap_or_default();
    let rows = rows::tell(presented, parsed.as_ref(), policy, trust, &told, at, &verdict);
    let allowed = matches!(verdict.outcome, Outcome::Allow { .. });
    let text = render(&rows, parsed.as_ref(), policy, trust, at, &verdict);
    let mut json = to_json(&rows, parsed.as_ref(), policy, at, &verdict);
    if !told.is_empty() {
        json["revocation_lists"] = told.iter().map(lists::Told::json).collect();
    }
    Report { text, json, good: allowed }
}

/// Refused before there was a certificate to decide on.
fn refusal(reason: Reason, detail: String) -> Verdict {
    let window = Window { from: UnixSeconds::MIN, until: UnixSeconds::MAX };
    Verdict {
        outcome: Outcome::Deny(reason),
        window,
        needs_pin: None,
        missing_crl: None,
        unchecked: false,
        detail,
    }
}

/// The value that the filter writes for this outcome, as access logs and the guard see it.
fn verdict_value(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Allow { region, authority } => format!("allow;{region};{}", authority.code()),
        Outcome::Deny(reason) => format!("deny;{reason}"),
    }
}

fn render(
    rows: &[Row],
    certificate: Option<&ClientCertificate>,
    policy: &Policy,
    trust: &trust::Assumed,
    at: UnixSeconds,
    verdict: &Verdict,
) -> String {
    let mut text = String::new();
    if let Some(certificate) = certificate {
        let _ = writeln!(text, "certificate  {}", foreign(&certificate.summary().subject));
        let _ = writeln!(text, "  issuer     {}", foreign(&certificate.summary().issuer));
        let _ = writeln!(text, "  serial     {}", certificate.summary().serial);
        let _ = writeln!(text, "  sha256     {}", certificate.fingerprint);
    }
    let _ = writeln!(text, "policy       {}, {}", policy.name, trust.words());
    let _ = writeln!(text, "time         {}\n", times::rfc3339(at));
    for (row, (number, title)) in rows.iter().zip(ROWS) {
        let state = match row.state {
            State::Passed => paint(GOOD, "ok  "),
            State::Failed => paint(BAD, "DENY"),
            State::NotReached => "-   ".to_owned(),
        };
        let _ = writeln!(text, "{number:>2}  {state}  {title}");
        for line in &row.evidence {
            let _ = writeln!(text, "            {}", foreign(line));
        }
    }
    let value = verdict_value(&verdict.outcome);
    match verdict.outcome {
        Outcome::Allow { .. } => {
            let _ = writeln!(text, "\nverdict      {}", paint(GOOD, &value));
        }
        Outcome::Deny(reason) => {
            let _ = writeln!(text, "\nverdict      {} (HTTP {})", paint(BAD, &value), reason.status());
            if !verdict.detail.is_empty() {
                let _ = writeln!(text, "  because    {}", foreign(&verdict.detail));
            }
            let _ = writeln!(text, "  to do      {}", meaning::advice(reason.code()));
        }
    }
    let _ = writeln!(text, "  holds      {}", paint(STRONG, window(verdict.window, at)));
    text
}

fn window(window: Window, at: UnixSeconds) -> String {
    let until = match window.until {
        UnixSeconds::MAX => "for as long as policy and trust stay".to_owned(),
        until => format!("until {} ({})", times::rfc3339(until), times::away(until, at)),
    };
    match window.from {
        UnixSeconds::MIN => until,
        from => format!("since {}, {until}", times::rfc3339(from)),
    }
}

fn to_json(
    rows: &[Row],
    certificate: Option<&ClientCertificate>,
    policy: &Policy,
    at: UnixSeconds,
    verdict: &Verdict,
) -> Value {
    let bound = |seconds: UnixSeconds| match seconds {
        UnixSeconds::MIN | UnixSeconds::MAX => Value::Null,
        seconds => times::rfc3339(seconds).into(),
    };
    let (reason, status) = match verdict.outcome {
        Outcome::Allow { .. } => (None, 200),
        Outcome::Deny(reason) => (Some(reason.code()), reason.status()),
    };
    let rows: Vec<Value> = rows
        .iter()
        .zip(ROWS)
        .map(|(row, (number, title))| {
            json!({"row": number, "check": title, "result": row.state.code(), "evidence": row.evidence})
        })
        .collect();
    json!({
        "policy": policy.name,
        "time": times::rfc3339(at),
        "verdict": verdict_value(&verdict.outcome),
        "allowed": reason.is_none(),
        "reason": reason,
        "status": status,
        "detail": verdict.detail,
        "advice": reason.map(meaning::advice),
        "window": {"from": bound(verdict.window.from), "until": bound(verdict.window.until)},
        "worth_asking_the_api": verdict.needs_pin.is_some(),
        "rows": rows,
        "certificate": certificate.map(|certificate| json!({
            "subject": certificate.summary().subject,
            "issuer": certificate.summary().issuer,
            "serial": certificate.summary().serial,
            "sha256": certificate.fingerprint.to_string(),
            "dns_names": certificate.dns_names,
            "common_names": certificate.common_names,
            "not_before": times::rfc3339(certificate.not_before),
            "not_after": times::rfc3339(certificate.not_after),
        })),
    })
}
