//! Vectors of others.
