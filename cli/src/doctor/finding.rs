//! Something worth saying about a configuration.

use super::rules::{Rule, Severity};
use crate::output::{STRONG, foreign, paint};
use serde_json::{Value, json};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub rule: Rule,
    /// Where in the configuration: listener, chain, filter, route, cluster.
    pub path: String,
    pub why: String,
    pub fix: String,
}

impl Finding {
    pub fn new(rule: Rule, path: &str, why: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { rule, path: path.to_owned(), why: why.into(), fix: fix.into() }
    }

    pub fn severity(&self) -> Severity {
        self.rule.severity()
    }

    pub fn render(&self) -> String {
        let severity = self.severity();
        let head = severity.painted(format!("{}[{}]", severity.code(), self.rule.code()));
        // Names of routes and clusters are a part of each.
        let [path, why, fix] = [&self.path, &self.why, &self.fix].map(|text| short(&foreign(text)));
        format!("{head} {}\n  why  {why}\n  fix  {fix}\n\n", paint(STRONG, path))
    }

    pub fn to_json(&self) -> Value {
        json!({
            "severity": self.severity().code(), "rule": self.rule.code(), "path": self.path, "why": self.why,
            "fix": self.fix,
        })
    }
}

/// Text that names of any length are a part of.
pub fn short(text: &str) -> String {
    match text.char_indices().nth(600) {
        Some((end, _)) => format!("{}...", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

/// Some names for people, and how many there are besides.
pub fn few(names: &std::collections::BTreeSet<String>) -> String {
    let shown: Vec<&str> = names.iter().take(5).map(String::as_str).collect();
    match names.len().saturating_sub(shown.len()) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_in_a_dump_takes_a_finding_off_the_screen() {
        let name = "route x\n\u{1b}[3A\u{1b}[JEnvoy 1.40: clean";
        let finding = Finding::new(Rule::UnguardedWayIn, name, name, name).render();
        assert_eq!(finding.matches("\\n\\u{1b}[3A\\u{1b}[J").count(), 3, "{finding}");
        assert_eq!(finding.lines().count(), 4, "{finding}");
    }
}
