//! Filters to measure ours against; see `examples/`.
