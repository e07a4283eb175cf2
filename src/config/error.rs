//! What is wrong with a configuration: where, what, and what to do about it.

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// Path of the field, such as `regions.us-east-1.genesys.ca_certificates`; empty for the document as a whole.
    pub path: String,
    pub message: String,
    /// Line and column, both from 1, of JSON text that cannot be read. The message leaves them out: a tool that made the
    /// text from another one knows better.
    pub position: Option<(usize, usize)>,
    pub kind: ErrorKind,
}

/// What a tool needs to say more than the message, such as which name was meant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ErrorKind {
    #[default]
    Other,
    /// The object at the path lacks a required field.
    MissingField,
    /// The object has no field of this name, only the expected ones.
    UnknownField { name: String, expected: Vec<&'static str> },
    /// The value is none of the expected ones.
    UnknownValue { name: String, expected: Vec<&'static str> },
    /// The text lacks the form that is needed.
    Malformed { text: String, form: Form },
}

/// Forms of text that a tool can propose a correction for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    PolicyName,
    HeaderName,
    CrlHost,
}

impl ConfigError {
    /// About the document as a whole.
    pub fn document(message: &str) -> Self {
        Self::new(String::new(), message, ErrorKind::Other)
    }

    /// A name that could be a key is left out of the kind. No name that is worth a proposal is that long.
    pub fn new(path: String, message: &str, kind: ErrorKind) -> Self {
        let kind = match kind {
            ErrorKind::UnknownField { name: text, .. }
            | ErrorKind::UnknownValue { name: text, .. }
            | ErrorKind::Malformed { text, .. }
                if unfit(&text) || text.len() > 64 =>
            {
                ErrorKind::Other
            }
            kind => kind,
        };
        let (path, message) = (fit(&path, '.', |_| true), fit(message, '`', |n| n % 2 == 1));
        Self { path, message, position: None, kind }
    }
}

/// Messages quote the operator's text between backticks, and paths consist of names that the operator chose. No part of
/// either that could be a key or a certificate is shown, none that breaks the line, and none that is too long for a name.
fn fit(text: &str, separator: char, is_chosen: impl Fn(usize) -> bool) -> String {
    let parts = text.split(separator).enumerate();
    let parts =
        parts.map(|(n, part)| if unfit(part) || is_chosen(n) && part.len() > 200 { "..." } else { part });
    parts.collect::<Vec<_>>().join(&separator.to_string())
}

fn unfit(text: &str) -> bool {
    text.contains(char::is_control) || text.len() > 40 && text.contains("-----")
}

impl std::fmt::Display for ConfigError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let path = if self.path.is_empty() { "configuration" } else { &self.path };
        write!(f, "{path}: {}", self.message)?;
        match self.position {
            Some((line, column)) => write!(f, " (line {line}, column {column})"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for ConfigError {}
