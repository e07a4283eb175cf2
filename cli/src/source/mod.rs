//! Configuration files: read with the position of everything, and searched for the filter's configurations.

mod find;
mod node;
mod policy;
mod yaml;

pub use find::{Found, find, recognise};
pub use node::{Mark, Node};
pub use policy::{Problem, load, select};

use crate::output::{self, Usage};

/// A file and its documents.
#[derive(Debug)]
pub struct File {
    pub path: String,
    pub lines: Vec<String>,
    pub documents: Vec<Node>,
}

/// Why text is no YAML (nor JSON).
#[derive(Debug)]
pub struct SyntaxError {
    pub mark: Mark,
    pub message: String,
}

impl File {
    /// Reads a file (`-`: standard input). The inner error is one of the file's content.
    pub fn read(path: &str) -> Result<Result<Self, (Vec<String>, SyntaxError)>, Usage> {
        let text = output::read_text(path)?;
        let lines: Vec<String> = text.lines().map(str::to_owned).collect();
        Ok(match yaml::parse(&text) {
            Ok(documents) => Ok(Self { path: path.to_owned(), lines, documents }),
            Err(error) => Err((lines, error)),
        })
    }
}
