//! What the author of a configuration probably meant: the filter names what is wrong, and this what is near.

use genesys_mtls_filter::config::{ErrorKind, Form};

/// What to add to the message of an error.
pub fn hint(kind: &ErrorKind) -> String {
    let near = match kind {
        // A name that is right elsewhere is no misspelling.
        ErrorKind::UnknownField { name, expected } => match home(name) {
            Some(place) => return format!("; {place}"),
            None => nearest(name, expected),
        },
        ErrorKind::UnknownValue { name, expected } => nearest(&name.to_ascii_lowercase(), expected),
        ErrorKind::Malformed { text, form } => {
            return corrected(text, *form).map(|near| format!("; `{near}` would do")).unwrap_or_default();
        }
        ErrorKind::Other | ErrorKind::MissingField => None,
    };
    near.map(|near| format!("; did you mean `{near}`?")).unwrap_or_default()
}

fn nearest<'k>(name: &str, known: &[&'k str]) -> Option<&'k str> {
    let distances = known.iter().map(|known| (strsim::damerau_levenshtein(name, known), *known));
    let (distance, near) = distances.min()?;
    (distance <= 3.max(near.len() / 3)).then_some(near)
}

/// The text in the form that is needed, if it resembles it.
fn corrected(text: &str, form: Form) -> Option<String> {
    let replaced = |by: char| {
        let near: String = text.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { by }).collect();
        let near: String = near.to_ascii_lowercase().trim_matches(by).chars().take(32).collect();
        (!near.is_empty()).then_some(near)
    };
    match form {
        Form::PolicyName => replaced('_'),
        Form::HeaderName => replaced('-'),
        Form::CrlHost => {
            let host = text.rsplit("://").next().unwrap_or_default().split('/').next().unwrap_or_default();
            let is_host = host.bytes().all(|b| b.is_ascii_alphanumeric() || b".-:".contains(&b));
            (is_host && !host.is_empty()).then(|| host.to_owned())
        }
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
        "interval" | "timeout" => "it belongs under `refresh`, or for CRLs under `revocation`",
        "client_id_env" | "client_secret_env" => "it belongs under `refresh.oauth`",
        "client_id" | "client_secret" => {
            "the configuration never holds credentials: put them into environment variables, and give the variables' names \
             as `client_id_env` and `client_secret_env`"
        }
        "min_interval" | "hold" | "max_held" => "it belongs under `refresh.on_unknown_certificate`",
        "base" | "max" => "it belongs under `refresh.retry`",
        "source" | "filter_state_key" | "danger_trusted_hop" => "it belongs under `peer_certificate`",
        "encoding" => "it belongs under `peer_certificate.danger_trusted_hop`",
        "sha256" | "dns_san" => "it belongs under `peer_certificate.danger_trusted_hop.peer`",
        "lists" | "discover" | "max_size" => "it belongs under `revocation`",
        _ => return None,
    })
}
