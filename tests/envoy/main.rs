//! The filter in a real Envoy: real handshakes, real callouts, the shipped configuration files.

mod revocation;
mod setup;
mod versions;
mod who_gets_in;
