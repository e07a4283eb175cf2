//! `genesys-mtls doctor`: does a running Envoy use the filter in a way that keeps what it promises?

mod callouts;
mod chains;
mod dump;
mod finding;
mod guard;
mod http;
mod plugin;
mod rbac;
mod routes;
mod rules;
mod services;
mod tls;
mod vm;
mod ways;

use crate::output::{self, BAD, GOOD, Report, STRONG, Usage, foreign, paint};
use dump::Dump;
use finding::Finding;
use rules::{Rule, Severity};
use serde_json::{Value, json};
use std::{fmt::Write as _, time::Duration};

/// Examine a running Envoy's configuration for every way around the filter known to us
#[derive(Debug, clap::Args)]
#[command(after_help = "\
It looks, per filter chain, for the guard (present, directly behind the filter, right key and value), for ways to the
same service without it (other chains, clusters and TCP proxies, upgrades, mirrors, per-route overrides), and at TLS,
the stream bound, the certificate's source; then at the callout clusters (chain and host verified?) and the wasm VM
(failure policy, environment, capabilities).

Examples:
  genesys-mtls doctor --config-dump http://127.0.0.1:9901/config_dump
  kubectl exec deploy/gateway -- curl -s localhost:15000/config_dump | genesys-mtls doctor --config-dump -
  genesys-mtls doctor --config-dump dump.json --json | jq '.findings[] | select(.severity == \"error\")'
  genesys-mtls doctor --rules

Exit codes: 0 clean (notes allowed), 1 errors or warnings, 2 usage, or the dump holds no such filter")]
pub struct Arguments {
    /// A file with the answer of Envoy's `/config_dump`, - for standard input, or its http:// URL
    #[arg(long, value_name = "FILE|URL", required_unless_present = "rules")]
    config_dump: Option<String>,
    /// List everything it can find, and examine nothing
    #[arg(long, conflicts_with = "config_dump")]
    rules: bool,
}

pub fn run(arguments: &Arguments) -> Result<Report, Usage> {
    let Some(source) = arguments.config_dump.as_deref().filter(|_| !arguments.rules) else {
        return Ok(catalogue());
    };
    let text = if source.starts_with("http://") { fetch(source)? } else { output::read_text(source)? };
    let value: Value =
        serde_json::from_str(&text).map_err(|error| Usage::new(format!("{source} is not JSON: {error}")))?;
    let dump = Dump::read(&value).ok_or_else(|| {
        Usage::new(format!("{source} is no config dump: it has no `configs` with listeners"))
    })?;
    let (chains, tunnels) = chains::all(&dump);
    let protected: Vec<_> = chains.iter().filter(|chain| !chain.plugins.is_empty()).collect();
    if protected.is_empty() {
        return Err(Usage::new(format!(
            "{source}: none of {} HTTP filter chain(s) has this filter. (It is recognised by `genesys_mtls` in its name, \
             root_id or module, or by its configuration.)",
            chains.len()
        )));
    }
    let mut findings = Vec::new();
    for chain in &protected {
        findings.extend(guard::check(chain));
        findings.extend(routes::check(chain));
        // Manager and connection are the same for its upgrades.
        if chain.upgrade.is_none() {
            findings.extend(http::check(chain, &dump));
            findings.extend(tls::check(chain, &dump));
        }
        for plugin in &chain.plugins {
            findings.extend(plugin.check());
            findings.extend(vm::check(plugin));
            findings.extend(callouts::check(plugin, &dump));
        }
    }
    findings.extend(ways::check(&chains, &tunnels, &dump));
    findings.extend(vm::check_shared(&chains, &dump));
    findings.extend(chains::check_names(&chains));
    findings
        .sort_by(|a, b| (a.severity(), &a.path, a.rule.code()).cmp(&(b.severity(), &b.path, b.rule.code())));
    findings.dedup();
    Ok(report(&findings, &protected, &dump))
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

/// Envoy's admin interface speaks plain HTTP, on this machine.
fn fetch(url: &str) -> Result<String, Usage> {
    let config = ureq::Agent::config_builder().timeout_global(Some(Duration::from_secs(30))).build();
    let answer = ureq::Agent::new_with_config(config)
        .get(url)
        .call()
        .and_then(|mut response| response.body_mut().with_config().limit(512 * 1024 * 1024).read_to_string());
    answer.map_err(|error| Usage::new(format!("{url}: {error}")))
}

fn report(findings: &[Finding], protected: &[&chains::Chain], dump: &Dump) -> Report {
    let mut text = String::new();
    for finding in findings {
        text.push_str(&finding.render());
    }
    let count = |severity| findings.iter().filter(|finding| finding.severity() == severity).count();
    let (errors, warnings, notes) = (count(Severity::Error), count(Severity::Warning), count(Severity::Note));
    let good = errors + warnings == 0;
    let version = dump.version_text();
    for chain in protected {
        let policies: Vec<&str> = chain.plugins.iter().map(plugin::Plugin::name).collect();
        let (path, policies) = (foreign(&chain.path), foreign(&policies.join(", ")));
        let _ = writeln!(text, "{} with policy {policies}", paint(STRONG, path));
    }
    let verdict = if good {
        paint(GOOD, "clean")
    } else {
        paint(BAD, format!("{errors} error(s), {warnings} warning(s)"))
    };
    let _ = writeln!(text, "Envoy {version}, {} filter chain(s) with the filter: {verdict}", protected.len());
    let json = json!({
        "clean": good,
        "envoy": version,
        "errors": errors,
        "warnings": warnings,
        "notes": notes,
        "findings": findings.iter().map(Finding::to_json).collect::<Vec<_>>(),
    });
    Report { text, json, good }
}
