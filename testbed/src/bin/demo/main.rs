//! The demo: a real Envoy with the shipped files, a stand-in of Genesys Cloud, real mTLS requests, and a table of
//! who was allowed or denied and why. Everything it announces is checked.
#![allow(clippy::doc_markdown, reason = "names of the field such as DigiCert")]

mod acts;
mod checks;
mod keep;
mod profiles;
mod screen;
mod stage;

use std::{
    fs, io,
    process::{Command, ExitCode},
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use testbed::{World, config, envoy, paths};
use tokio::signal::unix::{SignalKind, signal};

use acts::EXPLAIN;
use checks::Demo;
use profiles::STRICT;
use screen::Screen;
use stage::Stage;

const HELP: &str = "\
Shows the filter at work in a real Envoy and checks everything it announces.

Usage: make demo [DEMO_ARGS=\"OPTIONS\"]
       cargo run -p testbed --bin demo -- [OPTIONS]

Options:
  --keep      leave Envoy (both profiles) and the stand-in of Genesys Cloud running afterwards, at most for an hour,
              and print curl commands for each caller, and where metrics and logs are; Ctrl-C ends it
  -h, --help  this text

Acts:
  1  who gets in, with envoy/envoy.yaml (profile explain)
  2  DigiCert rotates its certificate, announced by the certificates API
  3  login and API are down, then back
  4  envoy/strict.yaml (profile strict): strangers end in the TLS handshake
  5  the guard, where Envoy skips the filter

Columns: who called; what was announced; what happened (HTTP status and reason code, or the TLS alert); the verdict
as the access log has it, %FILTER_STATE(wasm.genesys_mtls.default:PLAIN)%.

Environment:
  ENVOY               the Envoy binary (`make demo` finds or downloads one)
  GENESYS_MTLS_WASM   the module (`make demo` builds it)
  NO_COLOR            set to anything: no colour

Exit status: 0 if all is as announced, 1 if not (with the end of Envoy's log), 2 for wrong arguments.
";

type Failure = Box<dyn std::error::Error>;

fn main() -> ExitCode {
    let mut keep = false;
    for arg in std::env::args().skip(1) {
        match arg.as_str() {
            "--keep" => keep = true,
            "-h" | "--help" => {
                Screen::new().line(HELP.trim_end());
                return ExitCode::SUCCESS;
            }
            other => {
                eprintln!("demo: `{other}` is not an option; see --help");
                return ExitCode::from(2);
            }
        }
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let ended = runtime.map_err(Failure::from).and_then(|runtime| {
        runtime.block_on(async {
            // Every way out of here ends what was started. `run` comes first, since it may itself wait for a signal.
            tokio::select! {
                biased;
                ended = run(keep) => ended,
                interrupted = interrupted() => Ok(interrupted?),
            }
        })
    });
    ended.unwrap_or_else(|error| {
        eprintln!("demo: {error}");
        ExitCode::FAILURE
    })
}

/// Waits for Ctrl-C or an orderly kill.
async fn interrupted() -> io::Result<ExitCode> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    tokio::select! {
        _ = interrupt.recv() => Ok(ExitCode::from(130)),
        _ = terminate.recv() => Ok(ExitCode::from(143)),
    }
}

async fn run(keep: bool) -> Result<ExitCode, Failure> {
    let began = Instant::now();
    let screen = Screen::new();
    let module = paths::find_wasm_module()?;
    let version = envoy_version()?;
    screen.title("genesys-mtls-filter: the demo");
    let kilobytes = fs::metadata(&module)?.len() / 1000;
    screen.note(&format!(
        "Envoy {version} with the shipped files, the module ({kilobytes} kB), a stand-in of Genesys Cloud's login and \
         API hosts, and a service to protect. Shipped means: but for ports, paths, certificates and a hurried refresh."
    ));
    screen.note("Certificates are made now; the very first run also makes keys, which takes a few seconds.");

    let mut demo = Demo::new(World::start().await?, screen);
    let lifetime = if keep { keep::AT_MOST + Duration::from_mins(5) } else { Duration::from_mins(5) };
    let policy = acts::policy(&demo.world);
    let fit = |bootstrap: &mut Value| fit_version(bootstrap, &version);

    let explain = Stage::start(&demo.world, EXPLAIN, &policy, lifetime, fit).await?;
    acts::who_gets_in(&mut demo, &explain).await?;
    acts::rotation(&mut demo, &explain).await?;
    acts::outage(&mut demo, &explain).await?;

    let current = demo.world.pki.us.digicert_upcoming.clone();
    acts::api_names(&demo.world, &current, None);
    let authorities = profiles::strict_authorities(&demo.world)?;
    let strict = Stage::start(&demo.world, STRICT, &policy, lifetime, |bootstrap| {
        fit(bootstrap);
        config::set_trusted_ca(bootstrap, "DownstreamTlsContext", &authorities);
    })
    .await?;
    profiles::strict(&mut demo, &strict).await?;

    let mut skipping = Stage::start(&demo.world, EXPLAIN, &policy, lifetime, |bootstrap| {
        fit(bootstrap);
        profiles::skip_filter(bootstrap);
    })
    .await?;
    profiles::guard(&mut demo, &mut skipping).await?;
    drop(skipping);

    let right = demo.announced - demo.wrong;
    let seconds = began.elapsed().as_secs_f64();
    let good = demo.wrong == 0;
    let summary = format!("demo: {right} of {} as announced, in {seconds:.0} s", demo.announced);
    demo.screen.summary(good, &summary);
    if keep {
        keep::explain(&demo, &explain, &strict)?;
        tokio::select! {
            () = tokio::time::sleep(keep::AT_MOST) => {}
            interrupted = interrupted() => drop(interrupted?),
        }
    } else if good {
        demo.screen.note("To call it with your own curl: make demo DEMO_ARGS=--keep");
    }
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The version of the Envoy that will be started, as `1.40.0`.
fn envoy_version() -> Result<String, Failure> {
    let binary = envoy::binary()?;
    let output = Command::new(&binary)
        .arg("--version")
        .output()
        .map_err(|error| format!("{} does not run: {error}", binary.display()))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let version = text.split("version: ").nth(1).and_then(|rest| rest.split('/').nth(1));
    Ok(version.ok_or_else(|| format!("{} is not an Envoy", binary.display()))?.to_owned())
}

/// What a comment in the shipped files says to change for an Envoy before 1.39.
fn fit_version(bootstrap: &mut Value, version: &str) {
    let mut numbers = version.split('.').map_while(|number| number.parse::<u32>().ok());
    if (numbers.next(), numbers.next()) < (Some(1), Some(39)) {
        config::each_type(bootstrap, "HttpConnectionManager", |manager| {
            manager.insert("forward_client_cert_details".into(), "SANITIZE_SET".into());
            manager.insert("set_current_client_cert_details".into(), json!({"cert": true}));
        });
    }
}
