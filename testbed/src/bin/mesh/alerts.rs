//! Istio's rows of two regions and their CRLs, and of each alert: made to fire once.

use std::{
    collections::BTreeSet,
    fs,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use testbed::{
    genesys::{Entity, Fault, Status},
    paths,
    pki::{Ca, KeyType, Leaf, RegionPki, pem_block, serial_of},
    stand_in::crashing_each,
};

use crate::{
    calls::{ask, client},
    common::Failure,
    istio::{Mesh, NAMESPACE},
    network::pod,
};

const LISTS: [&str; 2] = ["/us.crl", "/eu.crl"];

/// In days from now.
fn until_day(day: i64) -> (time::Duration, time::Duration) {
    (time::Duration::days(-30), time::Duration::days(day))
}

impl Mesh {
    /// No alert fired in the last seconds.
    pub fn no_alert(&mut self, what: &str, seconds: u64) -> Result<(), Failure> {
        let fired = self.prometheus.fired(seconds)?;
        self.report.row(format!("{what}: alerts in {seconds} s"), &fired, &BTreeSet::new());
        self.prometheus.unseen().map(drop)
    }

    pub async fn two_regions(&mut self) -> Result<(), Failure> {
        self.report.title("two regions, CRLs");
        let signer = self.world.pki.digicert_ca.clone();
        for path in LISTS {
            self.world.genesys.set_crl(path, 200, signer.crl().number(1).der());
        }
        let mut values = self.values("two-regions")?;
        for (region, path) in LISTS.iter().enumerate() {
            values["regions"][region]["digicert"]["issuers"] = signer.pem.clone().into();
            values["revocation"]["lists"][region]["url"] = format!("http://crl.example{path}").into();
        }
        // Genesys Cloud's own CA has no list here.
        values["regions"][0].as_object_mut().ok_or("a region")?.remove("genesys");
        values["policy"] = json!({"refresh": {"interval": "2s", "retry": {"base": "500ms", "max": "1s"}}});
        values["revocation"]["mode"] = "hard".into();
        values["revocation"]["interval"] = "2s".into();
        self.install(&values)?;
        let gateway = self.start("genesys-ingress", "own")?;
        self.callers("200", "200").await;
        let email = client(&self.world, pod("own"), 443, "email");
        self.answer("a stranger of the same CA", email, "403 wrong_name").await;
        self.prometheus.unseen()?;

        let serial = serial_of(&self.world.pki.us.digicert.der);
        let revoking = signer.crl().number(2).revoke(&serial).der();
        self.world.genesys.set_crl(LISTS[0], 200, revoking);
        self.callers("403 revoked", "200").await;

        // Denied, and only denied, for half an hour of the alerts; meanwhile the API fails for three of their days.
        self.report.title("each alert once");
        self.api_fails();
        let pinned = client(&self.world, pod("own"), 443, "pinned");
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(35) {
            ask(pinned.clone()).await;
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        self.prometheus.unseen()?;
        self.world.genesys.clear_faults();
        self.expiring(&mut values)?;
        let eu = client(&self.world, pod("own"), 443, "pinned-eu");
        self.answer("trust that ends soon", eu.clone(), "200").await;
        self.break_proxy(&values).await?;

        self.prometheus.unseen()?;

        // A new pod, an OAuth client that is not there, no API, a list about other certificates, and a region without a list.
        let elsewhere = signer.crl().number(4).distribution_point("http://elsewhere.example/us.crl", None);
        self.world.genesys.set_crl(LISTS[0], 200, elsewhere.der());
        self.world.genesys.set_crl(LISTS[1], 404, Vec::new());
        drop(gateway);
        self.api_fails();
        self.kubernetes.apply(&[json!({"apiVersion": "v1", "kind": "Secret",
            "metadata": {"name": "genesys-oauth-eu", "namespace": NAMESPACE}, "stringData": {"client-id": "", "client-secret": ""}})])?;
        let _gateway = self.start("genesys-ingress", "own")?;
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(25) && !self.prometheus.silent()?.is_empty() {
            ask(eu.clone()).await;
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        self.world.genesys.clear_faults();
        self.prometheus.unseen()?;
        Ok(())
    }

    fn api_fails(&self) {
        for region in ["us-east-1", "eu-central-1"] {
            self.world.genesys.fault(Some(region), None, Fault::Status(503));
        }
    }

    async fn callers(&mut self, us: &str, eu: &str) {
        for (region, who, expected) in [("us-east-1", "pinned", us), ("eu-central-1", "pinned-eu", eu)] {
            let client = client(&self.world, pod("own"), 443, who);
            self.answer(&format!("{region}, pinned"), client, expected).await;
        }
    }

    /// CAs, pins and CRLs that end soon, certificates to come that this policy denies, a region without a list.
    fn expiring(&self, values: &mut Value) -> Result<(), Failure> {
        let pki = &self.world.pki;
        let ca = |name: &str, day| {
            let (from, to) = until_day(day);
            Ca::builder("impostor").dn(&[("CN", name)]).valid_from_now(from, to).self_signed()
        };
        // A key that verifies nothing: the last byte of this CA's own signature is another.
        let (from, to) = until_day(20);
        let unusable = Ca::builder("impostor").dn(&[("CN", "Unusable")]).key(KeyType::P256);
        let mut unusable = unusable.valid_from_now(from, to).self_signed().der;
        if let Some(last) = unusable.last_mut() {
            *last ^= 1;
        }
        let cas = ca("Ends in 20 days", 20).pem + &pem_block(&unusable);
        values["regions"][0]["genesys"] = json!({"caCertificates": cas});
        values["regions"][1]["genesys"] = json!({"caCertificates": ca("Ends in 3 days", 3).pem});
        values["regions"][1]["digicert"]["pins"] = json!(["api", pki.eu.digicert.pin()]);
        values["revocation"]["mode"] = "soft".into();
        let next = |region: &RegionPki| -> Leaf {
            pki.stranger_ca.leaf().key_name("stranger").name(region.region.certificate_name).issue()
        };
        let (from, to) = until_day(3);
        let ending = pki.digicert_ca.leaf().key_name("digicert-eu").name(pki.eu.region.certificate_name);
        let ending = ending.valid_from_now(from, to).issue();
        let digicert = |leaf: &Leaf| Entity::digicert(leaf, &pki.digicert_root.der);
        self.world.genesys.set_entities(
            "eu-central-1",
            Status::Current,
            vec![digicert(&ending), digicert(&pki.eu.digicert)],
        );
        for region in [&pki.us, &pki.eu] {
            let upcoming = vec![digicert(&next(region))];
            self.world.genesys.set_entities(region.region.id, Status::Upcoming, upcoming);
        }
        let minutes = time::Duration::minutes;
        let list = |number, end| pki.digicert_ca.crl().number(number).valid_from_now(minutes(-60), end).der();
        self.world.genesys.set_crl(LISTS[0], 200, list(3, minutes(60)));
        self.world.genesys.set_crl(LISTS[1], 200, list(3, time::Duration::seconds(8)));
        self.install(values).map(drop)
    }

    /// A VM that crashes, and a listener that Envoy rejects.
    async fn break_proxy(&mut self, values: &Value) -> Result<(), Failure> {
        let module = fs::read(paths::wasm_module())?;
        let crashing = crashing_each(&module, "proxy_on_request_headers", 5);
        let mut crashes = values.clone();
        crashes["module"]["digest"] = self.registry.add(&self.world, "crashing", &crashing)?.into();
        self.install(&crashes)?;
        let eu = client(&self.world, pod("own"), 443, "pinned-eu");
        let begun = Instant::now();
        let mut answers = BTreeSet::new();
        while begun.elapsed() < Duration::from_secs(15) {
            answers.insert(ask(eu.clone()).await);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        self.report.row("a VM that crashes, and is started again", &answers.contains("200"), &true);
        self.install(values)?;

        let rejected = json!({"apiVersion": "networking.istio.io/v1alpha3", "kind": "EnvoyFilter",
            "metadata": {"name": "unknown", "namespace": NAMESPACE},
            "spec": {"workloadSelector": {"labels": {"genesys-mtls/gateway": format!("{NAMESPACE}.genesys-ingress")}},
                "configPatches": [{"applyTo": "HTTP_FILTER",
                    "match": {"context": "GATEWAY", "listener": {"filterChain": {"filter": {"name": "envoy.filters.network.http_connection_manager"}}}},
                    "patch": {"operation": "INSERT_FIRST", "value": {"name": "unknown", "typed_config": {
                        "@type": "type.googleapis.com/udpa.type.v1.TypedStruct",
                        "type_url": "type.googleapis.com/example.Unknown", "value": {}}}}}]}});
        self.kubernetes.apply(&[rejected])?;
        tokio::time::sleep(Duration::from_secs(4)).await;
        let stranger = client(&self.world, pod("own"), 443, "email");
        self.answer("a listener that Envoy rejects: the old one serves", stranger, "403 wrong_name").await;
        self.kubernetes.kubectl(&format!("delete envoyfilter unknown -n {NAMESPACE}")).map(drop)
    }
}
