//! The filter as Envoy sees it: a [`Plugin`] per configuration and worker, a [`Stream`] per request. Both feed the engine
//! and carry out what it answers.
//!
//! All state hangs off the plugin. A VM outlives reloads and may serve several policies, so a `static` would let one policy
//! see another's verdicts. Only handles of metrics are the VM's: `host::metrics`.

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
    /// Nothing until a configuration was accepted: its requests are denied.
    running: Option<Rc<Running>>,
}

impl RootContext for Plugin {
    /// Parses, and sees that Envoy verifies signatures. Envoy tries a configuration in a throw-away VM first, and skips the
    /// filter in a worker that then disagrees: nothing is done here that could fail in a worker alone.
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

/// Envoy deletes the context when its configuration ends; asking for `on_done` as well would have it enter the VM once more
/// for every request. It goes on ticking a deleted context as long as the VM lives, unless the period is zero.
impl Drop for Plugin {
    fn drop(&mut self) {
        if let Some(running) = &self.running {
            running.end();
        }
        host::set_tick(Duration::ZERO);
    }
}
