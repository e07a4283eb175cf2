//! The filter as it was built, made to crash: a function is put before one of its callbacks.

use std::ops::Range;
use wasm_encoder::{
    BlockType, CodeSection, ConstExpr, ExportKind, ExportSection, Function, FunctionSection, GlobalSection,
    GlobalType, InstructionSink, Module, RawSection, ValType,
};
use wasmparser::{ExternalKind, FuncType, Parser, Payload, TypeRef};

/// The filter itself, but for this callback: the first VM of the process that enters it crashes.
///
/// What is put before it writes to shared data as [`super::replace`]'s stand-ins do, under a key of eight bytes at the far
/// end of the stack.
pub fn crashing_once(filter: &[u8], callback: &str) -> Vec<u8> {
    Parts::of(filter, callback).put_before(|sink, share, _| {
        sink.i32_const(0).i32_const(8).i32_const(0).i32_const(1).i32_const(-1).call(share);
        sink.i32_eqz();
    })
}

/// The filter itself, but for this callback: each VM crashes when it enters it for the `nth` time.
pub fn crashing_each(filter: &[u8], callback: &str, nth: i32) -> Vec<u8> {
    Parts::of(filter, callback).put_before(|sink, _, counter| {
        sink.global_get(counter).i32_const(1).i32_add().global_set(counter);
        sink.global_get(counter).i32_const(nth).i32_eq();
    })
}

/// What of a module has to be known to put a function before an exported one.
struct Parts<'m> {
    bytes: &'m [u8],
    payloads: Vec<Payload<'m>>,
    callback: &'m str,
    /// The callback's function, and its parameters.
    target: u32,
    parameters: u32,
    /// Types of the functions that are not imported.
    types: Vec<u32>,
    imported: u32,
    /// The import `proxy_set_shared_data`.
    share: u32,
}

impl<'m> Parts<'m> {
    fn of(bytes: &'m [u8], callback: &'m str) -> Self {
        let payloads: Vec<Payload<'_>> =
            Parser::new(0).parse_all(bytes).collect::<Result<_, _>>().expect("a module");
        let (mut imported, mut share, mut target) = (0, None, None);
        let (mut types, mut signatures) = (Vec::new(), Vec::<FuncType>::new());
        for payload in &payloads {
            match payload {
                Payload::TypeSection(all) => {
                    signatures =
                        all.clone().into_iter_err_on_gc_types().collect::<Result<_, _>>().expect("types");
                }
                Payload::ImportSection(imports) => {
                    for import in imports.clone().into_imports().map(|import| import.expect("an import")) {
                        if matches!(import.ty, TypeRef::Func(_)) {
                            share = share.or((import.name == "proxy_set_shared_data").then_some(imported));
                            imported += 1;
                        }
                    }
                }
                Payload::FunctionSection(functions) => {
                    types = functions.clone().into_iter().flatten().collect()
                }
                Payload::ExportSection(exports) => {
                    let found = exports.clone().into_iter().flatten().find(|export| export.name == callback);
                    target = found.map(|export| export.index);
                }
                _ => {}
            }
        }
        let target = target.expect("an export");
        let of_target = types[index(target - imported)];
        let parameters = u32::try_from(signatures[index(of_target)].params().len()).expect("few");
        Self {
            bytes,
            payloads,
            callback,
            target,
            parameters,
            types,
            imported,
            share: share.expect("an import"),
        }
    }

    /// A function in the callback's stead: if `condition` (which may call the import and count in a global) leaves
    /// anything but zero it crashes, else it calls the callback.
    fn put_before(self, condition: impl FnOnce(&mut InstructionSink<'_>, u32, u32)) -> Vec<u8> {
        let added = self.imported + u32::try_from(self.types.len()).expect("few");
        let mut types = self.types.clone();
        types.push(types[index(self.target - self.imported)]);
        let globals = self.payloads.iter().find_map(|payload| match payload {
            Payload::GlobalSection(globals) => Some(globals.count()),
            _ => None,
        });
        let mut function = Function::new(Vec::<(u32, ValType)>::new());
        let mut sink = function.instructions();
        condition(&mut sink, self.share, globals.expect("a stack pointer, at least"));
        sink.if_(BlockType::Empty).unreachable().end();
        for parameter in 0..self.parameters {
            sink.local_get(parameter);
        }
        sink.call(self.target).end();

        let mut module = Module::new();
        let mut code = CodeSection::new();
        for payload in &self.payloads {
            match payload {
                Payload::FunctionSection(_) => {
                    let mut functions = FunctionSection::new();
                    for of in &types {
                        functions.function(*of);
                    }
                    module.section(&functions);
                }
                Payload::GlobalSection(globals) => {
                    let mut all = GlobalSection::new();
                    let starts = globals.clone().into_iter_with_offsets();
                    let mut at: Vec<u64> = starts.map(|global| global.expect("a global").0).collect();
                    at.push(globals.range().end);
                    for pair in at.windows(2) {
                        all.raw(self.slice(pair[0]..pair[1]));
                    }
                    let counter = GlobalType { val_type: ValType::I32, mutable: true, shared: false };
                    all.global(counter, &ConstExpr::i32_const(0));
                    module.section(&all);
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
                        all.export(
                            export.name,
                            kind,
                            if export.name == self.callback { added } else { export.index },
                        );
                    }
                    module.section(&all);
                }
                Payload::CodeSectionStart { .. } => {}
                Payload::CodeSectionEntry(body) => {
                    code.raw(self.slice(body.range()));
                    if usize::try_from(code.len()).is_ok_and(|done| done + 1 == types.len()) {
                        code.function(&function);
                        module.section(&code);
                    }
                }
                other => {
                    if let Some((id, range)) = other.as_section() {
                        module.section(&RawSection { id, data: self.slice(range) });
                    }
                }
            }
        }
        module.finish()
    }

    fn slice(&self, range: Range<u64>) -> &'m [u8] {
        let at = |position: u64| usize::try_from(position).expect("in memory");
        &self.bytes[at(range.start)..at(range.end)]
    }
}

fn index(of: u32) -> usize {
    usize::try_from(of).expect("in memory")
}
