//! One object of the configuration while it is read: each reader takes fields out by name, and what is left is unknown.
//!
//! Serde's derive around `serde_json` would do much of this. It is compiled anew for each type, and was an eighth of the
//! module.

use crate::config::{
    checks::{TAKEN_HEADERS, duration, is_header, show},
    error::{ConfigError, ErrorKind, Form},
};
use serde_json::{Map, Value};
use std::{fmt::Display, ops::RangeInclusive, time::Duration};

pub type Fields = Map<String, Value>;

/// Everything found wrong.
#[derive(Default)]
struct Errors {
    /// Fields that are unknown, missing, or hold something else than belongs there.
    shape: Vec<ConfigError>,
    /// Values that make no sense. They count only if all shapes are right.
    meaning: Vec<ConfigError>,
}

/// Reads the document as a whole.
pub fn read<T>(document: Value, read: impl FnOnce(&mut Section<'_>) -> T) -> Result<T, Vec<ConfigError>> {
    let mut errors = Errors::default();
    let mut outside = Section::new(String::new(), Fields::new(), &mut errors);
    let value = outside.nested_value("", document, "an object with at least `regions`", read);
    match value {
        _ if !errors.shape.is_empty() => Err(errors.shape),
        Some(value) if errors.meaning.is_empty() => Ok(value),
        _ => Err(errors.meaning),
    }
}

pub struct Section<'e> {
    path: String,
    fields: Fields,
    known: Vec<&'static str>,
    missing: Vec<String>,
    errors: &'e mut Errors,
}

impl<'e> Section<'e> {
    fn new(path: String, fields: Fields, errors: &'e mut Errors) -> Self {
        Self { path, fields, known: Vec::new(), missing: Vec::new(), errors }
    }

    /// Adds an error about what a field means; an empty name is the object itself.
    pub fn wrong(&mut self, name: &str, message: impl Display) {
        self.wrong_kind(name, message, ErrorKind::Other);
    }

    pub fn wrong_kind(&mut self, name: &str, message: impl Display, kind: ErrorKind) {
        let error = ConfigError::new(&self.path_of(name), &message.to_string()).with_kind(kind);
        self.errors.meaning.push(error);
    }

    fn misfit(&mut self, name: &str, message: &str, kind: ErrorKind) {
        self.errors.shape.push(ConfigError::new(&self.path_of(name), message).with_kind(kind));
    }

    /// Something else than was expected. Texts are left out: one in the wrong place may be a key.
    fn mismatch(&mut self, name: &str, found: &Value, expected: &str) {
        let found = match found {
            Value::Null => {
                return self.misfit(name, &format!("has no value, expected {expected}"), ErrorKind::Other);
            }
            Value::Bool(truth) => format!("boolean `{truth}` (YAML takes a bare yes, no, on or off for one)"),
            Value::Number(number) => format!("number `{number}`"),
            Value::String(_) => "text".to_owned(),
            Value::Array(_) => "list".to_owned(),
            Value::Object(_) => "object".to_owned(),
        };
        self.misfit(name, &format!("invalid type: {found}, expected {expected}"), ErrorKind::Other);
    }

    fn path_of(&self, name: &str) -> String {
        match (self.path.as_str(), name) {
            ("", name) => name.to_owned(),
            (path, "") => path.to_owned(),
            (path, name) => format!("{path}.{name}"),
        }
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

    fn object_in(&mut self, name: &str, value: Value, expected: &str) -> Option<Fields> {
        let Value::Object(fields) = value else {
            self.mismatch(name, &value, expected);
            return None;
        };
        Some(fields)
    }

    /// An object whose names the operator chooses.
    pub fn entries(&mut self, name: &'static str) -> Fields {
        let expected = "an object with one entry each, written `name: value`";
        self.take(name).and_then(|value| self.object_in(name, value, expected)).unwrap_or_default()
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
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Vec<T> {
        let items = self.items(name).into_iter().enumerate();
        items.filter_map(|(n, item)| self.parsed(&format!("{name}[{n}]"), item, expected, &parse)).collect()
    }

    /// Reads an object with these fields.
    fn nested<T>(&mut self, name: &str, fields: Fields, read: impl FnOnce(&mut Section<'_>) -> T) -> T {
        let path = self.path_of(name);
        let mut section = Section::new(path, fields, &mut *self.errors);
        let value = read(&mut section);
        section.finish();
        value
    }

    pub fn nested_value<T>(
        &mut self,
        name: &str,
        value: Value,
        expected: &str,
        read: impl FnOnce(&mut Section<'_>) -> T,
    ) -> Option<T> {
        let fields = self.object_in(name, value, expected)?;
        Some(self.nested(name, fields, read))
    }

    /// An object that may be left out, and means something by being there.
    pub fn optional_object<T>(
        &mut self,
        name: &'static str,
        expected: &str,
        read: impl FnOnce(&mut Section<'_>) -> T,
    ) -> Option<T> {
        let value = self.take(name)?;
        self.nested_value(name, value, expected, read)
    }

    /// An object all of whose fields have defaults.
    pub fn object<T>(
        &mut self,
        name: &'static str,
        expected: &str,
        read: impl FnOnce(&mut Section<'_>) -> T,
    ) -> T {
        let fields = self.take(name).and_then(|value| self.object_in(name, value, expected));
        self.nested(name, fields.unwrap_or_default(), read)
    }

    /// What was not taken has a name that this object does not know. What is missing may be there under that name.
    fn finish(mut self) {
        if self.fields.is_empty() {
            for message in std::mem::take(&mut self.missing) {
                self.misfit("", &message, ErrorKind::MissingField);
            }
        }
        for (name, _) in std::mem::take(&mut self.fields) {
            let message = format!("unknown field `{name}`, expected {}", one_of(&self.known));
            let expected = self.known.clone();
            self.misfit(&name.clone(), &message, ErrorKind::UnknownField { name, expected });
        }
    }

    pub fn text(&mut self, name: &'static str) -> Option<String> {
        let value = self.take(name)?;
        self.parsed(name, value, "text", |text| Ok(text.to_owned()))
    }

    /// A header that the filter reads or writes, in lower case.
    pub fn header(&mut self, name: &'static str) -> Option<String> {
        let header = self.text(name)?.to_ascii_lowercase();
        if !is_header(&header) {
            let message = format!("`{header}` is not a header name: use letters, digits and - only");
            let kind = ErrorKind::Malformed { text: header.clone(), form: Form::HeaderName };
            self.wrong_kind(name, message, kind);
        } else if TAKEN_HEADERS.contains(&header.as_str()) {
            self.wrong(name, format!("`{header}` already has a meaning: choose another header"));
        }
        Some(header)
    }

    /// Reads text in a form, or the words for why it does not have that form.
    pub fn parsed<T>(
        &mut self,
        name: &str,
        value: Value,
        expected: &str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        match value {
            Value::String(text) => {
                parse(&text).map_err(|message| self.misfit(name, &message, ErrorKind::Other)).ok()
            }
            // YAML takes some words and all digits for something else.
            Value::Bool(_) | Value::Number(_) if expected == "text" => {
                self.mismatch(name, &value, "text: put it in quotes");
                None
            }
            other => {
                self.mismatch(name, &other, expected);
                None
            }
        }
    }

    /// One of these words.
    pub fn word<T: Copy>(&mut self, name: &'static str, words: &[(&'static str, T)]) -> Option<T> {
        let value = self.take(name)?;
        self.word_in(name, value, words)
    }

    pub fn word_in<T: Copy>(&mut self, name: &str, value: Value, words: &[(&'static str, T)]) -> Option<T> {
        let expected: Vec<&'static str> = words.iter().map(|(word, _)| *word).collect();
        let Value::String(text) = value else {
            self.mismatch(name, &value, &one_of(&expected));
            return None;
        };
        let known = words.iter().find(|(word, _)| *word == text);
        if known.is_none() {
            let message = format!("unknown value `{text}`, expected {}", one_of(&expected));
            self.misfit(name, &message, ErrorKind::UnknownValue { name: text, expected });
        }
        known.map(|(_, value)| *value)
    }

    pub fn boolean(&mut self, name: &'static str) -> bool {
        match self.take(name) {
            None => false,
            Some(Value::Bool(truth)) => truth,
            Some(other) => {
                self.mismatch(name, &other, "true or false without quotes");
                false
            }
        }
    }

    pub fn number(&mut self, name: &'static str, default: u64, range: RangeInclusive<u64>) -> usize {
        let value = self.take(name).unwrap_or_else(|| default.into());
        match value.as_u64() {
            None => self.mismatch(name, &value, "a whole number, 0 or above, without quotes"),
            Some(number) => self.check_range(name, number, &range, u64::to_string),
        }
        value.as_u64().and_then(|number| usize::try_from(number).ok()).unwrap_or_default()
    }

    pub fn duration(
        &mut self,
        name: &'static str,
        default: Duration,
        range: RangeInclusive<Duration>,
    ) -> Duration {
        let Some(value) = self.take(name) else { return default };
        let parsed = self.parsed(name, value, "a duration with its unit, such as 30s, 5m or 24h", duration);
        let Some(value) = parsed else { return default };
        self.check_range(name, value, &range, |value| show(*value));
        value
    }

    pub fn check_range<T: PartialOrd>(
        &mut self,
        name: &str,
        value: T,
        range: &RangeInclusive<T>,
        show: impl Fn(&T) -> String,
    ) {
        if !range.contains(&value) {
            let (value, low, high) = (show(&value), show(range.start()), show(range.end()));
            self.wrong(name, format!("{value} is outside {low} to {high}"));
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
