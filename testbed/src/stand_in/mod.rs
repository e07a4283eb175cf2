//! Small modules that stand in for the filter where it must not work: skipped by Envoy, or crashing.
//!
//! The filter has no switch for that, and must not have one.

mod crashing;
mod observer;

use crate::World;
use serde_json::{Value, json};
use std::fmt::Write as _;

pub use crashing::{crashing_each, crashing_once};
pub use observer::observer;

/// What becomes of a stand-in.
#[derive(Clone, Copy, Debug)]
pub enum Fate {
    /// Its configuration is accepted in the throw-away VM and refused in every worker after it.
    RefusedByWorkers,
    /// The same with a crash.
    CrashesInWorkers,
    /// It crashes at each request.
    CrashesAtRequests,
    /// It crashes at the first request, and allows later ones.
    CrashesOnce,
    /// It crashes at the tick after it made a request wait.
    CrashesWhileHolding,
}

impl Fate {
    fn code(self) -> [&'static str; 3] {
        let (accept, pass, idle) = ("(i32.const 1)", "(i32.const 0)", "");
        match self {
            Self::RefusedByWorkers => ["(call $first)", pass, idle],
            Self::CrashesInWorkers => {
                ["(if (result i32) (call $first) (then (i32.const 1)) (else unreachable))", pass, idle]
            }
            Self::CrashesAtRequests => [accept, "unreachable", idle],
            Self::CrashesOnce => {
                [accept, "(if (result i32) (call $first) (then unreachable) (else (call $allow)))", idle]
            }
            Self::CrashesWhileHolding => [
                "(drop (call $tick (i32.const 50))) (i32.const 1)",
                "(global.set $held (i32.const 1)) (i32.const 1)",
                "(if (global.get $held) (then unreachable))",
            ],
        }
    }
}

/// A module with this fate, in the shape that the proxy-wasm ABI 0.2.1 asks for.
fn module(fate: Fate) -> Vec<u8> {
    let [configure, request, tick] = fate.code();
    let text = format!(
        r#"(module
            (import "env" "proxy_set_shared_data" (func $share (param i32 i32 i32 i32 i32) (result i32)))
            (import "env" "proxy_set_property" (func $property (param i32 i32 i32 i32) (result i32)))
            (import "env" "proxy_set_tick_period_milliseconds" (func $tick (param i32) (result i32)))
            (memory (export "memory") 1)
            (data (i32.const 0) "genesys_mtls.default")
            (data (i32.const 32) "allow;stand-in")
            (global $held (mut i32) (i32.const 0))
            ;; Data shared by all VMs are written with an impossible count: that works while there are none.
            (func $first (result i32)
                (i32.eqz (call $share (i32.const 0) (i32.const 20) (i32.const 32) (i32.const 1) (i32.const -1))))
            (func $allow (result i32)
                (call $property (i32.const 0) (i32.const 20) (i32.const 32) (i32.const 14)))
            (func (export "proxy_abi_version_0_2_1"))
            (func (export "malloc") (param i32) (result i32) (i32.const 1024))
            (func (export "proxy_on_context_create") (param i32 i32))
            (func (export "proxy_on_vm_start") (param i32 i32) (result i32) (i32.const 1))
            (func (export "proxy_on_configure") (param i32 i32) (result i32) {configure})
            (func (export "proxy_on_tick") (param i32) {tick})
            (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32) {request})
            (func (export "proxy_on_done") (param i32) (result i32) (i32.const 1))
            (func (export "proxy_on_delete") (param i32)))"#
    );
    wat::parse_str(&text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

/// Puts a stand-in where the filter is, in a VM that is its own.
pub fn replace(world: &World, plugin: &mut Value, vm: &str, fate: Fate) {
    let file = world.write(&format!("{fate:?}.wasm"), module(fate)).expect("a module is written");
    plugin["vm_config"]["code"] = json!({"local": {"filename": file}});
    plugin["vm_config"]["vm_id"] = vm.into();
}

/// A module that writes these values to these keys of shared data at each request, and lets it pass.
pub fn vandal(writes: &[(String, Vec<u8>)]) -> Vec<u8> {
    let (mut data, mut calls, mut at) = (String::new(), String::new(), 2048);
    let mut place = |bytes: &[u8]| {
        let _ = write!(data, "(data (i32.const {at}) \"");
        for byte in bytes {
            let _ = write!(data, "\\{byte:02x}");
        }
        data.push_str("\")\n");
        let placed = format!("(i32.const {at}) (i32.const {})", bytes.len());
        at += bytes.len();
        placed
    };
    for (key, value) in writes {
        let (key, value) = (place(key.as_bytes()), place(value));
        let _ = writeln!(calls, "(drop (call $share {key} {value} (i32.const 0)))");
    }
    let text = format!(
        r#"(module
            (import "env" "proxy_set_shared_data" (func $share (param i32 i32 i32 i32 i32) (result i32)))
            (memory (export "memory") 4)
            {data}
            (func (export "proxy_abi_version_0_2_1"))
            (func (export "malloc") (param i32) (result i32) (i32.const 1024))
            (func (export "proxy_on_context_create") (param i32 i32))
            (func (export "proxy_on_vm_start") (param i32 i32) (result i32) (i32.const 1))
            (func (export "proxy_on_configure") (param i32 i32) (result i32) (i32.const 1))
            (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32) {calls} (i32.const 0))
            (func (export "proxy_on_done") (param i32) (result i32) (i32.const 1))
            (func (export "proxy_on_delete") (param i32)))"#
    );
    wat::parse_str(&text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}
