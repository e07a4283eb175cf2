//! A fault between two places.

use crate::{
    check::show,
    source::{File, Mark, Problem},
};
use serde_json::Value;

#[derive(Debug)]
pub struct Finding<'f> {
    pub file: &'f File,
    pub problem: Problem,
    pub is_error: bool,
}

impl Finding<'_> {
    pub fn to_json(&self) -> Value {
        let mut json = show::to_json(&self.problem);
        json["file"] = self.file.path.as_str().into();
        json["severity"] = if self.is_error { "error" } else { "warning" }.into();
        json
    }
}

#[derive(Clone, Copy, Debug)]
pub struct Place<'f> {
    pub file: &'f File,
    pub mark: Mark,
}

impl std::fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let path = if self.file.path == "-" { "line " } else { &format!("{}:", self.file.path) };
        write!(f, "{path}{}", self.mark.line)
    }
}

pub fn error(path: String, place: Place<'_>, message: String) -> Finding<'_> {
    Finding { file: place.file, problem: Problem { path, message, mark: place.mark }, is_error: true }
}
