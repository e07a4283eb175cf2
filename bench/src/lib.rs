//! Development only: what a request costs.
//!
//! `make bench-counts` runs the release module in an interpreter, on a scripted host: exact and repeatable.
//! `make bench` runs it in Envoy and compares it with the alternatives.
#![allow(clippy::missing_panics_doc, reason = "a tool: a broken set-up ends it")]

pub mod document;
mod guest;
mod host;
pub mod scene;
pub mod script;
pub mod vm;
