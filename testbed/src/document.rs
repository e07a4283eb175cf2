//! Tables that tests hold to the truth, and reports that commands write.

use crate::paths;
use std::{
    env, fs, io,
    path::{Path, PathBuf},
    process::Command,
};

/// Writes `target/reports/NAME.md`, with date and commit at its top. CI keeps these as artefacts.
pub fn report(name: &str, text: &str) -> io::Result<PathBuf> {
    let folder = paths::target_dir().join("reports");
    fs::create_dir_all(&folder)?;
    let file = folder.join(format!("{name}.md"));
    let date = said("date", &["-u", "+%Y-%m-%d"]);
    let commit = said("git", &["describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]);
    fs::write(&file, format!("{date}, commit {commit}\n\n{}\n", text.trim()))?;
    Ok(file)
}

/// What a command prints; `unknown` if it cannot be run.
fn said(command: &str, arguments: &[&str]) -> String {
    let output = Command::new(command).args(arguments).current_dir(paths::workspace_root()).output();
    let output = output.ok().filter(|output| output.status.success());
    output.map_or_else(
        || "unknown".to_owned(),
        |output| String::from_utf8_lossy(&output.stdout).trim().to_owned(),
    )
}

/// Replaces the text between `<!-- NAME -->` and `<!-- /NAME -->` in a file.
fn replace(path: &Path, name: &str, text: &str) -> Result<(), String> {
    let new = replaced(&read(path)?, path, name, text)?;
    fs::write(path, new).map_err(|error| format!("{}: {error}", path.display()))
}

/// Fails if another text is there; `UPDATE_GOLDEN=1` writes it instead.
///
/// # Panics
/// If the document is out of date, or has no such marks.
pub fn check(path: &Path, name: &str, text: &str) {
    if env::var_os("UPDATE_GOLDEN").is_some() {
        return replace(path, name, text).unwrap_or_else(|error| panic!("{error}"));
    }
    let old = read(path).unwrap_or_else(|error| panic!("{error}"));
    let new = replaced(&old, path, name, text).unwrap_or_else(|error| panic!("{error}"));
    let path = path.display();
    assert!(old == new, "{path}: `{name}` is out of date; UPDATE_GOLDEN=1 writes what follows\n{text}");
}

fn read(path: &Path) -> Result<String, String> {
    fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))
}

fn replaced(old: &str, path: &Path, name: &str, text: &str) -> Result<String, String> {
    between(old, name, text).ok_or_else(|| format!("{}: no marks of `{name}`", path.display()))
}

fn between(old: &str, name: &str, text: &str) -> Option<String> {
    let (begin, end) = (format!("<!-- {name} -->\n"), format!("<!-- /{name} -->"));
    let (before, rest) = old.split_once(&begin)?;
    let (_, after) = rest.split_once(&end)?;
    Some(format!("{before}{begin}\n{}\n\n{end}{after}", text.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_between_the_marks_is_replaced() {
        let old = "a\n<!-- x -->\nold\n<!-- /x -->\nb\n";
        let new = "a\n<!-- x -->\n\nnew\n\n<!-- /x -->\nb\n";
        assert_eq!(between(old, "x", "new\n").as_deref(), Some(new));
        assert_eq!(between(new, "x", "new").as_deref(), Some(new), "a second time changes nothing");
        assert_eq!(between(old, "y", "new"), None);
    }
}
