//! What serde says of a wrong shape, in the words of the README and with the way out.

/// The message for an operator. Texts are left out of it: one in the wrong place may be a key.
pub fn of_shape(message: &str) -> String {
    if let Some(field) = quoted_after(message, "missing field `") {
        return format!("missing field `{field}`: {}", missing(field));
    }
    if let Some(field) = quoted_after(message, "unknown field `") {
        // A name that is right elsewhere is no misspelling.
        if let Some(place) = home(field) {
            return format!("unknown field `{field}` in this place: {place}");
        }
    }
    with_nearest_name(&in_plain_words(message))
}

fn quoted_after<'m>(message: &'m str, start: &str) -> Option<&'m str> {
    message.strip_prefix(start)?.split_once('`').map(|(field, _)| field)
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

/// Serde's "invalid type: sequence, expected a string".
fn in_plain_words(message: &str) -> String {
    let Some((found, expected)) = message.rsplit_once(", expected ") else { return message.to_owned() };
    let found = match found.split_once("string \"") {
        Some((kind, _)) if found.starts_with("invalid ") => format!("{kind}text"),
        _ if found.starts_with("invalid type: null") => "nothing stands here".to_owned(),
        _ if found.starts_with("invalid ") => found.replace("sequence", "list").replace("map", "object"),
        _ => found.to_owned(),
    };
    let is_text = found.ends_with("text");
    let expected = match expected {
        "u32" if is_text => "a whole number without quotes",
        "u32" => "a whole number, 0 or above",
        "a sequence" => "a list in brackets, such as [api]",
        "a boolean" if is_text => "true or false without quotes",
        "a boolean" => "true or false",
        // YAML takes some words for something else.
        "a string" | "string or map" if found.contains("boolean") => {
            "text; YAML takes a bare yes, no, on or off for a boolean"
        }
        "a string" if found.contains("integer") || found.contains("floating") => "text: put it in quotes",
        "a string" | "string or map" => "text",
        other => other,
    };
    format!("{found}, expected {expected}")
}

/// Adds "did you mean" to serde's "unknown field `x`, expected one of `a`, `b`" and "unknown variant" messages.
fn with_nearest_name(message: &str) -> String {
    let mut quoted = message.split('`').skip(1).step_by(2);
    let nearest = message.starts_with("unknown ").then(|| {
        let unknown = quoted.next()?;
        let (distance, name) = quoted.map(|name| (strsim::damerau_levenshtein(unknown, name), name)).min()?;
        (distance <= 3.max(name.len() / 3)).then_some(name)
    });
    match nearest.flatten() {
        Some(name) => format!("{message}; did you mean `{name}`?"),
        None => message.to_owned(),
    }
}
