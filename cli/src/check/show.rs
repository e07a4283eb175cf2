//! A problem with its line, for people and for programs.

use crate::{
    output::{BAD, FAINT, STRONG, WARN, foreign, foreign_in_place, paint},
    source::{File, Mark, Problem},
};
use serde_json::{Value, json};
use std::fmt::Write as _;

/// Characters of a line that are shown.
const MAX_WIDTH: usize = 200;

pub fn to_json(problem: &Problem) -> Value {
    let line = (problem.mark.line > 0).then_some(problem.mark.line);
    json!({
        "path": problem.path,
        "message": problem.message,
        "line": line,
        "column": line.map(|_| problem.mark.column + 1),
    })
}

pub fn error(file: &File, problem: &Problem) -> String {
    snippet(file, problem, &paint(BAD, "error"))
}

pub fn warning(file: &File, problem: &Problem) -> String {
    snippet(file, problem, &paint(WARN, "warning"))
}

/// The problem with its line and a caret, where the place is known.
fn snippet(file: &File, problem: &Problem, severity: &str) -> String {
    let what = match problem.path.as_str() {
        "" => foreign(&problem.message),
        path => format!("{}: {}", paint(STRONG, foreign(path)), foreign(&problem.message)),
    };
    let mut text = format!("{severity}: {what}\n");
    let Mark { line, column, width } = problem.mark;
    if let Some(source) = line.checked_sub(1).and_then(|index| file.lines.get(index)) {
        let number = line.to_string();
        let gutter = " ".repeat(number.len());
        // Of a long line the part around the place.
        let first = if source.len() > MAX_WIDTH { column.saturating_sub(MAX_WIDTH / 2) } else { 0 };
        let shown: String = source.chars().skip(first).take(MAX_WIDTH).collect();
        // Tabs stay tabs, so that the caret is under its word.
        let indent = shown.chars().take(column - first).map(|c| if c == '\t' { '\t' } else { ' ' });
        let indent: String = indent.collect();
        let room = shown.chars().count().saturating_sub(column - first).max(1);
        let carets = "^".repeat(width.clamp(1, room));
        let shown = foreign_in_place(&shown);
        let arrow = paint(FAINT, format!("{gutter}--> {}:{line}:{}", foreign(&file.path), column + 1));
        let _ = writeln!(
            text,
            "{arrow}\n{gutter} |\n{number} | {shown}\n{gutter} | {indent}{}",
            paint(BAD, carets)
        );
    }
    text.push('\n');
    text
}
