//! The binary, run as a user runs it.

mod access_log;
mod across;
mod agree;
mod anywhere;
mod doctor;
mod doubts;
mod errors;
mod fixtures;
mod forms;
mod golden;
mod help;
mod hostile;
mod markdown;
mod odd;
mod pins;
mod run;
mod schema;
mod schema_agrees;
mod transcripts;
