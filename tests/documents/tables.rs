//! Tables of the reference that follow from the code.

use crate::{documents, read};
use genesys_mtls_filter::{decision::Reason, http::FailureCode};
use std::collections::BTreeSet;

/// What is in backquotes in the first cell of each row whose header begins so.
fn first_cells(page: &str, header: &str) -> Vec<(Vec<String>, String)> {
    let text = read(page);
    let rows = text.lines().skip_while(|line| !line.starts_with(header)).skip(2);
    rows.take_while(|line| line.starts_with('|'))
        .map(|row| {
            let cells: Vec<&str> = row.trim_matches('|').split(" | ").collect();
            let codes = cells[0].split('`').skip(1).step_by(2).map(str::to_owned).collect();
            (codes, cells[1].trim().to_owned())
        })
        .collect()
}

#[test]
fn reasons_page_has_each_reason_with_its_status_in_order() {
    let listed: Vec<(String, String)> = first_cells("docs/src/reference/reasons.md", "| code |")
        .into_iter()
        .flat_map(|(codes, status)| codes.into_iter().map(move |code| (code, status.clone())))
        .collect();
    let there = Reason::ALL.map(|reason| (reason.code().to_owned(), reason.status().to_string()));
    assert_eq!(listed, there);
}

#[test]
fn refresh_failures_page_has_each_code() {
    let listed: BTreeSet<String> = first_cells("docs/src/reference/refresh-failures.md", "| code |")
        .into_iter()
        .flat_map(|(codes, _)| codes)
        .collect();
    let there: BTreeSet<String> = FailureCode::ALL.iter().map(|code| code.code().to_owned()).collect();
    assert_eq!(listed, there);
}

/// The decision table of the design names each reason but those that only Envoy's state explains.
#[test]
fn design_names_each_reason() {
    let design = read("docs/src/design.md");
    for reason in Reason::ALL {
        assert!(design.contains(&format!("`{reason}`")), "{reason}");
    }
}

#[test]
fn design_has_at_most_1_500_words() {
    let words = read("docs/src/design.md")
        .split_whitespace()
        .filter(|word| word.contains(char::is_alphanumeric))
        .count();
    assert!(words <= 1_500, "{words} words");
}

/// The certificate that the page names is the one that the chart puts into the listener.
#[test]
fn digicert_root_has_the_fingerprint_of_the_page() {
    let pem = read("envoy/chart/files/digicert-assured-id-root-g2.pem");
    let blocks = genesys_mtls_filter::x509::pem::certificates(pem.as_bytes()).expect("PEM");
    let page = read("docs/src/guide/authorities.md").replace(':', "").to_lowercase();
    let print = genesys_mtls_filter::x509::fingerprint::Fingerprint::of(&blocks[0]).to_string();
    assert!(page.contains(print.trim_start_matches("sha256")), "{print}");
}

/// The table of versions is that of the Envoys which the scripts support.
#[test]
fn versions_page_has_the_supported_envoys() {
    let script = read("scripts/provision.sh");
    let supported =
        script.lines().find_map(|line| line.strip_prefix("readonly ENVOY_SUPPORTED=")).expect("a list");
    let supported: Vec<&str> = supported.trim_matches('"').split(' ').collect();
    let page = read("docs/src/reference/versions.md");
    let rows: Vec<&str> = page
        .lines()
        .skip_while(|line| !line.starts_with("| Envoy |"))
        .skip(2)
        .take_while(|line| line.starts_with('|'))
        .filter_map(|line| line.split('|').nth(1))
        .map(str::trim)
        .collect();
    assert_eq!(rows, supported);
}

/// What README shows of the demo is what the demo announces.
#[test]
fn readme_shows_callers_of_the_demo() {
    let acts = read("testbed/src/bin/demo/acts.rs");
    let readme = read("README.md");
    let rows: Vec<&str> = readme.lines().filter(|line| line.starts_with('✓')).collect();
    assert!(rows.len() >= 10, "{rows:?}");
    for row in rows {
        let caller = row.trim_start_matches("✓ ").split("  ").next().unwrap_or_default();
        assert!(acts.contains(&format!("\"{caller}\"")), "{caller}");
        let code = row.split_whitespace().last().and_then(|verdict| verdict.strip_prefix("deny;"));
        assert!(code.is_none_or(|code| acts.contains(&format!("\"{code}\""))), "{row}");
    }
}

/// Names of metrics in alerts' pages and guides are those of the reference, which a test on Envoy compares with what it exports.
#[test]
fn metrics_in_documents_are_those_of_the_reference() {
    let cells = first_cells("docs/src/reference/metrics.md", "| metric |");
    let known: BTreeSet<String> = cells
        .iter()
        .flat_map(|(names, _)| names)
        .map(|name| name.split('.').next().unwrap_or_default().to_owned())
        .collect();
    assert!(known.len() > 10, "{known:?}");
    let mut seen = 0;
    for (file, text) in documents().into_iter().filter(|(file, _)| file.starts_with("docs/src")) {
        for after in text.split("genesys_mtls_").skip(1) {
            let name: String = after.chars().take_while(|c| c.is_ascii_lowercase() || *c == '_').collect();
            // A file of the module, a `vm_id` and a rule of the guard begin like this as well.
            if ["filter", "default", "allowed", "vm_reload_success"].contains(&name.as_str())
                || name.is_empty()
            {
                continue;
            }
            assert!(known.contains(&name), "{file}: there is no metric genesys_mtls_{name}");
            seen += 1;
        }
    }
    assert!(seen > 20, "only {seen} found");
}
