//! The filter as Envoy sees it: one [`Plugin`] per configuration and VM, one [`Stream`] per request.
//!
//! All state hangs off the plugin. A VM outlives reloads and may serve several policies, so a `static` would let one
//! policy see another's verdicts. But for names of metrics, which are the VM's: `host::metrics`.

mod caller;
mod digest;
mod gate;
mod gauges;
mod lists;
mod log_lines;
mod metrics;
mod sources;
mod stream;

use crate::{config, host, x509::signature::self_test};
use gate::Gate;
use log::error;
use proxy_wasm::{
    traits::{Context, HttpContext, RootContext},
    types::{ContextType, LogLevel},
};
use sources::Sources;
use std::{cell::RefCell, rc::Rc, time::Duration};
use stream::Stream;

proxy_wasm::main! {{
    proxy_wasm::set_log_level(LogLevel::Info);
    proxy_wasm::set_root_context(|_| Box::new(Plugin::default()));
}}

/// One configuration in one VM.
#[derive(Default)]
struct Plugin {
    /// Nothing until a configuration was accepted: its requests are refused.
    running: Option<Running>,
}

struct Running {
    gate: Rc<Gate>,
    sources: Rc<RefCell<Sources>>,
}

impl RootContext for Plugin {
    /// Parses, and sees that Envoy verifies signatures. An answer that a throw-away VM and a worker could disagree on would make
    /// Envoy skip the filter in that worker, so nothing else that may fail later is tried here: what Envoy offers is
    /// the same in both.
    fn on_configure(&mut self, size: usize) -> bool {
        let Some(bytes) = host::configuration(size) else {
            error!("genesys_mtls: the configuration of {size} bytes is too large");
            return false;
        };
        if !self_test(host::VERIFIER) {
            error!(
                "genesys_mtls: Envoy verifies no signatures for this module: capability_restriction_config has to allow \
                 proxy_call_foreign_function, and this Envoy to have the function verify_signature"
            );
            return false;
        }
        match config::load(bytes) {
            Ok(policy) => {
                let policy = Rc::new(policy);
                let sources = Rc::new(RefCell::new(Sources::new(policy.clone())));
                self.running = Some(Running { gate: Rc::new(Gate::new(policy, sources.clone())), sources });
                true
            }
            Err(errors) => {
                for error in errors {
                    error!("genesys_mtls: invalid configuration: {error}");
                }
                false
            }
        }
    }

    fn on_tick(&mut self) {
        let Some(Running { gate, sources }) = &self.running else { return };
        let now = host::now();
        sources.borrow_mut().tick(now);
        gate.tick(now);
    }

    fn create_http_context(&self, id: u32) -> Option<Box<dyn HttpContext>> {
        Some(Box::new(Stream::new(id, self.running.as_ref().map(|running| running.gate.clone()))))
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }
}

impl Context for Plugin {
    fn on_http_call_response(&mut self, token: u32, headers: usize, body_size: usize, _trailers: usize) {
        let Some(Running { gate, sources }) = &self.running else { return };
        let now = host::now();
        sources.borrow_mut().answered(token, headers, body_size, now);
        gate.tick(now);
    }
}

/// Envoy goes on ticking a context that it has deleted, for as long as the VM lives, unless it is told to stop. This is not for
/// [`Running`] to say: where it gives way to another one, that one has asked for its ticks by then.
impl Drop for Plugin {
    fn drop(&mut self) {
        host::set_tick(Duration::ZERO);
    }
}

/// This configuration ends, here. Envoy then deletes the context; asking for `on_done` as well would have it enter the VM
/// once more for every request.
impl Drop for Running {
    fn drop(&mut self) {
        self.gate.flush();
        self.sources.borrow_mut().leave(host::monotonic());
    }
}
