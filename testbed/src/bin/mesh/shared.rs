//! Istio's rows of a shared gateway: one host is ours, and the others stay untouched.

use std::net::Ipv4Addr;

use serde_json::{Value, json};
use testbed::World;

use crate::{
    calls::{CLOSED, ENFORCED, GUARDED, MISSING, OPEN, client},
    common::Failure,
    control_plane::template,
    istio::{Mesh, NAMESPACE},
    network::pod,
};

impl Mesh {
    pub async fn shared_gateway(&mut self) -> Result<(), Failure> {
        self.report.title("one host of a shared gateway");
        let values = self.values("istio-shared")?;
        self.make_shared_gateway()?;
        self.install(&values)?;
        let mut gateway = self.start("istio-ingressgateway", "shared")?;
        self.matrix("state D", "shared", ENFORCED).await;
        self.hosts("", ENFORCED).await;
        for (state, expected) in [("A", OPEN), ("B", ENFORCED), ("C", GUARDED)] {
            let mut values = values.clone();
            values["rollout"] = state.into();
            self.install(&values)?;
            self.matrix(&format!("state {state}"), "shared", expected).await;
        }
        for (state, expected) in [("A", OPEN), ("D", CLOSED)] {
            let mut lost = values.clone();
            lost["rollout"] = state.into();
            lost["module"]["digest"] = MISSING.into();
            self.install(&lost)?;
            drop(gateway);
            gateway = self.start("istio-ingressgateway", "shared")?;
            self.matrix(&format!("state {state}, no module, restarted"), "shared", expected).await;
            self.answer("... other.example", self.other("other.example"), "200").await;
        }
        let mut elsewhere = values.clone();
        elsewhere["gateway"]["port"] = 8443.into();
        self.install(&elsewhere)?;
        self.matrix("the patch names another port", "shared", CLOSED).await;
        self.hosts("... ", CLOSED).await;
        self.install(&values)?;
        self.matrix("the right port", "shared", ENFORCED).await;
        self.answer(
            "a second server's port, genuine",
            client(&self.world, pod("shared"), 15443, "genesys"),
            "403 guard",
        )
        .await;
        self.answer(
            "a second server's port, stranger",
            client(&self.world, pod("shared"), 15443, "email"),
            "403 guard",
        )
        .await;
        Ok(())
    }

    pub fn make_shared_gateway(&self) -> Result<(), Failure> {
        self.kubernetes.apply(&shared_gateway(&self.values("istio-shared")?)?)
    }

    fn other(&self, host: &str) -> testbed::client::ClientBuilder {
        client(&self.world, pod("shared"), 443, "none").sni(host).host_header(host)
    }

    /// Every pair of server name and Host.
    async fn hosts(&mut self, what: &str, ours: [&str; 5]) {
        let address: Ipv4Addr = pod("shared");
        self.answer(&format!("{what}other.example"), self.other("other.example"), "200").await;
        self.answer(&format!("{what}other.example, HTTP/2"), self.other("other.example").http2(), "200")
            .await;
        let third = |world: &World, who| client(world, address, 443, who).host_header("third.example");
        for who in ["none", "email", "stranger"] {
            let client = third(&self.world, who);
            self.answer(&format!("{what}third.example on our chain, {who}"), client, "200").await;
        }
        for who in ["none", "genesys"] {
            let fronted = client(&self.world, address, 443, who).sni("other.example");
            self.answer(
                &format!("{what}our Host behind the name other.example, {who}"),
                fronted,
                "403 guard",
            )
            .await;
        }
        let none = ours[4];
        for (host, expected) in [
            ("SERVICE.Example:443", none),
            ("service.example:", none),
            ("service.example:x", none),
            ("service.example.", "403 guard"),
            ("service.example.:9x", "403 guard"),
            ("SERVICE.example:443:1", "403 guard"),
        ] {
            let odd = client(&self.world, address, 443, "none").host_header(host);
            self.answer(&format!("{what}Host {host}"), odd, expected).await;
        }
    }
}

/// A gateway by Istio's own chart, as the chart's notes want its values, with two servers and three hosts.
fn shared_gateway(values: &Value) -> Result<Vec<Value>, Failure> {
    let env = |name: &str, key: &str| json!({"name": name, "valueFrom": {"secretKeyRef": {"name": "genesys-oauth", "key": key}}});
    let statistics = "proxyStatsMatcher: {inclusionRegexps: ['wasmcustom\\.genesys_mtls\\..*', '.*\\.genesys_guard_\\..*']}";
    let gateway = json!({
        "podAnnotations": {"sidecar.istio.io/bootstrapOverride": "genesys-mtls-bootstrap", "proxy.istio.io/config": statistics},
        "envVarFrom": [env("GENESYS_US_EAST_1_CLIENT_ID", "client-id"), env("GENESYS_US_EAST_1_CLIENT_SECRET", "client-secret")],
    });
    let mut all = template("istio-ingressgateway", "gateway", &gateway)?;
    for manifest in &mut all {
        manifest["metadata"]["namespace"] = NAMESPACE.into();
    }
    let ours = json!({"mode": "OPTIONAL_MUTUAL", "insecureSkipVerify": true, "credentialName": values["gateway"]["certificate"]});
    let server = |number: u16, name: &str, hosts: Value, tls: Value| json!({"port": {"number": number, "name": name, "protocol": "HTTPS"}, "hosts": hosts, "tls": tls});
    let route = |name: &str, hosts: Value, service: &str| {
        json!({"apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": {"name": name, "namespace": NAMESPACE},
            "spec": {"hosts": hosts, "gateways": ["shared"], "http": [{"route": [{"destination":
                {"host": format!("{service}.default.svc.cluster.local"), "port": {"number": 8080}}}]}]}})
    };
    all.extend([
        json!({"apiVersion": "networking.istio.io/v1", "kind": "Gateway", "metadata": {"name": "shared", "namespace": NAMESPACE},
            "spec": {"selector": values["gateway"]["selector"], "servers": [
                server(443, "https-service", json!(["service.example", "third.example"]), ours.clone()),
                server(443, "https-other", json!(["other.example"]), json!({"mode": "SIMPLE", "credentialName": "other"})),
                server(15443, "https-two", json!(["service.example"]), ours),
            ]}}),
        route("shared-service", json!(["service.example"]), "service"),
        route("shared-others", json!(["other.example", "third.example"]), "other"),
    ]);
    Ok(all)
}
