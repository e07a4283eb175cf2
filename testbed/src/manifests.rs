//! Kubernetes manifests: the rendered examples, and what helm makes of the chart.

use std::{
    env, fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde_json::Value;

use crate::{config, paths};

/// The documents of a YAML file.
///
/// # Panics
/// If it cannot be read.
pub fn documents(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    parse(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// The documents of a YAML text, without empty ones.
pub fn parse(text: &str) -> Result<Vec<Value>, String> {
    // With its last line's end, which a block scalar may hold.
    let document = |text: &str| config::parse_yaml(&format!("{text}\n"));
    let all: Result<Vec<Value>, String> = text.split("\n---\n").map(document).collect();
    Ok(all?.into_iter().filter(|document| !document.is_null()).collect())
}

/// An example under `envoy/examples`, such as `istio/enforce`.
pub fn example(name: &str) -> Vec<Value> {
    documents(&examples().join(format!("{name}.yaml")))
}

/// `envoy/examples`.
pub fn examples() -> PathBuf {
    paths::workspace_root().join("envoy/examples")
}

/// The manifests of a kind.
pub fn kind<'a>(manifests: &'a [Value], kind: &str) -> Vec<&'a Value> {
    manifests.iter().filter(|m| m["kind"] == kind).collect()
}

/// The strings of a list.
pub fn strings(list: &Value) -> impl Iterator<Item = &str> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str)
}

/// `.tools/mesh/helm`, or the one on PATH. `None`, with a word about it, if there is none.
pub fn helm() -> Option<PathBuf> {
    let own = paths::workspace_root().join(".tools/mesh/helm");
    let on_path = env::var_os("PATH")
        .into_iter()
        .flat_map(|path| env::split_paths(&path).map(|directory| directory.join("helm")).collect::<Vec<_>>());
    let found = std::iter::once(own).chain(on_path).find(|file| file.is_file());
    if found.is_none() {
        // Past the test harness, which would keep it to itself.
        let _ = writeln!(std::io::stderr(), "\nSKIPPED: no helm (scripts/mesh.sh helm, or put it on PATH)");
    }
    found
}

/// What `helm template` makes of the chart with these values, hooks included. `Err` is what helm says.
pub fn render(helm: &Path, namespace: &str, values: &Value) -> Result<Vec<Value>, String> {
    let chart = paths::workspace_root().join("envoy/chart");
    let mut command = Command::new(helm);
    command.args(["template", "genesys"]).arg(chart).args(["--namespace", namespace, "--values", "-"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|e| format!("{}: {e}", helm.display()))?;
    let sent = child.stdin.take().expect("a pipe").write_all(values.to_string().as_bytes());
    let output = child.wait_with_output().map_err(|e| e.to_string())?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    sent.map_err(|e| e.to_string())?;
    parse(&String::from_utf8_lossy(&output.stdout))
}
