//! A kubelet of one pod at a time: makes a pod of a Deployment's template, so that Istio's webhook fills it in, gives it an address, and runs
//! its container `istio-proxy` in a network namespace, with the environment and the volumes that the pod asks for.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Child, Command},
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Map, Value, json};

use crate::{
    common::{Failure, tool},
    kubernetes::Kubernetes,
    network::{HERE, HOSTS, pod},
    registry::Registry,
    shell::{sh, start, until},
};

#[derive(Debug)]
pub struct Pod {
    pub network: &'static str,
    process: Child,
}

impl Pod {
    /// Ready when Istio's agent says so.
    pub fn start(
        kubernetes: &Kubernetes,
        registry: &Registry,
        system_cas: &Path,
        namespace: &str,
        deployment: &str,
        network: &'static str,
    ) -> Result<Self, Failure> {
        let directory = kubernetes.directory.join("pods").join(network);
        let _ = fs::remove_dir_all(&directory);
        fs::create_dir_all(&directory)?;
        let pod_object = create(kubernetes, namespace, deployment, network)?;
        let containers = pod_object["spec"]["containers"].as_array().ok_or("no containers")?;
        let container = containers.iter().find(|c| c["name"] == "istio-proxy").ok_or("no istio-proxy")?;
        let volumes = Volumes { kubernetes, registry, namespace, pod: &pod_object, directory: &directory };
        volumes.write()?;
        let environment = environment(kubernetes, namespace, &pod_object, container)?;
        let expand = |text: &str| expand(text, &environment);
        let arguments: Vec<String> = container["args"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .map(expand)
            .collect();
        let script = directory.join("run.sh");
        fs::write(&script, script_of(&directory, container, system_cas)?)?;
        let mut command = Command::new("ip");
        command.args([
            "netns",
            "exec",
            network,
            "unshare",
            "--mount",
            "--propagation",
            "private",
            "sh",
            "-e",
        ]);
        command.arg(&script).args(arguments).env_clear().envs(&environment);
        let log = kubernetes.directory.join(format!("{network}.log"));
        let mut started = Self { network, process: start(&mut command, &log)? };
        let ready = format!("-sf -m 2 http://{}:15021/healthz/ready", pod(network));
        until(&format!("pod {network} ({})", log.display()), Duration::from_mins(1), || {
            sh("curl", &ready).is_ok() || started.process.try_wait().is_ok_and(|ended| ended.is_some())
        })?;
        if started.process.try_wait()?.is_some() {
            return Err(format!("pod {network} ended: see {}", log.display()).into());
        }
        Ok(started)
    }

    /// As Kubernetes ends a pod: SIGTERM, and 30 seconds.
    pub fn end(mut self) -> Result<(), Failure> {
        sh("kill", &format!("-TERM {}", self.process.id()))?;
        until(&format!("the end of pod {}", self.network), Duration::from_secs(30), || {
            self.process.try_wait().is_ok_and(|ended| ended.is_some())
        })
    }

    /// Envoy's and the agent's metrics.
    pub fn metrics(&self) -> Result<String, Failure> {
        sh(
            "ip",
            &format!("netns exec {} curl -s -m 10 http://127.0.0.1:15020/stats/prometheus", self.network),
        )
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        for pid in sh("ip", &format!("netns pids {}", self.network)).unwrap_or_default().split_whitespace() {
            let _ = sh("kill", &format!("-KILL {pid}"));
        }
        let _ = self.process.wait();
    }
}

fn create(
    kubernetes: &Kubernetes,
    namespace: &str,
    deployment: &str,
    network: &str,
) -> Result<Value, Failure> {
    let of = kubernetes.get(&format!("deployment {deployment} -n {namespace}"))?;
    let (name, template) = (format!("{deployment}-{network}"), &of["spec"]["template"]);
    let mut metadata = template["metadata"].clone();
    metadata["name"] = name.clone().into();
    metadata["namespace"] = namespace.into();
    metadata["ownerReferences"] = json!([{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": format!("{deployment}-5d4f8c7b9c"),
        "uid": of["metadata"]["uid"], "controller": true}]);
    kubernetes.kubectl(&format!("delete pod {name} -n {namespace} --force --ignore-not-found"))?;
    let object = json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]});
    kubernetes.kubectl_with("create -f -", &object.to_string())?;
    let address = pod(network);
    let status = json!({"status": {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}], "hostIP": HERE,
        "hostIPs": [{"ip": HERE}], "conditions": [{"type": "Ready", "status": "True"}]}});
    let patch = kubernetes.directory.join("status.json");
    fs::write(&patch, status.to_string())?;
    kubernetes.kubectl(&format!(
        "patch pod {name} -n {namespace} --subresource=status --type=merge --patch-file {}",
        patch.display()
    ))?;
    kubernetes.get(&format!("pod {name} -n {namespace}"))
}

/// A field such as `metadata.labels` of a pod, as the downward API writes it.
fn field(pod: &Value, path: &str) -> String {
    let path = path.split('[').next().unwrap_or_default();
    match path.split('.').fold(pod, |at, key| &at[key]) {
        Value::Object(map) => {
            let lines: Vec<String> = map.iter().map(|(key, value)| format!("{key}={value}")).collect();
            lines.join("\n")
        }
        Value::String(text) => text.clone(),
        _ => String::new(),
    }
}

fn secret_value(kubernetes: &Kubernetes, namespace: &str, reference: &Value) -> Result<String, Failure> {
    let name = reference["name"].as_str().ok_or("a Secret without a name")?;
    let secret = kubernetes.get(&format!("secret {name} -n {namespace}"))?;
    let value = secret["data"][reference["key"].as_str().unwrap_or_default()].as_str();
    Ok(String::from_utf8(STANDARD.decode(value.ok_or_else(|| format!("Secret {name} lacks {reference}"))?)?)?)
}

fn environment(
    kubernetes: &Kubernetes,
    namespace: &str,
    pod: &Value,
    container: &Value,
) -> Result<BTreeMap<String, String>, Failure> {
    let mut environment = BTreeMap::from([
        ("PATH".to_owned(), "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin".to_owned()),
        ("HOME".to_owned(), "/".to_owned()),
    ]);
    for variable in container["env"].as_array().into_iter().flatten() {
        let from = &variable["valueFrom"];
        let value = if let Some(value) = variable["value"].as_str() {
            value.to_owned()
        } else if let Some(path) = from["fieldRef"]["fieldPath"].as_str() {
            field(pod, path)
        } else if let Some(resource) = from["resourceFieldRef"]["resource"].as_str() {
            if resource.ends_with("cpu") { "2" } else { "1073741824" }.to_owned()
        } else if from["secretKeyRef"].is_object() {
            secret_value(kubernetes, namespace, &from["secretKeyRef"])?
        } else {
            String::new()
        };
        environment.insert(variable["name"].as_str().unwrap_or_default().to_owned(), value);
    }
    let plain = environment.clone();
    for value in environment.values_mut() {
        *value = expand(value, &plain);
    }
    Ok(environment)
}

fn expand(text: &str, environment: &BTreeMap<String, String>) -> String {
    environment.iter().fold(text.to_owned(), |text, (name, value)| text.replace(&format!("$({name})"), value))
}

struct Volumes<'a> {
    kubernetes: &'a Kubernetes,
    registry: &'a Registry,
    namespace: &'a str,
    pod: &'a Value,
    directory: &'a Path,
}

impl Volumes<'_> {
    fn write(&self) -> Result<(), Failure> {
        for volume in self.pod["spec"]["volumes"].as_array().into_iter().flatten() {
            let at = self.directory.join("volumes").join(volume["name"].as_str().unwrap_or_default());
            fs::create_dir_all(&at)?;
            for item in volume["downwardAPI"]["items"].as_array().into_iter().flatten() {
                let path = item["fieldRef"]["fieldPath"].as_str().unwrap_or_default();
                fs::write(at.join(item["path"].as_str().unwrap_or_default()), field(self.pod, path))?;
            }
            if let Some(name) = volume["configMap"]["name"].as_str() {
                let map = self.kubernetes.get(&format!("configmap {name} -n {}", self.namespace))?;
                for (key, value) in map["data"].as_object().unwrap_or(&Map::new()) {
                    fs::write(at.join(key), value.as_str().unwrap_or_default())?;
                }
            }
            if !volume["image"].is_null() {
                self.registry.unpack(&at)?;
            }
            for source in volume["projected"]["sources"].as_array().into_iter().flatten() {
                self.token(&at, &source["serviceAccountToken"])?;
            }
        }
        Ok(())
    }

    fn token(&self, at: &Path, source: &Value) -> Result<(), Failure> {
        let Some(path) = source["path"].as_str() else { return Ok(()) };
        let token = self.kubernetes.kubectl(&format!(
            "create token {} -n {} --audience {} --bound-object-kind Pod --bound-object-name {}",
            self.pod["spec"]["serviceAccountName"].as_str().unwrap_or_default(),
            self.namespace,
            source["audience"].as_str().unwrap_or("istio-ca"),
            self.pod["metadata"]["name"].as_str().unwrap_or_default(),
        ))?;
        Ok(fs::write(at.join(path), token.trim())?)
    }
}

/// Mounts, and then the agent. Roots that volumes lie below are the pod's alone.
fn script_of(directory: &Path, container: &Value, system_cas: &Path) -> Result<String, Failure> {
    let hosts: Vec<String> = HOSTS.iter().map(|(name, address)| format!("{address} {name}\n")).collect();
    let (file, cas) = (directory.join("hosts"), directory.join("cas"));
    fs::write(&file, format!("127.0.0.1 localhost\n{}", hosts.concat()))?;
    let system = "/etc/ssl/certs/ca-certificates.crt";
    let bundle = [fs::read(system).unwrap_or_default(), fs::read(system_cas)?].concat();
    fs::write(&cas, bundle)?;
    let mut script = String::new();
    let mut line = |text: String| script.push_str(&(text + "\n"));
    line(format!("mount --bind {} /etc/hosts", file.display()));
    line(format!("mount --bind {} {system}", cas.display()));
    let mut roots = vec![PathBuf::from("/etc/istio"), "/var/lib/istio".into(), "/run/secrets".into()];
    let mounts: Vec<(&str, &str)> = container["volumeMounts"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|mount| Some((mount["name"].as_str()?, mount["mountPath"].as_str()?)))
        .filter(|(_, path)| !path.starts_with("/var/run/secrets/kubernetes.io"))
        .collect();
    let elsewhere = mounts.iter().map(|(_, path)| Path::new(path)).filter(|path| {
        !["/etc/istio", "/var/lib/istio", "/run/secrets", "/var/run/secrets"]
            .iter()
            .any(|root| path.starts_with(root))
    });
    roots.extend(elsewhere.map(Path::to_path_buf));
    for root in roots {
        fs::create_dir_all(&root)?;
        line(format!("mount -t tmpfs tmpfs {}", root.display()));
    }
    line("mkdir -p /var/lib/istio/envoy /var/lib/istio/data".into());
    let bootstrap = tool("istio/tools/packaging/common/envoy_bootstrap.json");
    line(format!("cp {} /var/lib/istio/envoy/envoy_bootstrap_tmpl.json", bootstrap.display()));
    for (name, path) in mounts {
        line(format!(
            "mkdir -p {path} && mount --bind {} {path}",
            directory.join("volumes").join(name).display()
        ));
    }
    line("cd /".into());
    line(format!("exec {} \"$@\"", tool("pilot-agent").display()));
    Ok(script)
}
