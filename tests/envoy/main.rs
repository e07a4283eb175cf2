//! The filter in a real Envoy: real handshakes, real callouts, the shipped configuration files.

mod revocation;
mod setup;
mod who_gets_in;
