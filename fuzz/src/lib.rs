//! What the fuzz targets share: a cast of certificates that is the same in every process, and ways to write things down.
//!
//! A target states a rule, and panics where it is broken. What it needs of the filter is public.

pub mod cast;
pub mod der;
pub mod text;

/// The moment at which the targets decide.
pub const NOW: i64 = 1_800_000_000;
