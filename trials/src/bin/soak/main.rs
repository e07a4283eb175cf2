//! `make soak`: mixed traffic for a given time, while pins, CRLs and configuration change. It watches everything that could
//! grow.
#![allow(clippy::doc_markdown, reason = "names of the field such as DigiCert")]

mod checks;
mod record;
mod sample;
mod written;

use record::{Events, LANES, Soak, WORKERS};
use sample::Sample;
use serde_json::json;
use std::{
    process::ExitCode,
    time::{Duration, Instant},
};
use testbed::{document, stand_in::observer};
use tokio::time::{interval, sleep};
use trials::{
    Failure,
    cast::{DIGICERT, FRESH, Fated, HARD_REVOKED, REVOKED, by_digicert, everybody, leaf, strangers},
    outcome::Outcome,
    shared_data,
    stage::{Plan, Stage, hard_policy, policy},
    traffic::Traffic,
};

const HELP: &str = "\
Runs mixed traffic through a real Envoy for a while (SOAK_MINUTES, 20 unless set), with refreshes every few seconds,
rotations, new revocation lists, reloads, and new certificates all the time, and fails if memory, shared data or the log
grow.

Usage: make soak [SOAK_MINUTES=20]

Environment:
  SOAK_MINUTES        how long; below 20 nothing is written
  SOAK_PAUSE_MS       between two requests of each of the two lanes (15)
  ENVOY               the Envoy binary
  GENESYS_MTLS_WASM   the module

Writes target/reports/soak.md if nothing was wrong. Exit status: 0 if nothing was wrong, 1 otherwise.
";

/// What is written down says so much.
const DOCUMENTED: u64 = 20;

fn main() -> ExitCode {
    if std::env::args().len() > 1 {
        println!("{}", HELP.trim_end());
        return ExitCode::SUCCESS;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let ended = runtime.map_err(Failure::from).and_then(|runtime| {
        runtime.block_on(async {
            tokio::select! {
                ended = run() => ended,
                _ = tokio::signal::ctrl_c() => Err("interrupted".into()),
            }
        })
    });
    ended.unwrap_or_else(|error| {
        eprintln!("soak: {error}");
        ExitCode::FAILURE
    })
}

fn number(name: &str, default: u64) -> Result<u64, Failure> {
    match std::env::var(name) {
        Ok(text) if !text.is_empty() => {
            Ok(text.parse().map_err(|_| format!("{name}={text} is not a number"))?)
        }
        _ => Ok(default),
    }
}

async fn run() -> Result<ExitCode, Failure> {
    let minutes = number("SOAK_MINUTES", DOCUMENTED)?.max(1);
    let pause = Duration::from_millis(number("SOAK_PAUSE_MS", 15)?);
    let soak = soak(minutes, pause).await?;
    let checks = checks::all(&soak);
    println!("\n{}", written::checks(&checks));
    let good = checks.iter().all(|check| check.good);
    if good && minutes >= DOCUMENTED {
        let file = document::report("soak", &written::document(&soak, &checks))?;
        println!("written: {}", file.display());
    }
    println!("soak: {}", if good { "nothing grows" } else { "not as it should be" });
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn soak(minutes: u64, pause: Duration) -> Result<Soak, Failure> {
    let length = Duration::from_mins(minutes);
    let world = testbed::World::start().await?;
    let mut keys = shared_data::pin_keys(&world, &policy(&world))?;
    keys.extend(shared_data::list_keys(&world, &policy(&world))?);
    keys.extend(shared_data::list_keys(&world, &hard_policy(&world))?);
    drop(world);
    let lifetime = length + Duration::from_mins(5);
    let others = vec![("observer", observer(&keys))];
    let mut stage = Stage::start(Plan { workers: WORKERS, lifetime, hot_restart: false, others }).await?;
    let fated = Fated::new(&stage.world);
    stage.api_names(&[&fated.digicert[0]], &[]);
    stage.revoke(&[&fated.revoked]);
    stage.rises("refreshes.ok.us-east-1", 2).await?;
    stage.rises("crl_fetches.ok.genesys.us-east-1", 2).await?;

    let mut callers = everybody(&stage.world, &fated);
    callers.push(strangers(&stage.world).share(2));
    let traffic = Traffic::new(stage.world.clone(), stage.doors(&["ingress", "hard"]), callers, LANES, pause);
    for caller in [REVOKED, HARD_REVOKED] {
        traffic.expect(caller, &[Outcome::denied("revoked")]);
    }
    traffic.set_share(FRESH, 2);
    traffic.begin_phase(None);
    let began = Instant::now();
    let mut lanes = traffic.start();
    let (mut samples, mut events) = (Vec::new(), Events::default());
    let mut current = fated.digicert[0].clone();
    let mut steps = interval(Duration::from_secs(10));
    let mut step = 0_u64;
    while began.elapsed() < length {
        steps.tick().await;
        stage.poke("observer").await?;
        let sample = Sample::take(&stage, &traffic.tally(), began.elapsed()).await?;
        println!("{sample}");
        samples.push(sample);
        step += 1;
        if step.is_multiple_of(2) {
            // Announced, taken over, and gone 6 s later.
            let next = by_digicert(&stage.world);
            stage.api_names(&[&current], &[&next]);
            stage.metric("pins.named.us-east-1", |n| n == 2).await?;
            // A tick, for those workers who did not write that gauge.
            sleep(Duration::from_secs(1)).await;
            traffic.set_identity(DIGICERT[0], leaf(&next));
            stage.api_names(&[&next], &[]);
            current = next;
            events.rotations += 1;
        } else {
            stage.revoke(&[&fated.revoked]);
            events.lists += 1;
        }
        if step.is_multiple_of(6) {
            let mut policy = policy(&stage.world);
            policy["clock_skew"] = json!(format!("{}s", 30 + events.reloads % 30));
            stage.reload(&policy, None).await?;
            events.reloads += 1;
        }
    }
    traffic.stop();
    while let Some(lane) = lanes.join_next().await {
        lane?;
    }
    let log = stage.envoy.log();
    let refusals = log.lines().filter(|line| line.contains("genesys_mtls: denied")).count();
    let lines =
        [refusals, log.lines().count() - refusals].map(|lines| u64::try_from(lines).unwrap_or(u64::MAX));
    let tally = traffic.tally();
    let intruders = traffic.intruders();
    if !intruders.is_empty() {
        return Err(intruders.join("; ").into());
    }
    for example in &tally.examples {
        println!("    {example}");
    }
    Ok(Soak { minutes, samples, events, tally, lines })
}
