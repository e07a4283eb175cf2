//! `genesys-mtls pins`: ask the certificates API the way the filter does, and print the pins it would make of the answer.

mod arguments;
mod format;
mod https;

pub use arguments::Arguments;

use crate::{
    output::{self, Report, Usage},
    times,
};
use aws_lc_verifier::AwsLcVerifier;
use genesys_mtls_filter::{
    config,
    http::{Failure, FailureCode},
    pins::{Client, Fetch, FetchResult, Progress, Reader, Selection, Upstreams, credential},
    policy::{Credentials, Policy, Source},
    regions,
    shared::Secret,
    time::{Monotonic, Now},
    x509::pem,
};
use https::Https;
use serde_json::json;
use std::time::Duration;

pub fn run(arguments: &Arguments) -> Result<Report, Usage> {
    let source = source(arguments)?;
    let client = Client::Own {
        id: variable(&arguments.client_id_env, "id")?,
        secret: Secret::new(variable(&arguments.client_secret_env, "secret")?),
    };
    let policy = policy(arguments, &source)?;
    let https = Https::new(
        arguments.ca_certificates.as_deref(),
        arguments.connect_to.as_deref(),
        Duration::from_secs(arguments.timeout),
    )?;
    let timeout = Duration::from_secs(arguments.timeout);
    let result = converse(&https, Upstreams { source: &source, client: &client, timeout });
    let reader = Reader {
        policy: &policy,
        region: policy.regions.first().map_or("", |region| &region.id),
        verifier: &AwsLcVerifier,
        now: times::now(),
    };
    let selection = Selection::of(result, reader);
    let failure = selection.failure.as_ref();
    if let Some(failure) = failure.filter(|failure| failure.code != FailureCode::NoUsableCertificate) {
        return Ok(failed(&source, failure, &https));
    }
    for path in &selection.unreadable {
        anstream::eprintln!("warning: the answer of {} is not as specified at {path}", source.region);
    }
    for denied in selection.forecasts.iter().filter(|forecast| forecast.denied.is_some()) {
        anstream::eprintln!("warning: {}", format::denied(denied));
    }
    if failure.is_some() {
        return Ok(none_usable(&source, &selection));
    }
    Ok(format::render(&source, &selection, arguments))
}

/// The policy of a filter with this region alone.
fn policy(arguments: &Arguments, source: &Source) -> Result<Policy, Usage> {
    let pem = |path: &Option<String>| -> Result<Option<String>, Usage> {
        let Some(path) = path else { return Ok(None) };
        let pem = output::read(path)?;
        pem::certificates(&pem).map_err(|error| Usage::new(format!("{path}: {error}")))?;
        Ok(Some(String::from_utf8_lossy(&pem).into_owned()))
    };
    let mut region = json!({
        "certificate_name": source.certificate_name,
        "domain": source.api_host.trim_start_matches("api."),
        "digicert": {"pins": ["api"]},
    });
    if let Some(issuers) = pem(&arguments.issuers)? {
        region["digicert"]["issuers"] = issuers.into();
    }
    if let Some(roots) = pem(&arguments.genesys_ca)? {
        region["genesys"] = json!({"ca_certificates": roots});
    }
    let id = source.region.replace('.', "-");
    let document = json!({"regions": {id: region}}).to_string();
    config::load(document.as_bytes()).map_err(|errors| {
        let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
        Usage::new(errors.join("\n"))
    })
}

/// One refresh, with the filter's own state machine; only the calls are made here.
fn converse(https: &Https, upstreams: Upstreams<'_>) -> FetchResult {
    let (mut token, now) = (None, Now { mono: Monotonic::ZERO, wall: times::now(), random: 0.5 });
    let (mut fetch, mut call) = Fetch::begin(upstreams, &mut token, now.mono);
    loop {
        match fetch.on_response(&https.call(&call), upstreams, &mut token, now) {
            Progress::Call(next) => call = next,
            Progress::Done(result) => return result,
        }
    }
}

fn source(arguments: &Arguments) -> Result<Source, Usage> {
    let known = match arguments.region.as_deref() {
        None => None,
        Some(id) => match (regions::by_id(id), &arguments.domain) {
            (None, None) => {
                return Err(Usage::new(format!(
                    "`{id}` is not in the catalogue (`genesys-mtls regions`): give --domain and --certificate-name"
                )));
            }
            (known, _) => known,
        },
    };
    let domain = arguments.domain.clone().or(known.map(|known| known.domain.to_owned()));
    let name = arguments.certificate_name.clone();
    let name = name.or(known.and_then(|known| known.certificate_name.map(str::to_owned)));
    let domain = domain.ok_or_else(|| Usage::new("give --region or --domain"))?.to_ascii_lowercase();
    let name = name.ok_or_else(|| {
        Usage::new("Genesys publishes no certificate name for this region: give --certificate-name")
    })?;
    Ok(Source {
        region: arguments.region.clone().unwrap_or_else(|| domain.clone()),
        certificate_name: name.to_ascii_lowercase(),
        api_host: format!("api.{domain}"),
        login_host: format!("login.{domain}"),
        api_cluster: String::new(),
        login_cluster: String::new(),
        credentials: Credentials::Environment {
            client_id: arguments.client_id_env.clone(),
            client_secret: arguments.client_secret_env.clone(),
        },
    })
}

fn variable(name: &str, holds: &str) -> Result<String, Usage> {
    let value = std::env::var(name).ok().map(|value| credential(&value).to_owned());
    let value = value.filter(|value| !value.is_empty()).ok_or_else(|| {
        Usage::new(format!(
            "environment variable {name} is not set or is empty: it has to hold the OAuth client's {holds}"
        ))
    })?;
    // No id and no secret has any; the login would only say that the client is unknown.
    if value.contains(|c: char| c.is_whitespace() || c.is_control() || matches!(c, '"' | '\'' | '\u{feff}')) {
        return Err(Usage::new(format!(
            "environment variable {name} holds a quote, a space or a line break next to the OAuth client's {holds}: take it out where the \
             variable comes from"
        )));
    }
    Ok(value)
}

/// Failures go to standard error (and to the JSON document): a pipe behind this sees no half answer.
fn failed(source: &Source, failure: &Failure, https: &Https) -> Report {
    let host = if failure.code.is_login() { &source.login_host } else { &source.api_host };
    let unreached = |error| format!("{host} could not be reached from here: {error}");
    let detail = https.last_error().map_or_else(|| failure.detail.clone(), unreached);
    anstream::eprintln!("error: {} of {}: {detail}", failure.code.code(), source.region);
    Report {
        text: String::new(),
        json: json!({"region": source.region, "error": failure.code.code(), "detail": detail}),
        good: false,
    }
}

fn none_usable(source: &Source, selection: &Selection) -> Report {
    let skipped = format::skipped(selection);
    anstream::eprintln!(
        "error: the API of {} names no usable certificate of {} (skipped: {})",
        source.region,
        source.certificate_name,
        if skipped.is_empty() { "none".to_owned() } else { skipped.join(", ") }
    );
    Report {
        text: String::new(),
        json: json!({
            "region": source.region,
            "error": "no_usable_certificate",
            "skipped": skipped,
            "denied": format::denials(selection),
        }),
        good: false,
    }
}
