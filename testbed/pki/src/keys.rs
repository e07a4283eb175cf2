//! Private keys, made once and kept under `target/testbed-keys/`.
//!
//! RSA-4096 keys take seconds, so they outlive a test run. Test processes run in parallel: a key is
//! generated under a file lock and appears by rename, so all of them see the same complete key.

use std::{
    collections::HashMap,
    env,
    fs::{self, File},
    io::Write as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

use rcgen::{KeyPair, SignatureAlgorithm};
use rsa::{
    RsaPrivateKey,
    pkcs8::{EncodePrivateKey as _, LineEnding},
    rand_core::OsRng,
};

/// What kind of key to make.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KeyType {
    /// RSA, 2048 bits, SHA-256 signatures.
    Rsa2048,
    /// RSA, 3072 bits, SHA-256 signatures.
    Rsa3072,
    /// RSA, 4096 bits, SHA-256 signatures.
    Rsa4096,
    /// ECDSA on P-256 with SHA-256.
    P256,
    /// ECDSA on P-384 with SHA-384.
    P384,
    /// Ed25519 (for showing that it is refused).
    Ed25519,
}

impl KeyType {
    fn label(self) -> &'static str {
        match self {
            Self::Rsa2048 => "rsa2048",
            Self::Rsa3072 => "rsa3072",
            Self::Rsa4096 => "rsa4096",
            Self::P256 => "p256",
            Self::P384 => "p384",
            Self::Ed25519 => "ed25519",
        }
    }

    /// The default signature algorithm of such a key.
    pub fn algorithm(self) -> &'static SignatureAlgorithm {
        match self {
            Self::Rsa2048 | Self::Rsa3072 | Self::Rsa4096 => &rcgen::PKCS_RSA_SHA256,
            Self::P256 => &rcgen::PKCS_ECDSA_P256_SHA256,
            Self::P384 => &rcgen::PKCS_ECDSA_P384_SHA384,
            Self::Ed25519 => &rcgen::PKCS_ED25519,
        }
    }

    /// A new key as PKCS#8 PEM.
    fn generate(self) -> String {
        let bits = match self {
            Self::Rsa2048 => 2048,
            Self::Rsa3072 => 3072,
            Self::Rsa4096 => 4096,
            Self::P256 | Self::P384 | Self::Ed25519 => {
                return KeyPair::generate_for(self.algorithm()).expect("key generation").serialize_pem();
            }
        };
        let key = RsaPrivateKey::new(&mut OsRng, bits).expect("key generation");
        key.to_pkcs8_pem(LineEnding::LF).expect("an encoding").to_string()
    }
}

type Slot = Arc<OnceLock<Arc<String>>>;

/// The PKCS#8 PEM of the key called `name`, made on first use.
///
/// # Panics
/// If the key directory cannot be written or holds something else than a key.
pub fn key_pem(name: &str, kind: KeyType) -> Arc<String> {
    static KEYS: OnceLock<Mutex<HashMap<String, Slot>>> = OnceLock::new();
    let file = format!("{name}-{}.pem", kind.label());
    let slot = KEYS
        .get_or_init(Mutex::default)
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .entry(file.clone())
        .or_default()
        .clone();
    slot.get_or_init(|| Arc::new(load_or_make(&directory(), &file, kind))).clone()
}

/// The key called `name` with its usual signature algorithm.
pub(super) fn key(name: &str, kind: KeyType, algorithm: &'static SignatureAlgorithm) -> KeyPair {
    KeyPair::from_pkcs8_pem_and_sign_algo(&key_pem(name, kind), algorithm)
        .unwrap_or_else(|e| panic!("the cached key {name} is unusable ({e}): delete target/testbed-keys"))
}

/// `testbed-keys` in Cargo's target directory: that of `CARGO_TARGET_DIR`, else `target` of the workspace.
fn directory() -> PathBuf {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let target = env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into());
    workspace.join(target).join("testbed-keys")
}

fn load_or_make(dir: &Path, file: &str, kind: KeyType) -> String {
    let path = dir.join(file);
    if let Ok(pem) = fs::read_to_string(&path) {
        return pem;
    }
    fs::create_dir_all(dir).unwrap_or_else(|e| panic!("cannot create {}: {e}", dir.display()));
    let lock = File::create(dir.join(format!("{file}.lock"))).expect("a lock file");
    lock.lock().expect("the lock");
    if let Ok(pem) = fs::read_to_string(&path) {
        return pem;
    }
    let pem = kind.generate();
    let mut new = tempfile::NamedTempFile::new_in(dir).expect("a temporary key file");
    new.write_all(pem.as_bytes()).expect("writing a key");
    new.persist(&path).expect("renaming a key into place");
    pem
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parallel_makers_agree() {
        let dir = tempfile::tempdir().unwrap();
        let pems: Vec<String> = std::thread::scope(|s| {
            let threads: Vec<_> =
                (0..4).map(|_| s.spawn(|| load_or_make(dir.path(), "x-p256.pem", KeyType::P256))).collect();
            threads.into_iter().map(|t| t.join().unwrap()).collect()
        });
        assert!(pems.windows(2).all(|w| w[0] == w[1]));
        assert!(pems[0].contains("PRIVATE KEY"));
    }
}
