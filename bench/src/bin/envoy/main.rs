//! Measures the filter in Envoy, next to the alternatives, and writes `target/reports/costs.md`.
//!
//! There is one worker. All contenders take turns in many short rounds, so that a disturbance of the machine affects all of
//! them. The lower quartile of a contender's rounds counts, since a disturbance only adds time.

mod doors;
mod load;
mod report;
mod starts;

use bench::document;
use load::Round;
use report::Row;
use std::{
    env,
    fmt::Write as _,
    time::{Duration, Instant},
};
use testbed::{
    Client, World,
    client::Connection,
    envoy::{self, Envoy},
    pki::{Ca, KeyType, Leaf},
};

/// Connections that are kept open, and the requests on each per round.
const CONNECTIONS: usize = 4;
const REQUESTS: usize = 200;
/// New connections per round.
const NEW: usize = 60;
/// How often all contenders have their turn, unless the first argument says otherwise.
const SWEEPS: usize = 40;

#[tokio::main]
async fn main() {
    let sweeps = env::args().nth(1).and_then(|sweeps| sweeps.parse().ok()).unwrap_or(SWEEPS);
    // The load of other processes: it shows how far to trust the other numbers.
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().unwrap_or_default();
    let (first_vm, another_vm) = starts::measure().await;
    let bench = Bench::start().await;
    let first_sight = bench.first_sight().await;
    let open = bench.open(sweeps).await;
    let (new, resumed) = bench.per_connection(sweeps / 2).await;
    let mut text = format!(
        "Envoy {}, {sweeps} sweeps, times in microseconds. The machine's load when it began: {load} (0 is a quiet one).\n\nRequests on open connections:\n\n{}\n{}\n",
        envoy::full_version(),
        report::table(&open),
        report::chart(&open),
    );
    let _ = write!(
        text,
        "\nA new connection for each request, with a full handshake:\n\n{}",
        report::table(&new)
    );
    let _ = write!(
        text,
        "\nA new connection for each request, its TLS session resumed:\n\n{}",
        report::table(&resumed)
    );
    let _ = write!(
        text,
        "\nFirst sight of a certificate (CA with RSA-4096): {:.1} ms more than a request with the same certificate \
         right after, the median of {} certificates.",
        first_sight.as_secs_f64() * 1e3,
        Bench::FIRST_SIGHTS,
    );
    let _ = write!(
        text,
        "\n\nStart: CPU time of the first VM, with what Envoy does to compile the module, {:.0} ms; of each further worker's VM, \
         {:.0} ms.",
        first_vm.as_secs_f64() * 1e3,
        another_vm.as_secs_f64() * 1e3,
    );
    println!("{text}");
    if let Err(error) = document::report("costs", &format!("{}\n\n{text}", report::chart(&open))) {
        eprintln!("{error}");
    }
}

struct Bench {
    world: World,
    envoy: Envoy,
    doors: Vec<doors::Door>,
    /// Signs certificates quickly, so that there can be many.
    many: Ca,
}

impl Bench {
    const FIRST_SIGHTS: usize = 21;

    async fn start() -> Self {
        let world = World::start().await.expect("the testbed starts");
        let many = Ca::builder("bench").key(KeyType::P256).self_signed();
        let doors = doors::doors(&world, &many.pem);
        let authz = load::authz(&world.pki.us.genesys.sha256).await.expect("a free port");
        let bootstrap = doors::bootstrap(&world, &doors, authz);
        let envoy = world
            .envoy(bootstrap)
            .log_level("error")
            .component_log_level("wasm:error")
            .lifetime(Duration::from_hours(1))
            .start()
            .await
            .expect("Envoy starts");
        Self { world, envoy, doors, many }
    }

    fn client(&self, door: &str, leaf: &Leaf) -> Client {
        self.world.client(self.envoy.listener_addr(door)).identity(leaf).build()
    }

    async fn connect(&self, door: &str, leaf: &Leaf) -> Connection {
        self.client(door, leaf).connect().await.expect("a connection")
    }

    /// Requests on connections that stay open.
    async fn open(&self, sweeps: usize) -> Vec<Row> {
        let mut all = Vec::new();
        for door in &self.doors {
            let denied = door.id == "ours_deny";
            let leaf = if denied { &self.world.pki.stranger } else { &self.world.pki.us.genesys };
            let mut connections = Vec::new();
            for _ in 0..CONNECTIONS {
                let mut connection = self.connect(door.id, leaf).await;
                let answer = connection.get("/").await.expect("an answer");
                assert_eq!(answer.status, if denied { 403 } else { 200 }, "{}", door.id);
                connections.push(connection);
            }
            all.push((connections, Row { title: door.title, rounds: Vec::new() }));
        }
        // The first sweep warms up.
        for sweep in 0..=sweeps {
            for (connections, row) in &mut all {
                let round = load::on_open_connections(&self.envoy, connections, REQUESTS).await;
                if sweep > 0 {
                    row.rounds.push(round);
                }
            }
        }
        all.into_iter().map(|(_, row)| row).collect()
    }

    /// A connection for each request: with full handshakes, and with resumed sessions.
    async fn per_connection(&self, sweeps: usize) -> (Vec<Row>, Vec<Row>) {
        let leaf = &self.world.pki.us.genesys;
        let one = |door: &str| vec![self.client(door, leaf)];
        // All of them with one key: the filter does not care, and keys take time to make.
        let name = self.world.pki.us.region.certificate_name;
        let certificates = |door: &str, count: usize| -> Vec<Client> {
            (0..count).map(|_| self.client(door, &self.many.leaf().name(name).issue())).collect()
        };
        let mut full = [
            ("no filter", one("none")),
            ("native RBAC on the SAN", one("rbac")),
            ("this filter with its guard, 1 certificate", one("ours_guard")),
            ("this filter with its guard, 1,000 certificates in turn", certificates("ours_guard", 1_000)),
            (
                // In its own VM: so many certificates would push the thousand out of the cache. Each is evicted before its
                // turn comes again, so each request pays for a first sight.
                "this filter, 10,000 certificates in turn",
                certificates("ours", 10_000),
            ),
        ]
        .map(|(title, clients)| (clients.into_iter().cycle(), Row { title, rounds: Vec::new() }));
        // Every certificate is seen once before it counts.
        for (row, count) in [(3, 1_000), (4, 10_000)] {
            let all: Vec<Client> = full[row].0.clone().take(count).collect();
            load::on_new_connections(&self.envoy, &all).await;
        }
        let resuming = |door: &str| {
            self.world.client(self.envoy.listener_addr(door)).identity(leaf).resumption().build()
        };
        let mut resumed = [
            ("no filter", "none"),
            ("native RBAC on the SAN", "rbac"),
            ("this filter with its guard", "ours_guard"),
        ]
        .map(|(title, door)| (vec![resuming(door); NEW], Row { title, rounds: Vec::new() }));
        for sweep in 0..=sweeps {
            let keep = |row: &mut Row, round: Round| {
                if sweep > 0 {
                    row.rounds.push(round)
                }
            };
            for (clients, row) in &mut full {
                let clients: Vec<Client> = clients.by_ref().take(NEW).collect();
                keep(row, load::on_new_connections(&self.envoy, &clients).await);
            }
            for (clients, row) in &mut resumed {
                keep(row, load::on_new_connections(&self.envoy, clients).await);
            }
        }
        (full.map(|(_, row)| row).into(), resumed.map(|(_, row)| row).into())
    }

    /// How much longer the first request of a certificate takes than its second.
    async fn first_sight(&self) -> Duration {
        let mut more = Vec::new();
        for _ in 0..Self::FIRST_SIGHTS {
            let us = &self.world.pki.us;
            let leaf = us.root.leaf().name(us.region.certificate_name).issue();
            let mut connection = self.connect("ours_guard", &leaf).await;
            let mut times = [Duration::ZERO; 2];
            for time in &mut times {
                let began = Instant::now();
                assert_eq!(connection.get("/").await.expect("an answer").status, 200);
                *time = began.elapsed();
            }
            more.push(times[0].saturating_sub(times[1]));
        }
        more.sort_unstable();
        more[more.len() / 2]
    }
}
