//! What becomes of the certificates that the API names, by the decision's own rules and ahead of time.

use crate::{
    decision::{
        Outcome, Reason, decide,
        trust::{ApiPin, ApiState, ApiTrust, Trust},
    },
    policy::{Authority, Policy},
    time::{Monotonic, UnixSeconds},
    x509::{certificate::ClientCertificate, fingerprint::Fingerprint, signature::SignatureVerifier},
};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;

/// Certificates judged per answer, since each may cost signatures; two are usual.
pub const MAX_JUDGED: usize = 64;

/// The list in which the API names a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ApiStatus {
    Current,
    Upcoming,
}

impl ApiStatus {
    pub fn code(self) -> &'static str {
        match self {
            Self::Current => "current",
            Self::Upcoming => "upcoming",
        }
    }
}

/// By whose settings an answer of the API is read, and when.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    pub policy: &'a Policy,
    /// The id of the region whose API answered.
    pub region: &'a str,
    pub verifier: &'a dyn SignatureVerifier,
    pub now: UnixSeconds,
}

/// What the API names: fingerprint and DER, if a leaf could be read.
pub type Named<'a> = (Option<(Fingerprint, &'a [u8])>, Authority, ApiStatus);

/// What becomes of a certificate if it is shown now, or on its first day if that lies ahead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forecast {
    pub authority: Authority,
    pub status: ApiStatus,
    pub fingerprint: Option<Fingerprint>,
    pub issuer: String,
    pub not_before: UnixSeconds,
    pub not_after: UnixSeconds,
    /// Why it will be denied, if it will.
    pub denied: Option<Reason>,
    /// The same in words.
    pub detail: String,
}

impl Forecast {
    /// Reasons that lie in certificate and policy. What else denies has gauges and alerts already.
    pub const REASONS: [Reason; 9] = [
        Reason::MalformedCertificate,
        Reason::NotAClientCertificate,
        Reason::WrongRegion,
        Reason::WrongName,
        Reason::Expired,
        Reason::UnknownIssuer,
        Reason::BadSignature,
        Reason::UnsupportedAlgorithm,
        Reason::NotPinned,
    ];

    /// Whether it is a pin that allows.
    pub fn is_pin(&self) -> bool {
        self.authority == Authority::Digicert && self.denied.is_none()
    }
}

impl Reader<'_> {
    /// Forecasts of what the API names, as far as the policy enables its authority.
    pub fn forecasts<'d>(&self, named: impl Iterator<Item = Named<'d>>) -> Vec<Forecast> {
        let region = self.policy.regions.iter().find(|region| region.id == self.region);
        let is_enabled = |authority| match authority {
            Authority::Genesys => region.is_some_and(|region| !region.genesys.is_empty()),
            Authority::Digicert => region.is_some_and(|region| region.digicert.is_some()),
        };
        let named = named.filter(|(_, authority, _)| is_enabled(*authority)).take(MAX_JUDGED);
        named.map(|named| self.forecast(named)).collect()
    }

    fn forecast(&self, (leaf, authority, status): Named<'_>) -> Forecast {
        let mut forecast = Forecast {
            authority,
            status,
            fingerprint: leaf.map(|(fingerprint, _)| fingerprint),
            issuer: String::new(),
            not_before: 0,
            not_after: 0,
            denied: Some(Reason::MalformedCertificate),
            detail: "the API's text holds no single leaf certificate that can be read".to_owned(),
        };
        let certificate =
            match leaf.map(|(fingerprint, der)| ClientCertificate::parse_bound(der, fingerprint)) {
                None => return forecast,
                Some(Err(error)) => {
                    (forecast.denied, forecast.detail) = (Some(Reason::from(&error)), error.to_string());
                    return forecast;
                }
                Some(Ok(certificate)) => certificate,
            };
        (forecast.not_before, forecast.not_after) = (certificate.not_before, certificate.not_after);
        // As if every API had just answered, and this region's had named it: the certificate waits for no news.
        let settled = Some(Monotonic::from_millis(1));
        let mut trust = Trust::default();
        for region in &self.policy.regions {
            let is_pinned = authority == Authority::Digicert && region.id == self.region;
            let pin = is_pinned.then(|| (certificate.fingerprint, ApiPin::of(&certificate)));
            let (state, pins) = (ApiState::Loaded, pin.into_iter().collect::<HashMap<_, _>>());
            let said = ApiTrust { state, pins, refreshed: settled, ..ApiTrust::default() };
            trust.regions.insert(region.id.clone(), said);
        }
        let at = self.now.max(certificate.not_before);
        let verdict = decide(&certificate, self.policy, &trust, &(), self.verifier, at, Monotonic::ZERO);
        forecast.denied = match verdict.outcome {
            Outcome::Deny(reason) => Some(reason).filter(|reason| Forecast::REASONS.contains(reason)),
            Outcome::Allow { .. } => None,
        };
        if forecast.denied.is_some() {
            (forecast.issuer, forecast.detail) = (certificate.summary().issuer, verdict.detail);
            // It is named, but as the Genesys CA's, which needs no pin.
            if authority == Authority::Genesys && forecast.denied == Some(Reason::NotPinned) {
                "no CA of genesys.ca_certificates signed it".clone_into(&mut forecast.detail);
            }
        } else {
            forecast.detail.clear();
        }
        forecast
    }
}

#[cfg(test)]
mod tests;
