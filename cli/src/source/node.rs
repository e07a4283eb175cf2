//! A value that remembers where it was written.

use indexmap::IndexMap;
use serde_json::{Map, Value};

/// A place in a text: line from 1, column from 0, and how many characters to underline.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mark {
    pub line: usize,
    pub column: usize,
    pub width: usize,
}

#[derive(Clone, Debug)]
pub struct Node {
    pub mark: Mark,
    pub kind: Kind,
}

#[derive(Clone, Debug)]
pub enum Kind {
    Scalar(Value),
    /// Text of a `|` or `>` block.
    Block(String),
    List(Vec<Node>),
    Map(IndexMap<String, Entry>),
}

/// A value under its key.
#[derive(Clone, Debug)]
pub struct Entry {
    pub key: Mark,
    pub node: Node,
    /// Where the same key was written before; that value is lost.
    pub earlier: Option<Mark>,
}

/// Why text is no YAML (nor JSON).
#[derive(Debug)]
pub struct SyntaxError {
    pub mark: Mark,
    pub message: String,
}

impl Node {
    pub fn to_value(&self) -> Value {
        match &self.kind {
            Kind::Scalar(value) => value.clone(),
            Kind::Block(text) => Value::String(text.clone()),
            Kind::List(items) => items.iter().map(Self::to_value).collect(),
            Kind::Map(entries) => {
                let entries = entries.iter().map(|(key, entry)| (key.clone(), entry.node.to_value()));
                Value::Object(entries.collect::<Map<_, _>>())
            }
        }
    }

    /// A field by its name. Protobuf's JSON takes `type_url` as `typeUrl` as well, and some tools write it so.
    pub fn get(&self, name: &str) -> Option<&Self> {
        let Kind::Map(entries) = &self.kind else { return None };
        let camel_case = || name.contains('_').then(|| entries.get(&camel_case(name))).flatten();
        entries.get(name).or_else(camel_case).map(|entry| &entry.node)
    }

    /// Follows keys one after the other.
    pub fn at(&self, names: &[&str]) -> Option<&Self> {
        names.iter().try_fold(self, |node, name| node.get(name))
    }

    pub fn as_str(&self) -> Option<&str> {
        match &self.kind {
            Kind::Scalar(Value::String(text)) | Kind::Block(text) => Some(text),
            _ => None,
        }
    }

    pub fn children(&self) -> Vec<&Self> {
        match &self.kind {
            Kind::List(items) => items.iter().collect(),
            Kind::Map(entries) => entries.values().map(|entry| &entry.node).collect(),
            Kind::Scalar(_) | Kind::Block(_) => Vec::new(),
        }
    }

    /// Follows a path such as `regions.us-east-1.digicert.pins[0]` as far as it leads, and marks the place: the value if it is
    /// one word, else its key.
    pub fn locate(&self, path: &str, prefer_key: bool) -> Mark {
        let (mut node, mut key, mut rest) = (self, None, path);
        while let Some((next, next_key, tail)) = node.step(rest) {
            (node, key, rest) = (next, next_key, tail);
        }
        let one_word = matches!(node.kind, Kind::Scalar(_)) && node.mark.width > 0;
        key.filter(|_| prefer_key || !one_word).unwrap_or(node.mark)
    }

    /// One step along a path: the value, its key, and what is left of the path. Keys may hold dots: the longest that fits is it.
    fn step<'p>(&self, path: &'p str) -> Option<(&Self, Option<Mark>, &'p str)> {
        let (node, key, tail) = match &self.kind {
            Kind::Map(entries) => {
                let dots = path.rmatch_indices(['.', '[']).map(|(end, _)| end);
                let mut ends = std::iter::once(path.len()).chain(dots);
                let (entry, tail) = ends.find_map(|end| {
                    let (name, tail) = path.split_at(end);
                    entries.get(name).map(|entry| (entry, tail))
                })?;
                (&entry.node, Some(entry.key), tail)
            }
            Kind::List(items) => {
                let (index, tail) = path.strip_prefix('[')?.split_once(']')?;
                (items.get(index.parse::<usize>().ok()?)?, None, tail)
            }
            Kind::Scalar(_) | Kind::Block(_) => return None,
        };
        Some((node, key, tail.strip_prefix('.').unwrap_or(tail)))
    }

    /// Moves every mark, for text that is inside another.
    pub fn remark(&mut self, change: &impl Fn(Mark) -> Mark) {
        self.mark = change(self.mark);
        match &mut self.kind {
            Kind::List(items) => items.iter_mut().for_each(|item| item.remark(change)),
            Kind::Map(entries) => {
                for entry in entries.values_mut() {
                    entry.key = change(entry.key);
                    entry.earlier = entry.earlier.map(change);
                    entry.node.remark(change);
                }
            }
            Kind::Scalar(_) | Kind::Block(_) => {}
        }
    }
}

impl Node {
    /// Puts all of it at one place, where it is part of a text that shows no lines.
    pub fn collapse(&mut self, mark: Mark) {
        self.remark(&|_| mark);
        self.unblock();
    }

    fn unblock(&mut self) {
        match &mut self.kind {
            Kind::Block(text) => self.kind = Kind::Scalar(Value::String(std::mem::take(text))),
            Kind::List(items) => items.iter_mut().for_each(Self::unblock),
            Kind::Map(entries) => entries.values_mut().for_each(|entry| entry.node.unblock()),
            Kind::Scalar(_) => {}
        }
    }
}

fn camel_case(name: &str) -> String {
    let mut words = name.split('_');
    let first = words.next().unwrap_or_default().to_owned();
    words.fold(first, |name, word| {
        let (initial, rest) = word.split_at_checked(1).unwrap_or_default();
        name + &initial.to_ascii_uppercase() + rest
    })
}

/// A value that was written nowhere.
impl From<&Value> for Node {
    fn from(value: &Value) -> Self {
        let kind = match value {
            Value::Array(items) => Kind::List(items.iter().map(Self::from).collect()),
            Value::Object(fields) => {
                let entry = |(name, value)| {
                    (
                        String::clone(name),
                        Entry { key: Mark::default(), node: Self::from(value), earlier: None },
                    )
                };
                Kind::Map(fields.iter().map(entry).collect())
            }
            scalar => Kind::Scalar(scalar.clone()),
        };
        Self { mark: Mark::default(), kind }
    }
}
