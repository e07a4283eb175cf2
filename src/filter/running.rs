//! A configuration in use: the engine, and the effects that it asks for.

use crate::{
    engine::{
        Engine,
        effect::{Action, CallId, Effect},
        io::Io,
        reply,
    },
    host::{self, EnvoyVerifier, HostEnvironment, HostRequest, SharedData},
    http::{Failure, HttpCall},
    peer::request::Request as _,
    policy::Policy,
};
use std::{cell::RefCell, rc::Rc};

pub struct Running {
    policy: Rc<Policy>,
    /// The verdict's property; Envoy keeps it as filter state `wasm.<this>`, which the guard reads.
    verdict_key: String,
    engine: RefCell<Engine>,
    /// The conversation to which the answer with this token belongs, and how much of its body is read.
    calls: RefCell<Vec<(u32, CallId, usize)>>,
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
        let verdict_key = format!("genesys_mtls.{}", policy.name);
        host::declare_string(&verdict_key);
        let running = Self {
            verdict_key,
            engine: RefCell::new(Engine::new(policy.clone(), host::random())),
            policy,
            calls: RefCell::default(),
        };
        running.carry_out(running.event(Engine::start).1);
        running
    }

    /// Hands an event to the engine. The caller carries out the resulting effects.
    fn event<T>(&self, event: impl FnOnce(&mut Engine, &mut Io<'_>) -> T) -> (T, Vec<Effect>) {
        let mut store = SharedData;
        let mut io = Io::new(&mut store, &EnvoyVerifier, &HostEnvironment);
        let answer = event(&mut self.engine.borrow_mut(), &mut io);
        (answer, io.effects)
    }

    pub fn on_request(&self, stream: u32) -> Outcome {
        let (action, effects) = self.event(|engine, io| engine.on_request(stream, &HostRequest, io));
        self.carry_out(effects);
        self.apply(&action)
    }

    pub fn on_tick(&self) {
        self.carry_out(self.event(Engine::on_tick).1);
    }

    pub fn on_response(&self, token: u32, headers: usize, body_size: usize) {
        let mut calls = self.calls.borrow_mut();
        let Some(at) = calls.iter().position(|(of, ..)| *of == token) else { return };
        let (_, id, max_body) = calls.swap_remove(at);
        drop(calls);
        let response = Ok(host::response(headers, body_size, max_body));
        self.carry_out(self.event(|engine, io| engine.on_response(&id, response, io)).1);
    }

    pub fn end(&self) {
        self.carry_out(self.event(Engine::on_end).1);
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

    /// Carries out what the engine asks for. Requests are released last, since host calls then apply to a request.
    fn carry_out(&self, mut effects: Vec<Effect>) {
        let mut released = Vec::new();
        while !effects.is_empty() {
            for effect in std::mem::take(&mut effects) {
                match effect {
                    Effect::Call { id, call } => {
                        if let Err(failure) = self.call(&id, &call) {
                            let failed = self.event(|engine, io| engine.on_response(&id, Err(failure), io));
                            effects.extend(failed.1);
                        }
                    }
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
    }

    /// Makes a call. Envoy never answers a call that could not start, so its failure is the answer.
    fn call(&self, id: &CallId, call: &HttpCall) -> Result<(), Failure> {
        let token = host::dispatch(call).map_err(|status| call.not_dispatched(&status))?;
        // The answer to a cancelled call must not be taken for the answer to the next one.
        let mut calls = self.calls.borrow_mut();
        calls.retain(|(_, of, _)| of != id);
        calls.push((token, id.clone(), call.max_body));
        Ok(())
    }
}
