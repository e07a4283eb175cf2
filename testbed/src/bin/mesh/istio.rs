//! The rows of Istio: the chart's output on a live gateway, asked by every caller.

use std::{
    collections::BTreeSet,
    fs,
    path::PathBuf,
    process::Command,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use testbed::{Client, Upstream, World, config, manifests, upstream::echoed};

use crate::{
    calls::{CLOSED, ENFORCED, GUARDED, OPEN, ask, ask_with, client, matrix, settle},
    common::Failure,
    control_plane::{endpoints, start_istiod},
    kubelet::Pod,
    kubernetes::Kubernetes,
    network::{self, CRL, GENESYS, HERE, pod},
    prometheus::Prometheus,
    registry::Registry,
    report::Report,
};

pub const NAMESPACE: &str = "istio-ingress";

pub struct Mesh {
    pub world: World,
    _other: Upstream,
    pub kubernetes: Kubernetes,
    pub registry: Registry,
    system_cas: PathBuf,
    pub prometheus: Prometheus,
    pub report: Report,
}

pub async fn run_rows() -> Result<Report, Failure> {
    let report = Report::new();
    report.title("network, Genesys Cloud, registry");
    network::build()?;
    let world = World::start_at((GENESYS, 443).into(), (CRL, 80).into(), (HERE, 8088).into()).await?;
    let other = Upstream::start_at((HERE, 8089).into()).await?;
    let mut registry = Registry::new(&world)?;
    registry.start().await?;
    report.title("Kubernetes, Istio");
    let started = Kubernetes::start(&world.path("kubernetes"))
        .and_then(|kubernetes| Ok((start_istiod(&kubernetes)?, kubernetes)));
    let (_istiod, kubernetes) = match started {
        Ok(started) => started,
        Err(error) => return Err(format!("{error}; logs are in {}", world.keep().display()).into()),
    };
    let system_cas = world.path("api-ca.crt");
    let prometheus = Prometheus::start(&world.path("prometheus"))?;
    let mut mesh = Mesh { world, _other: other, kubernetes, registry, system_cas, prometheus, report };
    let ran = match mesh.prepare() {
        Ok(()) => mesh.rows().await,
        Err(error) => Err(error),
    };
    if std::env::var_os("GENESYS_MTLS_MESH_KEEP").is_some() || ran.is_err() {
        eprintln!("==> logs are in {}", mesh.world.keep().display());
    }
    ran.map(|()| mesh.report)
}

impl Mesh {
    /// What exists before the chart: the services, the server's certificate, the OAuth clients.
    fn prepare(&self) -> Result<(), Failure> {
        let service = |name: &str, port: u16| {
            [
                json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": "default"},
                    "spec": {"ports": [{"name": "http", "port": 8080, "protocol": "TCP"}]}}),
                endpoints("default", name, &[("http", port)]),
            ]
        };
        let secret = |name: &str, data: Value| json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": NAMESPACE}, "stringData": data});
        let oauth = |name: &str, region: &str| {
            let client = self.world.genesys.credentials(region);
            secret(name, json!({"client-id": client.client_id, "client-secret": client.client_secret}))
        };
        let read = |name: &str| fs::read_to_string(self.world.path(name));
        // As cert-manager writes it: with the CA of the server's certificate, which has no say on clients.
        let server = json!({"tls.crt": read("server.crt")?, "tls.key": read("server.key")?, "ca.crt": read("api-ca.crt")?});
        let mut all = service("service", 8088).to_vec();
        all.extend(service("other", 8089));
        all.extend([
            secret("genesys-ingress", server.clone()),
            secret("other", server),
            oauth("genesys-oauth", "us-east-1"),
            oauth("genesys-oauth-us", "us-east-1"),
            oauth("genesys-oauth-eu", "eu-central-1"),
        ]);
        self.kubernetes.apply(&all)
    }

    /// Values of an example, fitted to this world.
    pub fn values(&self, example: &str) -> Result<Value, Failure> {
        let mut values = config::load_yaml(&manifests::examples().join(example).join("values.yaml"));
        values["rollout"] = "D".into();
        values["module"]["digest"] = self.registry.digest()?.into();
        values["regions"][0]["genesys"] = json!({"caCertificates": self.world.pki.us.root.pem});
        values["tls"]["clientCas"] = self.world.pki.digicert_root.pem.clone().into();
        values["policy"] = json!({"refresh": {"interval": "5s", "retry": {"base": "500ms", "max": "2s"}}});
        Ok(values)
    }

    pub fn install(&self, values: &Value) -> Result<String, Failure> {
        self.kubernetes.install(NAMESPACE, values)
    }

    pub fn start(&self, deployment: &str, network: &'static str) -> Result<Pod, Failure> {
        Pod::start(&self.kubernetes, &self.registry, &self.system_cas, NAMESPACE, deployment, network)
    }

    pub async fn matrix(&mut self, what: &str, network: &str, expected: [&str; 5]) {
        let got = matrix(&self.world, pod(network), expected).await;
        self.report.row(what, &got, &expected.map(str::to_owned));
    }

    pub async fn answer(&mut self, what: &str, client: testbed::client::ClientBuilder, expected: &str) {
        let got = settle(expected.to_owned(), async || ask(client.clone()).await).await;
        self.report.row(what, &got, &expected.to_owned());
    }

    /// All of them, or those of one part: `mesh istio alerts`.
    async fn rows(&mut self) -> Result<(), Failure> {
        const PARTS: [&str; 5] = ["own", "alerts", "shared", "api", "deployment"];
        let only = std::env::args().nth(2);
        if let Some(unknown) = only.iter().find(|part| !PARTS.contains(&part.as_str())) {
            return Err(format!("no part {unknown}: there are {}", PARTS.join(", ")).into());
        }
        for part in PARTS.into_iter().filter(|part| only.as_ref().is_none_or(|only| only == part)) {
            match part {
                "own" => self.own_gateway().await?,
                "alerts" => self.two_regions().await?,
                "shared" => self.shared_gateway().await?,
                "api" => self.gateway_api().await?,
                _ => self.own_deployment().await?,
            }
            self.kubernetes.uninstall(NAMESPACE)?;
        }
        if only.is_none() {
            let silent = self.prometheus.silent()?;
            self.report.row("shipped alerts that never fired", &silent, &BTreeSet::new());
            let unseen = self.prometheus.unseen()?;
            self.report.row(
                "queries of the dashboard that never returned a series",
                &unseen,
                &BTreeSet::new(),
            );
        }
        Ok(())
    }

    async fn own_gateway(&mut self) -> Result<(), Failure> {
        self.report.title("a gateway of the chart: roll-out states");
        let mut values = self.values("istio")?;
        self.install(&values)?;
        let mut gateway = self.start("genesys-ingress", "own")?;
        for (state, expected) in
            [("D", ENFORCED), ("A", OPEN), ("B", ENFORCED), ("C", GUARDED), ("D", ENFORCED)]
        {
            values["rollout"] = state.into();
            self.install(&values)?;
            self.matrix(&format!("state {state}"), "own", expected).await;
            self.helm_test(&values, &format!("helm test, state {state}"), true).await?;
            self.prometheus.unseen()?;
        }
        values["rollout"] = "A".into();
        self.helm_test(&values, "helm test, a gateway in another state than the values", false).await?;

        values["rollout"] = "D".into();
        gateway = self.delivery(gateway).await?;

        self.report.title("changes under traffic");
        tokio::time::sleep(Duration::from_secs(10)).await;
        let begun = Instant::now();
        let with = |pointer: &str, value: Value| {
            let mut changed = values.clone();
            let (parent, key) = pointer.rsplit_once('/').unwrap_or_default();
            changed.pointer_mut(parent).expect("values")[key] = value;
            changed
        };
        for (what, changed) in [
            ("the filter's configuration", with("/policy/identity", json!({}))),
            ("... back", values.clone()),
            ("roll-out D to B", with("/rollout", json!("B"))),
            ("... and D", values.clone()),
            ("the access log, by the listener", with("/accessLog", json!(false))),
            ("... back", values.clone()),
        ] {
            self.under_traffic(what, &changed).await?;
        }
        self.no_alert("changes, with strangers at the door", begun.elapsed().as_secs())?;
        values["regions"][0]["digicert"]["pins"] = json!(["api", self.world.pki.us.digicert.pin()]);
        self.install(&values)?;
        let _gateway = self.scale_and_restart(gateway).await?;

        self.report.title("TLS profiles, guard, port 80, headers");
        let strict = ["200", "200", "403 wrong_name", "TLS", "TLS"];
        let optional = ["200", "200", "403 wrong_name", "TLS", "403 no_client_certificate"];
        for (profile, expected) in [("strict", strict), ("optional", optional), ("explain", ENFORCED)] {
            values["tls"]["profile"] = profile.into();
            self.install(&values)?;
            self.matrix(&format!("profile {profile}"), "own", expected).await;
        }
        let mut authorization = values.clone();
        authorization["guard"] = "authorization-policy".into();
        self.install(&authorization)?;
        self.matrix("an AuthorizationPolicy as guard", "own", ENFORCED).await;
        self.kubernetes.kubectl(&format!("delete wasmplugin genesys-mtls -n {NAMESPACE}"))?;
        self.matrix("... the WasmPlugin deleted", "own", CLOSED).await;
        let mut extension = values.clone();
        extension["module"]["trafficExtension"] = true.into();
        self.install(&extension)?;
        self.matrix("a TrafficExtension", "own", ENFORCED).await;
        self.install(&values)?;
        self.matrix("the WasmPlugin again", "own", ENFORCED).await;
        self.kubernetes.kubectl(&format!("delete wasmplugin genesys-mtls -n {NAMESPACE}"))?;
        self.matrix("... deleted", "own", CLOSED).await;
        values["gateway"]["redirectHttp"] = true.into();
        // Helm does not put back what was deleted by hand, and unchanged since.
        self.kubernetes.uninstall(NAMESPACE)?;
        self.install(&values)?;
        self.matrix("port 80 redirects: port 443", "own", ENFORCED).await;
        let plain = || Client::plain((pod("own"), 80).into());
        self.answer("port 80", plain(), "301").await;
        let forged = ask_with(plain(), &[("x-forwarded-proto", "https")]).await;
        self.report.row("port 80, x-forwarded-proto: https", &forged, &"301".to_owned());
        self.identity_header().await
    }

    async fn identity_header(&mut self) -> Result<(), Failure> {
        for name in
            ["x-genesys-cloud-client", "x_genesys_cloud_client", "X-Genesys_Cloud-Client", "my_header"]
        {
            let client = client(&self.world, pod("own"), 443, "genesys").build();
            let request = http::Request::get("/").header(name, "forged").body(Vec::new())?;
            let seen = echoed(&client.send(request).await?.json(), &name.to_lowercase());
            let expected = if name == "my_header" { vec!["forged".to_owned()] } else { Vec::new() };
            self.report.row(format!("what the service sees of {name}"), &seen, &expected);
        }
        Ok(())
    }

    async fn gateway_api(&mut self) -> Result<(), Failure> {
        self.report.title("the Gateway API");
        let mut values = self.values("istio-gateway-api")?;
        self.install(&values)?;
        let made =
            || self.kubernetes.get(&format!("deployment genesys-ingress-istio -n {NAMESPACE}")).is_ok();
        crate::shell::until("Istio's Deployment", Duration::from_secs(30), made)?;
        let _gateway = self.start("genesys-ingress-istio", "api")?;
        for (state, expected) in
            [("D", ENFORCED), ("A", OPEN), ("B", ENFORCED), ("C", GUARDED), ("D", ENFORCED)]
        {
            values["rollout"] = state.into();
            self.install(&values)?;
            self.matrix(&format!("state {state}"), "api", expected).await;
        }
        let strict = ["200", "200", "403 wrong_name", "TLS", "TLS"];
        let optional = ["200", "200", "403 wrong_name", "TLS", "403 no_client_certificate"];
        for (profile, expected) in [("strict", strict), ("optional", optional), ("explain", ENFORCED)] {
            values["tls"]["profile"] = profile.into();
            self.install(&values)?;
            self.matrix(&format!("profile {profile}"), "api", expected).await;
        }
        self.kubernetes.kubectl(&format!("delete wasmplugin genesys-mtls -n {NAMESPACE}"))?;
        self.matrix("the WasmPlugin deleted", "api", CLOSED).await;
        Ok(())
    }

    /// A Gateway of the Gateway API whose Deployment is the operator's: policies by its name attach to nothing there.
    async fn own_deployment(&mut self) -> Result<(), Failure> {
        self.report.title("the Gateway API, a Deployment of the operator's");
        let service = "istio-ingressgateway";
        let gateway = json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway",
        "metadata": {"name": "manual", "namespace": NAMESPACE},
        "spec": {
            "gatewayClassName": "istio",
            "addresses": [{"type": "Hostname", "value": format!("{service}.{NAMESPACE}.svc.cluster.local")}],
            "tls": {"frontend": {"default": {"validation": {"mode": "AllowInsecureFallback",
                "caCertificateRefs": [{"group": "", "kind": "ConfigMap", "name": "manual-cas"}]}}}},
            "listeners": [{"name": "https", "port": 443, "protocol": "HTTPS", "hostname": "service.example",
                "tls": {"mode": "Terminate", "certificateRefs": [{"name": "genesys-ingress"}]}}],
        }});
        let cas = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "manual-cas", "namespace": NAMESPACE},
            "data": {"ca.crt": self.world.pki.us.root.pem}});
        let mut endpoints = endpoints(NAMESPACE, service, &[("https", 443), ("status-port", 15021)]);
        endpoints["endpoints"] = json!([{"addresses": [pod("shared")], "conditions": {"ready": true},
            "targetRef": {"kind": "Pod", "name": format!("{service}-shared"), "namespace": NAMESPACE}}]);
        self.make_shared_gateway()?;
        self.kubernetes.kubectl(&format!("delete gateways.networking.istio.io shared -n {NAMESPACE}"))?;
        self.kubernetes.apply(&[gateway, cas, endpoints])?;
        let mut values = self.values("istio-gateway-api")?;
        values["gateway"] = json!({"use": "existing", "name": "manual"});
        let refused = self.install(&values).err().map(|error| error.to_string()).unwrap_or_default();
        let cure = "set gateway.selector to its pods' labels";
        self.report.row("attached by the Gateway's name: the chart refuses", &refused.contains(cure), &true);
        values["gateway"]["selector"] = json!({"istio": "ingressgateway"});
        self.install(&values)?;
        let _gateway = self.start(service, "shared")?;
        self.matrix("attached by the pods' labels", "shared", ENFORCED).await;
        Ok(())
    }

    /// The script of `helm test`, run here: no kubelet would run its pod.
    async fn helm_test(&mut self, values: &Value, what: &str, passes: bool) -> Result<(), Failure> {
        let rendered = manifests::render(&crate::common::tool("helm"), NAMESPACE, values)?;
        let test = manifests::kind(&rendered, "Pod")[0];
        let container = &test["spec"]["containers"][0];
        let mut command = Command::new("sh");
        command
            .args(manifests::strings(&container["command"]).skip(1))
            .args(manifests::strings(&container["args"]));
        for variable in container["env"].as_array().into_iter().flatten() {
            command.env(
                variable["name"].as_str().unwrap_or_default(),
                variable["value"].as_str().unwrap_or_default(),
            );
        }
        command.env("ADDRESS", pod("own").to_string());
        command.env("METRICS", format!("http://{}:15020/stats/prometheus", pod("own")));
        let output = tokio::task::spawn_blocking(move || command.output()).await??;
        if output.status.success() != passes {
            println!("{}", String::from_utf8_lossy(&output.stdout));
        }
        self.report.row(what, &output.status.success(), &passes);
        Ok(())
    }
}
