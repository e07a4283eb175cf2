//! YAML (and so JSON) text to [`Node`]s, with the values that the platform's own loader makes of it.

use super::{
    node::{Entry, Kind, Mark, Node, SyntaxError},
    scalar::{Dialect, Scalar},
};
use granit_parser::{Event, Parser, ScalarStyle, Span, StrInput, Tag};
use indexmap::IndexMap;
use std::{borrow::Cow, collections::HashMap};

/// Nesting beyond this is no configuration.
const MAX_DEPTH: usize = 200;
/// Values that aliases may multiply to, beyond those of the text itself. A long text counts for several: see [`TEXT`].
const MAX_NODES: usize = 1_000_000;
/// Bytes of text that count as much as a value does.
const TEXT: usize = 64;

/// Every document of the text. A document with an `apiVersion` is Kubernetes'; of others the caller knows.
pub fn parse(text: &str, other: Dialect) -> Result<Vec<Node>, SyntaxError> {
    with_tabs(text, |text| read(text, dialects(text, other), other))
}

/// Runs of lines with tabs in front that are given another try.
const MAX_TAB_RUNS: usize = 100;

/// Both loaders take tabs in front of a flow collection's lines, such as those of pasted JSON; this parser takes spaces only.
pub fn with_tabs<T>(text: &str, read: impl Fn(&str) -> Result<T, SyntaxError>) -> Result<T, SyntaxError> {
    let mut text = Cow::Borrowed(text);
    for _ in 0..MAX_TAB_RUNS {
        match read(&text) {
            Err(error) if error.message.contains(TAB) => match spaced(&text, error.mark.line) {
                Some(spaced) => text = Cow::Owned(spaced),
                None => return Err(error),
            },
            result => return result,
        }
    }
    read(&text)
}

/// What the parser says of such a tab.
const TAB: &str = "block indentation";

/// The text with spaces for the tabs in front of this line and those that follow, if they are a flow collection's.
fn spaced(text: &str, line: usize) -> Option<String> {
    let mut lines: Vec<Cow<'_, str>> = text.split('\n').map(Cow::Borrowed).collect();
    let before = lines.iter().take(line.saturating_sub(1)).rfind(|line| !line.trim().is_empty())?;
    if !before.trim_end().ends_with(['{', '[', ',']) {
        return None;
    }
    for line in lines.iter_mut().skip(line.saturating_sub(1)).take_while(|line| line.starts_with([' ', '\t']))
    {
        let content = line.trim_start_matches([' ', '\t']);
        let spaced = " ".repeat(line.len() - content.len()) + content;
        *line = Cow::Owned(spaced);
    }
    Some(lines.join("\n"))
}

/// The same where it is known whose each document is.
pub fn read(text: &str, dialects: Vec<Dialect>, other: Dialect) -> Result<Vec<Node>, SyntaxError> {
    let mut reader = Reader {
        dialects: dialects.into_iter(),
        dialect: other,
        parser: parser(text),
        anchors: HashMap::new(),
        depth: 0,
        nodes: 0,
        limit: MAX_NODES.saturating_add(text.len()),
    };
    reader.documents()
}

fn parser(text: &str) -> Parser<'_, StrInput<'_>> {
    // As libyaml does, of which Kubernetes' loader is a port.
    let options = granit_parser::options! {
        block_scalar_eof_without_line_feed: true,
        bom_inside_document_as_content: true,
    };
    Parser::new_from_str_with_options(text, options)
}

/// Whose each document is, as far as the text is readable.
fn dialects(text: &str, other: Dialect) -> Vec<Dialect> {
    let (mut dialects, mut depth) = (Vec::new(), 0);
    for (event, _) in parser(text).map_while(Result::ok) {
        match event {
            Event::DocumentStart(..) => dialects.push(other),
            Event::MappingStart(..) | Event::SequenceStart(..) => depth += 1,
            Event::MappingEnd | Event::SequenceEnd => depth -= 1,
            Event::Scalar(text, ..) if depth == 1 && text == "apiVersion" => {
                if let Some(last) =
                    dialects.last_mut().filter(|_| !matches!(other, Dialect::Json | Dialect::JsonText))
                {
                    *last = Dialect::Kubernetes;
                }
            }
            _ => {}
        }
    }
    dialects
}

struct Reader<'t> {
    dialects: std::vec::IntoIter<Dialect>,
    /// That of the current document.
    dialect: Dialect,
    parser: Parser<'t, StrInput<'t>>,
    anchors: HashMap<usize, (Node, usize)>,
    depth: usize,
    nodes: usize,
    limit: usize,
}

impl<'t> Reader<'t> {
    fn next(&mut self) -> Result<(Event<'t>, Mark), SyntaxError> {
        match self.parser.next_event() {
            Some(Ok((event, span))) => Ok((event, mark(span))),
            Some(Err(error)) => {
                let at = error.marker();
                Err(SyntaxError {
                    mark: Mark { line: at.line(), column: at.col(), width: 1 },
                    message: syntax(&error.info()),
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
                (Event::DocumentStart(..), _) => {
                    self.anchors.clear();
                    self.dialect = self.dialects.next().unwrap_or(self.dialect);
                }
                (Event::StreamStart | Event::DocumentEnd, _) => {}
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
                self.nodes += text.len() / TEXT;
                let is_block = matches!(style, ScalarStyle::Literal | ScalarStyle::Folded);
                let kind = if is_block && tag.is_none() {
                    Kind::Block(text.into_owned())
                } else {
                    let value = scalar(&text, style, whole(tag.as_ref()).as_deref()).value(self.dialect);
                    Kind::Scalar(value.map_err(|message| SyntaxError { mark, message })?)
                };
                (kind, anchor)
            }
            Event::SequenceStart(_, anchor, _) => (Kind::List(self.list()?), anchor),
            Event::MappingStart(_, anchor, _) => (Kind::Map(self.map()?), anchor),
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
        if self.depth > MAX_DEPTH || self.nodes > self.limit {
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
        let mut entries: IndexMap<String, Entry> = IndexMap::new();
        loop {
            let (name, key, ignored) = match self.next()? {
                (Event::MappingEnd, _) => return Ok(entries),
                (Event::Scalar(text, style, _, tag), mark) => {
                    let tag = whole(tag.as_ref());
                    let name = scalar(&text, style, tag.as_deref()).key(self.dialect);
                    let name = name.map_err(|message| SyntaxError { mark, message })?;
                    let is_merge = name == "<<" && style == ScalarStyle::Plain;
                    if is_merge && self.dialect == Dialect::Kubernetes {
                        self.merge(&mut entries)?;
                        continue;
                    }
                    (name, mark, tag.as_deref() == Some("!ignore") && self.dialect == Dialect::Envoy)
                }
                (_, mark) => {
                    return Err(SyntaxError { mark, message: "a key has to be a single word".to_owned() });
                }
            };
            let (event, mark) = self.next()?;
            let node = self.node(event, mark)?;
            if !ignored {
                // As every loader does, the last one counts.
                let earlier = entries.get(&name).map(|entry| entry.key);
                entries.insert(name, Entry { key, node, earlier });
            }
        }
    }

    /// `<<`: the entries of a map, or of several of which an earlier one wins.
    fn merge(&mut self, into: &mut IndexMap<String, Entry>) -> Result<(), SyntaxError> {
        let (event, mark) = self.next()?;
        let maps = match self.node(event, mark)? {
            Node { kind: Kind::List(maps), .. } => maps,
            map => vec![map],
        };
        for map in maps.into_iter().rev() {
            let Kind::Map(entries) = map.kind else {
                return Err(SyntaxError { mark, message: "`<<` takes a map, or a list of maps".to_owned() });
            };
            into.extend(entries);
        }
        Ok(())
    }
}

fn scalar<'s>(text: &'s str, style: ScalarStyle, tag: Option<&'s str>) -> Scalar<'s> {
    Scalar { text, is_plain: style == ScalarStyle::Plain, tag }
}

/// A tag in full.
fn whole(tag: Option<&Cow<'_, Tag>>) -> Option<String> {
    tag.map(|tag| format!("{}{}", tag.handle(), tag.suffix()))
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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn values_mean_what_they_mean_to_envoy() {
        let text =
            "a: 1\nb: [1.5, yes, Off, '1', ~, 1s, sha256:ab, -3]\nc: |\n  x\n  y\nd: &d {e: f}\ng: *d\n";
        let documents = parse(text, Dialect::Envoy).unwrap();
        let expected = json!({
            "a": 1, "b": ["1.5", true, false, "1", null, "1s", "sha256:ab", -3], "c": "x\ny\n", "d": {"e": "f"}, "g": {"e": "f"},
        });
        assert_eq!(documents[0].to_value(), expected);
        let json = "{\n\t\"a\": [1, \"\\u0041\", true, null]\n}";
        assert_eq!(parse(json, Dialect::Json).unwrap()[0].to_value(), json!({"a": [1, "A", true, null]}));
        assert_eq!(parse("a: 1\n---\nb: 2\n", Dialect::Envoy).unwrap().len(), 2);
    }

    #[test]
    fn keys_twice_merged_and_ignored_count_as_in_the_loader() {
        let text = "a: 1\na: 2\n!ignore b: 3\nc: &c {x: 1}\nd: {<<: *c, z: 2}\n";
        let read = |prefix: &str| {
            let documents = parse(&format!("{prefix}{text}"), Dialect::Envoy).unwrap();
            assert!(documents[0].get("a").is_some());
            documents[0].to_value()
        };
        let envoy = json!({"a": 2, "c": {"x": 1}, "d": {"<<": {"x": 1}, "z": 2}});
        assert_eq!(read(""), envoy);
        let kubernetes = json!({"apiVersion": "v1", "a": 2, "b": 3, "c": {"x": 1}, "d": {"x": 1, "z": 2}});
        assert_eq!(read("apiVersion: v1\n"), kubernetes);
    }

    #[test]
    fn flow_map_may_close_at_the_parents_column() {
        let text = "spec:\n  pluginConfig: {\n    \"a\": \"x\n  y\"\n  }\n";
        let documents = parse(text, Dialect::Envoy).unwrap();
        assert_eq!(documents[0].to_value(), json!({"spec": {"pluginConfig": {"a": "x y"}}}));
    }

    #[test]
    fn broken_text_names_its_place() {
        for (text, line) in [("a: [1\nb: 2", 2), ("a: *x", 1), ("? [a]\n: b", 1)] {
            assert_eq!(parse(text, Dialect::Envoy).unwrap_err().mark.line, line, "{text}");
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
        assert!(parse(&text, Dialect::Envoy).is_err());
        // Nor can anchors that stand in each other, though no alias makes use of them.
        let open = (0..150).fold(String::new(), |text, n| text + "&a" + &n.to_string() + " [");
        let text = format!("a: {open}{}{}\n", "1, ".repeat(200_000), "]".repeat(150));
        assert!(parse(&text, Dialect::Envoy).unwrap_err().message.contains("too large"));
        // Nor a long text.
        let text = format!("a: &a {}\nb: [{}]\n", "x".repeat(1_000_000), "*a, ".repeat(1000));
        assert!(parse(&text, Dialect::Envoy).unwrap_err().message.contains("too large"));
        let text = format!("a: {}\n", "x".repeat(8 << 20));
        assert!(parse(&text, Dialect::Envoy).is_ok(), "twice as long as any configuration");
    }

    #[test]
    fn many_keys_take_no_longer_than_as_many_values() {
        let text = (0..100_000).fold(String::new(), |text, n| text + "k" + &n.to_string() + ": 1\n");
        let began = std::time::Instant::now();
        assert_eq!(parse(&text, Dialect::Envoy).unwrap()[0].children().len(), 100_000);
        // Compared with each other they took a minute.
        assert!(began.elapsed() < std::time::Duration::from_secs(20), "{:?}", began.elapsed());
    }

    #[test]
    fn a_path_leads_to_its_place() {
        let documents =
            parse("regions:\n  us-east-1:\n    digicert:\n      pins: [api, oops]\n", Dialect::Envoy)
                .unwrap();
        let at = |path: &str| documents[0].locate(path, false);
        assert_eq!(at("regions.us-east-1.digicert.pins[1]"), Mark { line: 4, column: 18, width: 4 });
        // As far as it leads.
        assert_eq!(at("regions.us-east-1.genesys.ca_certificates"), Mark { line: 2, column: 2, width: 9 });
        let dotted = parse("discover:\n  crl.example: a\n  crl.example.b: {c: 1}\n", Dialect::Envoy).unwrap();
        assert_eq!(
            dotted[0].locate("discover.crl.example.b.c", true),
            Mark { line: 3, column: 18, width: 1 }
        );
    }
}
