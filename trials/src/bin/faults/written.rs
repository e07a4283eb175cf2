//! The result, as it is printed and as it is reported.

use crate::run::{LANES, Run, Verdict, WORKERS};
use std::collections::BTreeMap;
use testbed::envoy;
use trials::{
    outcome::Outcome,
    report::{counts, table, thousands},
};

fn phases(run: &Run) -> String {
    let row = |number: usize, phase: &crate::run::Phase| {
        let tally = &phase.tally;
        vec![
            number.to_string(),
            phase.name.to_owned(),
            thousands(tally.requests),
            thousands(tally.let_in),
            thousands(tally.refused.values().sum()),
            thousands(phase.held),
            counts(&tally.stated),
            thousands(tally.retried),
            format!("{:.2}", tally.slowest.as_secs_f64()),
            thousands(tally.lost),
            thousands(tally.wrong),
        ]
    };
    let rows: Vec<_> = run.phases.iter().enumerate().map(|(index, phase)| row(index + 1, phase)).collect();
    table(
        &[
            "",
            "fault",
            "requests",
            "let in",
            "refused",
            "held",
            "stated",
            "sent again",
            "slowest, s",
            "lost",
            "wrong",
        ],
        &rows,
    )
}

fn reasons(run: &Run) -> String {
    let rows: Vec<_> = run
        .phases
        .iter()
        .enumerate()
        .map(|(index, phase)| vec![(index + 1).to_string(), counts(&phase.tally.refused)])
        .collect();
    table(&["", "refused, by reason"], &rows)
}

fn callers(run: &Run) -> String {
    let rows: Vec<_> = run
        .traffic
        .per_caller()
        .into_iter()
        .map(|(name, outcomes)| {
            let let_in = outcomes.get(&Outcome::LetIn).copied().unwrap_or(0);
            let mut others = BTreeMap::<String, u64>::new();
            for (outcome, count) in outcomes.iter().filter(|(outcome, _)| **outcome != Outcome::LetIn) {
                *others.entry(outcome.to_string()).or_default() += count;
            }
            vec![name.to_owned(), thousands(let_in), counts(&others)]
        })
        .collect();
    table(&["caller", "let in", "otherwise"], &rows)
}

/// For the screen.
pub fn summary(run: &Run, verdict: &Verdict) -> String {
    format!(
        "{}\n{}\n{}\n{} let in, {} seen by the service, {} refused by the guard\n",
        phases(run),
        reasons(run),
        callers(run),
        thousands(verdict.let_in),
        thousands(verdict.served),
        thousands(verdict.guarded)
    )
}

/// The page.
pub fn document(run: &Run, verdict: &Verdict, seconds: u64) -> String {
    let mut text = format!(
        "# Faults under load

Written by `make faults`, which does it all again; nothing here is typed by hand. Envoy {}, {WORKERS} workers, {LANES}
requests under way at any time (HTTP/1.1 and HTTP/2, with and without resumed TLS sessions, on connections of 50
requests), the shipped profile *explain* with a hurried refresh, revocation on. It took {} minutes.

**{} requests: {} lost, {} wrong verdicts.** {} were let in, and the service saw {}. The guard had to refuse {}.

- *held*: waited for an early refresh, and then got the right answer.
- *stated*: not what a caller wishes for, but what the documentation announces for this fault. Never somebody let in.
- *sent again*: its kept-alive connection ended before the answer, and it was sent once more on a new one, as HTTP clients do.
- *lost*: somebody who has to be let in got no answer, or a 503. *wrong*: anything else that is not the right verdict.
- Each caller's right verdict is known. Where a fault changes it, both are right until the new one has come sixty times in
  a row, and only that one from then on.

",
        envoy::full_version(),
        seconds.div_ceil(60),
        thousands(verdict.requests),
        thousands(run.phases.iter().map(|phase| phase.tally.lost).sum()),
        thousands(run.phases.iter().map(|phase| phase.tally.wrong).sum()),
        thousands(verdict.let_in),
        thousands(verdict.served),
        thousands(verdict.guarded),
    );
    text += &phases(run);
    text += "\nWhat was done, and what came of it:\n\n";
    let rows: Vec<_> = run
        .phases
        .iter()
        .enumerate()
        .map(|(index, phase)| {
            let notes = if phase.notes.is_empty() { "–".to_owned() } else { phase.notes.join("; ") };
            let stated = if phase.stated.is_empty() { "–" } else { phase.stated };
            vec![(index + 1).to_string(), phase.what.to_owned(), notes, stated.to_owned()]
        })
        .collect();
    text += &table(&["", "done", "seen", "announced exception"], &rows);
    text += "\n";
    text += &reasons(run);
    text += "\nAll phases together, by caller:\n\n";
    text += &callers(run);
    text
}
