//! What all parts share: how they fail, and where the tools are.

use std::path::PathBuf;

use testbed::paths;

pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Where `scripts/mesh.sh` put a tool.
pub fn tool(name: &str) -> PathBuf {
    paths::workspace_root().join(".tools/mesh").join(name)
}
