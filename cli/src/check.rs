//! `genesys-mtls check`: would the filter load this configuration, and does it make sense today?

use crate::{
    doubts,
    output::{BAD, FAINT, GOOD, Report, STRONG, Usage, WARN, foreign, foreign_in_place, paint},
    source::{self, File, Found, Mark, Problem},
    times,
};
use genesys_mtls_filter::{
    policy::{Authority, Mode, Peer, Policy, RegionPolicy, RevocationMode},
    time::UnixSeconds,
    x509::ca::CaCertificate,
};
use serde_json::{Value, json};
use std::fmt::Write as _;

/// Check a plugin configuration, wherever it stands: every error with its line, and what to do about it
#[derive(Debug, clap::Args)]
#[command(after_help = "\
CONFIG is YAML or JSON: the plugin configuration itself, or a file that holds it - an Envoy bootstrap, an
ECDS or LDS resource, an Istio WasmPlugin or EnvoyFilter, several documents in one file, a config dump.

Examples:
  genesys-mtls check envoy.yaml
  kubectl get wasmplugin -A -o yaml | genesys-mtls check -
  genesys-mtls check --at 2027-01-01 policy.yaml      # what will have expired by then?

Exit codes: 0 valid (warnings allowed), 1 invalid, 2 unreadable or no configuration of this filter in it")]
pub struct Arguments {
    /// Files to check; - is standard input
    #[arg(required = true)]
    config: Vec<String>,
    /// Judge expiry at this time instead of now
    #[arg(long, value_name = "TIME", value_parser = times::parse)]
    at: Option<UnixSeconds>,
}

/// Problems of one configuration that are shown with their lines.
const MAX_SHOWN: usize = 50;

/// Characters of a line that are shown.
const MAX_WIDTH: usize = 200;

/// CAs are warned about this long before their end.
const SOON_DAYS: i64 = 30;

pub fn run(arguments: &Arguments) -> Result<Report, Usage> {
    let at = arguments.at.unwrap_or_else(times::now);
    let mut report = Report { text: String::new(), json: json!([]), good: true };
    let mut results = Vec::new();
    for path in &arguments.config {
        let file = match File::read(path)? {
            Ok(file) => file,
            Err((lines, error)) => {
                let problem = Problem { path: String::new(), message: error.message, mark: error.mark };
                report.text.push_str(&render(path, &lines, &problem));
                results.push(json!({"file": path, "valid": false, "errors": [to_json(&problem)]}));
                report.good = false;
                continue;
            }
        };
        let (mut found, mut others) = (Vec::new(), 0);
        for document in &file.documents {
            let (ours, not_ours) = source::find(document, &file.lines);
            found.extend(ours);
            others += not_ours;
        }
        if found.is_empty() {
            return Err(Usage::new(nothing_found(path, others)));
        }
        for one in &found {
            let (text, json, good) = check_one(&file, one, at);
            report.text.push_str(&text);
            report.good &= good;
            results.push(json);
        }
    }
    report.json = json!({"valid": report.good, "configurations": results});
    Ok(report)
}

fn nothing_found(path: &str, others: usize) -> String {
    let hint = if others > 0 {
        format!(
            "; {others} other wasm plugin(s) in it were passed over, since neither their name, root_id and module nor \
             their configuration look like this filter's"
        )
    } else {
        String::new()
    };
    format!("{path} holds no configuration of this filter{hint}")
}

fn check_one(file: &File, found: &Found, at: UnixSeconds) -> (String, Value, bool) {
    let name = if file.path == "-" { "standard input" } else { &file.path };
    let label =
        if found.place.is_empty() { name.to_owned() } else { format!("{name}: {}", foreign(&found.place)) };
    let mut text = String::new();
    match source::load(found) {
        Err(problems) => {
            for problem in problems.iter().take(MAX_SHOWN) {
                text.push_str(&render(&file.path, &file.lines, problem));
            }
            if let Some(more) = problems.len().checked_sub(MAX_SHOWN).filter(|more| *more > 0) {
                let _ = writeln!(text, "... and {more} more (--json shows all)\n");
            }
            let count = match problems.len() {
                1 => "1 error".to_owned(),
                n => format!("{n} errors"),
            };
            let _ =
                writeln!(text, "{} {}", paint(STRONG, &label), paint(BAD, format!("is invalid: {count}")));
            let errors: Vec<Value> = problems.iter().map(to_json).collect();
            (text, json!({"file": file.path, "place": found.place, "valid": false, "errors": errors}), false)
        }
        Ok(policy) => {
            let mut warnings = warnings(&policy, at);
            warnings.extend(doubts::of_identity(&policy, &file.lines));
            for (path, message) in &warnings {
                let mark =
                    found.configuration.as_ref().map(|node| node.locate(path, true)).unwrap_or_default();
                let problem = Problem { path: path.clone(), message: message.clone(), mark };
                text.push_str(&snippet(&file.path, &file.lines, &problem, &paint(WARN, "warning")));
            }
            let _ = writeln!(text, "{} {}", paint(STRONG, &label), paint(GOOD, "is valid"));
            text.push_str(&summary(&policy, at));
            let warnings: Vec<Value> =
                warnings.iter().map(|(path, message)| json!({"path": path, "message": message})).collect();
            let json = json!({
                "file": file.path, "place": found.place, "valid": true, "errors": [], "warnings": warnings,
                "policy": policy.name,
            });
            (text, json, true)
        }
    }
}

fn to_json(problem: &Problem) -> Value {
    let line = (problem.mark.line > 0).then_some(problem.mark.line);
    json!({
        "path": problem.path,
        "message": problem.message,
        "line": line,
        "column": line.map(|_| problem.mark.column + 1),
    })
}

fn render(path: &str, lines: &[String], problem: &Problem) -> String {
    snippet(path, lines, problem, &paint(BAD, "error"))
}

/// The problem with its line and a caret, where the place is known.
fn snippet(path: &str, lines: &[String], problem: &Problem, severity: &str) -> String {
    let what = match problem.path.as_str() {
        "" => foreign(&problem.message),
        path => format!("{}: {}", paint(STRONG, foreign(path)), foreign(&problem.message)),
    };
    let mut text = format!("{severity}: {what}\n");
    let Mark { line, column, width } = problem.mark;
    if let Some(source) = line.checked_sub(1).and_then(|index| lines.get(index)) {
        let number = line.to_string();
        let gutter = " ".repeat(number.len());
        // Of a long line the part around the place.
        let first = if source.len() > MAX_WIDTH { column.saturating_sub(MAX_WIDTH / 2) } else { 0 };
        let shown: String = source.chars().skip(first).take(MAX_WIDTH).collect();
        // Tabs stay tabs, so that the caret is under its word.
        let indent = shown.chars().take(column - first).map(|c| if c == '\t' { '\t' } else { ' ' });
        let indent: String = indent.collect();
        let room = shown.chars().count().saturating_sub(column - first).max(1);
        let carets = "^".repeat(width.clamp(1, room));
        let shown = foreign_in_place(&shown);
        let arrow = paint(FAINT, format!("{gutter}--> {path}:{line}:{}", column + 1));
        let _ = writeln!(
            text,
            "{arrow}\n{gutter} |\n{number} | {shown}\n{gutter} | {indent}{}",
            paint(BAD, carets)
        );
    }
    text.push('\n');
    text
}

/// What the filter accepts at any time, but an operator should know today.
fn warnings(policy: &Policy, at: UnixSeconds) -> Vec<(String, String)> {
    let mut warnings = Vec::new();
    for region in &policy.regions {
        let path = format!("regions.{}", region.id);
        for (field, authorities) in authorities(region) {
            for authority in authorities {
                let messages = doubts::of(authority).into_iter().chain(expiry_warning(authority, at));
                warnings.extend(messages.map(|message| (format!("{path}.{field}"), message)));
                if field.starts_with("genesys") && authority.is_digicert {
                    let message = "a public CA is trusted as if it were Genesys' own (danger_public_ca): whoever it \
                                   gives a certificate with this name gets in";
                    warnings.push((format!("{path}.{field}"), message.to_owned()));
                }
            }
        }
        if region.digicert.as_ref().is_some_and(|digicert| !digicert.api) {
            let message =
                "`api` is not among the pins: nobody learns of the next certificate until this file changes";
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
        return Some(format!("`{name}` expired on {until} ({away}): nothing it signed is let in"));
    }
    (times::days_until(authority.not_after, at) < SOON_DAYS)
        .then(|| format!("`{name}` expires on {until} ({away}): add its successor"))
}

fn summary(policy: &Policy, at: UnixSeconds) -> String {
    let mode = match policy.mode {
        Mode::Enforce => "enforce",
        Mode::Shadow => "shadow (records verdicts, refuses nobody)",
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
