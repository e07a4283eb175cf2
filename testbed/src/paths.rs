//! Where things are: the workspace, its target directory, the wasm module.

use std::{env, path::PathBuf};

/// The root of the workspace.
pub fn workspace_root() -> PathBuf {
    let crate_dir = env!("CARGO_MANIFEST_DIR");
    PathBuf::from(crate_dir).parent().expect("the crate lies in the workspace").to_path_buf()
}

/// Cargo's target directory: `CARGO_TARGET_DIR` where set, else `target` of the workspace.
pub fn target_dir() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| workspace_root().join("target"), |d| workspace_root().join(d))
}

/// The wasm module under test: `GENESYS_MTLS_WASM` where set, else the release build.
pub fn find_wasm_module() -> Result<PathBuf, String> {
    let built = || target_dir().join("wasm32-wasip1/release/genesys_mtls_filter.wasm");
    let path = env::var_os("GENESYS_MTLS_WASM").map_or_else(built, PathBuf::from);
    if path.is_file() {
        Ok(path)
    } else {
        let path = path.display();
        Err(format!("the wasm module is not at {path}: run `make wasm`, or set GENESYS_MTLS_WASM to one"))
    }
}

/// [`find_wasm_module`], for tests.
///
/// # Panics
/// If it has not been built.
pub fn wasm_module() -> PathBuf {
    find_wasm_module().unwrap_or_else(|error| panic!("{error}"))
}
