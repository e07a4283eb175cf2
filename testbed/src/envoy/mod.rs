//! Runs a real Envoy: free ports, readiness by condition, and its log when something goes wrong.

mod admin;
mod process;
mod wall_clock;

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::Instant;

pub use process::{binary, full_version, version};
pub use wall_clock::WallClock;

use crate::{
    client::Client,
    net::{LOOPBACK, ReservedPort},
};
use process::{POLL, Process};

/// How long the admin interface may take: while Envoy compiles a module its main thread does nothing else.
const ADMIN: Duration = Duration::from_mins(1);

/// What went wrong with Envoy; shows the end of its log.
#[derive(thiserror::Error)]
#[error("{what}\n{log}")]
pub struct Error {
    what: String,
    log: String,
}

impl std::fmt::Debug for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self}")
    }
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        Self { what: error.to_string(), log: String::new() }
    }
}

/// Describes how to start an [`Envoy`].
#[derive(Clone, Debug)]
#[must_use]
pub struct EnvoyBuilder {
    config: Value,
    binary: Option<PathBuf>,
    concurrency: u32,
    level: String,
    components: String,
    env: Vec<(String, String)>,
    args: Vec<String>,
    ready_within: Duration,
    lifetime: Duration,
    hot_restart: bool,
}

impl EnvoyBuilder {
    /// The binary, instead of the one that [`binary`] finds.
    pub fn binary(mut self, path: &Path) -> Self {
        self.binary = Some(path.to_path_buf());
        self
    }

    /// Worker threads (1 unless set).
    pub fn concurrency(mut self, workers: u32) -> Self {
        self.concurrency = workers;
        self
    }

    /// The log level (`warning` unless set).
    pub fn log_level(mut self, level: &str) -> Self {
        self.level = level.into();
        self
    }

    /// Log levels of components (`wasm:info` unless set), e.g. `wasm:debug,upstream:debug`.
    pub fn component_log_level(mut self, levels: &str) -> Self {
        self.components = levels.into();
        self
    }

    /// An environment variable; the last word on a name counts. Envoy gets no others but `PATH`.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    /// Another command-line argument.
    pub fn arg(mut self, arg: &str) -> Self {
        self.args.push(arg.into());
        self
    }

    /// This wall clock, instead of the system's.
    pub fn wall_clock(self, clock: &WallClock) -> Self {
        let envoy = self.env("LD_PRELOAD", &clock.library.to_string_lossy());
        envoy.env("WALL_CLOCK_SHIFT", &clock.shift.to_string_lossy())
    }

    /// How long it may take to become ready (30 s unless set).
    pub fn ready_within(mut self, limit: Duration) -> Self {
        self.ready_within = limit;
        self
    }

    /// How long it may run at most (10 min by default).
    pub fn lifetime(mut self, limit: Duration) -> Self {
        self.lifetime = limit;
        self
    }

    /// Allows [`Envoy::restart_hot`]. Its listeners get ports that stay theirs.
    pub fn hot_restart(mut self) -> Self {
        self.hot_restart = true;
        self
    }

    /// Starts it and waits until it is ready.
    pub async fn start(mut self) -> Result<Envoy, Error> {
        let dir = tempfile::Builder::new().prefix("envoy-").tempdir()?;
        let mut config = self.config.take();
        config["admin"]["address"] = json!({"socket_address": {"address": "127.0.0.1", "port_value": 0}});
        let ports = if self.hot_restart { keep_ports(&mut config)? } else { Vec::new() };
        let text = serde_json::to_string_pretty(&config).map_err(io::Error::other)?;
        fs::write(dir.path().join(CONFIG), text)?;
        let process = self.launch(dir.path(), 0)?;
        let limit = self.ready_within;
        let mut envoy = Envoy {
            process,
            dir: Some(dir),
            admin: None,
            listeners: BTreeMap::new(),
            builder: self,
            restarts: 0,
            predecessors: Vec::new(),
            _ports: ports,
        };
        envoy.wait_ready(limit).await?;
        Ok(envoy)
    }

    /// The process itself: the first one, or its nth successor.
    fn launch(&self, dir: &Path, restart: u32) -> Result<Process, Error> {
        let binary = match &self.binary {
            Some(path) => path.clone(),
            None => process::binary().map_err(|what| Error { what, log: String::new() })?,
        };
        let mut command = Command::new(binary);
        if self.hot_restart {
            command.args(["--restart-epoch", &restart.to_string(), "--drain-strategy", "immediate"]);
            command.args(["--drain-time-s", &DRAIN.as_secs().to_string()]);
            command.args(["--parent-shutdown-time-s", &(2 * DRAIN).as_secs().to_string()]);
            if restart == 0 {
                command.arg("--use-dynamic-base-id").arg("--base-id-path").arg(dir.join(BASE_ID));
            } else {
                command.args(["--base-id", fs::read_to_string(dir.join(BASE_ID))?.trim()]);
            }
        } else {
            command.arg("--disable-hot-restart");
        }
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .current_dir(dir)
            .arg("--config-path")
            .arg(dir.join(CONFIG))
            .arg("--admin-address-path")
            .arg(dir.join(admin_file(restart)))
            .arg("--log-path")
            .arg(dir.join("envoy.log"))
            // Logs are read while Envoy runs; since 1.40 the default is to write them every ten seconds.
            .args(["--file-flush-interval-msec", "20"])
            .args(["--concurrency", &self.concurrency.to_string()])
            .args(["--log-level", &self.level])
            .args(["--component-log-level", &self.components])
            .args(&self.args);
        Ok(Process::start(command, &dir.join(output_file(restart)), self.lifetime)?)
    }
}

const CONFIG: &str = "envoy.json";
const BASE_ID: &str = "base-id.txt";
/// How long a predecessor has to end its connections; it lives for as long again.
const DRAIN: Duration = Duration::from_secs(3);

fn admin_file(restart: u32) -> String {
    if restart == 0 { "admin.txt".into() } else { format!("admin-{restart}.txt") }
}

fn output_file(restart: u32) -> String {
    if restart == 0 { "output.txt".into() } else { format!("output-{restart}.txt") }
}

/// Gives each static listener without a port one that stays free for it: a successor has to ask for the same.
fn keep_ports(config: &mut Value) -> io::Result<Vec<ReservedPort>> {
    let mut ports = Vec::new();
    for listener in config["static_resources"]["listeners"].as_array_mut().into_iter().flatten() {
        let port = &mut listener["address"]["socket_address"]["port_value"];
        if *port == json!(0) {
            let reserved = ReservedPort::new(LOOPBACK)?;
            *port = reserved.addr().port().into();
            ports.push(reserved);
        }
    }
    Ok(ports)
}

/// A running Envoy. Dropping it kills it; in a panicking test it prints the end of its log and keeps its directory.
#[derive(Debug)]
pub struct Envoy {
    process: Process,
    dir: Option<TempDir>,
    admin: Option<SocketAddr>,
    listeners: BTreeMap<String, SocketAddr>,
    builder: EnvoyBuilder,
    restarts: u32,
    predecessors: Vec<Process>,
    _ports: Vec<ReservedPort>,
}

impl Envoy {
    /// Begins an Envoy with this bootstrap (see [`crate::config`]); its admin address is replaced by a free port.
    pub fn builder(config: Value) -> EnvoyBuilder {
        EnvoyBuilder {
            config,
            binary: None,
            concurrency: 1,
            level: "warning".into(),
            components: "wasm:info".into(),
            env: Vec::new(),
            args: Vec::new(),
            ready_within: Duration::from_secs(30),
            lifetime: Duration::from_mins(10),
            hot_restart: false,
        }
    }

    async fn wait_ready(&mut self, limit: Duration) -> Result<(), Error> {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(status) = self.process.ended() {
                return Err(self.error(&format!("Envoy ended before it was ready: {status}")));
            }
            if Instant::now() > deadline {
                return Err(self.error(&format!("Envoy was not ready within {limit:?}")));
            }
            if self.admin.is_none() {
                self.admin = fs::read_to_string(self.dir().join(admin_file(self.restarts)))
                    .ok()
                    .and_then(|a| a.trim().parse().ok());
            }
            if self.admin.is_some() && self.admin_get("/ready").await.is_ok() {
                return self.refresh_listeners().await;
            }
            tokio::time::sleep(POLL).await;
        }
    }

    fn error(&self, what: &str) -> Error {
        Error { what: what.into(), log: self.log_tail(40) }
    }

    /// The directory with its configuration and logs; also the place for files that it shall watch.
    ///
    /// # Panics
    /// Never while it runs.
    pub fn dir(&self) -> &Path {
        self.dir.as_ref().expect("the directory lives as long as Envoy").path()
    }

    /// Its process id, for reading `/proc`.
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Its admin address.
    ///
    /// # Panics
    /// Never once it is ready.
    pub fn admin_addr(&self) -> SocketAddr {
        self.admin.expect("a ready Envoy has an admin address")
    }

    /// `GET` on the admin interface; an error unless it answers 200.
    pub async fn admin_get(&self, path: &str) -> Result<String, Error> {
        self.admin_request("GET", path).await
    }

    /// `POST` on the admin interface, e.g. `/logging?wasm=debug` or `/drain_listeners`.
    pub async fn admin_post(&self, path: &str) -> Result<String, Error> {
        self.admin_request("POST", path).await
    }

    async fn admin_request(&self, method: &str, path: &str) -> Result<String, Error> {
        let client = Client::plain(self.admin_addr()).host("localhost").timeout(ADMIN).build();
        let request = http::Request::builder().method(method).uri(path).body(Vec::new());
        let response = client.send(request.expect("a request")).await;
        match response {
            Ok(response) if response.status == 200 => Ok(response.text()),
            Ok(response) => {
                Err(self.error(&format!("{path} answered {}: {}", response.status, response.text())))
            }
            Err(e) => Err(self.error(&format!("{path}: {e}"))),
        }
    }

    /// Counters and gauges.
    pub async fn stats(&self) -> Result<BTreeMap<String, u64>, Error> {
        Ok(admin::parse_stats(&self.admin_get("/stats").await?))
    }

    /// One counter or gauge; 0 if there is none.
    pub async fn stat(&self, name: &str) -> Result<u64, Error> {
        Ok(self.stats().await?.get(name).copied().unwrap_or_default())
    }

    /// `/stats/prometheus`
    pub async fn prometheus(&self) -> Result<String, Error> {
        self.admin_get("/stats/prometheus").await
    }

    /// `/config_dump`
    pub async fn config_dump(&self) -> Result<Value, Error> {
        let text = self.admin_get("/config_dump").await?;
        serde_json::from_str(&text).map_err(|e| self.error(&format!("config_dump: {e}")))
    }

    /// Where a listener listens.
    ///
    /// # Panics
    /// If there is no listener of that name.
    pub fn listener_addr(&self, name: &str) -> SocketAddr {
        let known = self.listeners.get(name);
        *known.unwrap_or_else(|| panic!("no listener {name}, there are {:?}", self.listeners.keys()))
    }

    /// Whether there is a listener of this name.
    pub fn has_listener(&self, name: &str) -> bool {
        self.listeners.contains_key(name)
    }

    /// Asks for the listeners again: needed after an update that adds some.
    pub async fn refresh_listeners(&mut self) -> Result<(), Error> {
        let text = self.admin_get("/listeners?format=json").await?;
        let json = serde_json::from_str(&text).map_err(|e| self.error(&format!("listeners: {e}")))?;
        self.listeners = admin::parse_listeners(&json);
        Ok(())
    }

    /// The whole log, and what went to standard output and error.
    pub fn log(&self) -> String {
        let read = |name: &str| {
            let bytes = fs::read(self.dir().join(name)).unwrap_or_default();
            String::from_utf8_lossy(&bytes).into_owned()
        };
        (0..=self.restarts).map(|restart| read(&output_file(restart))).collect::<String>()
            + &read("envoy.log")
    }

    /// The last `lines` lines of the log.
    pub fn log_tail(&self, lines: usize) -> String {
        let log = self.log();
        let all: Vec<&str> = log.lines().collect();
        let mut tail = format!("--- the end of Envoy's log ({}) ---\n", self.dir().display());
        for line in &all[all.len().saturating_sub(lines)..] {
            let _ = writeln!(tail, "{line}");
        }
        tail
    }

    /// Waits until the log holds a text, from its beginning; returns the first such line.
    pub async fn wait_for_log(&self, text: &str, limit: Duration) -> Result<String, Error> {
        let find = || self.log().lines().find(|line| line.contains(text)).map(str::to_owned);
        let deadline = Instant::now() + limit;
        loop {
            if let Some(line) = find() {
                return Ok(line);
            }
            if Instant::now() > deadline {
                return Err(self.error(&format!("not in the log within {limit:?}: {text}")));
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// How many lines of the log hold a text.
    pub fn count_in_log(&self, text: &str) -> usize {
        self.log().lines().filter(|line| line.contains(text)).count()
    }

    /// Waits until a counter or gauge satisfies `done` (absent counts as 0); returns its value.
    pub async fn wait_for_stat(
        &self,
        name: &str,
        done: impl Fn(u64) -> bool,
        limit: Duration,
    ) -> Result<u64, Error> {
        self.wait_for_stats(
            name,
            |stats| Some(stats.get(name).copied().unwrap_or_default()).filter(|v| done(*v)),
            limit,
        )
        .await
    }

    /// Waits until `find` finds what it looks for among all counters and gauges.
    pub async fn wait_for_stats<T>(
        &self,
        what: &str,
        find: impl Fn(&BTreeMap<String, u64>) -> Option<T>,
        limit: Duration,
    ) -> Result<T, Error> {
        let deadline = Instant::now() + limit;
        loop {
            let stats = self.stats().await?;
            if let Some(found) = find(&stats) {
                return Ok(found);
            }
            if Instant::now() > deadline {
                return Err(self.error(&format!("not reached within {limit:?}: {what}")));
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// A hot restart: another process with the same configuration takes over its sockets and statistics, while it finishes
    /// what it has begun. Returns when the new one serves; see [`Self::wait_predecessors_gone`].
    pub async fn restart_hot(&mut self) -> Result<(), Error> {
        let successor = self.builder.launch(self.dir(), self.restarts + 1)?;
        self.predecessors.push(std::mem::replace(&mut self.process, successor));
        self.restarts += 1;
        self.admin = None;
        self.wait_ready(self.builder.ready_within).await
    }

    /// Waits until every process that was replaced has ended by itself.
    pub async fn wait_predecessors_gone(&mut self, limit: Duration) -> Result<(), Error> {
        let deadline = Instant::now() + limit;
        loop {
            self.predecessors.retain_mut(|process| process.ended().is_none());
            if self.predecessors.is_empty() {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(self.error(&format!("a predecessor has not ended within {limit:?}")));
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Ends it in an orderly way and starts another process with a changed configuration. Its ports stay the same if it may be
    /// restarted hot ([`EnvoyBuilder::hot_restart`]). Returns when the new one serves.
    pub async fn restart_cold(&mut self, change: impl FnOnce(&mut Value)) -> Result<(), Error> {
        self.end().await?;
        let file = self.dir().join(CONFIG);
        let mut config = serde_json::from_slice(&fs::read(&file)?).map_err(io::Error::other)?;
        change(&mut config);
        fs::write(&file, config.to_string())?;
        self.restarts = 0;
        fs::remove_file(self.dir().join(admin_file(0)))?;
        self.process = self.builder.launch(self.dir(), 0)?;
        self.admin = None;
        self.wait_ready(self.builder.ready_within).await
    }

    /// Ends it in an orderly way; an error if it had to be killed.
    pub async fn quit(mut self) -> Result<(), Error> {
        self.end().await
    }

    async fn end(&mut self) -> Result<(), Error> {
        self.admin_post("/quitquitquit").await?;
        if self.process.finish(Duration::from_secs(10)).await {
            Ok(())
        } else {
            Err(self.error("Envoy did not quit"))
        }
    }
}

impl Drop for Envoy {
    fn drop(&mut self) {
        self.process.kill();
        self.predecessors.clear();
        if let Some(id) =
            self.builder.hot_restart.then(|| fs::read_to_string(self.dir().join(BASE_ID)).ok()).flatten()
        {
            // Envoy leaves it behind when it is killed.
            let _ = fs::remove_file(format!("/dev/shm/envoy_shared_memory_{}0", id.trim()));
        }
        if std::thread::panicking() {
            eprintln!("{}", self.log_tail(60));
            if let Some(dir) = self.dir.take() {
                eprintln!("kept: {}", dir.keep().display());
            }
        }
    }
}
