//! Small modules that stand in for the filter where it must not work: skipped by Envoy, or crashing.
//!
//! The filter has no switch for that, and must not have one.

use serde_json::{Value, json};
use std::{fmt::Write as _, ops::Range};
use testbed::World;
use wasm_encoder::{
    CodeSection, ExportKind, ExportSection, Function, FunctionSection, Module, RawSection, ValType,
};
use wasmparser::{ExternalKind, Parser, Payload, TypeRef};

/// What becomes of a stand-in.
#[derive(Clone, Copy, Debug)]
pub enum Fate {
    /// Its configuration is accepted in the throw-away VM and refused in every worker after it.
    RefusedByWorkers,
    /// The same with a crash.
    CrashesInWorkers,
    /// It crashes at each request.
    CrashesAtRequests,
    /// It crashes at the first request, and lets in who comes later.
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

/// The filter itself, but for this callback: the first VM of the process that enters it crashes.
///
/// A function is put before the callback. It writes to shared data as [`module`]'s `$first` does, under a key of eight
/// bytes at the far end of the stack.
pub fn crashing_once(filter: &[u8], callback: &str) -> Vec<u8> {
    let payloads: Vec<Payload<'_>> =
        Parser::new(0).parse_all(filter).collect::<Result<_, _>>().expect("a module");
    let (mut imported, mut share, mut types, mut target) = (0, None, Vec::new(), None);
    for payload in &payloads {
        match payload {
            Payload::ImportSection(imports) => {
                for import in imports.clone().into_imports().map(|import| import.expect("an import")) {
                    if matches!(import.ty, TypeRef::Func(_)) {
                        share = share.or((import.name == "proxy_set_shared_data").then_some(imported));
                        imported += 1;
                    }
                }
            }
            Payload::FunctionSection(functions) => types = functions.clone().into_iter().flatten().collect(),
            Payload::ExportSection(exports) => {
                let found = exports.clone().into_iter().flatten().find(|export| export.name == callback);
                target = found.map(|export| export.index);
            }
            _ => {}
        }
    }
    let (share, target) = (share.expect("an import"), target.expect("an export"));
    let added = imported + u32::try_from(types.len()).expect("few");
    types.push(types[usize::try_from(target - imported).expect("in memory")]);

    let bytes = |range: Range<u64>| {
        &filter
            [usize::try_from(range.start).expect("in memory")..usize::try_from(range.end).expect("in memory")]
    };
    let mut crashing = Module::new();
    let mut code = CodeSection::new();
    for payload in &payloads {
        match payload {
            Payload::FunctionSection(_) => {
                let mut functions = FunctionSection::new();
                for of in &types {
                    functions.function(*of);
                }
                crashing.section(&functions);
            }
            Payload::ExportSection(exports) => {
                let mut all = ExportSection::new();
                for export in exports.clone().into_iter().flatten() {
                    let kind = match export.kind {
                        ExternalKind::Func => ExportKind::Func,
                        ExternalKind::Memory => ExportKind::Memory,
                        ExternalKind::Global => ExportKind::Global,
                        other => panic!("an export of kind {other:?}"),
                    };
                    all.export(export.name, kind, if export.name == callback { added } else { export.index });
                }
                crashing.section(&all);
            }
            Payload::CodeSectionStart { .. } => {}
            Payload::CodeSectionEntry(body) => {
                code.raw(bytes(body.range()));
                if usize::try_from(code.len()).is_ok_and(|done| done + 1 == types.len()) {
                    code.function(&crash_or_call(share, target));
                    crashing.section(&code);
                }
            }
            other => {
                if let Some((id, range)) = other.as_section() {
                    crashing.section(&RawSection { id, data: bytes(range) });
                }
            }
        }
    }
    crashing.finish()
}

fn crash_or_call(share: u32, target: u32) -> Function {
    let mut function = Function::new(Vec::<(u32, ValType)>::new());
    let mut sink = function.instructions();
    sink.i32_const(0).i32_const(8).i32_const(0).i32_const(1).i32_const(-1).call(share);
    sink.i32_eqz().if_(wasm_encoder::BlockType::Empty).unreachable().end();
    // Every parameter of `proxy_on_http_call_response` is handed on.
    for parameter in 0..5 {
        sink.local_get(parameter);
    }
    sink.call(target).end();
    function
}
