//! A question that could not be asked.

#[derive(Debug)]
pub struct Usage(pub String);

impl Usage {
    pub fn new(what: impl Into<String>) -> Self {
        Self(what.into())
    }
}
