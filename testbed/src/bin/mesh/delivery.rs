//! Istio's rows on how the module reaches the gateway, and on what is answered where it does not.

use serde_json::json;

use crate::{
    calls::{CLOSED, ENFORCED, MISSING, OPEN, settle},
    common::Failure,
    istio::{Mesh, NAMESPACE},
    kubelet::Pod,
    registry::PULLER,
};

impl Mesh {
    pub async fn delivery(&mut self, mut gateway: Pod) -> Result<Pod, Failure> {
        self.report.title("the module cannot be had");
        let values = self.values("istio")?;
        for (state, expected) in [("A", OPEN), ("D", CLOSED)] {
            let mut lost = values.clone();
            lost["rollout"] = state.into();
            lost["module"]["digest"] = MISSING.into();
            self.install(&lost)?;
            self.matrix(&format!("state {state}, running"), "own", expected).await;
            drop(gateway);
            gateway = self.start("genesys-ingress", "own")?;
            self.matrix(&format!("state {state}, restarted"), "own", expected).await;
            let failures = r#"istio_agent_wasm_config_conversion_count{result="fetch_failure"}"#;
            self.report.row("the agent counts it", &gateway.metrics()?.contains(failures), &true);
        }
        let named = settle(true, async || {
            self.prometheus.fired(5).is_ok_and(|fired| fired.contains("GenesysMtlsModuleNotLoaded own"))
        });
        let named = named.await;
        self.report.row("an alert names the pod", &named, &true);
        self.install(&values)?;
        self.matrix("the right digest again", "own", ENFORCED).await;

        drop(gateway);
        self.registry.stop().await;
        gateway = self.start("genesys-ingress", "own")?;
        self.matrix("the registry away at the pod's start", "own", CLOSED).await;
        self.registry.start().await?;
        self.kubernetes
            .kubectl(&format!("annotate wasmplugin genesys-mtls -n {NAMESPACE} --overwrite retry=1"))?;
        self.matrix("... it is back, and the plugin touched", "own", ENFORCED).await;

        let mut volume = values.clone();
        volume["module"]["delivery"] = "volume".into();
        self.install(&volume)?;
        drop(gateway);
        self.registry.stop().await;
        gateway = self.start("genesys-ingress", "own")?;
        self.matrix("a volume, the registry away at the pod's start", "own", ENFORCED).await;
        self.registry.start().await?;

        self.report.title("a registry with a password");
        let (user, password) = PULLER;
        let config = json!({"auths": {"registry.example": {"username": user, "password": password}}});
        self.kubernetes.apply(&[json!({"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/dockerconfigjson",
            "metadata": {"name": "pull", "namespace": NAMESPACE}, "stringData": {".dockerconfigjson": config.to_string()}})])?;
        self.registry.set_private(true);
        self.install(&values)?;
        drop(gateway);
        gateway = self.start("genesys-ingress", "own")?;
        self.matrix("without module.pullSecret", "own", CLOSED).await;
        let mut pulled = values.clone();
        pulled["module"]["pullSecret"] = "pull".into();
        self.install(&pulled)?;
        self.matrix("with module.pullSecret", "own", ENFORCED).await;
        drop(gateway);
        gateway = self.start("genesys-ingress", "own")?;
        self.matrix("... and a new pod", "own", ENFORCED).await;
        self.registry.set_private(false);
        self.install(&values)?;
        Ok(gateway)
    }
}
