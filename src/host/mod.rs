//! Everything the filter asks of Envoy. No other module makes a host call, and none of these can panic: the SDK's
//! trait helpers unwrap, its `hostcalls` return results, and its text getters die on bytes that are not UTF-8. The one
//! exception is in nobody's hands but the operator's: most `hostcalls` stop where a capability list refuses the call.

mod metrics;
mod raw;
mod signature;

pub use metrics::{count, gauge, raise_gauge};

use crate::{
    config::MAX_CONFIGURATION,
    http::{HttpCall, HttpResponse},
    shared::SharedStore,
    time::{Monotonic, Now, UnixSeconds},
    x509::signature::SignatureVerifier,
};

use proxy_wasm::{
    hostcalls,
    types::{BufferType, MapType},
};
use std::time::Duration;
use talc::wasm::{WasmDynamicTalc, new_wasm_dynamic_allocator};

/// Made for one thread and small pieces: with the standard library's allocator, allocating would be half of what a
/// request that was decided before executes.
#[global_allocator]
static ALLOCATOR: WasmDynamicTalc = new_wasm_dynamic_allocator();

/// What verifies signatures.
pub const VERIFIER: &dyn SignatureVerifier = &signature::EnvoyVerifier;

/// The configuration of this plugin; nothing if it is larger than any that is read.
pub fn configuration(size: usize) -> Option<Vec<u8>> {
    if size > MAX_CONFIGURATION {
        return None;
    }
    let bytes = hostcalls::get_buffer(BufferType::PluginConfiguration, 0, size).ok()?;
    Some(bytes.unwrap_or_default())
}

/// Monotonic time, the same for all VMs of this proxy.
pub fn monotonic() -> Monotonic {
    Monotonic::new(raw::clock(raw::Clock::Monotonic))
}

pub fn wall_clock() -> UnixSeconds {
    UnixSeconds::try_from(raw::clock(raw::Clock::Realtime).as_secs()).unwrap_or(UnixSeconds::MAX)
}

/// Both clocks and a random number.
pub fn now() -> Now {
    Now {
        mono: monotonic(),
        wall: wall_clock(),
        random: f64::from((random() >> 32) as u32) / (f64::from(u32::MAX) + 1.0),
    }
}

/// A random number, from the host's randomness through the standard library's hash seeds.
pub fn random() -> u64 {
    use std::hash::{BuildHasher as _, RandomState};
    RandomState::new().hash_one(0_u8)
}

pub fn environment(variable: &str) -> Option<String> {
    std::env::var(variable).ok().filter(|value| !value.is_empty())
}

pub fn set_tick(period: Duration) {
    // A host that cannot tick leaves the filter without refresh, which shows in its metrics.
    let _ = hostcalls::set_tick_period(period);
}

/// Envoy's `node.id`, which tells proxies of a fleet from each other. Empty if none is set.
pub fn node() -> String {
    property("xds\0node\0id").and_then(|id| String::from_utf8(id).ok()).unwrap_or_default()
}

/// A property; the parts of its path are separated by zero bytes.
pub fn property(path: &str) -> Option<Vec<u8>> {
    raw::property(path)
}

/// Writes filter state `wasm.<name>` of the request.
pub fn set_filter_state(name: &str, value: &str) -> bool {
    raw::set_property(name, value.as_bytes())
}

pub fn request_header(name: &str) -> Option<Vec<u8>> {
    hostcalls::get_map_value_bytes(MapType::HttpRequestHeaders, name).ok().flatten()
}

/// All lines of a request header, joined by commas: [`request_header`] shows the first one only.
pub fn request_header_lines(name: &str) -> Option<Vec<u8>> {
    property(&format!("request\0headers\0{name}"))
}

/// Replaces all copies of a request header by one.
pub fn replace_request_header(name: &str, value: &str) {
    remove_request_header(name);
    let _ = hostcalls::add_map_value(MapType::HttpRequestHeaders, name, value);
}

pub fn remove_request_header(name: &str) {
    let _ = hostcalls::remove_map_value(MapType::HttpRequestHeaders, name);
}

/// Answers the request in Envoy's stead. False if that failed: the request must then go on to the guard.
pub fn reply(status: u16, headers: &[(&str, &str)], body: &str, details: &str) -> bool {
    raw::send_local_response(status, details, &serialize(headers), body.as_bytes())
}

/// Makes the following calls concern another request, one that is held.
pub fn enter_request(context: u32) -> bool {
    hostcalls::set_effective_context(context).is_ok()
}

pub fn resume_request() {
    let _ = hostcalls::resume_http_request();
}

/// Makes a call; the number under which its answer arrives.
pub fn dispatch(call: &HttpCall) -> Result<u32, String> {
    let headers: Vec<(&str, &str)> =
        call.headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let body = (!call.body.is_empty()).then_some(call.body);
    hostcalls::dispatch_http_call(&call.cluster, headers, body, Vec::new(), call.timeout)
        .map_err(|status| format!("{status:?}"))
}

/// The answer to a call, its body left out where it is larger than `limit`.
pub fn response(headers: usize, body_size: usize, limit: usize) -> HttpResponse {
    let header = |name| hostcalls::get_map_value_bytes(MapType::HttpCallResponseHeaders, name).ok().flatten();
    let number = |name| std::str::from_utf8(&header(name)?).ok()?.trim().parse::<u64>().ok();
    // No headers means that the connection was reset; asking for them then would be an error.
    let status = if headers == 0 { None } else { number(":status") };
    let body = match body_size {
        0 => Some(Vec::new()),
        size if size > limit => None,
        size => hostcalls::get_buffer(BufferType::HttpCallResponseBody, 0, size).ok().flatten(),
    };
    HttpResponse {
        status: status.and_then(|status| status.try_into().ok()).unwrap_or(0),
        body,
        retry_after: if headers == 0 { None } else { header("retry-after") },
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

/// Bytes of memory that this VM has taken. They only grow: WebAssembly gives nothing back.
pub fn memory() -> u64 {
    #[cfg(target_arch = "wasm32")]
    let pages = core::arch::wasm32::memory_size::<0>();
    #[cfg(not(target_arch = "wasm32"))]
    let pages = 0;
    u64::try_from(pages).unwrap_or(0) * 64 * 1024
}

/// The ABI's form of a header map: count, sizes, then names and values, each ended by a zero byte.
fn serialize(headers: &[(&str, &str)]) -> Vec<u8> {
    let size = |length: usize| u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes();
    let mut bytes = size(headers.len()).to_vec();
    for (name, value) in headers {
        bytes.extend(size(name.len()));
        bytes.extend(size(value.len()));
    }
    for text in headers.iter().flat_map(|(name, value)| [name, value]) {
        bytes.extend(text.as_bytes());
        bytes.push(0);
    }
    bytes
}
