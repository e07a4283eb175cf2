//! The configuration: bytes from Envoy become a [`Document`] (its shape is right), and that a [`Policy`] (its meaning
//! is right). Neither step looks at a clock or at the environment: the proxy tries a configuration in a throw-away VM
//! first and *skips the filter* when a worker then disagrees, so both must come to one answer, today and in ten years.

mod checks;
mod document;
mod overrides;
mod parse;
mod policy;
mod revocation;
#[cfg(feature = "schema")]
mod schema;
mod shape;
mod values;
mod words;

pub use document::{Clusters, Document, Identity, OAuth, PeerCertificate};
pub use parse::MAX_CONFIGURATION;
pub use values::{Pin, Span};

use crate::{policy::Policy, x509::fingerprint::Fingerprint};

/// One thing wrong with a configuration: where, what, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// Path of the field, such as `regions.us-east-1.genesys.ca_certificates`; empty for the document as a whole.
    pub path: String,
    pub message: String,
    /// Line and column, both from 1, where a text was read; not the message's business, since a tool that made the text
    /// of another one knows better.
    pub position: Option<(usize, usize)>,
}

impl ConfigError {
    pub fn new(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self { path: fit_path(&path.into()), message: fit_message(&message.into()), position: None }
    }
}

/// Messages quote what was written, between backticks. Nothing that could be a key or a certificate is shown, and nothing
/// that breaks the line; not between the quotes either, where a name with a backtick in it comes to stand.
fn fit_message(message: &str) -> String {
    let parts = message.split('`').enumerate();
    let parts =
        parts.map(|(n, part)| if unfit(part) || n % 2 == 1 && part.len() > 200 { "..." } else { part });
    parts.collect::<Vec<_>>().join("`")
}

/// Paths are made of names, and those as well are as they were written.
fn fit_path(path: &str) -> String {
    let names = path.split('.').map(|name| if unfit(name) || name.len() > 200 { "..." } else { name });
    names.collect::<Vec<_>>().join(".")
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

/// Reads the shape of a configuration alone, up to the first thing that is wrong with it.
pub fn parse(bytes: &[u8]) -> Result<Document, ConfigError> {
    shape::read(parse::tree(bytes)?)
}

/// Parses and checks a configuration as Envoy delivers it: JSON text, or a serialized `google.protobuf.Struct`.
///
/// Every error found is returned, not only the first. Bytes that are handed over are given back before the rest is done: a
/// large configuration would else be in memory three times, and a VM returns none of it.
pub fn load(bytes: impl AsRef<[u8]>) -> Result<Policy, Vec<ConfigError>> {
    let digest = Fingerprint::of(bytes.as_ref());
    let tree = parse::tree(bytes.as_ref()).map_err(|error| vec![error])?;
    drop(bytes);
    let document = shape::read(tree).map_err(|error| vec![error])?;
    Policy::build(&document, digest)
}

#[cfg(test)]
mod tests;
