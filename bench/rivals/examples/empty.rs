//! An SDK filter that does nothing: the cost of the SDK itself.
#![cfg(target_arch = "wasm32")]

use proxy_wasm::{
    traits::{Context, HttpContext, RootContext},
    types::ContextType,
};

proxy_wasm::main! {{
    proxy_wasm::set_root_context(|_| Box::new(Plugin));
}}

struct Plugin;

impl Context for Plugin {}

impl RootContext for Plugin {
    fn create_http_context(&self, id: u32) -> Option<Box<dyn HttpContext>> {
        Some(Box::new(Stream { _id: id }))
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }
}

/// Not empty, as no filter's is: it costs an allocation.
struct Stream {
    _id: u32,
}

impl Context for Stream {}

impl HttpContext for Stream {}
