//! Counts what the release module executes, writes the table, and fails when a number grows.
//!
//! ```text
//! counts --compiler "rustc 1.95.0"            count and compare with the baseline of this compiler
//! counts --compiler "rustc 1.95.0" --write    ... and write baseline and table instead of comparing
//! ```

mod cases;
mod report;

use std::{env, process::ExitCode};
use testbed::paths;

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let (compiler, write) = match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["--compiler", compiler] => ((*compiler).to_owned(), false),
        ["--compiler", compiler, "--write"] => ((*compiler).to_owned(), true),
        _ => {
            eprintln!("usage: counts --compiler NAME [--write]");
            return ExitCode::from(2);
        }
    };
    let module = match paths::find_wasm_module() {
        Ok(module) => module,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(2);
        }
    };
    let size = std::fs::metadata(&module).map_or(0, |metadata| metadata.len());
    let cases = cases::Bench::run(&module);
    println!("{}", report::table(&cases, size, &compiler));
    let outcome =
        if write { report::write(&cases, size, &compiler) } else { report::compare(&cases, size, &compiler) };
    match outcome {
        Ok(message) => {
            println!("{message}");
            ExitCode::SUCCESS
        }
        Err(message) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}
