//! A file and its documents.

use super::{
    node::{Mark, Node, SyntaxError},
    yaml,
};
use crate::output::{self, Usage};

#[derive(Debug)]
pub struct File {
    pub path: String,
    pub lines: Vec<String>,
    pub documents: Vec<Node>,
}

impl File {
    /// Reads a file (`-`: standard input). The inner error is one of the file's content.
    pub fn read(path: &str) -> Result<Result<Self, (Vec<String>, SyntaxError)>, Usage> {
        let text = output::read_text(path)?;
        let lines: Vec<String> = text.lines().map(str::to_owned).collect();
        Ok(match yaml::parse(&text) {
            Ok(documents) => Ok(Self { path: path.to_owned(), lines, documents }),
            Err(error) => {
                let error = within(error, &lines);
                Err((lines, error))
            }
        })
    }
}

/// What is missing behind the end is marked at the end of the last line that has something on it.
fn within(mut error: SyntaxError, lines: &[String]) -> SyntaxError {
    let written = lines.iter().rposition(|line| !line.trim().is_empty());
    if let Some(last) = written.filter(|last| error.mark.line > last + 1) {
        let column = lines.get(last).map_or(0, |line| line.trim_end().chars().count());
        error.mark = Mark { line: last + 1, column, width: 1 };
    }
    error
}
