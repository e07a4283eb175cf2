//! Secrets, and seals on what is kept in shared data, where every module with the same `vm_id` may write.

use hmac::{Hmac, Mac};
use sha2::Sha256;
use std::fmt;

const TAG: usize = 32;

/// A text that never shows in logs.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret {
    text: String,
    proxy: String,
}

impl Secret {
    pub fn new(text: String) -> Self {
        Self { text, proxy: String::new() }
    }

    /// The same, but what it seals counts on this proxy only. Proxies of a fleet share their secret.
    #[must_use]
    pub fn on(self, proxy: String) -> Self {
        Self { proxy, ..self }
    }

    pub fn expose(&self) -> &str {
        &self.text
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("...")
    }
}

/// HMAC-SHA-256 under a key that only VMs with this source's OAuth secret have.
///
/// With `oauth: injected` no secret exists, so the seal shows damage only; what it covers is then believed for the
/// signature of a configured issuer alone.
#[derive(Debug)]
pub struct Seal(Hmac<Sha256>);

impl Seal {
    /// `context` ties a seal to one purpose: a value moved to another key does not open, nor on another proxy.
    pub fn new(secret: Option<&Secret>, context: &str) -> Option<Self> {
        let (key, proxy) = secret.map_or(("no secret", ""), |secret| (&secret.text, &secret.proxy));
        let mut mac = <Hmac<Sha256> as Mac>::new_from_slice(key.as_bytes()).ok()?;
        mac.update(["genesys-mtls seal 2", proxy, context, ""].join("\0").as_bytes());
        Some(Self(mac))
    }

    /// The message behind its tag.
    pub fn seal(&self, message: &[u8]) -> Vec<u8> {
        let tag: [u8; TAG] = self.0.clone().chain_update(message).finalize().into_bytes().into();
        [&tag, message].concat()
    }

    /// 16 hexadecimal digits that differ for another secret, proxy or purpose.
    pub fn digest(&self) -> String {
        let sealed = self.seal(b"");
        let head = sealed.first_chunk().copied().unwrap_or_default();
        format!("{:016x}", u64::from_be_bytes(head))
    }

    /// The message, if its tag is right.
    pub fn open<'a>(&self, sealed: &'a [u8]) -> Option<&'a [u8]> {
        let (tag, message) = sealed.split_at_checked(TAG)?;
        self.0.clone().chain_update(message).verify_slice(tag).ok()?;
        Some(message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn message_opens_only_unchanged_with_its_secret_and_purpose() {
        let secret = Secret::new("s3cret".to_owned());
        let seal = |secret: Option<&Secret>, context| Seal::new(secret, context).unwrap();
        let sealed = seal(Some(&secret), "lease").seal(b"message");
        assert_eq!(seal(Some(&secret), "lease").open(&sealed), Some(&b"message"[..]));
        assert_eq!(seal(Some(&secret), "record").open(&sealed), None);
        assert_eq!(seal(Some(&Secret::new("other".to_owned())), "lease").open(&sealed), None);
        assert_eq!(seal(None, "lease").open(&sealed), None);
        let elsewhere = secret.clone().on("another proxy".to_owned());
        assert_eq!(seal(Some(&elsewhere), "lease").open(&sealed), None);
        assert_ne!(seal(Some(&elsewhere), "lease").digest(), seal(Some(&secret), "lease").digest());
        for at in 0..sealed.len() {
            let mut damaged = sealed.clone();
            damaged[at] ^= 1;
            assert_eq!(seal(Some(&secret), "lease").open(&damaged), None, "byte {at}");
        }
        assert_eq!(seal(Some(&secret), "lease").open(b"short"), None);
    }
}
