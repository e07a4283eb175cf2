//! What `genesys-mtls pins` is asked.

use clap::ValueEnum;

/// Ask a region's certificates API for the pins of its client, for bootstrapping or out of curiosity
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The OAuth client's id and secret are read from the environment, never from the
command line; it needs a role with the permission
integrations:actionCertificate:view. TLS is verified against the system's roots.

Examples:
  export GENESYS_CLIENT_ID=... GENESYS_CLIENT_SECRET=...
  genesys-mtls pins --region us-east-1
  genesys-mtls pins --region eu-central-1 --format yaml
  # In a CronJob:
  genesys-mtls pins --region us-east-1 --format configmap | kubectl apply -f -

Nothing is printed on standard output unless both the current and the upcoming
certificates could be read, so that a pipe never applies half an answer. A
certificate that would be denied, today or from its first day on, is named on
standard error. Give --issuers and --genesys-ca as the filter has them.

JSON: {region, certificate_name, pins: [{pin, not_before, not_after}], denied,
  skipped}

Exit codes: 0 pins found, 1 a named certificate would be denied, or the API
refused, failed, or named no usable one, 2 usage")]
pub struct Arguments {
    /// A region of the catalogue
    #[arg(long, required_unless_present = "domain")]
    pub region: Option<String>,
    /// The region's domain (api.<domain>, login.<domain>), for regions outside the catalogue
    #[arg(long, requires = "certificate_name")]
    pub domain: Option<String>,
    /// The name in the region's client certificate, with --domain or where the catalogue has none
    #[arg(long, value_name = "NAME")]
    pub certificate_name: Option<String>,
    /// What to print; --json is --format json
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,
    /// Demand that pins are signed by one of these CAs (PEM), as digicert.issuers does
    #[arg(long, value_name = "FILE")]
    pub issuers: Option<String>,
    /// Hold certificates of the Genesys CA against these CAs (PEM), as the filter does by its `genesys`
    #[arg(long, value_name = "FILE")]
    pub genesys_ca: Option<String>,
    /// Trust these CAs (PEM) for the API's TLS instead of the system's
    #[arg(long, value_name = "FILE")]
    pub ca_certificates: Option<String>,
    /// Connect to this address, whatever host is asked; TLS still verifies the host
    #[arg(long, value_name = "HOST:PORT")]
    pub connect_to: Option<String>,
    /// Seconds that one call may take
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=300))]
    pub timeout: u64,
    /// Environment variable with the OAuth client's id
    #[arg(long, value_name = "NAME", default_value = "GENESYS_CLIENT_ID")]
    pub client_id_env: String,
    /// Environment variable with the OAuth client's secret
    #[arg(long, value_name = "NAME", default_value = "GENESYS_CLIENT_SECRET")]
    pub client_secret_env: String,
    /// Name of the ConfigMap
    #[arg(long, default_value = "genesys-mtls-pins")]
    pub name: String,
    /// Namespace of the ConfigMap
    #[arg(long)]
    pub namespace: Option<String>,
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
