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
            Err(error) => {
                let error = error.within(&lines);
                Err((lines, error))
            }
        })
    }
}

impl SyntaxError {
    /// What is missing behind the end is marked at the end of the last line that has something on it.
    fn within(mut self, lines: &[String]) -> Self {
        let written = lines.iter().rposition(|line| !line.trim().is_empty());
        if let Some(last) = written.filter(|last| self.mark.line > last + 1) {
            let column = lines.get(last).map_or(0, |line| line.trim_end().chars().count());
            self.mark = Mark { line: last + 1, column, width: 1 };
        }
        self
    }
}
