//! What is wrong with the shape of a configuration, in the words of the README and with the way out.

use serde::de::Unexpected;
use serde_json::Value;

pub fn missing_field(field: &str) -> String {
    format!("missing field `{field}`: {}", missing(field))
}

pub fn unknown_field(field: &str, expected: &[&str]) -> String {
    // A name that is right elsewhere is no misspelling.
    match home(field) {
        Some(place) => format!("unknown field `{field}` in this place: {place}"),
        None => unknown("field", field, expected),
    }
}

/// A name that is none of these; with "did you mean", if one is near.
pub fn unknown(what: &str, name: &str, expected: &[&str]) -> String {
    let all = match expected {
        [] => "none at all".to_owned(),
        [one] => format!("`{one}`"),
        [one, other] => format!("`{one}` or `{other}`"),
        several => format!("one of `{}`", several.join("`, `")),
    };
    let near = nearest(name, expected.iter().copied());
    let hint = near.map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
    format!("unknown {what} `{name}`, expected {all}{hint}")
}

/// Which of these was meant, if one is near. Nobody misspells something that long, and the comparison takes memory by length.
pub fn nearest<'k>(name: &str, known: impl Iterator<Item = &'k str>) -> Option<&'k str> {
    if name.len() > 64 {
        return None;
    }
    let (distance, near) = known.map(|known| (strsim::damerau_levenshtein(name, known), known)).min()?;
    (distance <= 3.max(near.len() / 3)).then_some(near)
}

/// What to write for a field that has to be there.
fn missing(field: &str) -> &'static str {
    match field {
        "regions" => "name the regions whose client may pass, such as {us-east-1: {digicert: {pins: [api]}}}",
        "pins" => {
            "give `[api]` for what the certificates API names, or fingerprints such as `sha256:<64 hex digits>`"
        }
        "ca_certificates" => "give the region's root as PEM text, from the .zip on Genesys' help page",
        "header" => "name the request header that carries the certificate",
        "peer" => {
            "say how the proxy in front is recognised: by `sha256` or `dns_san` of its client certificate"
        }
        _ => "it has no default",
    }
}

/// Where an option belongs that people write one level too high or too low.
fn home(field: &str) -> Option<&'static str> {
    Some(match field {
        "pins" | "issuers" => "it belongs under `regions.<id>.digicert`",
        "ca_certificates" | "danger_public_ca" => "it belongs under `regions.<id>.genesys`",
        "certificate_name" | "domain" | "genesys" | "digicert" => "it belongs under `regions.<id>`",
        "clusters"
        | "oauth"
        | "retry"
        | "jitter"
        | "keep_removed"
        | "max_staleness"
        | "on_unknown_certificate" => "it belongs under `refresh`",
        "interval" | "timeout" => "it belongs under `refresh`, or for lists under `revocation`",
        "client_id_env" | "client_secret_env" => "it belongs under `refresh.oauth`",
        "client_id" | "client_secret" => {
            "credentials never stand in the configuration; put them into environment variables, and give the variables' \
             names as `client_id_env` and `client_secret_env`"
        }
        "min_interval" | "hold" | "max_held" => "it belongs under `refresh.on_unknown_certificate`",
        "base" | "max" => "it belongs under `refresh.retry`",
        "source" | "filter_state_key" | "danger_trusted_hop" => "it belongs under `peer_certificate`",
        "sha256" | "dns_san" => "it belongs under `peer_certificate.danger_trusted_hop.peer`",
        "lists" | "discover" | "max_size" => "it belongs under `revocation`",
        _ => return None,
    })
}

/// Something else than was expected. Texts are left out: one in the wrong place may be a key.
pub fn misfit(what: &str, found: Unexpected<'_>, expected: &str) -> String {
    let is_text = matches!(found, Unexpected::Str(_));
    let expected = match expected {
        "u32" if is_text => "a whole number without quotes",
        "u32" => "a whole number, 0 or above",
        "a sequence" => "a list in brackets, such as [api]",
        "a map" => "an object with one entry each, written `name: value`",
        "a boolean" if is_text => "true or false without quotes",
        "a boolean" => "true or false",
        "a string" => match found {
            // YAML takes some words for something else.
            Unexpected::Bool(_) => "text; YAML takes a bare yes, no, on or off for a boolean",
            Unexpected::Unsigned(_) | Unexpected::Signed(_) | Unexpected::Float(_) => {
                "text: put it in quotes"
            }
            _ => "text",
        },
        other => other,
    };
    let found = match found {
        Unexpected::Unit => return format!("nothing stands here, expected {expected}"),
        Unexpected::Str(_) => "text".to_owned(),
        Unexpected::Seq => "list".to_owned(),
        Unexpected::Map => "object".to_owned(),
        Unexpected::Bool(truth) => format!("boolean `{truth}`"),
        Unexpected::Unsigned(number) => format!("integer `{number}`"),
        Unexpected::Signed(number) => format!("integer `{number}`"),
        Unexpected::Float(number) => format!("number `{}`", Value::from(number)),
        _ => "something else".to_owned(),
    };
    format!("{what}: {found}, expected {expected}")
}
