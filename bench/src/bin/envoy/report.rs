//! The table and the chart.

use crate::load::Round;
use std::{fmt::Write as _, time::Duration};

/// All rounds of one contender.
pub struct Row {
    pub title: &'static str,
    pub rounds: Vec<Round>,
}

/// The cost on an otherwise idle machine: noise only adds time.
fn lower_quartile(mut values: Vec<Duration>) -> f64 {
    values.sort_unstable();
    values[values.len() / 4].as_secs_f64() * 1e6
}

/// Of the differences from the first contender in the same sweep: a disturbance that lasts for a sweep affects both.
fn added(row: &Row, base: &Row, of: impl Fn(&Round) -> Duration) -> f64 {
    let mut differences: Vec<f64> = row
        .rounds
        .iter()
        .zip(&base.rounds)
        .map(|(round, base)| (of(round).as_secs_f64() - of(base).as_secs_f64()) * 1e6)
        .collect();
    differences.sort_by(f64::total_cmp);
    differences[differences.len() / 2]
}

impl Row {
    pub fn cpu(&self) -> f64 {
        lower_quartile(self.rounds.iter().map(|round| round.cpu).collect())
    }
}

/// Markdown, all times in microseconds; the first row is what the others are compared with.
pub fn table(rows: &[Row]) -> String {
    let mut text = String::from(
        "| | CPU per request | added | times | p50 added | p99 added |\n|---|--:|--:|--:|--:|--:|\n",
    );
    let base = &rows[0];
    for row in rows {
        let _ = writeln!(
            text,
            "| {} | {:.1} | {:.1} | {:.2} | {:.0} | {:.0} |",
            row.title,
            row.cpu(),
            row.cpu() - base.cpu(),
            row.cpu() / base.cpu(),
            added(row, base, |round| round.p50),
            added(row, base, |round| round.p99),
        );
    }
    text
}

/// Bars for the CPU time added.
pub fn chart(rows: &[Row]) -> String {
    let base = rows[0].cpu();
    let most = rows.iter().map(|row| row.cpu() - base).fold(1.0, f64::max);
    let mut text = String::from("```text\nCPU added per request, in microseconds\n");
    for row in &rows[1..] {
        let added = (row.cpu() - base).max(0.0);
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and 40")]
        let bar = "#".repeat((added / most * 40.0).round() as usize);
        let _ = writeln!(text, "{:<52} {added:5.1} {bar}", row.title.replace('*', ""));
    }
    text + "```"
}
