//! Host calls that the SDK lacks, and the two that every request makes: the SDK's versions copy each argument.
//! The only module with `unsafe`: each block hands the host pointers and lengths of
//! slices and integers that outlive the call, as the proxy-wasm ABI 0.2.1 and WASI preview 1 define them.
#![allow(unsafe_code)]

use std::{ptr, time::Duration};

#[link(wasm_import_module = "env")]
unsafe extern "C" {
    fn proxy_send_local_response(
        status: u32,
        details: *const u8,
        details_size: usize,
        body: *const u8,
        body_size: usize,
        headers: *const u8,
        headers_size: usize,
        grpc_status: i32,
    ) -> u32;
    fn proxy_get_property(path: *const u8, size: usize, value: *mut *mut u8, value_size: *mut usize) -> u32;
    fn proxy_set_property(path: *const u8, path_size: usize, value: *const u8, value_size: usize) -> u32;
}

#[link(wasm_import_module = "wasi_snapshot_preview1")]
unsafe extern "C" {
    fn clock_time_get(clock: u32, precision: u64, time: *mut u64) -> u32;
}

/// Clocks of WASI preview 1.
#[derive(Clone, Copy)]
pub enum Clock {
    Realtime = 0,
    /// One origin for all VMs of a process, unlike `std::time::Instant`, which has no number to share.
    Monotonic = 1,
}

/// A clock's reading; zero where the host has no such clock.
pub fn clock(clock: Clock) -> Duration {
    let mut nanoseconds = 0;
    let status = unsafe { clock_time_get(clock as u32, 1, &raw mut nanoseconds) };
    if status == 0 { Duration::from_nanos(nanoseconds) } else { Duration::ZERO }
}

/// Answers the request. The SDK's call cannot set the response-code details that access logs show.
///
/// `headers` is in the ABI's serialized form. The gRPC status (-1) is left for Envoy to derive from the HTTP status.
pub fn send_local_response(status: u16, details: &str, headers: &[u8], body: &[u8]) -> bool {
    let result = unsafe {
        proxy_send_local_response(
            u32::from(status),
            details.as_ptr(),
            details.len(),
            body.as_ptr(),
            body.len(),
            headers.as_ptr(),
            headers.len(),
            -1,
        )
    };
    result == 0
}

/// A property of the current request; the parts of its path are separated by zero bytes.
pub fn property(path: &str) -> Option<Vec<u8>> {
    let (mut value, mut size) = (ptr::null_mut(), 0);
    let status = unsafe { proxy_get_property(path.as_ptr(), path.len(), &raw mut value, &raw mut size) };
    if status != 0 || value.is_null() {
        return None;
    }
    // The host wrote into memory that it got from `proxy_on_memory_allocate`: a boxed slice of this size, and ours now.
    Some(unsafe { Box::from_raw(ptr::slice_from_raw_parts_mut(value, size)) }.into_vec())
}

/// Writes filter state `wasm.<name>` of the current request. False if Envoy refused.
pub fn set_filter_state(name: &str, value: &str) -> bool {
    unsafe { proxy_set_property(name.as_ptr(), name.len(), value.as_ptr(), value.len()) == 0 }
}
