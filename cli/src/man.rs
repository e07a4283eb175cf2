//! `genesys-mtls man`: the manual page, of the tool or of one subcommand.

use crate::output::{Report, Usage};
use clap::Command;

/// Print the manual page of the tool, or of one of its commands
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  genesys-mtls man check | man -l -
  genesys-mtls man > /usr/local/share/man/man1/genesys-mtls.1")]
pub struct Arguments {
    /// The command; the tool itself, if none is given
    command: Option<String>,
}

pub fn run(arguments: &Arguments, mut tool: Command) -> Result<Report, Usage> {
    tool.build();
    let (page, title) = match &arguments.command {
        None => (tool, "genesys-mtls".to_owned()),
        Some(name) => {
            let command = tool.find_subcommand(name);
            let command = command.ok_or_else(|| Usage::new(format!("there is no command `{name}`")))?;
            (command.clone(), format!("genesys-mtls-{name}"))
        }
    };
    let mut roff = Vec::new();
    // Nothing but memory is written to.
    let _ = clap_mangen::Man::new(page).title(title).render(&mut roff);
    let text = String::from_utf8_lossy(&roff).into_owned();
    Ok(Report { json: text.clone().into(), text, good: true })
}
