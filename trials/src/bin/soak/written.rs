//! The result, as it is printed and as it is reported.

use crate::{
    checks::Check,
    record::{LANES, Soak, WORKERS},
    sample::{SERIES, Sample},
};
use std::fmt::Write as _;
use testbed::envoy;
use trials::report::{table, thousands};

/// Rows of the table of samples.
const ROWS: usize = 20;
/// Columns of the chart.
const WIDTH: u64 = 60;

pub fn checks(checks: &[Check]) -> String {
    let row = |check: &Check| {
        let mark = if check.good { "✓" } else { "✗" };
        vec![mark.to_owned(), check.what.clone(), check.found.clone(), check.demanded.clone()]
    };
    table(&["", "what", "found", "demanded"], &checks.iter().map(row).collect::<Vec<_>>())
}

fn samples(soak: &Soak) -> String {
    let mut head = vec!["minute", "requests", "refreshes"];
    head.extend(SERIES.map(|(name, _)| name));
    let row = |sample: &Sample| {
        let minute = sample.at.as_secs_f64() / 60.0;
        let mut row = vec![format!("{minute:.1}"), thousands(sample.requests), thousands(sample.refreshes)];
        row.extend(SERIES.map(|(_, of)| thousands(of(sample))));
        row
    };
    let step = soak.samples.len().div_ceil(ROWS).max(1);
    let last = soak.samples.len().saturating_sub(1);
    let chosen = soak.samples.iter().enumerate().filter(|(index, _)| index % step == 0 || *index == last);
    table(&head, &chosen.map(|(_, sample)| row(sample)).collect::<Vec<_>>())
}

/// Resident memory over time, from zero.
fn chart(soak: &Soak) -> String {
    let most = soak.samples.iter().map(|sample| sample.resident).max().unwrap_or(1).max(1);
    let step = soak.samples.len().div_ceil(ROWS).max(1);
    let mut text = String::from("minute   Envoy, resident, MB\n");
    for sample in soak.samples.iter().step_by(step) {
        let width = usize::try_from(sample.resident * WIDTH / most).unwrap_or(0);
        let minute = sample.at.as_secs_f64() / 60.0;
        let _ = writeln!(text, "{minute:>6.1} {:>5}  {}", sample.resident / 1024, "#".repeat(width));
    }
    text
}

pub fn document(soak: &Soak, all: &[Check]) -> String {
    let tally = &soak.tally;
    format!(
        "# Soak

Written by `make soak`, which does it all again; nothing here is typed by hand. Envoy {}, {WORKERS} workers, {} minutes,
**{} requests** in {LANES} lanes, the shipped profile *explain* with a refresh every three seconds and revocation on.
Meanwhile: {} rotations, {} new revocation lists, {} reloads, and two callers with a new certificate for each connection,
one genuine and one a stranger.

{}
Shared data are looked at by another module in the same Envoy, which knows the keys from the filter's code. A VM's memory is
the largest that any VM of that role has had so far, by the filter's own gauge.

{}
```text
{}```
",
        envoy::full_version(),
        soak.minutes,
        thousands(tally.requests),
        soak.events.rotations,
        soak.events.lists,
        soak.events.reloads,
        checks(all),
        samples(soak),
        chart(soak),
    )
}
