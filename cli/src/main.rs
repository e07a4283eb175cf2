//! `genesys-mtls`: everything about the filter that does not need a running proxy, and a look at one that runs.
//!
//! Each subcommand is a module with its arguments and a `run` that returns a [`output::Report`]; nothing prints but `main`.
#![cfg_attr(test, allow(clippy::missing_panics_doc))]

mod check;
mod completions;
mod doctor;
mod doubts;
mod explain;
mod input;
mod inspect;
mod man;
mod output;
mod pins;
mod regions;
mod schema;
mod source;
mod times;
mod usage;

use anstream::ColorChoice;
use clap::{CommandFactory as _, Parser, Subcommand, ValueEnum, error::ErrorKind};
use output::Usage;
use std::process::ExitCode;

/// The companion of the Genesys Cloud client filter for Envoy and Istio.
///
/// It runs the filter's own code: what `check` accepts the filter loads, and what `explain` says the filter decides.
#[derive(Debug, Parser)]
#[command(name = "genesys-mtls", version, max_term_width = 100, after_help = EXIT_CODES, arg_required_else_help = true)]
pub struct Cli {
    /// Print one JSON document instead of text
    #[arg(long, global = true)]
    json: bool,
    /// When to use colours; `auto`: on a terminal, unless `NO_COLOR` is set
    #[arg(long, global = true, value_enum, value_name = "WHEN", default_value_t = Color::Auto)]
    color: Color,
    #[command(subcommand)]
    command: Command,
}

const EXIT_CODES: &str = "\
Exit codes:
  0  allowed, valid, clean
  1  denied, invalid, something found
  2  the question could not be asked: wrong usage, unreadable file;
     with --json the answer is then {\"error\": MESSAGE}";

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Color {
    Auto,
    Always,
    Never,
}

#[derive(Debug, Subcommand)]
enum Command {
    Check(check::Arguments),
    Explain(explain::Arguments),
    Inspect(inspect::Arguments),
    Pins(pins::Arguments),
    Doctor(doctor::Arguments),
    Regions(regions::Arguments),
    Schema(schema::Arguments),
    Completions(completions::Arguments),
    Man(man::Arguments),
}

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        // Also if it is not understood: a program reads the answer.
        Err(error) if error.exit_code() != 0 && std::env::args().any(|argument| argument == "--json") => {
            let message = match error.kind() {
                ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => "a command is missing".to_owned(),
                _ => error.render().to_string().trim().to_owned(),
            };
            return Usage::new(message).print(true);
        }
        Err(error) => error.exit(),
    };
    match cli.color {
        Color::Auto => {}
        Color::Always => ColorChoice::Always.write_global(),
        Color::Never => ColorChoice::Never.write_global(),
    }
    let result = match &cli.command {
        Command::Check(arguments) => check::run(arguments),
        Command::Explain(arguments) => explain::run(arguments),
        Command::Inspect(arguments) => inspect::run(arguments),
        Command::Pins(arguments) => pins::run(arguments),
        Command::Doctor(arguments) => doctor::run(arguments),
        Command::Regions(arguments) => Ok(regions::run(arguments)),
        Command::Schema(_) => Ok(schema::run()),
        Command::Man(arguments) => man::run(arguments, Cli::command()),
        Command::Completions(arguments) => Ok(completions::run(arguments, Cli::command())),
    };
    match result {
        Ok(report) => report.print(cli.json),
        Err(usage) => usage.print(cli.json),
    }
}
