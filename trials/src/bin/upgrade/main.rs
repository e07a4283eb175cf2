//! `make upgrade`: from an old module to the new one and back under load, by LDS, by ECDS and by a restart.
#![allow(clippy::doc_markdown, reason = "names of the field such as DigiCert")]

mod run;
mod scene;

use run::Step;
use scene::{AT_MOST, Modules, Way, read};
use std::{
    path::PathBuf,
    process::ExitCode,
    time::{Duration, Instant},
};
use testbed::{envoy, paths};
use trials::{
    Failure,
    report::{table, thousands},
};

const HELP: &str = "\
Replaces an old module by the new one in a real Envoy under load, and the other way round: by LDS, by ECDS (the capability list
first; then the module first, which is the wrong order, and its cure) and by a restart. Counts each wrong verdict and each
genuine request that is lost, and measures how long `pins: [api]` alone has to wait for the API.

Usage: make upgrade [OLD=path] [OLD_COMMIT=1392991]

Environment:
  OLD                 the old module
  WAY                 only this one: lds, ecds or restart
  ENVOY               the Envoy binary
  GENESYS_MTLS_WASM   the new module

Exit status: 0 if no verdict was wrong and no request was lost, 1 otherwise.
";

fn main() -> ExitCode {
    if std::env::args().len() > 1 {
        println!("{}", HELP.trim_end());
        return ExitCode::SUCCESS;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let ended = runtime.map_err(Failure::from).and_then(|runtime| {
        runtime.block_on(async {
            tokio::select! {
                ended = tokio::time::timeout(AT_MOST, trial()) => {
                    ended.unwrap_or_else(|_| Err(format!("not done within {AT_MOST:?}").into()))
                }
                _ = tokio::signal::ctrl_c() => Err("interrupted".into()),
            }
        })
    });
    ended.unwrap_or_else(|error| {
        eprintln!("upgrade: {error}");
        ExitCode::FAILURE
    })
}

async fn trial() -> Result<ExitCode, Failure> {
    let began = Instant::now();
    let old = std::env::var_os("OLD").map(PathBuf::from).ok_or("OLD is not set; see --help")?;
    let new = paths::find_wasm_module()?;
    let mut modules = Modules { old: read(&old)?, new: read(&new)? };
    println!("Envoy {}, from {} to {}", envoy::full_version(), old.display(), new.display());
    if modules.old == modules.new {
        println!(
            "the two are the same: the new one gets an empty custom section, which makes it another one to Envoy"
        );
        modules.new.extend([0, 5, 4, b'n', b'e', b'x', b't']);
    }
    let mut steps = Vec::new();
    let only = std::env::var("WAY").unwrap_or_default();
    let ways = [("lds", Way::Lds), ("ecds", Way::Ecds), ("restart", Way::Restart)];
    for (_, way) in ways.into_iter().filter(|(name, _)| only.is_empty() || only == *name) {
        steps.extend(run::run(way, &modules).await?);
    }
    println!("\n{}", report(&steps));
    let objections: Vec<String> = steps
        .iter()
        .flat_map(|step| step.objections.iter().map(|what| format!("{}: {what}", step.name)))
        .collect();
    for objection in &objections {
        println!("  ✗ {objection}");
    }
    let requests = steps.iter().map(|step| step.requests).sum();
    println!("upgrade: {} requests in {} s", thousands(requests), began.elapsed().as_secs());
    Ok(if objections.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn report(steps: &[Step]) -> String {
    let seconds = |span: Duration| format!("{:.1}", span.as_secs_f64());
    let rows: Vec<_> = steps
        .iter()
        .map(|step| {
            let way = match step.way {
                Way::Lds => "LDS",
                Way::Ecds => "ECDS",
                Way::Restart => "restart",
            };
            vec![
                way.to_owned(),
                step.name.to_owned(),
                seconds(step.took),
                thousands(step.requests),
                thousands(step.allowed),
                step.lost.to_string(),
                step.wrong.to_string(),
                step.cut_off.to_string(),
                step.refused.to_string(),
                seconds(step.outage),
                seconds(step.held),
                step.api_calls.to_string(),
                step.note.clone(),
            ]
        })
        .collect();
    let head = [
        "by",
        "step",
        "s",
        "requests",
        "allowed",
        "lost",
        "wrong",
        "cut off",
        "api alone: 503",
        "for s",
        "issuers: longest s",
        "API asked",
        "Envoy",
    ];
    table(&head, &rows)
        + "\n*lost*: a genuine caller got no answer or a 503; *wrong*: any other verdict that is not the right one. *cut off*: no\n\
           connection, or none any more, while Envoy was restarted; sent again by clients, and not counted as lost. *api alone*:\n\
           DigiCert's certificate with `pins: [api]` and no `issuers`, which gets 503 until the API has named it.\n"
}
