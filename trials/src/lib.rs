//! Development only: the filter in a real Envoy under load of all kinds of callers, for a long time or while things break.
//!
//! `make faults` breaks one thing after another under load; `make soak` runs for a given time and watches what grows;
//! `make upgrade` replaces an old module by the new one and goes back. All know the right outcome for each caller, and count
//! every other outcome.
#![allow(clippy::missing_panics_doc, reason = "tools: a broken set-up ends them")]
#![allow(clippy::doc_markdown, reason = "names of the field such as DigiCert")]
#![allow(missing_debug_implementations, reason = "tools: their types are never printed")]

pub mod cast;
pub mod outcome;
pub mod report;
pub mod shared_data;
pub mod stage;
pub mod traffic;

/// What ends a trial before its time.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;
