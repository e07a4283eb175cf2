//! The binary, run as a user runs it.

mod doctor;
mod fixtures;
mod golden;
mod pins;
mod run;
