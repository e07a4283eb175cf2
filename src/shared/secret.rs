//! Text that no log line, metric or error may show.

use std::fmt;

/// A text that never shows in logs.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret {
    text: String,
    proxy: String,
}

impl Secret {
    pub fn new(text: String) -> Self {
        Self { text, proxy: String::new() }
    }

    /// The same, but what it seals counts on this proxy only. Proxies of a fleet share their secret.
    #[must_use]
    pub fn on(self, proxy: String) -> Self {
        Self { proxy, ..self }
    }

    pub fn expose(&self) -> &str {
        &self.text
    }

    pub fn proxy(&self) -> &str {
        &self.proxy
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("...")
    }
}
