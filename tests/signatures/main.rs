//! Signatures that others made to be difficult: Project Wycheproof's, and those of NIST that `scripts/provision.sh vectors`
//! downloads. Each goes to the verifier of the tools, and to that of the module: a real Envoy. `docs/src/evidence.md` has the
//! results.

mod cavp;
mod envoy;
mod record;
mod wycheproof;
