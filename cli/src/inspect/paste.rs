//! The configuration that the certificates found make.

use super::certificate::{Certificate, Use};
use crate::times;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use genesys_mtls_filter::{time::UnixSeconds, x509::fingerprint::Fingerprint};
use std::{collections::BTreeMap, fmt::Write as _};

#[derive(Debug, Default)]
struct Region<'c> {
    authorities: Vec<&'c Certificate>,
    pins: Vec<&'c Certificate>,
}

/// YAML, or nothing where there is nothing to configure. Expired certificates are left out.
pub fn configuration(certificates: &[Certificate], region: Option<&str>, at: UnixSeconds) -> Option<String> {
    let mut regions: BTreeMap<&str, Region<'_>> = BTreeMap::new();
    let mut issuers = Vec::new();
    for (index, certificate) in certificates.iter().enumerate() {
        // Archives hold the same certificate as PEM and as DER.
        let doubled = certificates.iter().take(index).any(|earlier| earlier.der == certificate.der);
        if doubled || certificate.not_after < at {
            continue;
        }
        let id = certificate.region.or(region).unwrap_or("REGION");
        let id = if certificate.serves == Use::GenesysCa { region.unwrap_or(id) } else { id };
        match certificate.serves {
            Use::GenesysCa => regions.entry(id).or_default().authorities.push(certificate),
            Use::Client if certificate.issuer.to_ascii_lowercase().contains("digicert") => {
                regions.entry(id).or_default().pins.push(certificate);
            }
            Use::DigicertIssuer => issuers.push(certificate),
            Use::Client | Use::PublicRoot | Use::Nothing => {}
        }
    }
    if regions.is_empty() && issuers.is_empty() {
        return None;
    }
    if regions.is_empty() {
        regions.entry(region.unwrap_or("REGION")).or_default();
    }
    let mut yaml = String::new();
    if regions.contains_key("REGION") {
        yaml.push_str(
            "# REGION: nothing in the file says which; see `genesys-mtls regions`, or give --region\n",
        );
    }
    yaml.push_str("regions:\n");
    for (id, region) in &regions {
        let _ = writeln!(yaml, "  {id}:");
        if !region.authorities.is_empty() {
            yaml.push_str("    genesys:\n      ca_certificates: |\n");
            blocks(&mut yaml, &region.authorities);
        }
        if !region.pins.is_empty() || !issuers.is_empty() {
            yaml.push_str("    digicert:\n      pins:\n        - api\n");
            if !region.pins.is_empty() {
                yaml.push_str(
                    "        # Each lets its holder in: only if DigiCert signed it and the API names it (`genesys-mtls pins`)\n",
                );
            }
            for pin in &region.pins {
                let until = times::rfc3339(pin.not_after);
                let _ = writeln!(yaml, "        - sha256:{} # until {until}", Fingerprint::of(&pin.der));
            }
            if !issuers.is_empty() {
                yaml.push_str("      issuers: |\n");
                blocks(&mut yaml, &issuers);
            }
        }
    }
    Some(yaml)
}

fn blocks(yaml: &mut String, certificates: &[&Certificate]) {
    for certificate in certificates {
        for line in pem(&certificate.der).lines() {
            let _ = writeln!(yaml, "        {line}");
        }
    }
}

fn pem(der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let mut pem = "-----BEGIN CERTIFICATE-----\n".to_owned();
    for (index, character) in text.chars().enumerate() {
        if index > 0 && index % 64 == 0 {
            pem.push('\n');
        }
        pem.push(character);
    }
    pem + "\n-----END CERTIFICATE-----\n"
}
