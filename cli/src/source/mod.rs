//! Configuration files: read with the position of everything, and searched for the filter's configurations.

#[cfg(test)]
mod agree;
mod chart;
mod file;
mod find;
mod hints;
mod node;
mod policy;
mod scalar;
mod yaml;

pub use file::{File, paths};
pub use find::{Found, find, recognise};
pub use node::{Kind, Mark, Node};
pub use policy::{Problem, doubled, load, select};
pub use scalar::Dialect;
pub use yaml::parse as parse_yaml;
