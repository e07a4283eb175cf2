//! Development only: a PKI, a stand-in of Genesys Cloud, an upstream, an mTLS client and an Envoy launcher.
//!
//! [`World`] starts all but Envoy; see `README.md` of this crate for an example.
#![allow(clippy::missing_panics_doc, reason = "a test library: a broken set-up ends the test")]
#![allow(clippy::doc_markdown, reason = "names of the field such as DigiCert or UTF8String")]

pub mod client;
pub mod config;
pub mod document;
pub mod envoy;
pub mod genesys;
mod http1;
pub mod istio;
pub mod manifests;
mod net;
pub mod paths;
pub mod shipped;
pub mod stand_in;
mod tls;
pub mod upstream;
pub mod vectors;
pub mod volume;
mod world;

pub use client::Client;
pub use envoy::Envoy;
pub use genesys::Genesys;
pub use testbed_pki as pki;
pub use testbed_pki::Pki;
pub use upstream::Upstream;
pub use world::World;
