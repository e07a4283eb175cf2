//! What is counted: each case sets up a VM, runs it warm where the case is about warm requests, and makes sure that
//! the module did what the case says.

use bench::{
    scene::{CERTIFICATE, DIGEST, answer, script, show},
    script::Script,
    vm::{Compiled, Cost, Vm},
};
use serde_json::{Value, json};
use std::path::Path;
use testbed::{
    paths,
    pki::{Ca, KeyType, Leaf, Pki, pem_block},
};

/// One line of the table.
#[derive(Debug)]
pub struct Case {
    /// Its name in the baseline.
    pub id: &'static str,
    pub title: &'static str,
    pub cost: Cost,
    /// Memory of the VM afterwards.
    pub memory: u64,
}

const REGION: &str = "us-east-1";
const CRL_URL: &str = "http://crl.example/genesys.crl";

/// Requests before a warm one is measured: more than the log lines that a reason is granted per minute.
const WARM_UP: usize = 32;

/// Everything that is counted.
pub struct Bench {
    pki: Pki,
    ours: Compiled,
    cases: Vec<Case>,
}

impl Bench {
    pub fn run(module: &Path) -> Vec<Case> {
        let mut bench = Self { pki: Pki::standard(), ours: Compiled::read(module), cases: Vec::new() };
        bench.rivals();
        bench.warm();
        bench.first_sights();
        bench.starts();
        bench.refreshes();
        bench.lists();
        bench.long_run();
        bench.cases
    }

    fn add(&mut self, id: &'static str, title: &'static str, vm: &Vm, cost: Cost) {
        self.cases.push(Case { id, title, cost, memory: vm.memory() });
    }

    fn rivals(&mut self) {
        for (name, id, title) in [
            ("empty", "rival_empty", "SDK filter that does nothing"),
            ("digest", "rival_digest", "SDK filter that reads and looks up the digest, enforces nothing"),
            ("verdict", "rival_verdict", "the same with a verdict written"),
            ("bare", "rival_bare", "no SDK, the same two host calls, nothing else"),
        ] {
            let path = paths::target_dir().join(format!("wasm32-wasip1/release/examples/{name}.wasm"));
            let leaf = &self.pki.us.genesys;
            let mut script = script(&Value::Null, Some(leaf));
            script.configuration = leaf.sha256.clone().into_bytes();
            let mut vm = Compiled::read(&path).start(script);
            let cost = warm(&mut vm);
            self.add(id, title, &vm, cost);
        }
    }

    fn warm(&mut self) {
        let policy = self.policy();
        let leaf = self.pki.us.genesys.clone();
        let mut vm = self.start(&policy, Some(&leaf));
        let cost = warm(&mut vm);
        assert_verdict(&mut vm, "allow;us-east-1;genesys");
        self.add("warm_allow", "**allowed**, certificate seen before", &vm, cost);

        let mut with_header = policy.clone();
        with_header["identity"] = json!({"header": "x-genesys-cloud-client"});
        let mut vm = self.start(&with_header, Some(&leaf));
        let cost = warm(&mut vm);
        assert_verdict(&mut vm, "allow;us-east-1;genesys");
        self.add("warm_allow_header", "allowed, seen before, identity header", &vm, cost);

        let stranger = self.pki.stranger.clone();
        let mut vm = self.start(&policy, Some(&stranger));
        let cost = warm(&mut vm);
        assert_verdict(&mut vm, "deny;wrong_name");
        self.add("warm_deny", "denied, certificate seen before", &vm, cost);

        let mut vm = self.start(&policy, None);
        let cost = warm(&mut vm);
        assert_verdict(&mut vm, "deny;no_client_certificate");
        self.add("no_certificate", "denied, no certificate", &vm, cost);

        let cost = vm.measure(Vm::tick);
        self.add("tick", "first tick of a VM, with counters to hand over", &vm, cost);
        // Two seconds later the gauges are due again.
        vm.script().monotonic += 2_000_000_000;
        vm.stream();
        let cost = vm.measure(Vm::tick);
        assert_eq!(cost.calls.get("proxy_define_metric"), None, "each metric is defined once");
        self.add("next_tick", "a later one", &vm, cost);
    }

    fn first_sights(&mut self) {
        for (key, id, title) in [
            (KeyType::Rsa4096, "first_rsa4096", "first sight, CA with RSA-4096"),
            (KeyType::Rsa2048, "first_rsa2048", "first sight, CA with RSA-2048"),
            (KeyType::P256, "first_p256", "first sight, CA with P-256"),
            (KeyType::P384, "first_p384", "first sight, CA with P-384"),
        ] {
            let ca = Ca::builder("bench").key(key).self_signed();
            let leaf = ca.leaf().name(self.pki.us.region.certificate_name).issue();
            let policy = json!({"regions": {REGION: {"genesys": {"ca_certificates": ca.pem}}}});
            self.first_sight(id, title, &policy, &leaf, "allow;us-east-1;genesys", |_| {});
        }
        let leaf = self.pki.us.digicert.clone();
        let pinned = json!({"regions": {REGION: {"digicert": {"pins": [leaf.pin()]}}}});
        let allow = "allow;us-east-1;digicert";
        self.first_sight("first_pin", "first sight, static pin", &pinned, &leaf, allow, |_| {});
        let pem = percent(&leaf.cert_pem);
        let cost = |show: fn(&mut Script, String)| {
            move |script: &mut Script| {
                script.properties.remove(CERTIFICATE);
                show(script, pem.clone());
            }
        };
        let by_state = cost.clone()(|script, pem| {
            drop(script.properties.insert("filter_state.peer".into(), pem.into()))
        });
        let mut state = pinned.clone();
        state["peer_certificate"] = json!({"source": "filter_state", "filter_state_key": "peer"});
        self.first_sight(
            "first_filter_state",
            "the same, certificate from filter state",
            &state,
            &leaf,
            allow,
            by_state,
        );
        let by_xfcc = cost(|script, pem| {
            script.request_headers.insert("x-forwarded-client-cert".into(), format!("Hash=1;Cert=\"{pem}\""));
        });
        self.first_sight("first_xfcc", "the same, certificate from XFCC", &pinned, &leaf, allow, by_xfcc);

        let (policy, leaf) = (self.large_policy(), self.pki.us.genesys.clone());
        let title = "first sight, CA with RSA-4096, among 10,000 pins and 99 more CAs";
        self.first_sight("first_large_policy", title, &policy, &leaf, "allow;us-east-1;genesys", |_| {});
    }

    fn first_sight(
        &mut self,
        id: &'static str,
        title: &'static str,
        policy: &Value,
        leaf: &Leaf,
        verdict: &str,
        change: impl FnOnce(&mut Script),
    ) {
        // Another certificate first: what is set up lazily is no part of the decision.
        let stranger = self.pki.stranger.clone();
        let mut vm = self.start(policy, Some(&stranger));
        vm.tick();
        vm.stream();
        show(vm.script(), leaf);
        change(vm.script());
        let cost = vm.measure(Vm::stream);
        assert_verdict(&mut vm, verdict);
        self.add(id, title, &vm, cost);
    }

    fn starts(&mut self) {
        let policy = self.policy();
        let vm = self.start(&policy, None);
        self.add("start", "start of a VM, one region", &vm, vm.cost());
        let vm = self.start(&self.large_policy(), None);
        self.add("start_large_policy", "start of a VM, 10,000 pins and 100 CAs", &vm, vm.cost());
    }

    fn refreshes(&mut self) {
        for (count, id, title) in [
            (2, "refresh_2", "refresh, the API names 2 certificates"),
            (100, "refresh_100", "refresh, 100 certificates"),
            (
                150,
                "refresh_150",
                "refresh, 150 certificates with their chains (about the 1 MiB that is read)",
            ),
        ] {
            let name = self.pki.us.region.certificate_name;
            let leaves = (0..count).map(|_| self.pki.digicert_ca.leaf().name(name).issue());
            let entities: Vec<Value> = leaves
                .map(|leaf| {
                    let text = leaf.chain_pem.clone() + &pem_block(&self.pki.digicert_root.der);
                    json!({"signingAuthority": "DigiCert", "type": "Client", "certificate": text})
                })
                .collect();
            let page = json!({"entities": entities, "pageCount": 1}).to_string().into_bytes();
            let policy = self.policy();
            let mut vm = self.start(&policy, None);
            let cost = vm.measure(|vm| {
                vm.tick();
                for _ in 0..3 {
                    let (token, path) = vm.script().dispatched.pop().expect("a call");
                    vm.respond(token, answer(&path, &page));
                }
            });
            assert!(
                vm.script().log.iter().any(|line| line.contains(&format!("pins={count} "))),
                "{:?}",
                vm.script().log
            );
            self.add(id, title, &vm, cost);
        }
    }

    /// More requests than a worker answers from its cache between two readings of the clock, all denied before trust is read.
    fn burst_before_the_first_tick_opens_no_crl_without_secret(&mut self) {
        let mut policy = self.policy();
        policy["revocation"] = json!({"mode": "soft", "lists": [
            {"region": REGION, "authority": "digicert", "url": CRL_URL, "cluster": "crl"},
        ]});
        policy["regions"][REGION]["digicert"]["issuers"] = self.pki.digicert_ca.pem.clone().into();
        let ca = self.pki.us.root.leaf().is_ca(true).issue();
        let keys = [0, 1100].map(|requests| {
            let mut vm = self.start(&policy, Some(&ca));
            for _ in 0..requests {
                vm.stream();
            }
            vm.tick();
            vm.script().keys()
        });
        assert!(keys[0].iter().any(|key| key.contains("/crl/")), "{keys:?}");
        assert_eq!(keys[0], keys[1], "where the lists are looked for");
    }

    fn lists(&mut self) {
        self.burst_before_the_first_tick_opens_no_crl_without_secret();
        let small = Ca::builder("bench").key(KeyType::Rsa2048).self_signed();
        for (entries, id, title) in [
            (1_000, "crl_1000", "CRL of 1,000 entries taken in"),
            (50_000, "crl_50000", "CRL of 50,000 entries (1.9 MB) taken in"),
        ] {
            let list = small.crl().padding(entries).der();
            let mut policy = json!({"regions": {REGION: {"genesys": {"ca_certificates": small.pem}}}});
            policy["revocation"] = json!({"mode": "hard", "max_size": 16_000_000, "lists": [
                {"region": REGION, "authority": "genesys", "url": CRL_URL, "cluster": "crl"},
            ]});
            let mut vm = self.start(&policy, None);
            let cost = vm.measure(|vm| {
                vm.tick();
                let (token, _) = vm.script().dispatched.pop().expect("a call");
                vm.respond(token, list);
            });
            assert!(
                vm.script().log.iter().any(|line| line.contains(&format!("entries={entries} "))),
                "{:?}",
                vm.script().log
            );
            self.add(id, title, &vm, cost);
        }
    }

    /// Memory after many certificates and requests is that after few: nothing leaks, nothing grows.
    fn long_run(&mut self) {
        let policy = self.policy();
        let mut vm = self.start(&policy, None);
        let rounds = |vm: &mut Vm, rounds: u32| {
            for round in 0..rounds {
                let script = vm.script();
                script.properties.insert(DIGEST.into(), format!("{:064x}", round % 10_000).into_bytes());
                script.written.clear();
                script.replies.clear();
                script.log.clear();
                vm.stream();
            }
        };
        rounds(&mut vm, 10_000);
        let before = vm.memory();
        let cost = vm.measure(|vm| rounds(vm, 40_000));
        assert_eq!(vm.memory(), before, "memory grows with requests");
        let cost =
            Cost { instructions: cost.instructions / 40_000, calls: std::collections::BTreeMap::new() };
        self.add("long_run", "mean of 40,000 strangers of 10,000 digests", &vm, cost);
    }

    fn start(&self, policy: &Value, leaf: Option<&Leaf>) -> Vm {
        self.ours.start(script(policy, leaf))
    }

    fn policy(&self) -> Value {
        let region =
            json!({"genesys": {"ca_certificates": self.pki.us.root.pem}, "digicert": {"pins": ["api"]}});
        json!({"regions": {REGION: region}})
    }

    /// 10,000 pins, and 99 CAs in addition to the one that signed.
    fn large_policy(&self) -> Value {
        let pins: Vec<String> = (0..10_000).map(|pin| format!("sha256:{pin:064x}")).collect();
        let others = (1..100).map(|ca| {
            Ca::builder("bench").key(KeyType::P256).dn(&[("CN", &format!("Root {ca}"))]).self_signed().pem
        });
        let cas: String = others.chain([self.pki.us.root.pem.clone()]).collect();
        json!({"regions": {REGION: {"genesys": {"ca_certificates": cas}, "digicert": {"pins": pins}}}})
    }
}

fn warm(vm: &mut Vm) -> Cost {
    for _ in 0..WARM_UP {
        vm.stream();
    }
    vm.measure(Vm::stream)
}

fn assert_verdict(vm: &mut Vm, verdict: &str) {
    let script = vm.script();
    let last = script.written.last().map(|(path, value)| (path.as_str(), value.as_str()));
    assert_eq!(last, Some(("genesys_mtls.default", verdict)), "log: {:?}", script.log);
}

/// As Envoy encodes PEM in XFCC.
fn percent(pem: &str) -> String {
    pem.bytes()
        .map(
            |byte| {
                if byte.is_ascii_alphanumeric() {
                    char::from(byte).to_string()
                } else {
                    format!("%{byte:02X}")
                }
            },
        )
        .collect()
}
