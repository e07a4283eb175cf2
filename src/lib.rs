//! Is this really Genesys Cloud's data-actions client, of my region?
//!
//! A proxy-wasm filter that answers this question for Envoy and Istio, one request at a time. Data flows one way:
//!
//! ```text
//! filter -> engine -> peer -> x509 -> decision -> engine -> filter
//!             ^                          ^
//!         pins, crl ---------------------+   (trust, from Envoy's callouts)
//! ```
//!
//! All but `filter` and `host` is pure: bytes and times are arguments, and effects are values. So tests and tools
//! run the code that the filter runs. Only `filter` calls `host`, and only `host` calls Envoy.
//! `docs/src/design.md` has the long form.
//!
//! **This library has no stable API.** It is published for the tool `genesys-mtls` and may change in any release. What is
//! stable is what operators see: options, reason codes, metrics and the filter-state value.

// The module runs inside a proxy: a panic takes a worker's VM down, so nothing here may be able to.
#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::unreachable,
    clippy::todo,
    clippy::unimplemented
)]
#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::string_slice
    )
)]

#[cfg(any(target_arch = "wasm32", test))]
mod abi;
mod codes;
pub mod config;
pub mod crl;
pub mod decision;
pub mod engine;
pub mod http;
pub mod peer;
pub mod pins;
pub mod policy;
pub mod regions;
pub mod schedule;
pub mod shared;
#[cfg(test)]
mod test_support;
pub mod time;
pub mod x509;

/// JSON Schema of the configuration.
pub const CONFIG_SCHEMA: &str = include_str!("../config.schema.json");

#[cfg(target_arch = "wasm32")]
mod filter;
#[cfg(target_arch = "wasm32")]
mod host;
