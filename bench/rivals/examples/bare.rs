//! No SDK, only the callbacks that a filter cannot do without, and the two host calls of the warm path: the digest
//! read, a verdict written. What remains when everything but Envoy's own share is taken away.
#![cfg(target_arch = "wasm32")]
#![allow(unsafe_code, reason = "the ABI, in so few lines that they can be read through")]

use std::sync::Mutex;

#[link(wasm_import_module = "env")]
unsafe extern "C" {
    fn proxy_get_property(path: *const u8, size: usize, value: *mut *const u8, value_size: *mut usize)
    -> u32;
    fn proxy_set_property(path: *const u8, size: usize, value: *const u8, value_size: usize) -> u32;
    fn proxy_get_buffer_bytes(
        kind: u32,
        start: usize,
        max: usize,
        bytes: *mut *const u8,
        size: *mut usize,
    ) -> u32;
}

const PLUGIN_CONFIGURATION: u32 = 7;

/// Where the host writes what it returns: a digest at most.
static BUFFER: Mutex<[u8; 64]> = Mutex::new([0; 64]);
/// The one digest that is known.
static KNOWN: Mutex<[u8; 64]> = Mutex::new([0; 64]);

#[unsafe(no_mangle)]
extern "C" fn proxy_abi_version_0_2_1() {}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_memory_allocate(size: usize) -> *mut u8 {
    match BUFFER.lock() {
        Ok(mut buffer) if size <= buffer.len() => buffer.as_mut_ptr(),
        _ => std::ptr::null_mut(),
    }
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_context_create(_: u32, _: u32) {}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_configure(_: u32, size: usize) -> bool {
    let (mut bytes, mut length) = (std::ptr::null(), 0);
    let status =
        unsafe { proxy_get_buffer_bytes(PLUGIN_CONFIGURATION, 0, size, &raw mut bytes, &raw mut length) };
    if let (0, Ok(buffer), Ok(mut known)) = (status, BUFFER.lock(), KNOWN.lock()) {
        *known = *buffer;
    }
    true
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_request_headers(_: u32, _: u32, _: u32) -> u32 {
    let path = b"connection\0sha256_peer_certificate_digest";
    let (mut bytes, mut length) = (std::ptr::null(), 0);
    let status = unsafe { proxy_get_property(path.as_ptr(), path.len(), &raw mut bytes, &raw mut length) };
    let known = match (BUFFER.lock(), KNOWN.lock()) {
        (Ok(buffer), Ok(known)) => status == 0 && length == 64 && *buffer == *known,
        _ => false,
    };
    let name = b"genesys_mtls.default";
    let verdict: &[u8] = if known { b"allow;us-east-1;genesys" } else { b"deny;not_pinned" };
    unsafe { proxy_set_property(name.as_ptr(), name.len(), verdict.as_ptr(), verdict.len()) };
    0
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_delete(_: u32) {}
