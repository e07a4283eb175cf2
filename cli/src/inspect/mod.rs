//! `genesys-mtls inspect`: what is in these files, and what is it good for?

mod files;
mod paste;

use crate::{
    output::{BAD, FAINT, GOOD, Report, STRONG, Usage, WARN, foreign, paint},
    times,
};
use files::Item;
use genesys_mtls_filter::{
    regions,
    time::UnixSeconds,
    x509::{ca::CaCertificate, certificate::ClientCertificate, fingerprint::Fingerprint},
};
use serde_json::{Value, json};
use std::fmt::Write as _;
use x509_parser::prelude::{FromDer as _, X509Certificate};

/// Say what certificates, bundles and .zip files hold, whose they are, until when, and how to configure them
#[derive(Debug, clap::Args)]
#[command(after_help = "\
FILES are PEM or DER certificates, PEM bundles, or the .zip with a region's CA from Genesys' help page.

Examples:
  genesys-mtls inspect us-east-1.zip
  genesys-mtls inspect --region eu-central-1 --configuration root.pem > policy.yaml
  openssl s_client ... -showcerts </dev/null | genesys-mtls inspect -

Exit codes: 0 every certificate is usable now, 1 one is expired, unfit or unreadable, 2 usage")]
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

/// What a certificate can serve as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// `genesys.ca_certificates`.
    GenesysCa,
    /// `digicert.issuers`.
    DigicertIssuer,
    /// A public root above such an issuer: TLS profiles may name it, the configuration does not.
    PublicRoot,
    /// A pin: a client certificate with a region's name.
    Client,
    Nothing,
}

/// One certificate, understood.
#[derive(Debug)]
pub struct Certificate {
    pub origin: String,
    pub der: Vec<u8>,
    pub serves: Use,
    pub role: &'static str,
    /// Why it serves as nothing, or as something else than one might think.
    pub remark: Option<String>,
    pub subject: String,
    pub issuer: String,
    pub not_before: UnixSeconds,
    pub not_after: UnixSeconds,
    pub region: Option<&'static str>,
}

pub fn run(arguments: &Arguments) -> Result<Report, Usage> {
    let at = arguments.at.unwrap_or_else(times::now);
    let region = arguments.region.as_deref();
    if let Some(unknown) = region.filter(|id| regions::by_id(id).is_none()) {
        return Err(Usage::new(format!("`{unknown}` is not a region: `genesys-mtls regions` lists them")));
    }
    let mut report = Report { text: String::new(), json: json!({}), good: true };
    let (mut certificates, mut problems) = (Vec::new(), Vec::new());
    for path in &arguments.files {
        for item in files::open(path)? {
            match item {
                Item::Certificate { origin, der } => certificates.push(understand(origin, der)),
                Item::Problem { origin, message } => problems.push((origin, message)),
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
    report.json = json!({
        "certificates": certificates.iter().map(|certificate| to_json(certificate, at)).collect::<Vec<_>>(),
        "problems": problems.iter().map(|(origin, message)| json!({"file": origin, "message": message})).collect::<Vec<_>>(),
        "configuration": configuration,
    });
    Ok(report)
}

impl Certificate {
    /// Whether it is valid, and in words.
    pub fn validity(&self, at: UnixSeconds) -> (bool, String) {
        let away = |seconds| times::away(seconds, at);
        if at < self.not_before {
            (false, format!("not valid yet: begins {}", away(self.not_before)))
        } else if at > self.not_after {
            (false, format!("expired {}", away(self.not_after)))
        } else {
            (true, format!("ends {}", away(self.not_after)))
        }
    }
}

fn understand(origin: String, der: Vec<u8>) -> Certificate {
    let Ok((_, parsed)) = X509Certificate::from_der(&der) else {
        return Certificate {
            origin,
            der,
            serves: Use::Nothing,
            role: "unreadable",
            remark: Some("not an X.509 certificate".to_owned()),
            subject: String::new(),
            issuer: String::new(),
            not_before: 0,
            not_after: 0,
            region: None,
        };
    };
    let self_signed = parsed.subject().as_raw() == parsed.issuer().as_raw();
    let is_ca = parsed.basic_constraints().ok().flatten().is_some_and(|constraints| constraints.value.ca);
    let (subject, issuer) = (parsed.subject().to_string(), parsed.issuer().to_string());
    let (not_before, not_after) =
        (parsed.validity().not_before.timestamp(), parsed.validity().not_after.timestamp());
    let (serves, role, remark, region) = if is_ca {
        let (serves, remark) = authority(&der, self_signed);
        let region = region_in(&subject).or_else(|| region_in(&origin));
        (serves, if self_signed { "root CA" } else { "intermediate CA" }, remark, region)
    } else {
        client(&der)
    };
    Certificate { origin, der, serves, role, remark, subject, issuer, not_before, not_after, region }
}

fn authority(der: &[u8], self_signed: bool) -> (Use, Option<String>) {
    match CaCertificate::parse(der) {
        Err(unfit) => (Use::Nothing, Some(unfit.to_string())),
        Ok(authority) if authority.is_digicert && self_signed => {
            let remark = "a public root: it belongs into the listener's trusted_ca at most, not into the configuration";
            (Use::PublicRoot, Some(remark.to_owned()))
        }
        Ok(authority) if authority.is_digicert => {
            let remark = "signs for the public: good as digicert.issuers beside pins, never as genesys.ca_certificates";
            (Use::DigicertIssuer, Some(remark.to_owned()))
        }
        Ok(_) => {
            let remark = (!self_signed)
                .then(|| "Genesys' regional CAs are roots; this one is an intermediate".to_owned());
            (Use::GenesysCa, remark)
        }
    }
}

fn client(der: &[u8]) -> (Use, &'static str, Option<String>, Option<&'static str>) {
    match ClientCertificate::parse(der) {
        Err(error) => (Use::Nothing, "other certificate", Some(error.to_string()), None),
        Ok(leaf) => {
            let mut names = leaf.dns_names.iter().chain(&leaf.common_names);
            if let Some(region) = names.find_map(|name| regions::by_certificate_name(name)) {
                return (Use::Client, "client certificate", None, Some(region.id));
            }
            let remark = "carries no Genesys Cloud region's name".to_owned();
            (Use::Nothing, "client certificate", Some(remark), None)
        }
    }
}

/// A region whose id stands in this text as a whole; the longest, as `us-east-1` stands in none but itself.
fn region_in(text: &str) -> Option<&'static str> {
    let text = text.to_ascii_lowercase();
    let whole = |id: &str| {
        text.match_indices(id).any(|(at, _)| {
            let outside = |c: Option<char>| !c.is_some_and(|c| c.is_ascii_alphanumeric());
            outside(text.get(..at).and_then(|before| before.chars().next_back()))
                && outside(text.get(at + id.len()..).and_then(|after| after.chars().next()))
        })
    };
    let known = regions::REGIONS.iter().map(|region| region.id);
    known.filter(|id| whole(id)).max_by_key(|id| id.len())
}

fn render(certificate: &Certificate, at: UnixSeconds) -> String {
    let (valid, validity) = certificate.validity(at);
    let mut text = format!("{}\n", paint(STRONG, foreign(&certificate.origin)));
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
    let (valid, validity) = certificate.validity(at);
    json!({
        "file": certificate.origin,
        "role": certificate.role,
        "subject": certificate.subject,
        "issuer": certificate.issuer,
        "region": certificate.region,
        "not_before": times::rfc3339(certificate.not_before),
        "not_after": times::rfc3339(certificate.not_after),
        "valid": valid,
        "validity": validity,
        "sha256": Fingerprint::of(&certificate.der).to_string(),
        "fit_as_genesys_ca": certificate.serves == Use::GenesysCa,
        "fit_as_digicert_issuer": certificate.serves == Use::DigicertIssuer,
        "note": certificate.remark,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_region_is_recognised_by_its_whole_id_only() {
        let cases = [
            ("CN=Genesys Root us-east-1", Some("us-east-1")),
            ("certs/EU-CENTRAL-2.pem", Some("eu-central-2")),
            ("us-east-10", None),
            ("mus-east-1", None),
            ("CN=Root", None),
        ];
        for (text, expected) in cases {
            assert_eq!(region_in(text), expected, "{text}");
        }
    }
}
