//! Row 7 from revocation lists in files, as if the proxy had fetched them.

use crate::{
    output::{self, Usage},
    times,
};
use aws_lc_verifier::AwsLcVerifier;
use genesys_mtls_filter::{
    decision::Revocations,
    policy::{Authority, Policy, RegionPolicy},
    time::{Clock, UnixSeconds},
    x509::{
        ca::CaCertificate,
        certificate::ClientCertificate,
        crl::{Crl, CrlError, CrlMetadata, RevocationStatus, significant},
    },
};
use serde_json::{Value, json};

/// The lists that were given.
#[derive(Debug)]
pub struct Lists {
    files: Vec<File>,
    at: UnixSeconds,
    skew: UnixSeconds,
}

#[derive(Debug)]
struct File {
    path: String,
    bytes: Vec<u8>,
}

/// What one list says of a certificate, or why it says nothing.
#[derive(Debug)]
pub struct Told {
    path: String,
    list: Result<Said, CrlError>,
}

#[derive(Debug)]
struct Said {
    issuer: String,
    metadata: CrlMetadata,
    entries: usize,
    covers: bool,
    is_listed: bool,
}

impl Lists {
    pub fn read(paths: &[String], policy: &Policy, at: UnixSeconds) -> Result<Self, Usage> {
        let files = paths.iter().map(|path| Ok(File { path: path.clone(), bytes: output::read(path)? }));
        Ok(Self { files: files.collect::<Result<_, Usage>>()?, at, skew: policy.clock_skew })
    }

    /// What each list says of a certificate of this region. All CAs of the region may have signed a list.
    pub fn tell(&self, region: &RegionPolicy, certificate: &ClientCertificate) -> Vec<Told> {
        let say = |file: &File| {
            let [genesys, digicert] =
                Authority::ALL.map(|authority| self.ask(file, region.cas(authority), certificate));
            let not_its = |said: &Result<Said, CrlError>| matches!(said, Err(CrlError::OtherIssuer(_)));
            let list = if not_its(&genesys) { digicert } else { genesys };
            Told { path: file.path.clone(), list }
        };
        self.files.iter().map(say).collect()
    }

    fn ask(
        &self,
        file: &File,
        cas: &[CaCertificate],
        certificate: &ClientCertificate,
    ) -> Result<Said, CrlError> {
        let crl = Crl::verify(&file.bytes, cas, &AwsLcVerifier)?;
        let metadata = &crl.metadata;
        if metadata.this_update > self.at.saturating_add(self.skew) {
            return Err(CrlError::NotYetValid);
        }
        let (mut entries, mut is_listed) = (0, false);
        crl.for_each_serial(|serial| {
            entries += 1;
            is_listed |= serial == significant(&certificate.serial);
        })?;
        let signer = cas.iter().find(|ca| ca.ca.to_string() == metadata.signer);
        Ok(Said {
            issuer: signer.map(|ca| ca.name.clone()).unwrap_or_default(),
            covers: signer
                .is_some_and(|ca| metadata.covers(ca, certificate) && ca.is_named(&certificate.issuer.der)),
            metadata: crl.metadata,
            entries,
            is_listed,
        })
    }
}

impl Revocations for Lists {
    fn status(
        &self,
        region: &RegionPolicy,
        authority: Authority,
        signer: &CaCertificate,
        certificate: &ClientCertificate,
        clock: &mut Clock,
    ) -> RevocationStatus {
        let cas = region.cas(authority);
        let said = self.files.iter().filter_map(|file| self.ask(file, cas, certificate).ok());
        let said = said.filter(|said| said.metadata.covers(signer, certificate));
        let said = said.map(|said| said.metadata.status(said.is_listed, self.skew, clock));
        said.max().unwrap_or(RevocationStatus::Unknown)
    }
}

impl Told {
    /// Step by step, for people.
    pub fn lines(&self, at: UnixSeconds) -> Vec<String> {
        let mut lines = vec![match &self.list {
            Ok(said) => format!("{}: issued by {}, signature verified", self.path, said.issuer),
            Err(error) => format!("{}: refused ({}): {error}", self.path, error.code().code()),
        }];
        let Ok(said) = &self.list else { return lines };
        let metadata = &said.metadata;
        let (from, until) = (times::rfc3339(metadata.this_update), times::rfc3339(metadata.next_update));
        let past = if metadata.next_update < at { ": it has run out, and clears no certificate" } else { "" };
        lines.push(format!(
            "  number {}, thisUpdate {from}, nextUpdate {until} ({}){past}",
            number(&metadata.number),
            times::away(metadata.next_update, at)
        ));
        lines.push(format!("  entries: {}", said.entries));
        if !metadata.distribution_points.is_empty() {
            lines.push(format!(
                "  only for certificates that name {}",
                metadata.distribution_points.join(" or ")
            ));
        }
        lines.push(match (said.covers, said.is_listed) {
            (false, _) => "  not about this certificate: another issuer's, or another partition".to_owned(),
            (true, true) => "  the certificate's serial number is on it: revoked".to_owned(),
            (true, false) => "  the certificate's serial number is not on it".to_owned(),
        });
        lines
    }

    pub fn json(&self) -> Value {
        match &self.list {
            Err(error) => {
                json!({"file": self.path, "refused": error.code().code(), "detail": error.to_string()})
            }
            Ok(said) => json!({
                "file": self.path, "issuer": said.issuer,
                "number": number(&said.metadata.number), "this_update": times::rfc3339(said.metadata.this_update),
                "next_update": times::rfc3339(said.metadata.next_update),
                "distribution_points": said.metadata.distribution_points, "entries": said.entries,
                "covers_certificate": said.covers, "lists_certificate": said.is_listed,
            }),
        }
    }
}

/// A CRL number: in decimal where it is of a size that people count in.
fn number(bytes: &[u8]) -> String {
    if bytes.is_empty() {
        return "0".to_owned();
    }
    let value =
        bytes.iter().try_fold(0_u64, |value, byte| value.checked_mul(256)?.checked_add(u64::from(*byte)));
    value.map_or_else(
        || bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(":"),
        |value| value.to_string(),
    )
}
