//! `genesys-mtls completions`: what the shell needs to complete our arguments.

use crate::output::Report;
use clap::Command;
use clap_complete::Shell;

/// Print a completion script for a shell
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  genesys-mtls completions bash > /etc/bash_completion.d/genesys-mtls
  genesys-mtls completions zsh > \"${fpath[1]}/_genesys-mtls\"
  genesys-mtls completions fish > ~/.config/fish/completions/genesys-mtls.fish")]
pub struct Arguments {
    shell: Shell,
}

pub fn run(arguments: &Arguments, mut tool: Command) -> Report {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut tool, "genesys-mtls", &mut script);
    let text = String::from_utf8_lossy(&script).into_owned();
    Report { json: text.clone().into(), text, good: true }
}
