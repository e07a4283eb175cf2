//! A row of the table.

use serde_json::Value;
use testbed::World;

pub type Change = fn(&mut Value, &World);

/// A change to a shipped file, and the version that the dump is to be of.
pub struct Example {
    pub what: &'static str,
    pub file: &'static str,
    pub before_1_39: bool,
    pub change: Change,
}

pub struct Row {
    pub rule: &'static str,
    pub bad: &'static [Example],
    pub good: &'static [Example],
}

pub const fn of(file: &'static str, what: &'static str, change: Change) -> Example {
    Example { what, file, before_1_39: false, change }
}

pub const fn explain(what: &'static str, change: Change) -> Example {
    of("envoy.yaml", what, change)
}

pub const fn before_1_39(what: &'static str, change: Change) -> Example {
    Example { what, file: "envoy.yaml", before_1_39: true, change }
}
