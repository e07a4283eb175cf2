//! What operators see: metrics with their labels, log lines, and the files that read them.

mod files;
mod logs;
mod losses;
mod metrics;
mod table;
