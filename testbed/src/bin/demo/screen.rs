//! What the demo prints: headings, aligned rows, and colour only on a terminal.

use std::{
    fmt::Display,
    io::{self, IsTerminal as _, Write as _},
};

/// Widths of the columns: what, announced, got. The verdict comes last and needs none.
const COLUMNS: [usize; 3] = [42, 25, 25];
/// Where notes are wrapped.
const WIDTH: usize = 112;

const BOLD: &str = "1";
const DIM: &str = "2";
const RED: &str = "31";
const GREEN: &str = "32";
const CYAN: &str = "36";

/// Standard output.
#[derive(Debug)]
pub struct Screen {
    colour: bool,
}

impl Screen {
    /// Colour on a terminal, unless `NO_COLOR` asks for none.
    pub fn new() -> Self {
        let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        Self { colour: io::stdout().is_terminal() && !set("NO_COLOR") && !dumb }
    }

    fn paint(&self, code: &str, text: impl Display) -> String {
        if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_string() }
    }

    /// A line as it is. A reader who has gone away (`| head`) is no reason to fail.
    #[expect(clippy::unused_self, reason = "printing goes through the screen, with colour or without")]
    pub fn line(&self, text: impl Display) {
        let _ = writeln!(io::stdout(), "{text}");
    }

    pub fn title(&self, text: &str) {
        self.line(self.paint(BOLD, text));
    }

    /// Begins an act: its number and title, and what it is about.
    pub fn act(&self, number: u32, title: &str, about: &str) {
        self.line("");
        self.line(self.paint(BOLD, format!("Act {number} · {title}")));
        self.note(about);
    }

    /// Names the columns.
    pub fn columns(&self, what: &str) {
        let [what, announced, got] = pad([what, "announced", "got"]);
        self.line(self.paint(CYAN, format!("    {what}{announced}{got}verdict in the access log")));
    }

    /// A row of the table.
    pub fn row(&self, good: bool, columns: [&str; 3], verdict: &str) {
        let [what, announced, got] = pad(columns);
        let (mark, got) = if good { (self.paint(GREEN, "✓"), got) } else { self.wrong(&got) };
        self.line(format!("  {mark} {what}{}{got}{verdict}", self.paint(DIM, announced)).trim_end());
    }

    fn wrong(&self, got: &str) -> (String, String) {
        (self.paint(RED, "✗"), self.paint(RED, got))
    }

    /// Something in words, wrapped.
    pub fn note(&self, text: &str) {
        for line in wrap(text, WIDTH) {
            self.line(self.paint(DIM, format!("    {line}")));
        }
    }

    /// A line of Envoy's log, or of what it passed on.
    pub fn quote(&self, whose: &str, text: &str) {
        for (at, line) in wrap(text, WIDTH - 10).iter().enumerate() {
            let head = if at == 0 { whose } else { "" };
            self.line(self.paint(DIM, format!("      {head:>7} │ {line}")));
        }
    }

    /// What is wrong, below the row that is.
    pub fn wrong_because(&self, text: &str) {
        self.line(self.paint(RED, format!("      {text}")));
    }

    /// The last word.
    pub fn summary(&self, good: bool, text: &str) {
        self.line("");
        self.line(self.paint(if good { GREEN } else { RED }, text));
    }
}

/// Pads columns with a gap behind; text that is too long pushes the rest to the right.
fn pad(columns: [&str; 3]) -> [String; 3] {
    let mut widths = COLUMNS.into_iter();
    columns.map(|text| format!("{text:<width$}  ", width = widths.next().unwrap_or_default()))
}

/// Breaks text at blanks; words longer than a line stay whole.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let last = lines.len() - 1;
        let line = &mut lines[last];
        if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > width {
            lines.push(word.to_owned());
        } else {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines
}
