//! Kubernetes' API: etcd and kube-apiserver, without controllers and nodes.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command},
    time::Duration,
};

use serde_json::{Value, json};

use crate::{
    common::{Failure, tool},
    network::HERE,
    shell::{run, start, until},
};

const API: &str = "https://127.0.0.1:26443";

#[derive(Debug)]
pub struct Kubernetes {
    pub directory: PathBuf,
    _processes: Vec<Child>,
}

impl Kubernetes {
    pub fn start(directory: &Path) -> Result<Self, Failure> {
        fs::create_dir_all(directory)?;
        let at = |name: &str| directory.join(name);
        let key = at("sa.key");
        run(Command::new("openssl").args(["genrsa", "-out"]).arg(&key).arg("2048"), "")?;
        fs::write(at("tokens.csv"), "admin-token,admin,admin,\"system:masters\"\n")?;
        let etcd = start(
            Command::new("etcd").arg("--data-dir").arg(at("etcd")).args([
                "--listen-client-urls=http://127.0.0.1:23790",
                "--advertise-client-urls=http://127.0.0.1:23790",
                "--listen-peer-urls=http://127.0.0.1:23800",
                "--initial-advertise-peer-urls=http://127.0.0.1:23800",
                "--initial-cluster=default=http://127.0.0.1:23800",
                "--unsafe-no-fsync",
            ]),
            &at("etcd.log"),
        )?;
        let flag = |name: &str, file: &Path| format!("--{name}={}", file.display());
        let server = start(
            Command::new(tool("kube-apiserver")).args([
                "--etcd-servers=http://127.0.0.1:23790".into(),
                "--secure-port=26443".into(),
                "--bind-address=127.0.0.1".into(),
                flag("cert-dir", directory),
                "--authorization-mode=RBAC".into(),
                flag("token-auth-file", &at("tokens.csv")),
                "--disable-admission-plugins=ServiceAccount".into(),
                // Webhooks are called at the service's endpoints, for there is no kube-proxy.
                "--enable-aggregator-routing=true".into(),
                "--service-account-issuer=https://kubernetes.default.svc".into(),
                flag("service-account-key-file", &key),
                flag("service-account-signing-key-file", &key),
                "--service-cluster-ip-range=10.98.0.0/24".into(),
                format!("--advertise-address={HERE}"),
            ]),
            &at("apiserver.log"),
        )?;
        let kubernetes = Self { directory: directory.to_owned(), _processes: vec![etcd, server] };
        kubernetes.write_config("admin.kubeconfig", "admin-token")?;
        until("kube-apiserver", Duration::from_mins(1), || kubernetes.kubectl("get --raw /readyz").is_ok())?;
        Ok(kubernetes)
    }

    /// A kubeconfig for a token.
    pub fn write_config(&self, file: &str, token: &str) -> Result<PathBuf, Failure> {
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "x",
            "clusters": [{"name": "c", "cluster": {"server": API, "insecure-skip-tls-verify": true}}],
            "users": [{"name": "u", "user": {"token": token}}],
            "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        });
        let path = self.directory.join(file);
        fs::write(&path, config.to_string())?;
        Ok(path)
    }

    pub fn config(&self) -> PathBuf {
        self.directory.join("admin.kubeconfig")
    }

    /// kubectl with arguments that hold no space.
    pub fn kubectl(&self, arguments: &str) -> Result<String, Failure> {
        self.kubectl_with(arguments, "")
    }

    pub fn kubectl_with(&self, arguments: &str, input: &str) -> Result<String, Failure> {
        run(
            Command::new(tool("kubectl"))
                .arg("--kubeconfig")
                .arg(self.config())
                .args(arguments.split_whitespace()),
            input,
        )
    }

    pub fn get(&self, what: &str) -> Result<Value, Failure> {
        Ok(serde_json::from_str(&self.kubectl(&format!("get {what} -o json"))?)?)
    }

    /// Server-side, so that admission sees it as a controller's apply.
    pub fn apply(&self, manifests: &[Value]) -> Result<(), Failure> {
        let list = json!({"apiVersion": "v1", "kind": "List", "items": manifests});
        self.kubectl_with("apply --server-side --force-conflicts -f -", &list.to_string()).map(drop)
    }

    /// `helm upgrade --install` of the project's chart.
    pub fn install(&self, namespace: &str, values: &Value) -> Result<String, Failure> {
        let chart = testbed::paths::workspace_root().join("envoy/chart");
        let mut helm = Command::new(tool("helm"));
        helm.args(["upgrade", "--install", "genesys"]).arg(chart).args(["-n", namespace, "-f", "-"]);
        run(helm.env("KUBECONFIG", self.config()).env("HOME", &self.directory), &values.to_string())
    }

    pub fn uninstall(&self, namespace: &str) -> Result<(), Failure> {
        let mut helm = Command::new(tool("helm"));
        helm.args(["uninstall", "genesys", "-n", namespace]);
        run(helm.env("KUBECONFIG", self.config()).env("HOME", &self.directory), "").map(drop)
    }
}
