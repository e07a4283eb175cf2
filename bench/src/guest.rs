//! The module's side of one host call.

use crate::script::Script;
use wasmi::{Caller, Error, Memory, Val};

/// Its arguments and its memory.
#[allow(missing_debug_implementations, reason = "the interpreter's caller has none")]
pub struct Guest<'a, 'b> {
    caller: &'a mut Caller<'b, Script>,
    memory: Memory,
    parameters: &'a [Val],
}

impl<'a, 'b> Guest<'a, 'b> {
    pub fn new(caller: &'a mut Caller<'b, Script>, parameters: &'a [Val]) -> Result<Self, Error> {
        let memory = caller.get_export("memory").and_then(wasmi::Extern::into_memory);
        let memory = memory.ok_or_else(|| Error::new("no memory"))?;
        Ok(Self { caller, memory, parameters })
    }

    pub fn script(&mut self) -> &mut Script {
        self.caller.data_mut()
    }

    pub fn number(&self, index: usize) -> u64 {
        match self.parameters[index] {
            Val::I32(value) => u64::from(value.cast_unsigned()),
            Val::I64(value) => value.cast_unsigned(),
            ref other => panic!("argument {index} is {other:?}"),
        }
    }

    fn address(&self, index: usize) -> usize {
        self.number(index).try_into().expect("an address")
    }

    /// The bytes that two arguments, address and length, show.
    pub fn bytes(&self, index: usize) -> Vec<u8> {
        let mut bytes = vec![0; self.address(index + 1)];
        self.memory.read(&*self.caller, self.address(index), &mut bytes).expect("within memory");
        bytes
    }

    /// Writes to where an argument points.
    pub fn write(&mut self, index: usize, bytes: &[u8]) {
        let at = self.address(index);
        self.write_at(at, bytes);
    }

    pub fn write_at(&mut self, at: usize, bytes: &[u8]) {
        self.memory.write(&mut *self.caller, at, bytes).expect("within memory");
    }

    /// Hands over bytes in memory that the module allocates, address and length to where two arguments point.
    pub fn give(&mut self, index: usize, bytes: &[u8]) {
        let length = u32::try_from(bytes.len()).expect("a length");
        let allocate = ["proxy_on_memory_allocate", "malloc"]
            .into_iter()
            .find_map(|name| self.caller.get_export(name)?.into_func())
            .expect("an allocator");
        let mut address = [Val::I32(0)];
        allocate
            .call(&mut *self.caller, &[Val::I32(length.cast_signed())], &mut address)
            .expect("an allocation");
        let address = address[0].i32().expect("an address").cast_unsigned();
        self.write_at(address as usize, bytes);
        self.write(index, &address.to_le_bytes());
        self.write(index + 1, &length.to_le_bytes());
    }
}
