//! Each fenced block that a reader could run or paste names its check behind the language: ```` ```yaml policy ````.

use crate::{documents, read};
use std::collections::BTreeSet;

/// Checks by language, and where each is made.
const CHECKS: [(&str, &str, &str); 10] = [
    ("yaml", "policy", "cli/tests/cli/schema.rs"),
    ("yaml", "recipe", "tests/envoy/recipes.rs"),
    ("yaml", "existing", "tests/envoy/existing.rs"),
    ("yaml", "vhost", "tests/envoy/existing.rs"),
    ("yaml", "prometheus", "tests/envoy/observability/files.rs"),
    ("yaml", "compose", "tests/documents/blocks.rs"),
    ("sh", "setup", "scripts/test-readme.sh"),
    ("sh", "demo", "tests/documents/blocks.rs"),
    ("sh", "make", "tests/documents/blocks.rs"),
    ("sh", "docker", "scripts/test-compose.sh"),
];

/// Not run: they need a registry, a cluster, or bytes that are not published here.
const PUBLISHED: [(&str, usize); 4] = [
    ("docs/src/start/kubernetes.md", 3),
    ("docs/src/guide/authorities.md", 1),
    ("docs/src/guide/install.md", 1),
    ("docs/src/runbook/genesys-mtls-module-not-loaded.md", 1),
];

/// What is shown and neither run nor pasted.
const SHOWN: [&str; 2] = ["text", "json"];

struct Block {
    file: String,
    language: String,
    check: String,
    text: String,
}

fn blocks() -> Vec<Block> {
    let mut found = Vec::new();
    for (file, text) in documents() {
        if !file.starts_with("docs/src") && file != "README.md" {
            continue;
        }
        let mut lines = text.lines();
        while let Some(line) = lines.next() {
            let Some(info) = line.trim_start().strip_prefix("```") else { continue };
            let text: Vec<&str> = lines
                .by_ref()
                .take_while(|line| !line.trim_start().starts_with("```"))
                .map(str::trim_end)
                .collect();
            let (language, check) = info.split_once(' ').unwrap_or((info, ""));
            let file = file.clone();
            found.push(Block { file, language: language.into(), check: check.into(), text: text.join("\n") });
        }
    }
    found
}

#[test]
fn each_example_has_a_check() {
    let blocks = blocks();
    for Block { file, language, check, text } in &blocks {
        let known = SHOWN.contains(&language.as_str()) && check.is_empty()
            || CHECKS.iter().any(|(l, c, _)| l == language && c == check)
            || language == "sh" && check == "published" && PUBLISHED.iter().any(|(page, _)| page == file);
        assert!(known, "{file}: `{language} {check}` names no check:\n{text}");
    }
    // A test that follows a page names it.
    let tests: String = std::fs::read_dir(testbed::paths::workspace_root().join("tests/envoy"))
        .expect("tests")
        .flatten()
        .filter_map(|entry| std::fs::read_to_string(entry.path()).ok())
        .collect();
    for block in blocks.iter().filter(|block| ["recipe", "existing", "vhost"].contains(&block.check.as_str()))
    {
        let page = block.file.trim_start_matches("docs/src/").trim_end_matches(".md");
        assert!(tests.contains(&format!("\"{page}\"")), "no test in tests/envoy follows {page}");
    }
    for (page, count) in PUBLISHED {
        let of_page = blocks.iter().filter(|block| block.file == page && block.check == "published").count();
        assert_eq!(of_page, count, "{page}");
    }
    for (language, check, place) in CHECKS {
        assert!(
            blocks.iter().any(|block| block.language == language && block.check == check),
            "{language} {check}"
        );
        assert!(!read(place).is_empty());
    }
}

/// The targets of the Makefile.
fn targets() -> BTreeSet<String> {
    let makefile = read("Makefile");
    let targets = makefile.lines().filter(|line| line.contains(": ") && line.contains("## "));
    targets.filter_map(|line| line.split(':').next()).map(str::to_owned).collect()
}

/// In blocks, and in backquotes anywhere.
#[test]
fn make_targets_in_documents_exist() {
    let targets = targets();
    assert!(targets.len() > 20, "{targets:?}");
    let mut seen = 0;
    for (file, text) in documents() {
        let quoted = text.split('`').filter(|part| part.starts_with("make "));
        let lines = text.lines().map(str::trim_start).filter(|line| line.starts_with("make "));
        for command in quoted.chain(lines) {
            let words = command.split(['\n', '#']).next().unwrap_or_default().split_whitespace().skip(1);
            for word in words.take_while(|word| *word != "&&").filter(|word| !word.contains('=')) {
                assert!(
                    targets.contains(word.trim_end_matches(['.', ','])),
                    "{file}: `{command}`: no {word}"
                );
                seen += 1;
            }
        }
    }
    assert!(seen > 30, "only {seen} targets found");
}

/// Scripts, sources and shipped files that the documents name in backquotes.
#[test]
fn files_in_documents_exist() {
    const FOLDERS: [&str; 12] = [
        "scripts/", "src/", "tests/", "cli/", "envoy/", "testbed/", "fuzz/", "trials/", "bench/", ".ci/",
        ".github/", ".cargo/",
    ];
    let root = testbed::paths::workspace_root();
    let mut seen = 0;
    for (file, text) in documents() {
        // Odd parts of a line are in backquotes; fenced blocks have checks of their own.
        for name in text.lines().flat_map(|line| line.split('`').skip(1).step_by(2)) {
            let name = name.split([' ', ':', '#']).next().unwrap_or_default();
            if FOLDERS.iter().any(|folder| name.starts_with(folder)) && !name.contains(['*', '<']) {
                assert!(root.join(name).exists(), "{file}: there is no {name}");
                seen += 1;
            }
        }
    }
    assert!(seen > 50, "only {seen} files found");
}

/// The shell of the compose file hands the secrets over, with a stand-in for Envoy.
#[test]
fn compose_example_reads_the_secrets() {
    let blocks = blocks();
    let block = blocks.iter().find(|block| block.check == "compose").expect("the example");
    let service = testbed::config::parse_yaml(&block.text).expect("YAML")["services"]["envoy"].take();
    let folder = tempfile::tempdir().expect("a folder");
    let at = folder.path().display().to_string();
    for (file, text) in [("genesys_client_id", "id\n"), ("genesys_client_secret", "secret\n")] {
        std::fs::write(folder.path().join(file), text).expect("written");
    }
    let fake = folder.path().join("envoy");
    std::fs::write(&fake, "#!/bin/sh\nprintf '%s|%s' \"$GENESYS_CLIENT_ID\" \"$GENESYS_CLIENT_SECRET\"\n")
        .expect("written");
    let command = service["command"][0].as_str().expect("a command");
    let command = command
        .replace("$$", "$")
        .replace("/run/secrets", &at)
        .replace("exec envoy", &format!("exec sh {at}/envoy"));
    let words: Vec<&str> =
        service["entrypoint"].as_array().expect("a list").iter().filter_map(|word| word.as_str()).collect();
    let output =
        std::process::Command::new(words[0]).args(&words[1..]).arg(command).output().expect("bash runs");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "id|secret", "{output:?}");
}
