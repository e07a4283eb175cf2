//! The obvious SDK filter that enforces: reads the digest, looks it up, writes a verdict for a guard.
#![cfg(target_arch = "wasm32")]

use proxy_wasm::{
    hostcalls,
    traits::{Context, HttpContext, RootContext},
    types::{Action, BufferType, ContextType},
};
use std::{collections::HashMap, rc::Rc};

type Known = Rc<HashMap<Vec<u8>, u32>>;

proxy_wasm::main! {{
    proxy_wasm::set_root_context(|_| Box::new(Plugin { known: Known::default() }));
}}

struct Plugin {
    known: Known,
}

impl Context for Plugin {}

impl RootContext for Plugin {
    /// The configuration is the one digest that is known.
    fn on_configure(&mut self, size: usize) -> bool {
        let digest = hostcalls::get_buffer(BufferType::PluginConfiguration, 0, size).ok().flatten();
        self.known = Rc::new(digest.map(|digest| (digest, 1)).into_iter().collect());
        true
    }

    fn create_http_context(&self, _: u32) -> Option<Box<dyn HttpContext>> {
        Some(Box::new(Stream { known: self.known.clone() }))
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }
}

struct Stream {
    known: Known,
}

impl Context for Stream {}

impl HttpContext for Stream {
    fn on_http_request_headers(&mut self, _: usize, _: bool) -> Action {
        let digest = self.get_property(vec!["connection", "sha256_peer_certificate_digest"]);
        let known = digest.is_some_and(|digest| self.known.contains_key(&digest));
        let verdict: &[u8] = if known { b"allow;us-east-1;genesys" } else { b"deny;not_pinned" };
        self.set_property(vec!["genesys_mtls.default"], Some(verdict));
        Action::Continue
    }
}
