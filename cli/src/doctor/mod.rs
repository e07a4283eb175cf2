//! `genesys-mtls doctor`: does an Envoy use the filter in a way that keeps what it promises? What is not known to be harmless is a
//! finding.

mod accept;
mod callouts;
mod chains;
mod dump;
mod examine;
mod finding;
mod guard;
mod http;
mod input;
mod live;
mod plugin;
mod rbac;
mod routes;
mod rules;
mod services;
mod tls;
mod types;
mod vm;
mod ways;

use crate::output::{BAD, GOOD, Report, STRONG, Usage, foreign, paint};
use accept::Accepted;
use chains::Model;
use finding::Finding;
use input::Proxy;
use rbac::Judge;
use rules::{Rule, Severity};
use serde_json::{Value, json};
use std::{collections::BTreeMap, fmt::Write as _};

/// Examine an Envoy's configuration: is there a way to the service around filter and guard?
///
/// Everything that leads to a cluster is examined. What is not known to be harmless, or not in what was given, is a finding:
/// `clean` means that the filter was found and all was examined.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
It reads a running Envoy (--admin: statistics and clusters as well), the answer
of /config_dump?include_eds, the output of `istioctl proxy-config all -o json`
and `egctl config envoy-proxy all`, Envoy's own files and xDS directories, as
JSON or YAML.

Examples:
  genesys-mtls doctor --admin localhost:9901
  genesys-mtls doctor envoy.yaml
  istioctl proxy-config all deploy/gateway -o json | genesys-mtls doctor -
  genesys-mtls doctor dump.json --accept 'not_examined@*filter my.lua'
  genesys-mtls doctor dump.json --json | jq '.findings[].rule'
  genesys-mtls doctor --rules

--json: {clean, envoy, errors, warnings, notes,
  findings: [{severity, rule, path, why, fix}], accepted: [the same]}

Exit codes: 0 clean (notes allowed), 1 errors or warnings, 2 usage, or there is no such filter")]
pub struct Arguments {
    /// Dumps, files, directories with xDS files, an http:// URL, or - for standard input
    #[arg(value_name = "FILE|DIR|URL", required_unless_present_any = ["rules", "admin"])]
    sources: Vec<String>,
    /// A running Envoy, by the address of its admin interface
    #[arg(long, value_name = "URL", conflicts_with = "sources")]
    admin: Option<String>,
    /// Accept a finding that you know: rule and path as shown, * for any text
    #[arg(long, value_name = "RULE@PATH")]
    accept: Vec<String>,
    /// Accept the findings of a file, one RULE@PATH a line, # for remarks
    #[arg(long, value_name = "FILE")]
    accept_file: Option<String>,
    /// List everything it can find, and examine nothing
    #[arg(long, conflicts_with_all = ["sources", "admin"])]
    rules: bool,
}

/// How many findings of one rule are shown as text.
const SHOWN: usize = 10;

pub fn run(arguments: &Arguments) -> Result<Report, Usage> {
    if arguments.rules {
        return Ok(catalogue());
    }
    let accepted = Accepted::read(&arguments.accept, arguments.accept_file.as_deref())?;
    let proxies = match &arguments.admin {
        Some(url) => input::read_admin(url)?,
        None => input::read(&arguments.sources)?,
    };
    let (mut found, mut protected, mut chains, mut version) = (Vec::new(), Vec::new(), 0, String::new());
    for proxy in &proxies {
        let model = Model::of(&proxy.dump);
        chains += model.chains.len();
        let (own, findings) = examine(proxy, &model);
        if own.is_empty() && findings.is_empty() {
            continue;
        }
        version = proxy.dump.version_text();
        let label =
            |path: String| if proxy.name.is_empty() { path } else { format!("{}: {path}", proxy.name) };
        protected.extend(own.into_iter().map(label));
        found.extend(
            findings.into_iter().map(|finding| Finding { path: label(finding.path.clone()), ..finding }),
        );
    }
    if protected.is_empty() && found.is_empty() {
        let sources = arguments.admin.clone().unwrap_or_else(|| arguments.sources.join(", "));
        return Err(Usage::new(format!(
            "{sources}: none of {chains} HTTP filter chain(s) has this filter. (It is recognised by `genesys_mtls` in its name, \
             root_id or module, or by its configuration.)"
        )));
    }
    found.sort_by(|a, b| (a.severity(), a.rule.code(), &a.path).cmp(&(b.severity(), b.rule.code(), &b.path)));
    found.dedup();
    let (accepted, found): (Vec<_>, Vec<_>) = found.into_iter().partition(|finding| accepted.covers(finding));
    Ok(report(&found, &accepted, &protected, &version))
}

/// The chains with the filter, and what was found. Nothing is said where there is no such filter.
fn examine(proxy: &Proxy, model: &Model) -> (Vec<String>, Vec<Finding>) {
    let (dump, judge) = (&proxy.dump, Judge::default());
    let mut findings = live::not_fetched(model);
    let protected: Vec<_> = model.chains.iter().filter(|chain| !chain.plugins.is_empty()).collect();
    if protected.is_empty() {
        return (Vec::new(), findings);
    }
    for chain in &protected {
        // Manager and connection are the same for its upgrades.
        if chain.upgrade.is_none() {
            findings.extend(http::check(chain, dump));
            findings.extend(tls::check(chain, dump));
        }
        for plugin in &chain.plugins {
            findings.extend(guard::check(chain, plugin, &judge));
            findings.extend(plugin.check());
            findings.extend(vm::check(plugin));
            findings.extend(callouts::check(plugin, dump));
        }
    }
    findings.extend(examine::check(model, dump));
    findings.extend(ways::check(model, dump, &judge));
    findings.extend(vm::check_shared(&model.chains, dump));
    findings.extend(chains::check_names(&model.chains));
    findings.extend(proxy.live.iter().flat_map(|live| live::check(model, live)));
    let missing = dump.missing();
    if !missing.is_empty() {
        findings.push(Finding::new(
            Rule::PartialInput,
            "the dump",
            format!("it has no {}: that was not examined", missing.join(", ")),
            "take it whole: no resource, mask or name_regex, and with include_eds (--admin does all of that)",
        ));
    }
    let names = protected.iter().map(|chain| {
        let policies: Vec<&str> = chain.plugins.iter().map(plugin::Plugin::name).collect();
        format!("{} with policy {}", chain.path, policies.join(", "))
    });
    (names.collect(), findings)
}

fn catalogue() -> Report {
    let mut text = String::new();
    for rule in Rule::ALL {
        let severity = rule.severity();
        // Padded before it is painted: escapes have no width.
        let severity = severity.painted(format!("{:<7}", severity.code()));
        let _ = writeln!(text, "{severity}  {:<28}  {}", rule.code(), rule.meaning());
    }
    let rules = Rule::ALL.iter().map(
        |rule| json!({"rule": rule.code(), "severity": rule.severity().code(), "meaning": rule.meaning()}),
    );
    Report { text, json: rules.collect(), good: true }
}

fn report(findings: &[Finding], accepted: &[Finding], protected: &[String], version: &str) -> Report {
    let (mut text, mut shown) = (String::new(), BTreeMap::<_, usize>::new());
    for finding in findings {
        let count = shown.entry(finding.rule.code()).or_default();
        *count += 1;
        if *count <= SHOWN {
            text.push_str(&finding.render());
        }
    }
    for (rule, count) in shown.iter().filter(|(_, count)| **count > SHOWN) {
        let _ = writeln!(text, "... and {} more of {rule}; --json has all\n", count - SHOWN);
    }
    let count = |severity| findings.iter().filter(|finding| finding.severity() == severity).count();
    let (errors, warnings, notes) = (count(Severity::Error), count(Severity::Warning), count(Severity::Note));
    let good = errors + warnings == 0;
    for chain in protected.iter().take(SHOWN) {
        let _ = writeln!(text, "{}", paint(STRONG, finding::short(&foreign(chain))));
    }
    let verdict = if good {
        paint(GOOD, "clean")
    } else {
        paint(BAD, format!("{errors} error(s), {warnings} warning(s)"))
    };
    let accepted_text =
        if accepted.is_empty() { String::new() } else { format!(", {} accepted", accepted.len()) };
    let _ = writeln!(
        text,
        "Envoy {version}, {} filter chain(s) with the filter: {verdict}{accepted_text}",
        protected.len()
    );
    let all = |findings: &[Finding]| findings.iter().map(Finding::to_json).collect::<Vec<Value>>();
    let json = json!({
        "clean": good,
        "envoy": version,
        "errors": errors,
        "warnings": warnings,
        "notes": notes,
        "findings": all(findings),
        "accepted": all(accepted),
    });
    Report { text, json, good }
}
