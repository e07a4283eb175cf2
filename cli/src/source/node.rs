//! A value that remembers where it was written.

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
    Map(Vec<(Key, Node)>),
    /// What stood here was taken out; list positions still count it.
    Hole,
}

#[derive(Clone, Debug)]
pub struct Key {
    pub text: String,
    pub mark: Mark,
}

/// How far a path could be followed.
#[derive(Debug)]
pub struct Located<'n> {
    pub node: &'n Node,
    /// The key that leads to the node; nothing for list elements and the root.
    pub key: Option<&'n Key>,
    pub complete: bool,
    /// The path as the file counts, where something before has been taken out.
    pub path: String,
}

impl Node {
    pub fn to_value(&self) -> Value {
        match &self.kind {
            Kind::Scalar(value) => value.clone(),
            Kind::Block(text) => Value::String(text.clone()),
            Kind::Hole => Value::Null,
            Kind::List(items) => items.iter().filter(|item| !item.is_hole()).map(Self::to_value).collect(),
            Kind::Map(entries) => {
                let entries = entries.iter().filter(|(_, node)| !node.is_hole());
                let entries = entries.map(|(key, node)| (key.text.clone(), node.to_value()));
                Value::Object(entries.collect::<Map<_, _>>())
            }
        }
    }

    pub fn get(&self, name: &str) -> Option<&Self> {
        let Kind::Map(entries) = &self.kind else { return None };
        entries.iter().find(|(key, _)| key.text == name).map(|(_, node)| node)
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

    fn is_hole(&self) -> bool {
        matches!(self.kind, Kind::Hole)
    }

    pub fn children(&self) -> Vec<&Self> {
        match &self.kind {
            Kind::List(items) => items.iter().collect(),
            Kind::Map(entries) => entries.iter().map(|(_, node)| node).collect(),
            Kind::Scalar(_) | Kind::Block(_) | Kind::Hole => Vec::new(),
        }
    }

    /// Follows a path such as `regions.us-east-1.digicert.pins[0]` as far as it leads. Keys may hold dots.
    pub fn locate(&self, path: &str) -> Located<'_> {
        let mut at = Located { node: self, key: None, complete: path.is_empty(), path: String::new() };
        let mut rest = path;
        while !rest.is_empty() {
            let Some((step, tail)) = at.node.step(rest) else { break };
            rest = tail;
            let path = match step.key {
                Some(key) if at.path.is_empty() => key.text.clone(),
                Some(key) => format!("{}.{}", at.path, key.text),
                None => format!("{}{}", at.path, step.path),
            };
            at = Located { path, complete: rest.is_empty(), ..step };
        }
        at
    }

    /// One step along a path: where it leads (with the path of this step alone), and what is left of the path.
    fn step<'p>(&self, path: &'p str) -> Option<(Located<'_>, &'p str)> {
        let without_dot = |tail: &'p str| tail.strip_prefix('.').unwrap_or(tail);
        match &self.kind {
            Kind::Map(entries) => {
                let fitting = entries.iter().filter_map(|(key, node)| {
                    let tail = path.strip_prefix(key.text.as_str())?;
                    let ends = tail.is_empty() || tail.starts_with(['.', '[']);
                    ends.then_some((key, node, without_dot(tail)))
                });
                let (key, node, tail) = fitting.min_by_key(|(_, _, tail)| tail.len())?;
                Some((Located { node, key: Some(key), complete: false, path: String::new() }, tail))
            }
            Kind::List(items) => {
                let (index, tail) = path.strip_prefix('[')?.split_once(']')?;
                let mut present = items.iter().enumerate().filter(|(_, item)| !item.is_hole());
                let (index, node) = present.nth(index.parse().ok()?)?;
                let path = format!("[{index}]");
                Some((Located { node, key: None, complete: false, path }, without_dot(tail)))
            }
            Kind::Scalar(_) | Kind::Block(_) | Kind::Hole => None,
        }
    }

    /// Takes out what a path leads to; whether there was something.
    pub fn remove(&mut self, path: &str) -> bool {
        let located = self.locate(path);
        let (complete, mark) = (located.complete && !path.is_empty(), located.node.mark);
        complete && self.remove_at(std::ptr::from_ref(located.node), mark)
    }

    fn remove_at(&mut self, target: *const Self, mark: Mark) -> bool {
        if std::ptr::eq(self, target) {
            *self = Self { mark, kind: Kind::Hole };
            return true;
        }
        match &mut self.kind {
            Kind::List(items) => items.iter_mut().any(|item| item.remove_at(target, mark)),
            Kind::Map(entries) => entries.iter_mut().any(|(_, node)| node.remove_at(target, mark)),
            Kind::Scalar(_) | Kind::Block(_) | Kind::Hole => false,
        }
    }

    /// Moves every mark, for text that stands inside another.
    pub fn remark(&mut self, change: &impl Fn(Mark) -> Mark) {
        self.mark = change(self.mark);
        match &mut self.kind {
            Kind::List(items) => items.iter_mut().for_each(|item| item.remark(change)),
            Kind::Map(entries) => {
                for (key, node) in entries {
                    key.mark = change(key.mark);
                    node.remark(change);
                }
            }
            Kind::Scalar(_) | Kind::Block(_) | Kind::Hole => {}
        }
    }
}

/// A value that was written nowhere.
impl From<&Value> for Node {
    fn from(value: &Value) -> Self {
        let kind = match value {
            Value::Array(items) => Kind::List(items.iter().map(Self::from).collect()),
            Value::Object(fields) => {
                let entry = |(name, value)| {
                    (Key { text: String::clone(name), mark: Mark::default() }, Self::from(value))
                };
                Kind::Map(fields.iter().map(entry).collect())
            }
            scalar => Kind::Scalar(scalar.clone()),
        };
        Self { mark: Mark::default(), kind }
    }
}

impl Located<'_> {
    /// Where to put the caret: on the value if it is one word, else on its key.
    pub fn mark(&self, prefer_key: bool) -> Mark {
        let one_word = matches!(self.node.kind, Kind::Scalar(_)) && self.node.mark.width > 0;
        match self.key {
            Some(key) if prefer_key || !one_word => key.mark,
            _ => self.node.mark,
        }
    }
}
