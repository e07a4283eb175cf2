//! A module that looks at shared data.

use std::fmt::Write as _;

/// Where values are received; everything below is the module's own.
const RECEIVED: usize = 1024 * 1024;
/// Room for one value.
const ROOM: usize = 16 * 1024 * 1024;

/// A module that looks up these keys of shared data at each request, records how many there are and the bytes of their
/// values in the gauges `shared_data_keys` and `shared_data_bytes`, and lets the request pass.
pub fn observer(keys: &[String]) -> Vec<u8> {
    // Below: 0 and 4 receive a value's place and size, 8 its version; 16 and 48 are the gauges' names.
    let (mut data, mut calls, mut at) = (String::new(), String::new(), 2048);
    for key in keys {
        let _ = writeln!(data, "(data (i32.const {at}) \"{key}\")");
        let _ = writeln!(calls, "(call $look (i32.const {at}) (i32.const {}))", key.len());
        at += key.len();
    }
    assert!(at < RECEIVED, "too many keys");
    let pages = (RECEIVED + ROOM) / 65536;
    let text = format!(
        r#"(module
            (import "env" "proxy_get_shared_data" (func $get (param i32 i32 i32 i32 i32) (result i32)))
            (import "env" "proxy_define_metric" (func $define (param i32 i32 i32 i32) (result i32)))
            (import "env" "proxy_record_metric" (func $record (param i32 i64) (result i32)))
            (memory (export "memory") {pages})
            (data (i32.const 16) "shared_data_keys")
            (data (i32.const 48) "shared_data_bytes")
            {data}
            (global $keys (mut i64) (i64.const 0))
            (global $bytes (mut i64) (i64.const 0))
            (func $look (param i32 i32)
                (i32.store (i32.const 4) (i32.const 0))
                (if (i32.eqz (call $get (local.get 0) (local.get 1) (i32.const 0) (i32.const 4) (i32.const 8)))
                    (then
                        (global.set $keys (i64.add (global.get $keys) (i64.const 1)))
                        (global.set $bytes (i64.add (global.get $bytes) (i64.extend_i32_u (i32.load (i32.const 4))))))))
            ;; A gauge is metric type 1. Its number is received where a value's place is.
            (func $gauge (param i32 i32 i64)
                (drop (call $define (i32.const 1) (local.get 0) (local.get 1) (i32.const 0)))
                (drop (call $record (i32.load (i32.const 0)) (local.get 2))))
            (func (export "proxy_abi_version_0_2_1"))
            (func (export "malloc") (param i32) (result i32) (i32.const {RECEIVED}))
            (func (export "proxy_on_context_create") (param i32 i32))
            (func (export "proxy_on_vm_start") (param i32 i32) (result i32) (i32.const 1))
            (func (export "proxy_on_configure") (param i32 i32) (result i32) (i32.const 1))
            (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
                (global.set $keys (i64.const 0))
                (global.set $bytes (i64.const 0))
                {calls}
                (call $gauge (i32.const 16) (i32.const 16) (global.get $keys))
                (call $gauge (i32.const 48) (i32.const 17) (global.get $bytes))
                (i32.const 0))
            (func (export "proxy_on_done") (param i32) (result i32) (i32.const 1))
            (func (export "proxy_on_delete") (param i32)))"#
    );
    wat::parse_str(&text).unwrap_or_else(|error| panic!("{error}"))
}
