//! One object of the configuration while it is read: each reader takes fields out by name, and what is left is unknown.
//!
//! Serde's derive around `serde_json` would do much of this. It is compiled anew for each type, and was an eighth of the
//! module.

use crate::config::{
    checks::{duration, has_meaning, is_header, show},
    error::{ConfigError, ErrorKind, Form},
};
use serde_json::{Map, Value};
use std::{cell::RefCell, ops::RangeInclusive, time::Duration};

pub type Fields = Map<String, Value>;

/// Everything found wrong.
#[derive(Default)]
pub struct Errors {
    /// Fields that are unknown, missing, or of another type.
    shape: RefCell<Vec<ConfigError>>,
    /// Values that make no sense. They count only if all shapes are right.
    meaning: RefCell<Vec<ConfigError>>,
}

impl Errors {
    pub fn into_first(self) -> Vec<ConfigError> {
        let shape = self.shape.into_inner();
        if shape.is_empty() { self.meaning.into_inner() } else { shape }
    }
}

/// When it is dropped, the fields that were not taken are unknown.
pub struct Section<'e> {
    path: String,
    fields: Fields,
    known: Vec<&'static str>,
    missing: Vec<String>,
    errors: &'e Errors,
}

impl<'e> Section<'e> {
    fn new(path: String, fields: Fields, errors: &'e Errors) -> Self {
        Self { path, fields, known: Vec::new(), missing: Vec::new(), errors }
    }

    /// The document as a whole.
    pub fn root(document: Value, errors: &'e Errors) -> Option<Self> {
        let outside = Self::new(String::new(), Fields::new(), errors);
        outside.nested("", document, "an object with at least `regions`")
    }

    /// Adds an error about what a field means; an empty name is the object itself.
    pub fn wrong(&self, name: &str, message: &str) {
        self.wrong_kind(name, message, ErrorKind::Other);
    }

    pub fn wrong_kind(&self, name: &str, message: &str, kind: ErrorKind) {
        let error = ConfigError::new(self.path_of(name), message, kind);
        self.errors.meaning.borrow_mut().push(error);
    }

    pub fn malformed(&self, name: &str, message: &str, text: &str, form: Form) {
        self.wrong_kind(name, message, ErrorKind::Malformed { text: text.to_owned(), form });
    }

    fn misfit(&self, name: &str, message: &str, kind: ErrorKind) {
        self.errors.shape.borrow_mut().push(ConfigError::new(self.path_of(name), message, kind));
    }

    /// A value of another type. Texts are left out: one in the wrong place may be a key.
    fn mismatch(&self, name: &str, found: &Value, expected: &str) {
        let found = match found {
            Value::Null => "has no value",
            Value::Bool(truth) => {
                &format!("invalid type: boolean `{truth}` (YAML takes a bare yes, no, on or off for one)")
            }
            Value::Number(number) => &format!("invalid type: number `{number}`"),
            Value::String(_) => "invalid type: text",
            Value::Array(_) => "invalid type: list",
            Value::Object(_) => "invalid type: object",
        };
        self.misfit(name, &format!("{found}, expected {expected}"), ErrorKind::Other);
    }

    fn path_of(&self, name: &str) -> String {
        let dot = if self.path.is_empty() || name.is_empty() { "" } else { "." };
        [&self.path, dot, name].concat()
    }

    /// The field has to be there; `fix` says what to write.
    pub fn require(&mut self, name: &str, fix: &str) {
        if !self.fields.contains_key(name) {
            self.missing.push(format!("missing field `{name}`: {fix}"));
        }
    }

    pub fn take(&mut self, name: &'static str) -> Option<Value> {
        self.known.push(name);
        self.fields.remove(name)
    }

    /// An object whose names the operator chooses.
    pub fn entries(&mut self, name: &'static str) -> Fields {
        match self.take(name) {
            None => Fields::new(),
            Some(Value::Object(fields)) => fields,
            Some(other) => {
                self.mismatch(name, &other, "an object with one entry each, written `name: value`");
                Fields::new()
            }
        }
    }

    pub fn items(&mut self, name: &'static str) -> Vec<Value> {
        match self.take(name) {
            None => Vec::new(),
            Some(Value::Array(items)) => items,
            Some(other) => {
                self.mismatch(name, &other, "a list in brackets, such as [api]");
                Vec::new()
            }
        }
    }

    /// A list of texts of one form.
    pub fn list<T>(
        &mut self,
        name: &'static str,
        expected: &str,
        parse: fn(&str) -> Result<T, String>,
    ) -> Vec<T> {
        let items = self.items(name).into_iter().enumerate();
        items.filter_map(|(n, item)| self.parsed(&format!("{name}[{n}]"), item, expected, parse)).collect()
    }

    /// The object that a value is.
    pub fn nested(&self, name: &str, value: Value, expected: &str) -> Option<Self> {
        let Value::Object(fields) = value else {
            self.mismatch(name, &value, expected);
            return None;
        };
        Some(Self::new(self.path_of(name), fields, self.errors))
    }

    /// An object that may be left out, and means something by being there.
    pub fn optional_object(&mut self, name: &'static str, expected: &str) -> Option<Self> {
        let value = self.take(name)?;
        self.nested(name, value, expected)
    }

    /// An object all of whose fields have defaults.
    pub fn object(&mut self, name: &'static str, expected: &str) -> Self {
        let section = self.optional_object(name, expected);
        section.unwrap_or_else(|| Self::new(self.path_of(name), Fields::new(), self.errors))
    }

    pub fn text(&mut self, name: &'static str) -> Option<String> {
        let value = self.take(name)?;
        self.text_in(name, value, "text")
    }

    pub fn text_in(&self, name: &str, value: Value, expected: &str) -> Option<String> {
        match value {
            Value::String(text) => return Some(text),
            // YAML takes some words and all digits for something else.
            Value::Bool(_) | Value::Number(_) if expected == "text" => {
                self.mismatch(name, &value, "text: put it in quotes");
            }
            other => self.mismatch(name, &other, expected),
        }
        None
    }

    /// A header that the filter reads or writes, in lower case.
    pub fn header(&mut self, name: &'static str) -> Option<String> {
        let header = self.text(name)?.to_ascii_lowercase();
        if !is_header(&header) {
            let message = format!("`{header}` is not a header name: use letters, digits and - only");
            self.malformed(name, &message, &header, Form::HeaderName);
        } else if has_meaning(&header) {
            self.wrong(name, &format!("`{header}` already has a meaning: choose another header"));
        }
        Some(header)
    }

    /// Reads text in a form, or the words for why it does not have that form.
    pub fn parsed<T>(
        &self,
        name: &str,
        value: Value,
        expected: &str,
        parse: fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        let text = self.text_in(name, value, expected)?;
        parse(&text).map_err(|message| self.misfit(name, &message, ErrorKind::Other)).ok()
    }

    /// One of these words.
    pub fn word<T: Copy>(&mut self, name: &'static str, words: &[(&'static str, T)]) -> Option<T> {
        let value = self.take(name)?;
        self.word_in(name, value, words)
    }

    pub fn word_in<T: Copy>(&self, name: &str, value: Value, words: &[(&'static str, T)]) -> Option<T> {
        let expected: Vec<&'static str> = words.iter().map(|(word, _)| *word).collect();
        let text = self.text_in(name, value, &one_of(&expected))?;
        let known = words.iter().find(|(word, _)| *word == text);
        if known.is_none() {
            let message = format!("unknown value `{text}`, expected {}", one_of(&expected));
            self.misfit(name, &message, ErrorKind::UnknownValue { name: text, expected });
        }
        known.map(|(_, value)| *value)
    }

    pub fn boolean(&mut self, name: &'static str) -> bool {
        match self.take(name) {
            Some(Value::Bool(truth)) => return truth,
            Some(other) => self.mismatch(name, &other, "true or false without quotes"),
            None => {}
        }
        false
    }

    pub fn number(&mut self, name: &'static str, default: usize, range: RangeInclusive<u64>) -> usize {
        let Some(value) = self.take(name) else { return default };
        match value.as_u64() {
            None => self.mismatch(name, &value, "a whole number, 0 or above, without quotes"),
            Some(number) if range.contains(&number) => return usize::try_from(number).unwrap_or(default),
            Some(number) => {
                let (low, high) = range.into_inner();
                self.wrong(name, &format!("{number} is outside {low} to {high}"));
            }
        }
        default
    }

    pub fn duration(
        &mut self,
        name: &'static str,
        default: Duration,
        range: RangeInclusive<Duration>,
    ) -> Duration {
        let Some(value) = self.take(name) else { return default };
        let parsed = self.parsed(name, value, "a duration with its unit, such as 30s, 5m or 24h", duration);
        self.check_range(name, parsed.unwrap_or(default), range)
    }

    pub fn check_range(&self, name: &str, value: Duration, range: RangeInclusive<Duration>) -> Duration {
        if !range.contains(&value) {
            let (value, low, high) = (show(value), show(*range.start()), show(*range.end()));
            self.wrong(name, &format!("{value} is outside {low} to {high}"));
        }
        value
    }
}

impl Drop for Section<'_> {
    /// What is missing may be there under an unknown name.
    fn drop(&mut self) {
        if self.fields.is_empty() {
            for message in &self.missing {
                self.misfit("", message, ErrorKind::MissingField);
            }
        }
        for name in self.fields.keys() {
            let message = format!("unknown field `{name}`, expected {}", one_of(&self.known));
            let kind = ErrorKind::UnknownField { name: name.clone(), expected: self.known.clone() };
            self.misfit(name, &message, kind);
        }
    }
}

fn one_of(names: &[&str]) -> String {
    match names {
        [one] => format!("`{one}`"),
        [one, other] => format!("`{one}` or `{other}`"),
        several => format!("one of `{}`", several.join("`, `")),
    }
}
