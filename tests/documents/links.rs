//! Links between documents lead to files and headings that exist.

use crate::documents;
use std::{collections::BTreeMap, path::Path};
use testbed::paths;

/// The text without fenced blocks and code, which hold no links.
fn prose(text: &str) -> String {
    let mut fenced = false;
    let lines = text.lines().filter(|line| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        !fence && !fenced
    });
    lines.map(|line| line.split('`').step_by(2).collect::<Vec<_>>().join("`") + "\n").collect()
}

/// The targets of `[...](target)`.
fn targets(text: &str) -> Vec<String> {
    let prose = prose(text);
    let after = prose.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    after.map(str::to_owned).collect()
}

/// A heading's anchor, as GitHub and mdBook make it.
fn anchor(heading: &str) -> String {
    let kept = heading.trim().to_lowercase();
    kept.chars()
        .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'))
        .map(|c| if c == ' ' { '-' } else { c })
        .collect()
}

fn anchors(text: &str) -> Vec<String> {
    let mut fenced = false;
    let lines = text.lines().filter(|line| {
        fenced ^= line.trim_start().starts_with("```");
        !fenced
    });
    lines.filter(|line| line.starts_with('#')).map(|line| anchor(line.trim_start_matches('#'))).collect()
}

/// What is wrong with a link of a document.
fn fault(document: &str, target: &str, all: &BTreeMap<String, String>) -> Option<String> {
    if target.starts_with("https://") {
        return None;
    }
    let (file, fragment) = target.split_once('#').unwrap_or((target, ""));
    let path = if file.is_empty() { document.to_owned() } else { resolved(document, file) };
    let in_book = |path: &str| path.starts_with("docs/src/");
    if !paths::workspace_root().join(&path).exists() {
        return Some(format!("{document}: no file for {target}"));
    }
    // The book is published without the rest of the repository.
    if in_book(document) && !in_book(&path) {
        return Some(format!("{document}: {target} leaves the book; name the file in backquotes instead"));
    }
    let known = all.get(&path).map(|text| anchors(text)).unwrap_or_default();
    (!fragment.is_empty() && !known.iter().any(|anchor| anchor == fragment))
        .then(|| format!("{document}: no heading for {target}"))
}

fn resolved(document: &str, target: &str) -> String {
    let folder = Path::new(document).parent().unwrap_or(Path::new(""));
    let mut parts: Vec<String> = Vec::new();
    for part in folder.join(target).components() {
        match part.as_os_str().to_str() {
            Some("..") => drop(parts.pop()),
            Some(".") | None => {}
            Some(part) => parts.push(part.to_owned()),
        }
    }
    parts.join("/")
}

#[test]
fn links_lead_to_files_and_headings_that_exist() {
    let all: BTreeMap<String, String> = documents().into_iter().collect();
    let links =
        all.iter().flat_map(|(file, text)| targets(text).into_iter().map(move |target| (file, target)));
    let mut count = 0;
    let faults: Vec<String> =
        links.inspect(|_| count += 1).filter_map(|(file, target)| fault(file, &target, &all)).collect();
    assert!(faults.is_empty(), "{faults:#?}");
    assert!(count > 150, "only {count} links found");
}

#[test]
fn each_page_of_the_book_is_in_its_summary() {
    let all: BTreeMap<String, String> = documents().into_iter().collect();
    let listed: Vec<String> =
        targets(&all["docs/src/SUMMARY.md"]).iter().map(|target| format!("docs/src/{target}")).collect();
    let pages = all.keys().filter(|file| file.starts_with("docs/src/") && !file.ends_with("SUMMARY.md"));
    let missing: Vec<_> = pages.filter(|page| !listed.contains(page)).collect();
    assert!(missing.is_empty(), "not in SUMMARY.md: {missing:?}");
}

#[test]
fn anchor_is_made_as_github_makes_it() {
    for (heading, made) in [
        ("The guard in shadow", "the-guard-in-shadow"),
        (
            "2. Bound each request, and remove forged headers",
            "2-bound-each-request-and-remove-forged-headers",
        ),
        ("DigiCert's CAs", "digicerts-cas"),
    ] {
        assert_eq!(anchor(heading), made);
    }
}
