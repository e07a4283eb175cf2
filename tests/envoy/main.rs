//! The filter in a real Envoy: real handshakes, real callouts, the shipped configuration files.

mod attacks;
mod decisions;
mod envoy_gateway;
mod failures;
mod guard;
mod hop;
mod istio;
mod observability;
mod pace;
mod peer;
mod profiles;
mod recipes;
mod refresh;
mod reload;
mod revocation;
mod rollout;
mod setup;
mod shipped;
mod stage;
mod stand_in;
mod versions;
mod who_gets_in;
