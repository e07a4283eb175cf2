//! What a certificate is, and what it can serve as.

use crate::times;
use genesys_mtls_filter::{
    policy::{Authority, CrlSource},
    regions,
    time::UnixSeconds,
    x509::{ca::CaCertificate, certificate::ClientCertificate},
};
use x509_parser::prelude::{FromDer as _, X509Certificate};

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

impl Certificate {
    pub fn is_unreadable(&self) -> bool {
        self.role == "unreadable"
    }

    /// Whether it is valid, and in words.
    pub fn validity(&self, at: UnixSeconds) -> (bool, String) {
        let away = |seconds| times::away(seconds, at);
        if self.is_unreadable() {
            (false, "unknown".to_owned())
        } else if at < self.not_before {
            (false, format!("not valid yet: begins {}", away(self.not_before)))
        } else if at > self.not_after {
            (false, format!("expired {}", away(self.not_after)))
        } else {
            (true, format!("ends {}", away(self.not_after)))
        }
    }
}

pub fn understand(origin: String, der: Vec<u8>) -> Certificate {
    let Ok((_, parsed)) = X509Certificate::from_der(&der) else {
        return Certificate {
            origin,
            der,
            serves: Use::Nothing,
            role: "unreadable",
            remark: Some("it is no X.509 certificate".to_owned()),
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
            let remark = "signs for the public: fit as digicert.issuers next to pins, never as genesys.ca_certificates";
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
                return (Use::Client, "client certificate", lists(&leaf.crl_urls), Some(region.id));
            }
            let remark = "carries no Genesys Cloud region's name".to_owned();
            (Use::Nothing, "client certificate", Some(remark), None)
        }
    }
}

/// Where its issuer says that its CRLs are, and which of them the filter cannot fetch.
fn lists(urls: &[String]) -> Option<String> {
    let remark = |url: &str| match CrlSource::new("", Authority::Genesys, url, "") {
        Some(_) => "",
        None => " (no http:// URL, so the filter does not fetch it)",
    };
    let marked = urls.iter().map(|url| format!("{url}{}", remark(url)));
    let urls: Vec<String> = marked.collect();
    (!urls.is_empty()).then(|| format!("revocation lists: {}", urls.join(", ")))
}

/// A region whose whole id is in this text; the longest of several.
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
