//! What the engine answers with: what becomes of a request, and what the filter has to do.

use crate::{decision::Reason, http::HttpCall};
use log::Level;
use std::{cell::Cell, rc::Rc, time::Duration};

/// What becomes of a request.
#[derive(Clone, Debug)]
pub enum Action {
    /// Write the verdict and the identity header; the request goes on.
    Allow(Rc<Allowed>),
    /// Write the verdict; `replies` unless the policy is in shadow mode.
    Deny { reason: Reason, replies: bool },
    /// The request waits for news from the certificates API.
    Hold,
}

/// All that an allowed request is given, made once per certificate.
#[derive(Debug)]
pub struct Allowed {
    /// The value of the verdict's filter state.
    pub verdict: String,
    /// The value of the identity header.
    pub identity: String,
    /// What counts such a request.
    pub counters: Vec<Rc<Cell<u64>>>,
}

/// Which conversation a call belongs to. Each has one call at a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallId {
    /// The certificates API of the region with this id.
    Refresh(String),
    /// The CRL with this id.
    Crl(String),
}

/// What the filter has to do.
#[derive(Debug)]
pub enum Effect {
    /// Make a call; its answer goes to `Engine::on_response`.
    Call {
        id: CallId,
        call: HttpCall,
    },
    /// Apply what was decided to the held request of this stream.
    Release {
        stream: u32,
        action: Action,
    },
    Log {
        level: Level,
        line: String,
    },
    /// Add to a counter; zero makes it exist.
    Count {
        metric: String,
        by: u64,
    },
    Gauge {
        metric: String,
        value: u64,
    },
    /// Set a gauge unless it is higher already.
    RaiseGauge {
        metric: String,
        value: u64,
    },
    /// Tick with this period from now on.
    Tick(Duration),
}
