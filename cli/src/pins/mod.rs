//! `genesys-mtls pins`: ask the certificates API the way the filter does, and print the pins it would make of the answer.

mod format;
mod https;

use crate::{
    output::{self, Report, Usage},
    times,
};
use aws_lc_verifier::AwsLcVerifier;
use clap::ValueEnum;
use genesys_mtls_filter::{
    http::Failure,
    pins::{Client, Criteria, Fetch, FetchResult, Named, Progress, Selection, Upstreams},
    policy::{Credentials, NameRule, Source, names::RegionNames},
    regions,
    shared::Secret,
    time::{Monotonic, Now},
    x509::ca::CaCertificate,
};
use https::Https;
use serde_json::json;
use std::time::Duration;

/// Ask a region's certificates API for the pins of its client, for bootstrapping or out of curiosity
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The OAuth client's id and secret are read from the environment, never from the command line; it needs a role with the
permission integrations:actionCertificate:view. TLS is verified against the system's roots.

Examples:
  export GENESYS_CLIENT_ID=... GENESYS_CLIENT_SECRET=...
  genesys-mtls pins --region us-east-1
  genesys-mtls pins --region eu-central-1 --format yaml
  genesys-mtls pins --region us-east-1 --format configmap --name genesys-pins | kubectl apply -f -    # in a CronJob

Nothing is printed on standard output unless both the current and the upcoming certificates could be read, so that a
pipe never applies half an answer.

Exit codes: 0 pins found, 1 the API refused, failed, or named no usable certificate, 2 usage")]
pub struct Arguments {
    /// A region of the catalogue
    #[arg(long, required_unless_present = "domain")]
    region: Option<String>,
    /// The region's domain (api.<domain>, login.<domain>), for regions outside the catalogue
    #[arg(long, requires = "certificate_name")]
    domain: Option<String>,
    /// The name in the region's client certificate, with --domain or where the catalogue has none
    #[arg(long, value_name = "NAME")]
    certificate_name: Option<String>,
    /// What to print; --json is --format json
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// Demand that pins are signed by one of these CAs (PEM), as digicert.issuers does
    #[arg(long, value_name = "FILE")]
    issuers: Option<String>,
    /// Trust these CAs (PEM) for the API's TLS instead of the system's
    #[arg(long, value_name = "FILE")]
    ca_certificates: Option<String>,
    /// Connect to this address, whatever host is asked; TLS still verifies the host
    #[arg(long, value_name = "HOST:PORT")]
    connect_to: Option<String>,
    /// Seconds that one call may take
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=300))]
    timeout: u64,
    /// Environment variable with the OAuth client's id
    #[arg(long, value_name = "NAME", default_value = "GENESYS_CLIENT_ID")]
    client_id_env: String,
    /// Environment variable with the OAuth client's secret
    #[arg(long, value_name = "NAME", default_value = "GENESYS_CLIENT_SECRET")]
    client_secret_env: String,
    /// Name of the ConfigMap
    #[arg(long, default_value = "genesys-mtls-pins")]
    name: String,
    /// Namespace of the ConfigMap
    #[arg(long)]
    namespace: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// One pin per line, with its validity
    Text,
    /// The region's part of the plugin configuration
    Yaml,
    /// A Kubernetes ConfigMap with the pins as text and as JSON
    Configmap,
    /// Pins with their validity, and what of the answer was passed over
    Json,
}

pub fn run(arguments: &Arguments) -> Result<Report, Usage> {
    let source = source(arguments)?;
    let client = Client::Own {
        id: variable(&arguments.client_id_env, "id")?,
        secret: Secret::new(variable(&arguments.client_secret_env, "secret")?),
    };
    let issuers = match &arguments.issuers {
        None => Vec::new(),
        Some(path) => CaCertificate::parse_bundle(&output::read(path)?)
            .map_err(|error| Usage::new(format!("{path}: {error}")))?,
    };
    let https = Https::new(
        arguments.ca_certificates.as_deref(),
        arguments.connect_to.as_deref(),
        Duration::from_secs(arguments.timeout),
    )?;
    let timeout = Duration::from_secs(arguments.timeout);
    let result = converse(&https, Upstreams { source: &source, client: &client, timeout });
    if let Some(failure) =
        [&result.current, &result.upcoming].into_iter().find_map(|list| list.as_ref().err())
    {
        return Ok(failed(&source, failure, &https));
    }
    let named = Named::read(&result);
    let criteria = Criteria {
        region: &source.region,
        region_names: &RegionNames::new([(source.certificate_name.as_str(), source.region.as_str())]),
        names: NameRule::default(),
        issuers: &issuers,
        verifier: &AwsLcVerifier,
        now: times::now(),
    };
    if let Some(flood) = named.flood() {
        return Ok(failed(&source, &flood, &https));
    }
    for path in &named.unreadable {
        anstream::eprintln!("warning: the answer of {} is not as specified at {path}", source.region);
    }
    let selection = named.select(criteria);
    if selection.pins.is_empty() {
        return Ok(none_usable(&source, &selection));
    }
    Ok(format::render(&source, &selection, arguments))
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
    let value = std::env::var(name).ok().filter(|value| !value.is_empty());
    value.ok_or_else(|| {
        Usage::new(format!(
            "environment variable {name} is not set: it has to hold the OAuth client's {holds}"
        ))
    })
}

/// Failures go to standard error (and to the JSON document): a pipe behind this sees no half answer.
fn failed(source: &Source, failure: &Failure, https: &Https) -> Report {
    let cause = https.last_error().map(|error| format!(" ({error})")).unwrap_or_default();
    let detail = format!("{}{cause}", failure.detail);
    anstream::eprintln!("error: {} of {}: {detail}", failure.code, source.region);
    Report {
        text: String::new(),
        json: json!({"region": source.region, "error": failure.code.code(), "detail": detail}),
        good: false,
    }
}

fn none_usable(source: &Source, selection: &Selection) -> Report {
    let skipped = format::skipped(selection);
    anstream::eprintln!(
        "error: the API of {} names no usable certificate of {} (passed over: {})",
        source.region,
        source.certificate_name,
        if skipped.is_empty() { "nothing".to_owned() } else { skipped.join(", ") }
    );
    Report {
        text: String::new(),
        json: json!({"region": source.region, "error": "no_usable_certificate", "skipped": skipped}),
        good: false,
    }
}
