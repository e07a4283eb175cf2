//! The filter as Envoy sees it: a [`Plugin`] per configuration and worker, a [`Stream`] per request. Both feed the engine
//! and carry out what it answers.
//!
//! The plugin owns all state. A VM outlives reloads and may serve several policies, so a `static` would let one policy
//! see another's verdicts. Only the handles of metrics belong to the VM: `host::metrics`.

mod running;
mod stream;

use crate::{config, host, x509::signature::self_test};
use log::error;
use proxy_wasm::{
    traits::{Context, HttpContext, RootContext},
    types::{ContextType, LogLevel},
};
use running::Running;
use std::{rc::Rc, time::Duration};
use stream::Stream;

proxy_wasm::main! {{
    proxy_wasm::set_log_level(LogLevel::Info);
    proxy_wasm::set_root_context(|_| Box::new(Plugin::default()));
}}

/// One configuration in one worker.
#[derive(Default)]
struct Plugin {
    /// `None` until a configuration was accepted: requests are denied until then.
    running: Option<Rc<Running>>,
}

impl RootContext for Plugin {
    /// Parses, and checks that Envoy verifies signatures. Envoy tries a configuration in a temporary VM first. If a worker then
    /// rejects it, Envoy skips the filter in that worker, so nothing here may fail in a worker alone.
    fn on_configure(&mut self, size: usize) -> bool {
        if !self_test(&host::EnvoyVerifier) {
            error!(
                "genesys_mtls: Envoy verifies no signatures for this module: capability_restriction_config has to allow \
                 proxy_call_foreign_function, and this Envoy to have the function verify_signature"
            );
            return false;
        }
        match config::load(host::configuration(size)) {
            Ok(policy) => {
                if let Some(before) = self.running.replace(Rc::new(Running::new(policy))) {
                    before.end();
                }
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
        if let Some(running) = &self.running {
            running.on_tick();
        }
    }

    fn create_http_context(&self, id: u32) -> Option<Box<dyn HttpContext>> {
        Some(Box::new(Stream::new(id, self.running.clone())))
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }
}

impl Context for Plugin {
    fn on_http_call_response(&mut self, token: u32, headers: usize, body_size: usize, _trailers: usize) {
        if let Some(running) = &self.running {
            running.on_response(token, headers, body_size);
        }
    }
}

/// Envoy deletes the context when its configuration ends. With `on_done` it would also enter the VM once more for every
/// request. Envoy keeps ticking a deleted context as long as the VM lives, unless the period is zero.
impl Drop for Plugin {
    fn drop(&mut self) {
        if let Some(running) = &self.running {
            running.end();
        }
        host::set_tick(Duration::ZERO);
    }
}
