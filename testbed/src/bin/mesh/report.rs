//! Rows: what was expected, and what came of it.

use std::{
    fmt::{Debug, Display},
    process::ExitCode,
    time::Instant,
};

#[derive(Debug)]
pub struct Report {
    begun: Instant,
    passed: usize,
    failed: usize,
}

impl Report {
    pub fn new() -> Self {
        Self { begun: Instant::now(), passed: 0, failed: 0 }
    }

    pub fn title(&self, text: impl Display) {
        println!("\n==> [{:3} s] {text}", self.begun.elapsed().as_secs());
    }

    pub fn row<T: PartialEq + Debug>(&mut self, what: impl Display, got: &T, expected: &T) {
        if got == expected {
            self.passed += 1;
            println!("  passed  {what}: {got:?}");
        } else {
            self.failed += 1;
            println!("  FAILED  {what}: {got:?}, expected {expected:?}");
        }
    }

    pub fn end(&self) -> ExitCode {
        println!("\n{} passed, {} failed ({} s)", self.passed, self.failed, self.begun.elapsed().as_secs());
        if self.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}
