//! The examples of the tool in the book are its real output.

use crate::{
    markdown::{Block, assert_blocks},
    run::{Outcome, run},
};

const PAGE: &str = "cli/tests/book/transcripts.txt";

/// The `$` line of a transcript.
fn command(block: &Block) -> Option<&str> {
    block
        .text
        .lines()
        .next()
        .filter(|line| block.language == "console" && line.starts_with("$ genesys-mtls "))
}

fn transcript(command: &str, outcome: &Outcome) -> String {
    format!("{command}\n{}{}", outcome.stdout, outcome.stderr)
}

/// Compares the transcript of one subcommand with a run in the test's world, but for what is new in each:
/// words with digits, which are fingerprints, times, ports and versions.
pub fn assert_shown(subcommand: &str, outcome: &Outcome) {
    let blurred = |text: &str| {
        let blur = |word: &str| {
            if word.contains(|c: char| c.is_ascii_digit()) { "#".to_owned() } else { word.to_owned() }
        };
        text.split(' ').map(blur).collect::<Vec<_>>().join(" ")
    };
    assert_blocks(PAGE, |block| {
        let command = command(block).filter(|command| command.split(' ').nth(2) == Some(subcommand))?;
        let answer = transcript(command, outcome);
        let same = |line: (&str, &str)| blurred(line.0) == blurred(line.1);
        let is_same = answer.lines().count() == block.text.lines().count()
            && answer.lines().zip(block.text.lines()).all(same);
        (!is_same).then_some(answer)
    });
}

#[test]
fn transcripts_are_what_the_tool_prints() {
    let mut commands = Vec::new();
    assert_blocks(PAGE, |block| {
        let command = command(block)?;
        let arguments: Vec<&str> = command.split(' ').skip(2).collect();
        commands.push(arguments[0].to_owned());
        // Their answers depend on a world: they are compared where that is.
        let elsewhere = ["pins", "doctor"].contains(&arguments[0]);
        (!elsewhere).then(|| transcript(command, &run(&arguments)))
    });
    for command in ["check", "explain", "inspect", "pins", "doctor", "regions"] {
        assert!(commands.iter().any(|shown| shown == command), "{PAGE} shows no `{command}`");
    }
}
