//! Something worth saying about a configuration.

use crate::output::{BAD, NOTE, STRONG, WARN, paint};
use serde_json::{Value, json};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Requests can pass that should not, secrets can leave, or nothing can pass at all.
    Error,
    /// Holds today; something likely breaks it.
    Warning,
    /// Worth knowing.
    Note,
}

impl Severity {
    fn code(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Note => "note",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub severity: Severity,
    /// A stable code.
    pub rule: &'static str,
    /// Where: listener, chain, filter, route, cluster.
    pub path: String,
    pub why: String,
    pub fix: String,
}

impl Finding {
    pub fn error(rule: &'static str, path: &str, why: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { severity: Severity::Error, rule, path: path.to_owned(), why: why.into(), fix: fix.into() }
    }

    pub fn warning(rule: &'static str, path: &str, why: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(rule, path, why, fix) }
    }

    pub fn note(rule: &'static str, path: &str, why: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { severity: Severity::Note, ..Self::error(rule, path, why, fix) }
    }

    pub fn render(&self) -> String {
        let style = match self.severity {
            Severity::Error => BAD,
            Severity::Warning => WARN,
            Severity::Note => NOTE,
        };
        let head = paint(style, format!("{}[{}]", self.severity.code(), self.rule));
        format!("{head} {}\n  why  {}\n  fix  {}\n\n", paint(STRONG, &self.path), self.why, self.fix)
    }

    pub fn to_json(&self) -> Value {
        json!({
            "severity": self.severity.code(), "rule": self.rule, "path": self.path, "why": self.why, "fix": self.fix,
        })
    }
}
