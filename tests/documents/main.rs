//! The documents: links lead somewhere, examples have a check, pages and alerts belong together, and what they say is as the code has it.

mod blocks;
mod links;
mod runbook;
mod tables;
mod threats;

use std::{fs, path::Path};
use testbed::paths;

/// The text of a file of the repository.
fn read(file: &str) -> String {
    fs::read_to_string(paths::workspace_root().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

/// Every document: its path in the repository, and its text.
fn documents() -> Vec<(String, String)> {
    let root = paths::workspace_root();
    let mut found = Vec::new();
    for folder in ["docs", "envoy", "testbed", ".github"] {
        collect(&root.join(folder), &mut found);
    }
    let files = ["README.md", "ARCHITECTURE.md", "SECURITY.md", "CONTRIBUTING.md", "CHANGELOG.md"];
    found.extend(files.map(|file| root.join(file)));
    let path_in = |file: &Path| file.strip_prefix(&root).expect("below").to_string_lossy().into_owned();
    found.iter().map(|file| (path_in(file), read(&path_in(file)))).collect()
}

fn collect(folder: &Path, found: &mut Vec<std::path::PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            collect(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "md") {
            found.push(path);
        }
    }
}

/// The README fits two screens: it grows only if something else goes.
#[test]
fn readme_is_short() {
    let text = read("README.md");
    assert!(text.lines().count() <= 150 && text.len() <= 9 * 1024, "{} bytes", text.len());
}

/// Words of all documents but the reference, which tests hold to the code.
#[test]
fn documents_are_short() {
    let written = documents().into_iter().filter(|(file, _)| !file.starts_with("docs/src/reference/"));
    let words: usize = written.map(|(_, text)| text.split_whitespace().count()).sum();
    assert!(words <= 18_000, "{words} words");
}
