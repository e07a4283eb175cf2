//! The binary, run as a user runs it.

mod agree;
mod doctor;
mod errors;
mod fixtures;
mod golden;
mod hostile;
mod markdown;
mod odd;
mod pins;
mod run;
mod schema;
mod schema_agrees;
mod transcripts;
