//! JSON Schema of what derives cannot describe: values written as text, and region ids.
//!
//! The schema helps editors and catches slips early; what a configuration means is judged by [`super::load`] alone.

use crate::regions::REGIONS;
use crate::{
    config::{
        document::RegionDocument,
        values::{Bound, Percent, Pin, Span},
    },
    policy::RevocationMode,
};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Serialize, Serializer};
use std::borrow::Cow;

/// Numbers with their units, as [`Span`] reads them: `90s`, `1h 30m`.
const SPAN: &str = "[0-9]+ *[a-zA-Z]+( *[0-9]+ *[a-zA-Z]+)*";

impl JsonSchema for Span {
    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "A number with a unit, such as 250ms, 30s, 5m, 24h or 7d.",
            "pattern": format!("^{SPAN}$"),
        })
    }
}

impl JsonSchema for Bound {
    fn schema_name() -> Cow<'static, str> {
        "DurationOrNone".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "`none`, or a number with a unit, such as 72h.",
            "pattern": format!("^(none|{SPAN})$"),
        })
    }
}

impl JsonSchema for Percent {
    fn schema_name() -> Cow<'static, str> {
        "Share".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "Whole percent, from 0% to 50%.",
            "pattern": "^([0-9]|[1-4][0-9]|50)%$",
        })
    }
}

impl JsonSchema for Pin {
    fn schema_name() -> Cow<'static, str> {
        "Pin".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "`api`, or `sha256:` and the 64 hexadecimal digits of a certificate's fingerprint.",
            "anyOf": [{"const": "api"}, {"type": "string", "pattern": "^sha256:([0-9A-Fa-f]{2}:?){32}$"}],
        })
    }
}

/// One entry per region. Ids of the catalogue are named, so that editors offer them; others are as good.
pub fn regions(generator: &mut SchemaGenerator) -> Schema {
    let known: Vec<&str> = REGIONS.iter().map(|region| region.id).collect();
    json_schema!({
        "type": "object",
        "minProperties": 1,
        "propertyNames": {"anyOf": [{"enum": known}, {"pattern": "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"}]},
        "additionalProperties": generator.subschema_for::<RegionDocument>(),
    })
}

/// `off` is a boolean to readers of YAML 1.1, Envoy's among them.
pub fn revocation_mode(generator: &mut SchemaGenerator) -> Schema {
    json_schema!({"anyOf": [generator.subschema_for::<RevocationMode>(), {"const": false}]})
}

// Defaults, as they would be written.

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Serialize for Bound {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Some(bound) => Span(bound).serialize(serializer),
            None => serializer.serialize_str("none"),
        }
    }
}

impl Serialize for Percent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{}%", self.0))
    }
}
