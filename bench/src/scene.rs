//! What the scripted host shows at the start, and the certificate that it shows as the peer's.

use crate::script::Script;
use serde_json::Value;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use testbed::pki::Leaf;

pub const DIGEST: &str = "connection.sha256_peer_certificate_digest";
pub const CERTIFICATE: &str = "connection.peer_certificate";

/// A host with this configuration and the environment of an OAuth client.
pub fn script(policy: &Value, leaf: Option<&Leaf>) -> Script {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    let mut script = Script::default();
    script.configuration = policy.to_string().into_bytes();
    script.environment =
        ["GENESYS_CLIENT_ID=id".to_owned(), "GENESYS_CLIENT_SECRET=secret".to_owned()].into();
    // Certificates are made when this runs, so their time is now; the rest of the script is always the same.
    script.wall = now.as_secs() * 1_000_000_000;
    script.monotonic = 1_000_000_000_000;
    if let Some(leaf) = leaf {
        show(&mut script, leaf);
    }
    script
}

/// Makes a certificate the peer's.
pub fn show(script: &mut Script, leaf: &Leaf) {
    script.properties.insert(DIGEST.into(), leaf.sha256.clone().into_bytes());
    script.properties.insert(CERTIFICATE.into(), leaf.cert_pem.clone().into_bytes());
}

/// An answer of login or API to a call with this path: a token, this list of the current certificates, none to come.
pub fn answer(path: &str, current: &[u8]) -> Vec<u8> {
    match path {
        "/oauth/token" => br#"{"access_token":"x","expires_in":86400}"#.to_vec(),
        path if path.contains("Current") => current.to_vec(),
        _ => br#"{"entities":[]}"#.to_vec(),
    }
}
