//! `genesys-mtls inspect`: what is in these files, and what does it serve as?

mod certificate;
mod files;
pub mod form;
mod paste;

use crate::{
    output::{BAD, FAINT, GOOD, Report, STRONG, Usage, WARN, foreign, paint},
    times,
};
use certificate::{Certificate, Use, understand};
use files::Item;
use genesys_mtls_filter::{regions, time::UnixSeconds, x509::fingerprint::Fingerprint};
use serde_json::{Value, json};
use std::fmt::Write as _;

/// Say what certificates, bundles and .zip files hold, whose they are, until when, and how to configure them
#[derive(Debug, clap::Args)]
#[command(after_help = "\
FILES are PEM or DER certificates, PEM bundles, or the .zip with a region's CA
from Genesys' help page. Other forms (PKCS#7, PKCS#12, CRL, ...) are named, with
the command that makes PEM of them; next to certificates they do no harm.

Examples:
  genesys-mtls inspect us-east-1.zip
  genesys-mtls inspect --region eu-central-1 --configuration ca.pem
  openssl s_client ... -showcerts </dev/null | genesys-mtls inspect -

JSON: {certificates: [{file, role, subject, issuer, region, not_before,
not_after, valid, validity, sha256, fit_as_genesys_ca, fit_as_digicert_issuer,
note}], problems, other: [{file, message}], configuration}

Exit codes: 0 every certificate is usable now, 1 none is there, or one is
expired, unfit or unreadable, 2 usage")]
pub struct Arguments {
    /// Files to look into; - is standard input
    #[arg(required = true)]
    files: Vec<String>,
    /// The region whose CA this is, for the configuration printed at the end
    #[arg(long, value_name = "REGION")]
    region: Option<String>,
    /// Print only the configuration that the files make
    #[arg(long)]
    configuration: bool,
    /// Judge expiry at this time instead of now
    #[arg(long, value_name = "TIME", value_parser = times::parse)]
    at: Option<UnixSeconds>,
}

pub fn run(arguments: &Arguments) -> Result<Report, Usage> {
    let at = arguments.at.unwrap_or_else(times::now);
    let region = arguments.region.as_deref();
    if let Some(unknown) = region.filter(|id| regions::by_id(id).is_none()) {
        return Err(Usage::new(format!("`{unknown}` is not a region: `genesys-mtls regions` lists them")));
    }
    let mut report = Report { text: String::new(), json: json!({}), good: true };
    let (mut certificates, mut problems, mut foreign_ones) = (Vec::new(), Vec::new(), Vec::new());
    for path in &arguments.files {
        for item in files::open(path)? {
            match item {
                Item::Certificate { origin, der } => certificates.push(understand(origin, der)),
                Item::Problem { origin, message } => problems.push((origin, message)),
                Item::Foreign { origin, message } => foreign_ones.push((origin, message)),
            }
        }
    }
    for certificate in &certificates {
        report.text.push_str(&render(certificate, at));
        report.good &= certificate.serves != Use::Nothing && certificate.validity(at).0;
    }
    for (origin, message) in &problems {
        let _ = writeln!(
            report.text,
            "{}\n  {} {}\n",
            paint(STRONG, foreign(origin)),
            paint(BAD, "problem"),
            foreign(message)
        );
        report.good = false;
    }
    for (origin, message) in &foreign_ones {
        let (origin, message) = (paint(STRONG, foreign(origin)), foreign(message));
        let _ = writeln!(report.text, "{origin}\n  is {message}\n");
    }
    report.good &= !certificates.is_empty();
    let configuration = paste::configuration(&certificates, region, at);
    if let Some(yaml) = &configuration {
        let _ = writeln!(
            report.text,
            "{}\n{yaml}",
            paint(FAINT, "# --- plugin configuration, ready to paste ---")
        );
    }
    if arguments.configuration {
        report.text = configuration.clone().unwrap_or_default();
        report.good &= configuration.is_some();
    }
    let listed = |items: &[(String, String)]| {
        items.iter().map(|(file, message)| json!({"file": file, "message": message})).collect::<Vec<_>>()
    };
    report.json = json!({
        "certificates": certificates.iter().map(|certificate| to_json(certificate, at)).collect::<Vec<_>>(),
        "problems": listed(&problems),
        "other": listed(&foreign_ones),
        "configuration": configuration,
    });
    Ok(report)
}

fn render(certificate: &Certificate, at: UnixSeconds) -> String {
    let (valid, validity) = certificate.validity(at);
    let mut text = format!("{}\n", paint(STRONG, foreign(&certificate.origin)));
    if let (true, Some(remark)) = (certificate.is_unreadable(), &certificate.remark) {
        return text + &format!("  {} {}\n\n", paint(BAD, "problem"), foreign(remark));
    }
    let mut line = |label: &str, value: String| {
        let _ = writeln!(text, "  {label:<9} {value}");
    };
    line("is a", certificate.role.to_owned());
    line("subject", foreign(&certificate.subject));
    line("issuer", foreign(&certificate.issuer));
    if let Some(region) = certificate.region {
        line("region", region.to_owned());
    }
    let from = times::rfc3339(certificate.not_before);
    let until = times::rfc3339(certificate.not_after);
    let validity = paint(if valid { GOOD } else { BAD }, validity);
    line("valid", format!("{from} to {until} ({validity})"));
    line("sha256", Fingerprint::of(&certificate.der).to_string());
    line("good for", good_for(certificate.serves));
    if let Some(remark) = &certificate.remark {
        line("note", paint(WARN, foreign(remark)));
    }
    text.push('\n');
    text
}

fn good_for(serves: Use) -> String {
    match serves {
        Use::GenesysCa => "genesys.ca_certificates, if it came from Genesys' help page".to_owned(),
        Use::DigicertIssuer => "digicert.issuers".to_owned(),
        Use::PublicRoot => "nothing in the configuration".to_owned(),
        Use::Client => "digicert.pins, if DigiCert signed it and the certificates API names it".to_owned(),
        Use::Nothing => paint(BAD, "nothing"),
    }
}

fn to_json(certificate: &Certificate, at: UnixSeconds) -> Value {
    let time = |seconds| (!certificate.is_unreadable()).then(|| times::rfc3339(seconds));
    let (valid, validity) = certificate.validity(at);
    json!({
        "file": certificate.origin,
        "role": certificate.role,
        "subject": certificate.subject,
        "issuer": certificate.issuer,
        "region": certificate.region,
        "not_before": time(certificate.not_before),
        "not_after": time(certificate.not_after),
        "valid": valid,
        "validity": validity,
        "sha256": Fingerprint::of(&certificate.der).to_string(),
        "fit_as_genesys_ca": certificate.serves == Use::GenesysCa,
        "fit_as_digicert_issuer": certificate.serves == Use::DigicertIssuer,
        "note": certificate.remark,
    })
}
