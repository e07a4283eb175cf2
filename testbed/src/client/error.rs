//! Why a request got no answer.

use std::{io, time::Duration};

use rustls::AlertDescription;

/// Why a request got no answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No TCP connection.
    #[error("no TCP connection: {0}")]
    Connect(#[source] io::Error),
    /// The server refused us with a TLS alert: in TLS 1.2 during the handshake, in TLS 1.3 right after it.
    #[error("the server sent the TLS alert {0:?}")]
    Alert(AlertDescription),
    /// We refused the server, or TLS broke in another way.
    #[error("TLS: {0}")]
    Tls(#[source] rustls::Error),
    /// The connection ended before the whole answer was there.
    #[error("the connection ended before the answer: {0}")]
    Closed(String),
    /// The answer is not HTTP.
    #[error("HTTP: {0}")]
    Http(#[source] hyper::Error),
    /// No answer in time.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
}

impl Error {
    /// The alert with which the server refused us.
    pub fn alert(&self) -> Option<AlertDescription> {
        match self {
            Self::Alert(alert) => Some(*alert),
            _ => None,
        }
    }

    pub(super) fn from_handshake(error: &io::Error) -> Self {
        match rustls_error(error) {
            Some(rustls::Error::AlertReceived(alert)) => Self::Alert(*alert),
            Some(other) => Self::Tls(other.clone()),
            None => Self::Closed(error.to_string()),
        }
    }

    pub(super) fn from_hyper(error: hyper::Error) -> Self {
        let mut source: Option<&(dyn std::error::Error + 'static)> = Some(&error);
        while let Some(current) = source {
            if let Some(io) = current.downcast_ref::<io::Error>() {
                return match rustls_error(io) {
                    Some(rustls::Error::AlertReceived(alert)) => Self::Alert(*alert),
                    _ => Self::Closed(io.to_string()),
                };
            }
            source = current.source();
        }
        if error.is_incomplete_message() || error.is_closed() || error.is_canceled() {
            return Self::Closed(error.to_string());
        }
        Self::Http(error)
    }
}

pub(super) fn rustls_error(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref()
}
