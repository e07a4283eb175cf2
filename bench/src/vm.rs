//! The module in an interpreter that counts what it executes.

use crate::{guest::Guest, host, script::Script};
use std::{
    collections::BTreeMap,
    path::Path,
    sync::atomic::{AtomicU32, Ordering},
};
use wasmi::{
    Caller, CompilationMode, Config, Engine, Error, ExternType, Instance, Linker, Module, Store, Val,
};

/// The root context's id.
const ROOT: i32 = 1;
const PAGE: u64 = 64 * 1024;

/// What something cost: guest instructions (the interpreter's fuel) and host calls by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    pub instructions: u64,
    pub calls: BTreeMap<String, u64>,
}

impl Cost {
    pub fn host_calls(&self) -> u64 {
        self.calls.values().sum()
    }
}

/// A module, compiled once.
#[derive(Debug)]
pub struct Compiled {
    engine: Engine,
    module: Module,
}

impl Compiled {
    pub fn read(path: &Path) -> Self {
        let bytes = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let mut config = Config::default();
        // Lazy translation would be charged to the first call.
        config.consume_fuel(true).compilation_mode(CompilationMode::Eager);
        let engine = Engine::new(&config);
        let module =
            Module::new(&engine, &bytes[..]).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        Self { engine, module }
    }

    /// A VM of it, its plugin configured as the script says.
    pub fn start(&self, script: Script) -> Vm {
        let mut store = Store::new(&self.engine, script);
        store.set_fuel(u64::MAX).expect("fuel is metered");
        let mut linker = Linker::new(&self.engine);
        for import in self.module.imports() {
            let ExternType::Func(kind) = import.ty() else { panic!("the module imports {}", import.name()) };
            let name = import.name().to_owned();
            let call = move |mut caller: Caller<'_, Script>, parameters: &[Val], results: &mut [Val]| {
                *caller.data_mut().calls.entry(name.clone()).or_default() += 1;
                let status = host::answer(&name, &mut Guest::new(&mut caller, parameters)?)
                    .ok_or_else(|| Error::new(format!("the script does not know {name}")))?;
                if let [result] = results {
                    *result = Val::I32(status);
                }
                Ok(())
            };
            linker
                .func_new(import.module(), import.name(), kind.clone(), call)
                .expect("one function of a name");
        }
        let instance = linker.instantiate_and_start(&mut store, &self.module).expect("an instance");
        let mut vm = Vm { store, instance };
        vm.call("_initialize", &[]);
        vm.call("proxy_on_context_create", &[ROOT, 0]);
        vm.call("proxy_on_vm_start", &[ROOT, 0]);
        let size = vm.script().configuration.len().try_into().expect("a small configuration");
        assert_ne!(vm.call("proxy_on_configure", &[ROOT, size]), Some(0), "refused: {:?}", vm.script().log);
        vm
    }
}

/// An instance with one plugin.
#[derive(Debug)]
pub struct Vm {
    store: Store<Script>,
    instance: Instance,
}

impl Vm {
    pub fn script(&mut self) -> &mut Script {
        self.store.data_mut()
    }

    /// Memory in use, in bytes.
    pub fn memory(&self) -> u64 {
        let memory = self.instance.get_memory(&self.store, "memory").expect("a memory");
        memory.size(&self.store) * PAGE
    }

    /// What it has cost so far.
    pub fn cost(&self) -> Cost {
        let left = self.store.get_fuel().expect("fuel is metered");
        Cost { instructions: u64::MAX - left, calls: self.store.data().calls.clone() }
    }

    /// What `work` costs.
    pub fn measure(&mut self, work: impl FnOnce(&mut Self)) -> Cost {
        let before = self.cost();
        work(self);
        let after = self.cost();
        let more = |(name, count): (&String, &u64)| {
            let new = count - before.calls.get(name).unwrap_or(&0);
            (new > 0).then(|| (name.clone(), new))
        };
        Cost {
            instructions: after.instructions - before.instructions,
            calls: after.calls.iter().filter_map(more).collect(),
        }
    }

    /// Every callback of one request and its answer, as far as the module has them. Both have a body.
    pub fn stream(&mut self) {
        static NEXT: AtomicU32 = AtomicU32::new(2);
        let id = NEXT.fetch_add(1, Ordering::Relaxed).cast_signed();
        self.call("proxy_on_context_create", &[id, ROOT]);
        self.call("proxy_on_request_headers", &[id, 9, 0]);
        self.call("proxy_on_request_body", &[id, 100, 1]);
        self.call("proxy_on_response_headers", &[id, 7, 0]);
        self.call("proxy_on_response_body", &[id, 100, 1]);
        self.call("proxy_on_done", &[id]);
        self.call("proxy_on_log", &[id]);
        self.call("proxy_on_delete", &[id]);
    }

    pub fn tick(&mut self) {
        self.call("proxy_on_tick", &[ROOT]);
    }

    /// The answer to the call with this token: status 200 and this body.
    pub fn respond(&mut self, token: u32, body: Vec<u8>) {
        let size = body.len().try_into().expect("a small body");
        self.script().response = body;
        self.call("proxy_on_http_call_response", &[ROOT, token.cast_signed(), 1, size, 0]);
        self.script().response = Vec::new();
    }

    fn call(&mut self, name: &str, parameters: &[i32]) -> Option<i32> {
        let function = self.instance.get_func(&self.store, name)?;
        let parameters: Vec<Val> = parameters.iter().copied().map(Val::I32).collect();
        let mut results = vec![Val::I32(0); function.ty(&self.store).results().len()];
        if let Err(error) = function.call(&mut self.store, &parameters, &mut results) {
            panic!("{name}: {error}; log: {:?}", self.store.data().log);
        }
        results.first().and_then(Val::i32)
    }
}
