//! What the filter does with requests, answers and ticks.

pub mod identity;
