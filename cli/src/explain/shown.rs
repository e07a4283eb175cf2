//! The certificate that is asked about, from a file or a header, bound to the connection's digest if that is known.

use crate::{
    inspect::form::{self, Form},
    output::{self, Usage},
};
use genesys_mtls_filter::{
    peer::{
        bind::{PeerError, Shown, bind, from_hop},
        xfcc,
    },
    policy::{HopEncoding, Peer},
    x509::{fingerprint::Fingerprint, pem},
};

/// What the connection is taken to present.
#[derive(Debug)]
pub struct Presented {
    pub der: Result<Vec<u8>, PeerError>,
    /// How the bytes were come by, in words.
    pub note: String,
}

pub fn from_file(path: &str, digest: Option<Fingerprint>) -> Result<Presented, Usage> {
    let bytes = output::read(path)?;
    let (der, note) = if bytes.windows(11).any(|window| window == b"-----BEGIN ") {
        let found = pem::certificates(&bytes).map_err(|error| {
            let what = form::blocks(&bytes).1.first().map(|label| format!("it holds {}", form::label(label)));
            Usage::new(format!("{path}: {}", what.unwrap_or_else(|| error.to_string())))
        })?;
        let note = match found.len() {
            1 => format!("read from {path}"),
            n => format!("the first of {n} certificates in {path}: a TLS client presents its own first"),
        };
        (found.into_iter().next().unwrap_or_default(), note)
    } else if let Form::Other(what) | Form::Secret(what) = form::of(&bytes) {
        return Err(Usage::new(format!("{path} is {what}")));
    } else {
        (bytes, format!("read from {path} as DER"))
    };
    Ok(match digest {
        Some(digest) if Fingerprint::of(&der) != digest => Presented {
            note: format!("its SHA-256 is {}, the connection's is {digest}", Fingerprint::of(&der)),
            der: Err(PeerError::Mismatch),
        },
        Some(_) => Presented { der: Ok(der), note: format!("{note}; its SHA-256 is the connection's") },
        None => Presented { der: Ok(der), note: format!("{note}; taken to be the connection's own") },
    })
}

pub fn from_xfcc(value: &str, digest: Option<Fingerprint>, peer: &Peer) -> Result<Presented, Usage> {
    let header = if value == "-" { output::read_text("-")? } else { value.to_owned() };
    let header = header.trim().trim_start_matches("x-forwarded-client-cert:").trim().as_bytes().to_vec();
    let count = xfcc::certificates(&header).len();
    Ok(match (peer, digest) {
        (Peer::Hop(hop), _) => of_hop(&header, hop.encoding, digest),
        (Peer::Connection { .. }, Some(digest)) => {
            let der = bind(&digest, [Shown::Xfcc(header)]);
            let note = match &der {
                Ok(_) => format!("the one of {count} Cert value(s) whose SHA-256 is the connection's"),
                Err(_) => {
                    format!(
                        "{count} Cert value(s) in the header, none with the connection's SHA-256 {digest}"
                    )
                }
            };
            Presented { der, note }
        }
        (Peer::Connection { .. }, None) => {
            let der = from_hop(&header, HopEncoding::Xfcc);
            let note = match &der {
                Ok(_) => "the header's one Cert; taken to be the connection's own (give --sha256 to check)".to_owned(),
                Err(PeerError::Mismatch) => format!(
                    "{count} Cert values in the header; the filter takes the one with the connection's digest: give --sha256"
                ),
                Err(_) => "the header has no readable Cert; Envoy writes one with set_current_client_cert_details: {cert: true}"
                    .to_owned(),
            };
            Presented { der, note }
        }
    })
}

/// Nothing binds the header of a trusted hop: it has to be beyond doubt, for any certificate that is asked about.
fn of_hop(header: &[u8], encoding: HopEncoding, digest: Option<Fingerprint>) -> Presented {
    let der = from_hop(header, encoding).and_then(|der| {
        let is_wanted = digest.is_none_or(|digest| Fingerprint::of(&der) == digest);
        if is_wanted { Ok(der) } else { Err(PeerError::Mismatch) }
    });
    let note = match &der {
        Ok(_) => "the one certificate in the header, on the word of danger_trusted_hop",
        Err(PeerError::Mismatch) => {
            "the header of danger_trusted_hop has to show exactly one certificate, and no Hash but its SHA-256"
        }
        Err(_) => "the header of danger_trusted_hop has no certificate in the declared encoding",
    };
    Presented { der, note: note.to_owned() }
}
