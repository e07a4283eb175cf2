//! Everything the filter asks of Envoy. No other module makes a host call, and none of these can panic: the SDK's
//! trait helpers unwrap, its `hostcalls` return results, and its text getters panic on bytes that are not UTF-8. The one
//! exception depends on the operator: most `hostcalls` panic if a capability list lacks the call.

mod metrics;
mod raw;
mod signature;

pub use metrics::{count, gauge, raise_gauge};
pub use raw::set_filter_state;
pub use signature::EnvoyVerifier;

use crate::{
    abi,
    config::MAX_CONFIGURATION,
    engine::{io::Environment, reply::Reply},
    http::{HttpCall, HttpResponse},
    peer::request::Request,
    shared::SharedStore,
    time::{Monotonic, Now, UnixSeconds},
};
use proxy_wasm::{
    hostcalls,
    types::{BufferType, MapType},
};
use std::time::Duration;
use talc::wasm::{WasmDynamicTalc, new_wasm_dynamic_allocator};

/// For one thread and small allocations: with the standard library's allocator, allocation would be half of the
/// instructions of a request with a cached verdict.
#[global_allocator]
static ALLOCATOR: WasmDynamicTalc = new_wasm_dynamic_allocator();

/// The configuration of this plugin, read only to just beyond the largest accepted size.
pub fn configuration(size: usize) -> Vec<u8> {
    let bytes = hostcalls::get_buffer(BufferType::PluginConfiguration, 0, size.min(MAX_CONFIGURATION + 1));
    bytes.ok().flatten().unwrap_or_default()
}

/// A random number, from the host's randomness through the standard library's hash seeds.
pub fn random() -> u64 {
    use std::hash::{BuildHasher as _, RandomState};
    RandomState::new().hash_one(0_u8)
}

/// Declares the verdict's property as text, so that CEL rules can read it. If the host cannot, everything but CEL still
/// reads it.
pub fn declare_string(name: &str) {
    if let Some(arguments) = abi::declare_string(name) {
        let _ = hostcalls::call_foreign_function("declare_property", Some(&arguments));
    }
}

pub fn set_tick(period: Duration) {
    // Without ticks the filter never refreshes, which shows in its metrics.
    let _ = hostcalls::set_tick_period(period);
}

/// Replaces all copies of a request header by one.
pub fn replace_request_header(name: &str, value: &str) {
    remove_request_header(name);
    let _ = hostcalls::add_map_value(MapType::HttpRequestHeaders, name, value);
}

pub fn remove_request_header(name: &str) {
    let _ = hostcalls::remove_map_value(MapType::HttpRequestHeaders, name);
}

/// Answers the request. False if that failed: the request must then go on, without a verdict, to the guard.
pub fn reply(reply: &Reply) -> bool {
    raw::send_local_response(
        reply.status,
        &reply.details,
        &abi::header_map(&reply.headers),
        reply.body.as_bytes(),
    )
}

/// Makes the following calls apply to another request, one that is held.
pub fn enter_request(context: u32) -> bool {
    hostcalls::set_effective_context(context).is_ok()
}

pub fn resume_request() {
    let _ = hostcalls::resume_http_request();
}

/// Makes a call; the token under which its answer arrives, or the host's status.
pub fn dispatch(call: &HttpCall) -> Result<u32, String> {
    let headers: Vec<(&str, &str)> =
        call.headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let body = (!call.body.is_empty()).then_some(call.body);
    hostcalls::dispatch_http_call(&call.cluster, headers, body, Vec::new(), call.timeout)
        .map_err(|status| format!("{status:?}"))
}

/// The answer to a call, without its body if that is larger than `max_body`.
pub fn response(headers: usize, body_size: usize, max_body: usize) -> HttpResponse {
    // Without headers the connection was reset; reading them would be an error.
    let header = |name| match headers {
        0 => None,
        _ => hostcalls::get_map_value_bytes(MapType::HttpCallResponseHeaders, name).ok().flatten(),
    };
    let status = header(":status").and_then(|status| std::str::from_utf8(&status).ok()?.parse().ok());
    let body = match body_size {
        0 => Some(Vec::new()),
        size if size > max_body => None,
        size => hostcalls::get_buffer(BufferType::HttpCallResponseBody, 0, size).ok().flatten(),
    };
    HttpResponse { status: status.unwrap_or(0), body, retry_after: header("retry-after") }
}

/// The current request.
pub struct HostRequest;

impl Request for HostRequest {
    fn property(&self, path: &str) -> Option<Vec<u8>> {
        raw::property(path)
    }

    fn header(&self, name: &str) -> Option<Vec<u8>> {
        hostcalls::get_map_value_bytes(MapType::HttpRequestHeaders, name).ok().flatten()
    }
}

/// This VM.
pub struct HostEnvironment;

impl Environment for HostEnvironment {
    fn variable(&self, name: &str) -> Option<String> {
        std::env::var(name).ok().filter(|value| !value.is_empty())
    }

    fn node_id(&self) -> String {
        raw::property("xds\0node\0id").and_then(|id| String::from_utf8(id).ok()).unwrap_or_default()
    }

    /// The monotonic clock is the same for all VMs of this proxy.
    fn now(&self) -> Now {
        let wall = raw::clock(raw::Clock::Realtime).as_secs();
        Now {
            mono: Monotonic::ZERO + raw::clock(raw::Clock::Monotonic),
            wall: wall.try_into().unwrap_or(UnixSeconds::MAX),
            random: f64::from((random() >> 32) as u32) / (f64::from(u32::MAX) + 1.0),
        }
    }

    fn memory(&self) -> u64 {
        u64::try_from(core::arch::wasm32::memory_size::<0>()).unwrap_or(0) * 64 * 1024
    }
}

/// Data shared by all VMs of this proxy with the same `vm_id`.
pub struct SharedData;

impl SharedStore for SharedData {
    fn get(&self, key: &str) -> (Option<Vec<u8>>, Option<u32>) {
        hostcalls::get_shared_data(key).unwrap_or((None, None))
    }

    fn set(&mut self, key: &str, value: &[u8], cas: Option<u32>) -> bool {
        hostcalls::set_shared_data(key, Some(value), cas).is_ok()
    }
}
