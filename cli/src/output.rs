//! What a subcommand hands back, and how it reaches the terminal.

pub use crate::{
    input::{read, read_text},
    usage::Usage,
};

use anstyle::{AnsiColor, Style};
use serde_json::Value;
use std::{fmt::Display, io::Write as _, process::ExitCode};

pub const GOOD: Style = AnsiColor::Green.on_default().bold();
pub const BAD: Style = AnsiColor::Red.on_default().bold();
pub const WARN: Style = AnsiColor::Yellow.on_default().bold();
pub const NOTE: Style = AnsiColor::Blue.on_default().bold();
pub const STRONG: Style = Style::new().bold();
pub const FAINT: Style = Style::new().dimmed();

/// Text in a style. The escapes are taken out again where the output is no terminal.
pub fn paint(style: Style, text: impl Display) -> String {
    format!("{style}{text}{style:#}")
}

/// Text of another's making, such as a certificate's subject: what could break the line, or steer a terminal, is shown by
/// its number.
pub fn foreign(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        // These are harmless, and would be escaped as well.
        if matches!(c, '"' | '\'' | '\\') {
            shown.push(c);
        } else {
            shown.extend(c.escape_debug());
        }
    }
    shown
}

/// The same in as many characters, tabs among them, so that a mark below one of them stays there.
pub fn foreign_in_place(text: &str) -> String {
    let is_shown = |c: char| matches!(c, '"' | '\'' | '\\' | '\t') || c.escape_debug().eq([c]);
    text.chars().map(|c| if is_shown(c) { c } else { char::REPLACEMENT_CHARACTER }).collect()
}

/// The answer to a question that could be asked.
#[derive(Debug)]
pub struct Report {
    pub text: String,
    pub json: Value,
    /// Allowed, valid, clean: exit code 0; otherwise 1.
    pub good: bool,
}

impl Report {
    pub fn print(&self, json: bool) -> ExitCode {
        let mut out = anstream::stdout().lock();
        // A reader that has gone (`| head`) is no error of ours.
        let _ = if json { writeln!(out, "{:#}", self.json) } else { write!(out, "{}", self.text) };
        let _ = out.flush();
        if self.good { ExitCode::SUCCESS } else { ExitCode::from(1) }
    }
}

impl Usage {
    pub fn print(&self, json: bool) -> ExitCode {
        if json {
            let _ = writeln!(anstream::stdout(), "{:#}", serde_json::json!({"error": self.0}));
        } else {
            anstream::eprintln!("{} {}", paint(BAD, "error:"), foreign(&self.0));
        }
        ExitCode::from(2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_text_stays_on_its_line_and_steers_no_terminal() {
        for (text, shown) in [
            ("CN=a b, O=\"Ünï\\code\"", "CN=a b, O=\"Ünï\\code\""),
            ("CN=x\nverdict  allow", "CN=x\\nverdict  allow"),
            ("\x1b[8mhidden\x07\r\t", "\\u{1b}[8mhidden\\u{7}\\r\\t"),
            ("\u{202e}txt.exe", "\\u{202e}txt.exe"),
        ] {
            assert_eq!(foreign(text), shown);
            assert_eq!(foreign_in_place(text).chars().count(), text.chars().count());
        }
        assert_eq!(foreign_in_place("\ta\x1b[2K\u{202e}\r'é"), "\ta\u{fffd}[2K\u{fffd}\u{fffd}'é");
    }
}
