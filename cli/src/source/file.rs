//! Files and their documents.

use super::{
    node::{Mark, Node, SyntaxError},
    scalar::Dialect,
    yaml,
};
use crate::{input, output::Usage};
use std::path::{Path, PathBuf};

/// Files of a directory that are read.
const MAX_FILES: usize = 1000;

#[derive(Debug)]
pub struct File {
    pub path: String,
    pub lines: Vec<String>,
    /// An error of the file's content.
    pub documents: Result<Vec<Node>, SyntaxError>,
    /// Whether Envoy's loader is only assumed: by itself the text belongs to no platform.
    pub is_undecided: bool,
}

impl File {
    /// Reads a file, standard input (`-`) or a URL.
    pub fn read(path: &str) -> Result<Self, Usage> {
        Ok(Self::of(path, &input::read_text(path)?))
    }

    /// The same, and all files of a directory, such as one with xDS resources.
    pub fn read_all(path: &str) -> Result<Vec<Self>, Usage> {
        paths(path)?.iter().map(|file| Self::read(file)).collect()
    }

    pub fn of(path: &str, text: &str) -> Self {
        let lines: Vec<String> = text.lines().map(str::to_owned).collect();
        let dialect = dialect(path, text);
        let json = if extension(path) == "json" { not_json(text) } else { Ok(()) };
        let documents = json.and_then(|()| yaml::parse(text, dialect));
        Self { path: path.to_owned(), lines, documents, is_undecided: dialect == Dialect::Envoy }
    }
}

/// The YAML and JSON files of a directory, or what is given if it is none.
pub fn paths(path: &str) -> Result<Vec<String>, Usage> {
    if !Path::new(path).is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    list(Path::new(path), &mut files)?;
    files.sort();
    if files.is_empty() {
        return Err(Usage::new(format!("{path} holds no .yaml, .yml or .json file")));
    }
    Ok(files.iter().map(|file| file.to_string_lossy().into_owned()).collect())
}

/// Envoy reads `.json` as JSON and `.yaml` as YAML, even if JSON is in it. Elsewhere the text itself says.
pub fn dialect(path: &str, text: &str) -> Dialect {
    let is_json = || text.trim_start().starts_with(['{', '[']) && not_json(text).is_ok();
    match extension(path).as_str() {
        "json" => Dialect::Json,
        "yaml" | "yml" => Dialect::Envoy,
        _ if is_json() => Dialect::Json,
        _ => Dialect::Envoy,
    }
}

fn extension(path: &str) -> String {
    Path::new(path).extension().unwrap_or_default().to_string_lossy().to_ascii_lowercase()
}

fn not_json(text: &str) -> Result<(), SyntaxError> {
    serde_json::from_str::<serde_json::Value>(text).map(|_| ()).map_err(|error| {
        let mark = Mark { line: error.line(), column: error.column().saturating_sub(1), width: 1 };
        let what = error.to_string();
        let what = what.split(" at line ").next().unwrap_or_default();
        SyntaxError { mark, message: format!("not JSON, as which a .json file is read: {what}") }
    })
}

fn list(directory: &Path, files: &mut Vec<PathBuf>) -> Result<(), Usage> {
    let wrong = |error: std::io::Error| Usage::new(format!("cannot read {}: {error}", directory.display()));
    for entry in std::fs::read_dir(directory).map_err(wrong)? {
        let path = entry.map_err(wrong)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
        if name == "chart.yaml" {
            let directory = directory.display();
            return Err(Usage::new(format!(
                "{directory} is a Helm chart: check what it renders, `helm template NAME {directory} | genesys-mtls check -`"
            )));
        }
        // The kubelet's `..data`, and what editors leave.
        if name.starts_with('.') {
            continue;
        }
        if path.is_dir() && !path.is_symlink() {
            list(&path, files)?;
        } else if matches!(extension(&name).as_str(), "yaml" | "yml" | "json") {
            files.push(path);
        }
        if files.len() > MAX_FILES {
            return Err(Usage::new(format!("{} holds more than {MAX_FILES} files", directory.display())));
        }
    }
    Ok(())
}
