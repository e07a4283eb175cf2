//! The tool decides as the filter does: random certificates before random policies, by `explain` and by a real Envoy.

use crate::run::run;
use serde_json::{Value, json};
use std::{collections::BTreeMap, path::PathBuf, time::SystemTime};
use testbed::{
    World,
    client::Client,
    config,
    envoy::Envoy,
    genesys::{Entity, Status},
    pki::{Ca, EU_CENTRAL_1, Eku, KeyType, Leaf, LeafBuilder, US_EAST_1, der},
    upstream::echoed,
};
use time::Duration;

const POLICIES: usize = 10;
const LEAVES: usize = 250;
const CASES: usize = 1000;
/// Requests and processes at a time.
const AT_ONCE: usize = 8;

/// SplitMix64: the same cases again for the same seed.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).expect("small")
    }

    fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }

    /// True once in `n` times.
    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }
}

/// Everybody who signs.
struct Signers {
    us: Ca,
    us_expired: Ca,
    eu: Ca,
    impostor: Ca,
    digicert: Ca,
    stranger: Ca,
}

impl Signers {
    fn new() -> Self {
        let new = |name: &str, cn: &str| Ca::builder(name).key(KeyType::P256).dn(&[("CN", cn)]);
        let public_root = new("agree-public-root", "Agree Public Root").self_signed();
        let digicert = Ca::builder("agree-digicert")
            .key(KeyType::P256)
            .dn(&[("O", "Agree DigiCert Inc"), ("CN", "Agree Client CA")])
            .signed_by(&public_root);
        Self {
            us: new("agree-us", "Agree Root us-east-1").self_signed(),
            us_expired: new("agree-us-expired", "Agree Root us-east-1, old")
                .valid_from_now(Duration::days(-900), Duration::days(-1))
                .self_signed(),
            eu: new("agree-eu", "Agree Root eu-central-1").self_signed(),
            impostor: new("agree-impostor", "Agree Root us-east-1").self_signed(),
            digicert,
            stranger: new("agree-stranger", "Agree Stranger").self_signed(),
        }
    }

    /// Rather one that could be allowed than one that could not.
    fn any(&self, random: &mut Random) -> &Ca {
        let Self { us, us_expired, eu, impostor, digicert, stranger } = self;
        let all = [us, us, us, eu, eu, digicert, digicert, digicert, us_expired, impostor, stranger];
        all[random.below(all.len())]
    }
}

fn name(random: &mut Random) -> String {
    let us = US_EAST_1.certificate_name;
    match random.below(12) {
        0..=4 => us.to_owned(),
        5..=7 => EU_CENTRAL_1.certificate_name.to_owned(),
        8 => us.to_uppercase(),
        9 => "dataactions.prod-euw1.eu-west-1.mypurecloud.com".to_owned(),
        10 => format!("x.{us}"),
        _ => "client.example".to_owned(),
    }
}

/// Its ends lie ten minutes and more from where any policy's skew puts them: the test takes less.
fn validity(random: &mut Random) -> (Duration, Duration) {
    let minutes = Duration::minutes;
    match random.below(16) {
        0 => (Duration::days(-90), minutes(-10)),
        1 => (Duration::days(-90), minutes(-45)),
        2 => (Duration::days(-90), minutes(-150)),
        3 => (minutes(10), Duration::days(90)),
        4 => (minutes(45), Duration::days(90)),
        5 => (minutes(150), Duration::days(90)),
        _ => (Duration::days(-1), Duration::days(90)),
    }
}

fn leaf(signers: &Signers, random: &mut Random) -> Leaf {
    let (from, until) = validity(random);
    let mut leaf: LeafBuilder<'_> =
        signers.any(random).leaf().key(KeyType::P256).key_name("agree").valid_from_now(from, until);
    if random.one_in(20) {
        return leaf.cn(US_EAST_1.certificate_name).raw_san(vec![0x30, 0x05, 0x82]).issue();
    }
    match random.below(8) {
        0 => leaf = leaf.cn(&name(random)),
        1 => leaf = leaf.cn(&name(random)).dns(name(random)),
        2 => leaf = leaf.dns(name(random)).dns(name(random)),
        3 => leaf = leaf.cn(&name(random)).cn(&name(random)),
        _ => leaf = leaf.name(&name(random)),
    }
    match random.below(24) {
        0 => leaf = leaf.ekus(&[]),
        1 => leaf = leaf.ekus(&[Eku::Any]),
        2 => leaf = leaf.ekus(&[Eku::ServerAuth]),
        3 => leaf = leaf.ekus(&[Eku::EmailProtection, Eku::ClientAuth]),
        4 => leaf = leaf.is_ca(true),
        5 => leaf = leaf.extension(&[1, 3, 6, 1, 4, 1, 99_999, 1], der::tlv(0x05, &[]), true),
        6 => leaf = leaf.no_authority_key_id(),
        _ => {}
    }
    leaf.issue()
}

/// A policy, and whether its API has answered (nothing: it has none).
struct Door {
    name: String,
    policy: Value,
    api: Option<bool>,
}

/// `api` pins are us-east-1's alone, whose API the world has; one policy never gets a token for it.
fn door(number: usize, signers: &Signers, leaves: &[Leaf], random: &mut Random) -> Door {
    let explicit: Vec<String> = leaves.iter().filter(|_| random.one_in(3)).map(Leaf::pin).collect();
    let issuers = random.one_in(2).then(|| signers.digicert.pem.clone());
    let digicert = |pins: Value| {
        let mut digicert = json!({ "pins": pins });
        if let Some(issuers) = &issuers {
            digicert["issuers"] = issuers.clone().into();
        }
        digicert
    };
    let (mut us, mut eu) = (json!({}), json!({}));
    let api = match number % 4 {
        0 => Some(true),
        1 => Some(false),
        _ => None,
    };
    if api.is_some() {
        us["digicert"] = digicert(json!(["api"]));
    } else if random.one_in(2) {
        us["digicert"] = digicert(json!(explicit));
    }
    if us.get("digicert").is_none() || random.one_in(2) {
        let bundle = signers.us.pem.clone() + &signers.us_expired.pem;
        us["genesys"] = json!({"ca_certificates": bundle});
    }
    match random.below(3) {
        0 => eu["genesys"] = json!({"ca_certificates": signers.eu.pem}),
        1 => eu["digicert"] = digicert(json!(explicit)),
        _ => {}
    }
    let mut regions = json!({US_EAST_1.id: us});
    if eu != json!({}) {
        regions[EU_CENTRAL_1.id] = eu;
    }
    // Where the API will never answer, no request waits for it.
    let (variable, hold) = if api == Some(false) { ("NOT_SET", "0s") } else { ("GENESYS_CLIENT_ID", "10s") };
    let name = format!("door_{number}");
    let policy = json!({
        "name": name,
        "regions": regions,
        "names": random.pick(&["san_or_cn", "san", "cn"]),
        "clock_skew": random.pick(&["0s", "30m", "1h"]),
        "identity": {},
        "refresh": {
            "oauth": {"client_id_env": variable, "client_secret_env": "GENESYS_CLIENT_SECRET"},
            "on_unknown_certificate": {"min_interval": "1s", "hold": hold},
        },
    });
    Door { name, policy, api }
}

/// The shipped listener once per policy, with its own key in the guard.
async fn envoy(world: &World, doors: &[Door]) -> Envoy {
    let mut bootstrap = world.bootstrap("envoy/envoy.yaml");
    let listeners = bootstrap["static_resources"]["listeners"].as_array_mut().expect("listeners");
    let shipped = listeners.remove(0).to_string();
    for door in doors {
        let own = shipped.replace("wasm.genesys_mtls.default", &format!("wasm.genesys_mtls.{}", door.name));
        let mut listener: Value = serde_json::from_str(&own).expect("JSON");
        listener["name"] = door.name.as_str().into();
        config::each_plugin(&mut listener, |plugin| {
            plugin.insert("configuration".into(), config::plugin_struct(&door.policy));
        });
        listeners.push(listener);
    }
    let quiet = world.envoy(bootstrap).log_level("critical").component_log_level("wasm:critical");
    let envoy = quiet.start().await.expect("Envoy starts");
    for door in doors.iter().filter(|door| door.api == Some(true)) {
        let stat = format!("wasmcustom.genesys_mtls.{}.refreshes.ok.us-east-1", door.name);
        let patience = std::time::Duration::from_secs(20);
        envoy.wait_for_stat(&stat, |n| n >= 1, patience).await.expect("a refresh");
    }
    envoy
}

/// What Envoy makes of a caller, as the verdict that its access log would show.
///
/// The tool answers for a filter that has asked the API about this certificate. Early refreshes are limited, so one may
/// still be ahead: the caller does what `Retry-After` says.
async fn by_envoy(client: Client) -> String {
    let mut response = client.get("/").await.expect("an answer");
    for _ in 0..30 {
        if !response.text().contains("trust_unrefreshed") {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(500)).await;
        response = client.get("/").await.expect("an answer");
    }
    if response.status != 200 {
        let body: Value = serde_json::from_slice(&response.body).expect("problem details");
        return format!("deny;{} {}", body["code"].as_str().expect("a code"), response.status);
    }
    // The service answers with the headers that it got: `region="us-east-1", authority=genesys, ...`.
    let echo = serde_json::from_slice(&response.body).expect("an echo");
    let identity = echoed(&echo, "x-genesys-cloud-client").concat();
    let value = |name: &str| {
        let member = identity.split(", ").find_map(|member| member.strip_prefix(name));
        member.unwrap_or_else(|| panic!("no {name} in `{identity}`")).trim_matches('"').to_owned()
    };
    format!("allow;{};{} 200", value("region="), value("authority="))
}

fn by_tool(policy: &str, certificate: &str, pins: Option<&str>) -> String {
    let mut arguments = vec!["explain", "--config", policy, "--cert", certificate, "--json"];
    if let Some(pins) = pins {
        arguments.extend(["--pins", pins]);
    }
    let json = run(&arguments).json();
    format!("{} {}", json["verdict"].as_str().expect("a verdict"), json["status"])
}

#[tokio::test(flavor = "multi_thread")]
async fn tool_and_envoy_agree_on_a_thousand_random_cases() {
    let clock = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("a time").as_nanos();
    let seed = std::env::var("AGREE_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or(u64::try_from(clock % u128::from(u64::MAX)).expect("in range"));
    let mut random = Random(seed);
    let random = &mut random;

    let world = World::start().await.expect("the testbed starts");
    let signers = Signers::new();
    let mut leaves: Vec<Leaf> = (0..LEAVES).map(|_| leaf(&signers, random)).collect();
    // What the API names are certificates that the filter pins without more ado; the rest is the other tests' business.
    let named =
        |ca: &Ca| ca.leaf().key(KeyType::P256).key_name("agree").name(US_EAST_1.certificate_name).issue();
    let pinned: Vec<Leaf> = (0..8).map(|_| named(&signers.digicert)).collect();
    let entities = pinned.iter().map(|leaf| Entity::digicert(leaf, &world.pki.digicert_root.der)).collect();
    world.genesys.set_entities(US_EAST_1.id, Status::Current, entities);
    leaves.extend(pinned.iter().cloned());

    let doors: Vec<Door> = (0..POLICIES).map(|number| door(number, &signers, &leaves, random)).collect();
    let envoy = envoy(&world, &doors).await;
    let write = |name: String, text: &str| -> PathBuf { world.write(&name, text).expect("a file") };
    let policies: Vec<PathBuf> =
        doors.iter().map(|door| write(format!("{}.json", door.name), &door.policy.to_string())).collect();
    let certificates: Vec<PathBuf> =
        leaves.iter().enumerate().map(|(n, leaf)| write(format!("{n}.pem"), &leaf.cert_pem)).collect();
    let pins: String = pinned.iter().map(|leaf| leaf.pin() + "\n").collect();
    let pins = write("pins.txt".to_owned(), &pins);

    let mut pairs: Vec<(usize, usize)> =
        (0..doors.len()).flat_map(|door| (0..leaves.len()).map(move |leaf| (door, leaf))).collect();
    let mut reasons: BTreeMap<String, usize> = BTreeMap::new();
    let mut wrong = Vec::new();
    for _ in 0..CASES / AT_ONCE {
        let batch: Vec<(usize, usize)> =
            (0..AT_ONCE).map(|_| pairs.swap_remove(random.below(pairs.len()))).collect();
        let running: Vec<_> = batch
            .iter()
            .map(|&(door, leaf)| {
                let client =
                    world.client(envoy.listener_addr(&doors[door].name)).identity(&leaves[leaf]).build();
                let text = |path: &PathBuf| path.to_str().expect("text").to_owned();
                let (policy, certificate) = (text(&policies[door]), text(&certificates[leaf]));
                let pins = (doors[door].api == Some(true)).then(|| text(&pins));
                tokio::spawn(async move {
                    let tool =
                        tokio::task::spawn_blocking(move || by_tool(&policy, &certificate, pins.as_deref()));
                    (by_envoy(client).await, tool.await.expect("the tool answers"))
                })
            })
            .collect();
        for ((door, leaf), task) in batch.into_iter().zip(running) {
            let (envoy, tool) = task.await.expect("both answer");
            if envoy != tool {
                wrong.push(format!("door {door}, leaf {leaf}: Envoy {envoy}, the tool {tool}"));
            }
            *reasons.entry(envoy).or_default() += 1;
        }
    }
    assert!(wrong.is_empty(), "AGREE_SEED={seed}: {} of {CASES}\n{}", wrong.len(), wrong.join("\n"));
    // Both sides saw a bit of everything, or the agreement would mean little.
    let allowed: usize =
        reasons.iter().filter(|(verdict, _)| verdict.starts_with("allow")).map(|(_, n)| n).sum();
    assert!((CASES / 50..CASES * 3 / 4).contains(&allowed), "AGREE_SEED={seed}: {reasons:#?}");
    assert!(reasons.len() >= 12, "AGREE_SEED={seed}: {reasons:#?}");
}
