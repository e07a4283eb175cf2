//! What the certificates API is taken to have said.

use crate::output::{self, Usage};
use genesys_mtls_filter::{
    decision::trust::{ApiPin, ApiState, ApiTrust, Trust},
    policy::{Policy, RegionPolicy},
    time::{Monotonic, UnixSeconds},
    x509::fingerprint::Fingerprint,
};
use std::collections::HashMap;

/// Trust to decide with.
#[derive(Debug)]
pub struct Assumed {
    pub trust: Trust,
    /// Pins taken as the API's; nothing where it is taken to be silent so far.
    pub pins: Option<Vec<Fingerprint>>,
}

impl Assumed {
    pub fn words(&self) -> String {
        match &self.pins {
            None => "certificates API not heard of yet (give --api-pin or --pins)".to_owned(),
            Some(pins) => format!("certificates API taken to name {} pin(s)", pins.len()),
        }
    }
}

/// Every region's API names the same pins: a certificate carries one region's name, so only that one's is asked.
pub fn gather(policy: &Policy, file: Option<&str>, given: &[Fingerprint]) -> Result<Assumed, Usage> {
    let mut pins = given.to_vec();
    if let Some(path) = file {
        let text = output::read_text(path)?;
        let found = fingerprints(&text);
        if found.is_empty() {
            return Err(Usage::new(format!("{path} holds no pin such as sha256:<64 hex digits>")));
        }
        pins.extend(found);
    }
    let known = file.is_some() || !given.is_empty();
    let forever = ApiPin { not_before: UnixSeconds::MIN, not_after: UnixSeconds::MAX };
    let region = |has_api: bool| ApiTrust {
        state: if known && has_api { ApiState::Loaded } else { ApiState::NotLoaded },
        pins: if has_api { pins.iter().map(|pin| (*pin, forever)).collect() } else { HashMap::new() },
        // A refresh that began after the certificate was first met: it settles what the API does not name.
        refreshed: known.then_some(Monotonic::MAX),
        ..ApiTrust::default()
    };
    let said = |one: &RegionPolicy| (one.id.clone(), region(one.source.is_some()));
    let regions = policy.regions.iter().map(said).collect();
    Ok(Assumed { trust: Trust { version: 1, regions }, pins: known.then_some(pins) })
}

/// Every `sha256:<hex>` in a text of any form.
fn fingerprints(text: &str) -> Vec<Fingerprint> {
    let mut found: Vec<Fingerprint> = Vec::new();
    for rest in text.split("sha256:").skip(1) {
        let digits: String = rest.chars().take_while(char::is_ascii_hexdigit).collect();
        if let Ok(pin) = digits.parse()
            && !found.contains(&pin)
        {
            found.push(pin);
        }
    }
    found
}
