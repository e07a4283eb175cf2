//! Certificates and signatures of others, which `scripts/provision.sh vectors` downloads: NIST's PKITS, and those that
//! pyca/cryptography tests. None of them is part of this repository.

use crate::paths::workspace_root;
use std::{
    env, fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
};

/// The vectors: where `GENESYS_MTLS_VECTORS` says, else in `.tools`. Nothing if `GENESYS_MTLS_WITHOUT_VECTORS` is set,
/// which is the only way to do without.
///
/// # Panics
/// If they are missing.
pub fn directory() -> Option<PathBuf> {
    if env::var_os("GENESYS_MTLS_WITHOUT_VECTORS").is_some_and(|value| !value.is_empty()) {
        // Not by `eprintln!`, which a test that passes keeps to itself.
        let _ = writeln!(io::stderr(), "SKIPPED: GENESYS_MTLS_WITHOUT_VECTORS is set; nothing was tested");
        return None;
    }
    let downloaded = || workspace_root().join(".tools/vectors");
    let path = env::var_os("GENESYS_MTLS_VECTORS").map_or_else(downloaded, PathBuf::from);
    assert!(
        path.join("x509/PKITS_data/certs").is_dir(),
        "the test vectors are not at {}: run `scripts/provision.sh vectors`, or set GENESYS_MTLS_VECTORS to the \
         directory cryptography_vectors of that wheel. GENESYS_MTLS_WITHOUT_VECTORS=1 skips this test",
        path.display()
    );
    Some(path)
}

/// Every file below a directory, in the order of their paths.
pub fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut directories = vec![directory.to_path_buf()];
    while let Some(directory) = directories.pop() {
        let entries = fs::read_dir(&directory).unwrap_or_else(|e| panic!("{}: {e}", directory.display()));
        for entry in entries {
            let path = entry.expect("an entry").path();
            if path.is_dir() { directories.push(path) } else { found.push(path) }
        }
    }
    found.sort();
    found
}
