//! `genesys-mtls check`: would the filter load this configuration, does it make sense today, and does what is around it fit?

mod across;
mod meaning;
mod show;

use crate::{
    doubts,
    output::{BAD, GOOD, Report, STRONG, Usage, foreign, paint},
    source::{self, Dialect, File, Found, Kind, Node, Problem},
    times,
};
use genesys_mtls_filter::{policy::Policy, time::UnixSeconds};
use serde_json::{Value, json};
use show::to_json;
use std::fmt::Write as _;

/// Check a plugin configuration, wherever it is: every error with its line, and what to do about it
#[derive(Debug, clap::Args)]
#[command(after_help = "\
CONFIG is YAML or JSON: a file, a directory, a URL, or - for standard input. It
is the plugin configuration itself, or anything that holds it: an Envoy
bootstrap, xDS files, a config dump, WasmPlugin, TrafficExtension, EnvoyFilter,
EnvoyExtensionPolicy, ConfigMap, Secret, List, Helm values, what `helm template`
prints. It is read as the platform's own loader reads it.

What is around the configuration is held against it, in all files together:
clusters with their hosts, SNI and SAN; the key that guards and access logs
read; the variables with the OAuth client; hosts of gateways and routes.

Examples:
  genesys-mtls check envoy.yaml
  genesys-mtls check xds/ bootstrap.yaml
  helm template genesys envoy/chart -f values.yaml | genesys-mtls check -
  kubectl get wasmplugin -A -o yaml | genesys-mtls check -
  # What will have expired by then?
  genesys-mtls check --at 2027-01-01 policy.yaml

JSON: {valid, configurations: [{file, place, valid, policy, errors, warnings}],
across, without: [file]}. An error or warning is {path, message, line, column};
one of `across` is between two places, and has {file, severity} as well.

Exit codes: 0 valid (warnings allowed), 1 invalid, 2 unreadable, or nothing of
this filter")]
pub struct Arguments {
    /// Files, directories or URLs to check; - is standard input
    #[arg(required = true)]
    config: Vec<String>,
    /// Judge expiry at this time instead of now
    #[arg(long, value_name = "TIME", value_parser = times::parse)]
    at: Option<UnixSeconds>,
}

/// Problems that are shown with their lines, of one configuration or between several.
const MAX_SHOWN: usize = 50;

pub fn run(arguments: &Arguments) -> Result<Report, Usage> {
    let at = arguments.at.unwrap_or_else(times::now);
    let mut files = Vec::new();
    for path in &arguments.config {
        files.extend(File::read_all(path)?);
    }
    let mut report = Report { text: String::new(), json: json!([]), good: true };
    let (mut results, mut without, mut policies, mut others) = (Vec::new(), Vec::new(), Vec::new(), 0);
    for file in &files {
        let documents = match &file.documents {
            Ok(documents) => documents,
            Err(error) => {
                let problem =
                    Problem { path: String::new(), message: error.message.clone(), mark: error.mark };
                report.text.push_str(&show::error(file, &problem));
                results.push(json!({"file": file.path, "valid": false, "errors": [to_json(&problem)]}));
                report.good = false;
                continue;
            }
        };
        let mut found = Vec::new();
        for document in documents {
            let (ours, not_ours) = source::find(document, &file.lines);
            found.extend(ours);
            others += not_ours;
        }
        if found.is_empty() {
            without.push(file.path.as_str());
        }
        for one in found {
            let (text, json, policy) = check_one(file, &one, at);
            report.text.push_str(&text);
            report.good &= policy.is_some();
            results.push(json);
            policies.extend(policy.map(|policy| across::Use { file, found: one, policy }));
        }
    }
    if results.is_empty() {
        return Err(Usage::new(nothing_found(&without.join(", "), others)));
    }
    for file in &without {
        let _ = writeln!(report.text, "{} holds no configuration of this filter", foreign(file));
    }
    let across = across::check(&files, &policies);
    for finding in across.iter().take(MAX_SHOWN) {
        let show = if finding.is_error { show::error } else { show::warning };
        report.text.push_str(&show(finding.file, &finding.problem));
    }
    report.text.push_str(&more(across.len()));
    report.good &= !across.iter().any(|finding| finding.is_error);
    report.json = json!({
        "valid": report.good,
        "configurations": results,
        "across": across.iter().map(across::Finding::to_json).collect::<Vec<_>>(),
        "without": without,
    });
    Ok(report)
}

fn more(problems: usize) -> String {
    match problems.saturating_sub(MAX_SHOWN) {
        0 => String::new(),
        more => format!("... and {more} more (--json shows all)\n\n"),
    }
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

/// The text, the JSON form, and the policy if there is nothing wrong with it.
fn check_one(file: &File, found: &Found, at: UnixSeconds) -> (String, Value, Option<Policy>) {
    let name = if file.path == "-" { "standard input".to_owned() } else { foreign(&file.path) };
    let label = if found.place.is_empty() { name } else { format!("{name}: {}", foreign(&found.place)) };
    let mut text = String::new();
    let doubled = found.configuration.as_ref().map(source::doubled).unwrap_or_default();
    let policy = match source::load(found) {
        Ok(policy) if doubled.is_empty() => policy,
        loaded => {
            let mut problems = doubled;
            problems.extend(loaded.err().unwrap_or_default());
            problems.sort_by_key(|problem| (problem.mark.line, problem.mark.column));
            for problem in problems.iter().take(MAX_SHOWN) {
                text.push_str(&show::error(file, problem));
            }
            text.push_str(&more(problems.len()));
            let count = match problems.len() {
                1 => "1 error".to_owned(),
                n => format!("{n} errors"),
            };
            let _ =
                writeln!(text, "{} {}", paint(STRONG, &label), paint(BAD, format!("is invalid: {count}")));
            let errors: Vec<Value> = problems.iter().map(to_json).collect();
            let json = json!({"file": file.path, "place": found.place, "valid": false, "errors": errors});
            return (text, json, None);
        }
    };
    let mark =
        |path: &str| found.configuration.as_ref().map(|node| node.locate(path, true)).unwrap_or_default();
    let warnings =
        meaning::warnings(&policy, at).into_iter().chain(doubts::of_identity(&policy, &file.lines));
    let mut warnings: Vec<Problem> =
        warnings.map(|(path, message)| Problem { mark: mark(&path), path, message }).collect();
    if file.is_undecided && found.place.is_empty() {
        warnings.extend(read_otherwise(file, found));
    }
    for warning in warnings.iter().take(MAX_SHOWN) {
        text.push_str(&show::warning(file, warning));
    }
    text.push_str(&more(warnings.len()));
    let _ = writeln!(text, "{} {}", paint(STRONG, &label), paint(GOOD, "is valid"));
    text.push_str(&meaning::summary(&policy, at));
    let json = json!({
        "file": file.path, "place": found.place, "valid": true, "errors": [],
        "warnings": warnings.iter().map(to_json).collect::<Vec<_>>(), "policy": policy.name,
    });
    (text, json, Some(policy))
}

/// A configuration by itself may come to Envoy or to Kubernetes: what do they read differently?
fn read_otherwise(file: &File, found: &Found) -> Vec<Problem> {
    let text = file.lines.join("\n");
    let documents = source::parse_yaml(&text, Dialect::Kubernetes).unwrap_or_default();
    let Ok(envoy) = &found.configuration else { return Vec::new() };
    let kubernetes = documents.iter().find(|document| document.mark == envoy.mark);
    let mut problems = Vec::new();
    if let Some(kubernetes) = kubernetes {
        compare(envoy, kubernetes, "", &mut problems);
    }
    problems
}

fn compare(envoy: &Node, kubernetes: &Node, path: &str, problems: &mut Vec<Problem>) {
    match (&envoy.kind, &kubernetes.kind) {
        (Kind::List(one), Kind::List(other)) => {
            for (index, (one, other)) in one.iter().zip(other).enumerate() {
                compare(one, other, &format!("{path}[{index}]"), problems);
            }
        }
        (Kind::Map(one), Kind::Map(other)) => {
            for (name, entry) in one {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                match other.get(name) {
                    Some(other) => compare(&entry.node, &other.node, &path, problems),
                    None => problems.push(Problem {
                        path,
                        message: "is another key to Kubernetes: write it in quotes".to_owned(),
                        mark: entry.key,
                    }),
                }
            }
        }
        _ if envoy.to_value() == kubernetes.to_value() => {}
        _ => {
            let (one, other) = (envoy.to_value(), kubernetes.to_value());
            let message = format!("is {one} to Envoy, and {other} to Kubernetes: write it in quotes");
            problems.push(Problem { path: path.to_owned(), message, mark: envoy.mark });
        }
    }
}
