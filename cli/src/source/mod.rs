//! Configuration files: read with the position of everything, and searched for the filter's configurations.

mod file;
mod find;
mod hints;
mod node;
mod policy;
mod yaml;

pub use file::File;
pub use find::{Found, find, recognise};
pub use node::{Mark, Node};
pub use policy::{Problem, load, select};
pub use yaml::parse as parse_yaml;
