//! A configuration at work: the engine, and the effects that it asks for.

use crate::{
    engine::{
        Engine,
        effect::{Action, CallId, Effect},
        io::Io,
        reply,
    },
    host::{self, EnvoyVerifier, HostEnvironment, HostRequest, SharedData},
    http::HttpCall,
    peer::request::Request as _,
    policy::Policy,
};
use std::{
    cell::{Cell, RefCell},
    rc::Rc,
};

pub struct Running {
    policy: Rc<Policy>,
    /// The verdict's property; Envoy keeps it as filter state `wasm.<this>`, which the guard reads.
    verdict_key: String,
    engine: RefCell<Engine>,
    /// Which conversation the answer with this token belongs to, and how much of it is read.
    calls: RefCell<Vec<(u32, CallId, usize)>>,
    /// Whether effects are being carried out: the calls that this makes must not begin it again.
    is_busy: Cell<bool>,
}

/// What the stream does after an action.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Continue,
    Answered,
    Held,
}

impl Running {
    pub fn new(policy: Policy) -> Self {
        let policy = Rc::new(policy);
        let running = Self {
            verdict_key: format!("genesys_mtls.{}", policy.name),
            engine: RefCell::new(Engine::new(policy.clone(), host::random())),
            policy,
            calls: RefCell::default(),
            is_busy: Cell::new(false),
        };
        running.carry_out();
        running
    }

    fn with_engine<T>(&self, event: impl FnOnce(&mut Engine, &mut Io<'_>) -> T) -> T {
        let mut io = Io { store: &mut SharedData, verifier: &EnvoyVerifier, environment: &HostEnvironment };
        event(&mut self.engine.borrow_mut(), &mut io)
    }

    pub fn on_request(&self, stream: u32) -> Outcome {
        let action = self.with_engine(|engine, io| engine.on_request(stream, &HostRequest, &host::now, io));
        let outcome = self.apply(&action);
        self.carry_out();
        outcome
    }

    pub fn on_tick(&self) {
        self.with_engine(|engine, io| engine.on_tick(io, host::now()));
        self.carry_out();
    }

    pub fn on_response(&self, token: u32, headers: usize, body_size: usize) {
        let mut calls = self.calls.borrow_mut();
        let Some(at) = calls.iter().position(|(of, ..)| *of == token) else { return };
        let (_, id, limit) = calls.swap_remove(at);
        drop(calls);
        let response = host::response(headers, body_size, limit);
        self.with_engine(|engine, io| engine.on_response(&id, Ok(response), io, host::now()));
        self.carry_out();
    }

    /// This configuration ends in this worker.
    pub fn end(&self) {
        self.with_engine(|engine, io| engine.on_end(io, host::now().mono));
        self.carry_out();
    }

    pub fn forget(&self, stream: u32) {
        if let Ok(mut engine) = self.engine.try_borrow_mut() {
            engine.forget(stream);
        }
    }

    /// Applies an action to the current request.
    fn apply(&self, action: &Action) -> Outcome {
        let header = self.policy.identity_header.as_deref();
        match action {
            Action::Allow(allowed) => {
                // If the write fails the request goes on without a verdict, and the guard denies it.
                host::set_filter_state(&self.verdict_key, &allowed.verdict);
                if let Some(header) = header {
                    host::replace_request_header(header, &allowed.identity);
                }
                Outcome::Continue
            }
            Action::Deny { reason, replies } => {
                host::set_filter_state(&self.verdict_key, &format!("deny;{reason}"));
                if let Some(header) = header {
                    host::remove_request_header(header);
                }
                let is_answered = *replies && host::reply(&reply::denial(*reason, HostRequest.id()));
                if is_answered { Outcome::Answered } else { Outcome::Continue }
            }
            Action::Hold => Outcome::Held,
        }
    }

    /// Carries out what the engine asks for. Requests are released last: from then on host calls concern a request.
    fn carry_out(&self) {
        if self.is_busy.replace(true) {
            return;
        }
        let mut released = Vec::new();
        loop {
            let effects = self.engine.borrow_mut().take_effects();
            if effects.is_empty() {
                break;
            }
            for effect in effects {
                match effect {
                    Effect::Call { id, call } => self.call(id, &call),
                    Effect::Release { stream, action } => released.push((stream, action)),
                    Effect::Log { level, line } => log::log!(level, "{line}"),
                    Effect::Count { metric, by } => host::count(&metric, by),
                    Effect::Gauge { metric, value } => host::gauge(&metric, value),
                    Effect::RaiseGauge { metric, value } => host::raise_gauge(&metric, value),
                    Effect::Tick(period) => host::set_tick(period),
                }
            }
        }
        for (stream, action) in released {
            if host::enter_request(stream) && self.apply(&action) == Outcome::Continue {
                host::resume_request();
            }
        }
        self.is_busy.set(false);
    }

    /// Makes a call. One that cannot even begin is never answered, so its failure is the answer.
    fn call(&self, id: CallId, call: &HttpCall) {
        match host::dispatch(call) {
            Ok(token) => {
                // The answer to a call that was given up must not pass for the next one's.
                let mut calls = self.calls.borrow_mut();
                calls.retain(|(_, of, _)| *of != id);
                calls.push((token, id, call.max_body));
            }
            Err(status) => {
                let failure = call.not_dispatched(&status);
                self.with_engine(|engine, io| engine.on_response(&id, Err(failure), io, host::now()));
            }
        }
    }
}
