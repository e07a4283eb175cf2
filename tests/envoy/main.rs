//! The filter in a real Envoy: real handshakes, real callouts, the shipped configuration files.

mod decisions;
mod guard;
mod hop;
mod istio;
mod peer;
mod profiles;
mod reload;
mod revocation;
mod setup;
mod stage;
mod stand_in;
mod versions;
mod who_gets_in;
