//! The rows of Envoy Gateway without Kubernetes: manifests from a file, Envoy as its child.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use testbed::{World, config, manifests, upstream::echoed};

use crate::{
    calls::{CLOSED, ENFORCED, GUARDED, MISSING, OPEN, ask, client, matrix, settle},
    common::{Failure, tool},
    network::{self, CRL, GENESYS, HERE, HOSTS, pod},
    policies,
    registry::Registry,
    report::Report,
    shell::{run, sh, start},
};

const NAMESPACE: &str = "default";
/// What Envoy Gateway calls the Envoy that it finds; the binary is the tests' own.
const VERSION: &str = "1.40.0";
/// Envoy Gateway's Wasm server, as its Envoy knows it.
const WASM_SERVER: &str = "envoy-gateway.envoy-gateway-system.svc.cluster.local";

struct Gateway {
    world: World,
    registry: Registry,
    directory: PathBuf,
    report: Report,
}

pub async fn run_rows() -> Result<Report, Failure> {
    let report = Report::new();
    report.title("network, Genesys Cloud, registry, Envoy Gateway");
    network::build()?;
    let world = World::start_at((GENESYS, 443).into(), (CRL, 80).into(), (HERE, 8088).into()).await?;
    let mut registry = Registry::new(&world)?;
    registry.start().await?;
    let directory = world.path("envoy-gateway");
    let mut gateway = Gateway { world, registry, directory, report };
    let ran = match gateway.start() {
        Ok(mut process) => {
            let ran = gateway.rows().await;
            let _ = process.kill();
            let _ = process.wait();
            match ran {
                Ok(()) => gateway.policies().await,
                Err(error) => Err(error),
            }
        }
        Err(error) => Err(error),
    };
    if std::env::var_os("GENESYS_MTLS_MESH_KEEP").is_some() || ran.is_err() {
        let kept = gateway.world.keep();
        eprintln!("==> logs are in {}", kept.display());
    }
    ran.map(|()| gateway.report)
}

impl Gateway {
    fn start(&self) -> Result<Child, Failure> {
        let at = |name: &str| self.directory.join(name);
        for name in ["config", "data", "state", "run", "manifests", "home", "certs"] {
            fs::create_dir_all(at(name))?;
        }
        // It downloads no Envoy where the version that it wants is there already.
        let bin = at("data").join("envoy-versions").join(VERSION).join("bin");
        fs::create_dir_all(&bin)?;
        std::os::unix::fs::symlink(testbed::envoy::binary()?, bin.join("envoy"))?;
        // All certificates, those of the Wasm server too, which a start alone does not make.
        let home = format!("--config-home={}", at("config").display());
        run(
            Command::new(tool("envoy-gateway")).args(["certgen", "--local", &home]).env("HOME", at("home")),
            "",
        )?;
        fs::copy(at("config/certs/envoy-gateway/ca.crt"), at("certs/ca.crt"))?;
        let settings = json!({
            "apiVersion": "gateway.envoyproxy.io/v1alpha1", "kind": "EnvoyGateway",
            "gateway": {"controllerName": "gateway.envoyproxy.io/gatewayclass-controller"},
            "provider": {"type": "Custom", "custom": {
                "resource": {"type": "File", "file": {"paths": [at("manifests")]}},
                "infrastructure": {"type": "Host", "host": {"configHome": at("config"), "dataHome": at("data"),
                    "stateHome": at("state"), "runtimeDir": at("run")}},
            }},
            "extensionApis": {"enableBackend": true},
        });
        fs::write(at("eg.yaml"), settings.to_string())?;
        self.apply(&self.values()?, |_| {})?;
        let script = at("run.sh");
        fs::write(&script, self.script()?)?;
        let credentials = self.world.genesys.credentials("us-east-1");
        let mut command = Command::new("ip");
        command.args(["netns", "exec", "own", "unshare", "--mount", "--propagation", "private", "sh", "-e"]);
        command.arg(&script).env("HOME", at("home"));
        command.env("GENESYS_US_EAST_1_CLIENT_ID", credentials.client_id);
        command.env("GENESYS_US_EAST_1_CLIENT_SECRET", credentials.client_secret);
        start(&mut command, &at("envoy-gateway.log"))
    }

    fn script(&self) -> Result<String, Failure> {
        let hosts: Vec<String> = HOSTS.iter().map(|(name, address)| format!("{address} {name}\n")).collect();
        let (file, cas) = (self.directory.join("hosts"), self.directory.join("cas"));
        fs::write(&file, format!("127.0.0.1 localhost {WASM_SERVER}\n{}", hosts.concat()))?;
        let system = "/etc/ssl/certs/ca-certificates.crt";
        fs::write(
            &cas,
            [fs::read(system).unwrap_or_default(), fs::read(self.world.path("api-ca.crt"))?].concat(),
        )?;
        fs::create_dir_all("/certs")?;
        Ok([
            format!("mount --bind {} /etc/hosts", file.display()),
            format!("mount --bind {} {system}", cas.display()),
            format!("mount --bind {} /certs", self.directory.join("certs").display()),
            format!(
                "exec {} server --config-path {}",
                tool("envoy-gateway").display(),
                self.directory.join("eg.yaml").display()
            ),
        ]
        .join("\n"))
    }

    fn values(&self) -> Result<Value, Failure> {
        let mut values = config::load_yaml(&manifests::examples().join("envoy-gateway/values.yaml"));
        values["rollout"] = "D".into();
        values["module"]["digest"] = self.registry.digest()?.into();
        values["module"]["registryCa"] = "registry-ca".into();
        values["regions"][0]["genesys"] = json!({"caCertificates": self.world.pki.us.root.pem});
        values["tls"]["clientCas"] = self.world.pki.digicert_root.pem.clone().into();
        values["policy"] = json!({"refresh": {"interval": "5s", "retry": {"base": "500ms", "max": "2s"}}});
        Ok(values)
    }

    /// Writes the file that Envoy Gateway watches: what the chart renders, and what exists before it.
    fn apply(&self, values: &Value, change: impl FnOnce(&mut Vec<Value>)) -> Result<(), Failure> {
        let mut all = manifests::render(&tool("helm"), NAMESPACE, values)?;
        all.retain(|manifest| manifest["kind"] != "Pod");
        for manifest in &mut all {
            match manifest["kind"].as_str() {
                Some("EnvoyProxy") => {
                    // This provider keeps no labels, so that no selector matches.
                    manifest["spec"]["mergeBackends"] = json!({});
                    manifest["spec"]["provider"] = json!({"type": "Host", "host": {"envoyVersion": VERSION}});
                }
                // Services have no endpoints here.
                Some("HTTPRoute") => {
                    for rule in manifest["spec"]["rules"].as_array_mut().into_iter().flatten() {
                        for backend in rule["backendRefs"].as_array_mut().into_iter().flatten() {
                            backend["group"] = "gateway.envoyproxy.io".into();
                            backend["kind"] = "Backend".into();
                        }
                    }
                }
                _ => {}
            }
        }
        change(&mut all);
        all.extend(self.surroundings()?);
        let text: Vec<String> = all.iter().map(Value::to_string).collect();
        config::write_atomic(&self.directory.join("manifests/all.yaml"), text.join("\n---\n"))?;
        Ok(())
    }

    fn surroundings(&self) -> Result<Vec<Value>, Failure> {
        let read = |path: &Path| fs::read(path).map(|bytes| STANDARD.encode(bytes));
        let secret = |name: &str, namespace: &str, data: Value| {
            json!({"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls",
                "metadata": {"name": name, "namespace": namespace}, "data": data})
        };
        let server = json!({"tls.crt": read(&self.world.path("server.crt"))?, "tls.key": read(&self.world.path("server.key"))?});
        let own = self.directory.join("config/certs/envoy");
        let mut envoy = json!({});
        for file in ["ca.crt", "tls.crt", "tls.key"] {
            envoy[file] = read(&own.join(file))?.into();
        }
        Ok(vec![
            json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "GatewayClass", "metadata": {"name": "envoy-gateway"},
                "spec": {"controllerName": "gateway.envoyproxy.io/gatewayclass-controller"}}),
            json!({"apiVersion": "gateway.envoyproxy.io/v1alpha1", "kind": "Backend",
                "metadata": {"name": "service", "namespace": NAMESPACE},
                "spec": {"endpoints": [{"ip": {"address": HERE, "port": 8088}}]}}),
            secret("genesys-ingress", NAMESPACE, server),
            // The provider makes Envoy a certificate that its own Wasm server does not accept: the one on disk is right.
            secret("envoy", "envoy-gateway-system", envoy),
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "registry-ca", "namespace": NAMESPACE},
                "data": {"ca.crt": self.world.pki.server_ca.pem}}),
        ])
    }

    async fn policies(&mut self) -> Result<(), Failure> {
        let service = |port: u16| {
            json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "service", "namespace": NAMESPACE},
            "spec": {"ports": [{"name": "http", "port": port, "protocol": "TCP"}]}})
        };
        let mut before = self.surroundings()?;
        // Envoy Gateway makes its own certificates there.
        before.retain(|manifest| manifest["metadata"]["name"] != "envoy");
        before.push(service(8080));
        let values = self.values()?;
        let directory = self.world.path("kubernetes");
        policies::run_rows(&mut self.report, &directory, &values, &before, &self.directory.join("cas")).await
    }

    async fn matrix(&mut self, what: &str, expected: [&str; 5]) {
        let got = matrix(&self.world, pod("own"), expected).await;
        self.report.row(what, &got, &expected.map(str::to_owned));
    }

    async fn rows(&mut self) -> Result<(), Failure> {
        self.report.title("roll-out states");
        let mut values = self.values()?;
        for (state, expected) in
            [("D", ENFORCED), ("A", OPEN), ("B", ENFORCED), ("C", GUARDED), ("D", ENFORCED)]
        {
            values["rollout"] = state.into();
            self.apply(&values, |_| {})?;
            self.matrix(&format!("state {state}"), expected).await;
        }
        self.report.title("metrics of each alert");
        let metrics = scrape()?;
        for name in [
            "genesys_mtls_enforcing{genesys_policy=\"default\"}",
            "genesys_mtls_decisions{",
            "genesys_reason=\"no_client_certificate\"",
            "genesys_region=\"us-east-1\"",
        ] {
            self.report.row(format!("the scrape has {name}"), &metrics.contains(name), &true);
        }

        self.report.title("filter or guard missing");
        let without = |kind: &'static str, name: &'static str| {
            move |all: &mut Vec<Value>| all.retain(|m| m["kind"] != kind || m["metadata"]["name"] != name)
        };
        self.apply(&values, without("EnvoyExtensionPolicy", "genesys-mtls"))?;
        self.matrix("the extension policy deleted", CLOSED).await;
        self.apply(&values, without("SecurityPolicy", "genesys-mtls-guard"))?;
        self.matrix("the guard deleted", ENFORCED).await;
        for (state, expected) in [("A", OPEN), ("D", CLOSED)] {
            let mut lost = values.clone();
            lost["rollout"] = state.into();
            lost["module"]["digest"] = MISSING.into();
            self.apply(&lost, |_| {})?;
            self.matrix(&format!("state {state}, no such module"), expected).await;
        }
        self.apply(&values, |_| {})?;
        self.matrix("the right digest again", ENFORCED).await;

        self.report.title("a configuration that Envoy rejects");
        let mut typo = values.clone();
        typo["policy"]["regionz"] = json!({});
        self.apply(&typo, |_| {})?;
        let counted = settle(true, async || {
            scrape().is_ok_and(|text| {
                let name = "envoy_listener_manager_lds_update_rejected{";
                text.lines().any(|line| line.starts_with(name) && !line.ends_with(" 0"))
            })
        });
        let counted = counted.await;
        self.report.row("the metric of its alert counts it", &counted, &true);
        self.matrix("the old configuration serves", ENFORCED).await;
        self.apply(&values, |_| {})?;
        self.matrix("the right one again", ENFORCED).await;

        self.guard_forms(&values).await?;

        self.report.title("TLS profiles, callouts, headers");
        let callout = client(&self.world, pod("own"), 443, "genesys").build();
        let response = callout.get("/.genesys-cloud/us-east-1/api").await?;
        self.report.row(
            "the path that makes the API's cluster",
            &(response.status, response.text()),
            &(403, "RBAC: access denied".into()),
        );
        let unknown = client(&self.world, pod("own"), 443, "genesys").host_header("other.example");
        let got = settle("404".to_owned(), async || ask(unknown.clone()).await).await;
        self.report.row("a host without a route", &got, &"404".to_owned());
        for name in ["x-genesys-cloud-client", "x_genesys_cloud_client", "my_header"] {
            let request = http::Request::get("/").header(name, "forged").body(Vec::new())?;
            let seen = echoed(&callout.send(request).await?.json(), name);
            let expected = if name == "my_header" { vec!["forged".to_owned()] } else { Vec::new() };
            self.report.row(format!("what the service sees of {name}"), &seen, &expected);
        }
        let strict = ["200", "200", "403 wrong_name", "TLS", "TLS"];
        let optional = ["200", "200", "403 wrong_name", "TLS", "403 no_client_certificate"];
        for (profile, expected) in [("strict", strict), ("optional", optional), ("explain", ENFORCED)] {
            values["tls"]["profile"] = profile.into();
            self.apply(&values, |_| {})?;
            self.matrix(&format!("profile {profile}"), expected).await;
        }
        self.shared_gateway().await
    }

    /// The guard has a half for a verdict that CEL reads as bytes: it alone denies every caller, for the filter declares it as text.
    async fn guard_forms(&mut self, values: &Value) -> Result<(), Failure> {
        self.report.title("the guard's rule, and the half of it for bytes");
        self.apply(values, |all| {
            for policy in
                all.iter_mut().filter(|manifest| manifest["metadata"]["name"] == "genesys-mtls-guard")
            {
                let rule = &mut policy["spec"]["authorization"]["rules"][0]["cel"];
                *rule = rule.as_str().and_then(|rule| rule.split("||").nth(1)).unwrap_or_default().into();
            }
        })?;
        self.matrix("the half for bytes", ["403 guard", "403 guard", ENFORCED[2], ENFORCED[3], ENFORCED[4]])
            .await;
        self.apply(values, |_| {})?;
        self.matrix("the chart's guard", ENFORCED).await;
        Ok(())
    }

    /// A Gateway with a second listener, of another host and without client certificates.
    async fn shared_gateway(&mut self) -> Result<(), Failure> {
        self.report.title("one host of a shared gateway");
        let own = manifests::render(&tool("helm"), NAMESPACE, &self.values()?)?;
        let mut proxy = manifests::kind(&own, "EnvoyProxy")[0].clone();
        proxy["spec"]["mergeBackends"] = json!({});
        proxy["spec"]["provider"] = json!({"type": "Host", "host": {"envoyVersion": VERSION}});
        let mut gateway = manifests::kind(&own, "Gateway")[0].clone();
        gateway["spec"]["listeners"].as_array_mut().ok_or("listeners")?.push(json!({
            "name": "other", "port": 443, "protocol": "HTTPS", "hostname": "other.example",
            "tls": {"mode": "Terminate", "certificateRefs": [{"name": "genesys-ingress"}]},
        }));
        let route = json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute",
            "metadata": {"name": "other", "namespace": NAMESPACE},
            "spec": {"parentRefs": [{"name": "genesys-ingress", "sectionName": "other"}], "hostnames": ["other.example"],
                "rules": [{"backendRefs": [{"group": "gateway.envoyproxy.io", "kind": "Backend", "name": "service", "port": 8080}]}]}});
        let theirs = [proxy, gateway, route];
        let mut values = self.values()?;
        values["gateway"] = json!({"use": "shared", "listener": "https"});
        let other = |world: &World| {
            client(world, pod("own"), 443, "none").sni("other.example").host_header("other.example")
        };
        for (state, expected) in [("D", ENFORCED), ("A", OPEN), ("D", ENFORCED)] {
            values["rollout"] = state.into();
            self.apply(&values, |all| all.extend(theirs.clone()))?;
            self.matrix(&format!("state {state}"), expected).await;
            let client = other(&self.world);
            let got = settle("200".to_owned(), async || ask(client.clone()).await).await;
            self.report.row("... other.example", &got, &"200".to_owned());
        }
        let fronted = client(&self.world, pod("own"), 443, "none").sni("other.example");
        self.report.row("our Host behind the name other.example", &ask(fronted).await, &"404".to_owned());
        self.apply(&values, |all| {
            all.retain(|manifest| manifest["kind"] != "EnvoyExtensionPolicy");
            all.extend(theirs.clone());
        })?;
        self.matrix("the extension policy deleted", CLOSED).await;
        self.report.row("... other.example", &ask(other(&self.world)).await, &"200".to_owned());
        Ok(())
    }
}

/// Envoy's metrics. This provider has their port chosen by the system: it is the one that answers so.
fn scrape() -> Result<String, Failure> {
    for line in sh("ip", "netns exec own ss -Hltn")?.lines() {
        let address = line.split_whitespace().nth(3).unwrap_or_default();
        let port = address.rsplit(':').next().unwrap_or_default();
        let url = format!("netns exec own curl -s -m 10 http://127.0.0.1:{port}/stats/prometheus");
        if let Some(text) = sh("ip", &url).ok().filter(|text| text.contains("genesys_mtls_")) {
            return Ok(text);
        }
    }
    Err("no port shows metrics".into())
}
