//! YAML (and so JSON) text to [`Node`]s. Plain scalars mean what they mean to Envoy: `yes` and `off` are booleans.

use super::node::{Entry, Kind, Mark, Node, SyntaxError};
use indexmap::IndexMap;
use saphyr_parser::{Event, Parser, ScalarStyle, Span};
use serde_json::Value;
use std::collections::HashMap;

/// Nesting beyond this is no configuration.
const MAX_DEPTH: usize = 200;
/// Values that aliases may multiply to. A long text counts for several: see [`TEXT`].
const MAX_NODES: usize = 1_000_000;
/// Bytes of text that count as much as a value does.
const TEXT: usize = 64;

/// Every document of the text.
pub fn parse(text: &str) -> Result<Vec<Node>, SyntaxError> {
    let mut reader =
        Reader { parser: Parser::new_from_str(text), anchors: HashMap::new(), depth: 0, nodes: 0 };
    reader.documents()
}

struct Reader<'t> {
    parser: Parser<'t, saphyr_parser::StrInput<'t>>,
    anchors: HashMap<usize, (Node, usize)>,
    depth: usize,
    nodes: usize,
}

impl<'t> Reader<'t> {
    fn next(&mut self) -> Result<(Event<'t>, Mark), SyntaxError> {
        match self.parser.next_event() {
            Some(Ok((event, span))) => Ok((event, mark(span))),
            Some(Err(error)) => {
                let at = error.marker();
                Err(SyntaxError {
                    mark: Mark { line: at.line(), column: at.col(), width: 1 },
                    message: syntax(error.info()),
                })
            }
            None => Ok((Event::StreamEnd, Mark::default())),
        }
    }

    fn documents(&mut self) -> Result<Vec<Node>, SyntaxError> {
        let mut documents = Vec::new();
        loop {
            match self.next()? {
                (Event::StreamEnd, _) => return Ok(documents),
                (Event::StreamStart | Event::DocumentStart(_) | Event::DocumentEnd | Event::Nothing, _) => {
                    self.anchors.clear();
                }
                (event, mark) => documents.push(self.node(event, mark)?),
            }
        }
    }

    fn node(&mut self, event: Event<'t>, mark: Mark) -> Result<Node, SyntaxError> {
        let before = self.nodes;
        self.nodes += 1;
        self.depth += 1;
        self.check_size(mark)?;
        let (kind, anchor) = match event {
            Event::Scalar(text, style, anchor, tag) => {
                let text = text.into_owned();
                self.nodes += text.len() / TEXT;
                let kind = match style {
                    ScalarStyle::Literal | ScalarStyle::Folded => Kind::Block(text),
                    ScalarStyle::Plain if tag.is_none() => Kind::Scalar(plain(text)),
                    _ => Kind::Scalar(Value::String(text)),
                };
                (kind, anchor)
            }
            Event::SequenceStart(anchor, _) => (Kind::List(self.list()?), anchor),
            Event::MappingStart(anchor, _) => (Kind::Map(self.map()?), anchor),
            Event::Alias(id) => {
                let known = self.anchors.get(&id).cloned();
                let (node, size) = known.ok_or(SyntaxError { mark, message: "unknown alias".to_owned() })?;
                self.nodes += size;
                self.depth -= 1;
                return Ok(node);
            }
            _ => return Err(SyntaxError { mark, message: "ends too early".to_owned() }),
        };
        self.depth -= 1;
        let node = Node { mark, kind };
        if anchor != 0 {
            // A copy, as that of an alias is, and anchors may stand in each other.
            let size = self.nodes - before;
            self.nodes += size;
            self.check_size(mark)?;
            self.anchors.insert(anchor, (node.clone(), size));
        }
        Ok(node)
    }

    fn check_size(&self, mark: Mark) -> Result<(), SyntaxError> {
        if self.depth > MAX_DEPTH || self.nodes > MAX_NODES {
            return Err(SyntaxError { mark, message: "too large or too deeply nested".to_owned() });
        }
        Ok(())
    }

    fn list(&mut self) -> Result<Vec<Node>, SyntaxError> {
        let mut items = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd, _) => return Ok(items),
                (event, mark) => items.push(self.node(event, mark)?),
            }
        }
    }

    fn map(&mut self) -> Result<IndexMap<String, Entry>, SyntaxError> {
        let mut entries = IndexMap::new();
        loop {
            let (name, key) = match self.next()? {
                (Event::MappingEnd, _) => return Ok(entries),
                (Event::Scalar(text, ..), mark) => (text.into_owned(), mark),
                (_, mark) => {
                    return Err(SyntaxError { mark, message: "a key has to be a single word".to_owned() });
                }
            };
            if let Some(Entry { key: first, .. }) = entries.get(&name) {
                let message = format!("`{name}` is written twice, first in line {}", first.line);
                return Err(SyntaxError { mark: key, message });
            }
            let (event, mark) = self.next()?;
            let node = self.node(event, mark)?;
            entries.insert(name, Entry { key, node });
        }
    }
}

/// The parser's words, and what they mean to the file's author.
fn syntax(info: &str) -> String {
    let hint = if info.contains("tabs disallowed") {
        "; indent with spaces"
    } else if info.contains("mapping values are not allowed") {
        "; does the line above lack its colon, or is one of them indented wrongly?"
    } else if info.contains("indent") {
        "; entries of one level begin in one column"
    } else {
        ""
    };
    format!("not readable as YAML: {info}{hint}")
}

fn mark(span: Span) -> Mark {
    let one_line = span.start.line() == span.end.line();
    Mark {
        line: span.start.line(),
        column: span.start.col(),
        width: if one_line { span.end.col().saturating_sub(span.start.col()) } else { 0 },
    }
}

fn plain(text: String) -> Value {
    match text.as_str() {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        _ => {}
    }
    let lower = text.to_ascii_lowercase();
    let capital = text.chars().skip(1).all(char::is_lowercase) || text == text.to_uppercase();
    match lower.as_str() {
        "y" | "yes" | "true" | "on" if capital => return Value::Bool(true),
        "n" | "no" | "false" | "off" if capital => return Value::Bool(false),
        _ => {}
    }
    let numeric = text.starts_with(|c: char| c.is_ascii_digit() || "+-.".contains(c));
    let number = numeric.then(|| text.strip_prefix('+').unwrap_or(&text));
    let whole = number.and_then(|digits| digits.parse::<i64>().ok()).map(Value::from);
    let real = || {
        let real = number.and_then(|digits| digits.parse::<f64>().ok()).filter(|real| real.is_finite());
        real.and_then(serde_json::Number::from_f64).map(Value::Number)
    };
    whole.or_else(real).unwrap_or(Value::String(text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn values_mean_what_they_mean_to_envoy() {
        let text =
            "a: 1\nb: [1.5, yes, Off, '1', ~, 1s, sha256:ab, -3]\nc: |\n  x\n  y\nd: &d {e: f}\ng: *d\n";
        let documents = parse(text).unwrap();
        let expected = json!({
            "a": 1, "b": [1.5, true, false, "1", null, "1s", "sha256:ab", -3], "c": "x\ny\n", "d": {"e": "f"}, "g": {"e": "f"},
        });
        assert_eq!(documents[0].to_value(), expected);
        let json = "{\n\t\"a\": [1, \"\\u0041\", true, null]\n}";
        assert_eq!(parse(json).unwrap()[0].to_value(), json!({"a": [1, "A", true, null]}));
        assert_eq!(parse("a: 1\n---\nb: 2\n").unwrap().len(), 2);
    }

    #[test]
    fn broken_text_names_its_place() {
        for (text, line) in [("a: [1\nb: 2", 2), ("a: 1\na: 2", 2), ("a: *x", 1), ("? [a]\n: b", 1)] {
            assert_eq!(parse(text).unwrap_err().mark.line, line, "{text}");
        }
    }

    #[test]
    fn aliases_cannot_multiply_without_end() {
        let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for n in 1..8 {
            let previous = format!("*a{}", n - 1);
            let line = format!("a{n}: &a{n} [{}]\n", vec![previous; 10].join(", "));
            text.push_str(&line);
        }
        assert!(parse(&text).is_err());
        // Nor can anchors that stand in each other, though no alias makes use of them.
        let open = (0..150).fold(String::new(), |text, n| text + "&a" + &n.to_string() + " [");
        let text = format!("a: {open}{}{}\n", "1, ".repeat(200_000), "]".repeat(150));
        assert!(parse(&text).unwrap_err().message.contains("too large"));
        // Nor a long text.
        let text = format!("a: &a {}\nb: [{}]\n", "x".repeat(1_000_000), "*a, ".repeat(1000));
        assert!(parse(&text).unwrap_err().message.contains("too large"));
        let text = format!("a: {}\n", "x".repeat(8 << 20));
        assert!(parse(&text).is_ok(), "twice as long as any configuration");
    }

    #[test]
    fn many_keys_take_no_longer_than_as_many_values() {
        let text = (0..100_000).fold(String::new(), |text, n| text + "k" + &n.to_string() + ": 1\n");
        let began = std::time::Instant::now();
        assert_eq!(parse(&text).unwrap()[0].children().len(), 100_000);
        // Compared with each other they took a minute.
        assert!(began.elapsed() < std::time::Duration::from_secs(20), "{:?}", began.elapsed());
    }

    #[test]
    fn a_path_leads_to_its_place() {
        let documents = parse("regions:\n  us-east-1:\n    digicert:\n      pins: [api, oops]\n").unwrap();
        let at = |path: &str| documents[0].locate(path, false);
        assert_eq!(at("regions.us-east-1.digicert.pins[1]"), Mark { line: 4, column: 18, width: 4 });
        // As far as it leads.
        assert_eq!(at("regions.us-east-1.genesys.ca_certificates"), Mark { line: 2, column: 2, width: 9 });
        let dotted = parse("discover:\n  crl.example: a\n  crl.example.b: {c: 1}\n").unwrap();
        assert_eq!(
            dotted[0].locate("discover.crl.example.b.c", true),
            Mark { line: 3, column: 18, width: 1 }
        );
    }
}
