//! `make faults`: one fault after another under load, and for every request what has to become of it.
#![allow(clippy::doc_markdown, reason = "names of the field such as DigiCert")]

mod faults;
mod run;
mod written;

use run::{AT_MOST, Options, Run};
use std::{process::ExitCode, time::Instant};
use testbed::{document, envoy, paths};
use trials::{Failure, report::thousands};

const HELP: &str = "\
Breaks one thing after another while callers of every kind knock at a real Envoy, and counts every verdict that is not the
right one and every legitimate request that is lost.

Usage: make faults [FAULTS_ARGS=\"OPTIONS\"]
       cargo run -p trials --bin faults -- [OPTIONS]

Options:
  --requests N  requests per phase, at least (14000)
  --only TEXT   only the phases whose name holds this; nothing is written then
  -h, --help    this text

Environment:
  ENVOY               the Envoy binary
  GENESYS_MTLS_WASM   the module

Writes target/reports/faults.md if nothing was wrong. Exit status: 0 if nothing was wrong or lost, 1 otherwise.
";

fn main() -> ExitCode {
    let options = match options(std::env::args().skip(1)) {
        Ok(Some(options)) => options,
        Ok(None) => {
            println!("{}", HELP.trim_end());
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprintln!("faults: {error}");
            return ExitCode::from(2);
        }
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let ended = runtime.map_err(Failure::from).and_then(|runtime| {
        runtime.block_on(async {
            tokio::select! {
                ended = tokio::time::timeout(AT_MOST, trial(&options)) => {
                    ended.unwrap_or_else(|_| Err(format!("not done within {AT_MOST:?}").into()))
                }
                _ = tokio::signal::ctrl_c() => Err("interrupted".into()),
            }
        })
    });
    ended.unwrap_or_else(|error| {
        eprintln!("faults: {error}");
        ExitCode::FAILURE
    })
}

fn options(mut args: impl Iterator<Item = String>) -> Result<Option<Options>, String> {
    let mut options = Options { requests: 14_000, only: None };
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or(format!("{arg} needs a value"));
        match arg.as_str() {
            "--requests" => options.requests = value()?.parse().map_err(|_| "--requests needs a number")?,
            "--only" => options.only = Some(value()?),
            "-h" | "--help" => return Ok(None),
            other => return Err(format!("`{other}` is not an option; see --help")),
        }
    }
    Ok(Some(options))
}

async fn trial(options: &Options) -> Result<ExitCode, Failure> {
    let began = Instant::now();
    println!("Envoy {}, module {}", envoy::full_version(), paths::find_wasm_module()?.display());
    let mut run = Run::start(options).await?;
    let outcome = faults::all(&mut run).await;
    run.finish().await?;
    outcome?;
    let verdict = run.verdict().await?;
    let seconds = began.elapsed().as_secs();
    println!("\n{}", written::summary(&run, &verdict));
    println!("faults: {} requests in {seconds} s", thousands(verdict.requests));
    for objection in &verdict.objections {
        println!("  ✗ {objection}");
    }
    if !verdict.objections.is_empty() {
        println!("{}", run.stage.envoy.log_tail(40));
        return Ok(ExitCode::FAILURE);
    }
    if options.only.is_none() {
        let file = document::report("faults", &written::document(&run, &verdict, seconds))?;
        println!("written: {}", file.display());
    }
    Ok(ExitCode::SUCCESS)
}
