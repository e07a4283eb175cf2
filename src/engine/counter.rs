//! Counters in memory: ticks hand over what they have counted.

use std::{cell::Cell, rc::Rc};

/// What was counted under one name since it was last taken.
#[derive(Debug)]
pub struct Counter {
    pub metric: String,
    value: Cell<u64>,
}

impl Counter {
    pub fn new(metric: String) -> Self {
        Self { metric, value: Cell::new(0) }
    }

    pub fn increment(&self) {
        self.value.set(self.value.get().saturating_add(1));
    }

    pub fn get(&self) -> u64 {
        self.value.get()
    }

    pub fn take(&self) -> u64 {
        self.value.take()
    }
}

/// What is counted of requests allowed by one authority of one region.
#[derive(Clone, Debug)]
pub struct Allowances {
    pub all: Rc<Counter>,
    /// Those whose certificate no current CRL covers; only where CRLs are consulted.
    pub unchecked: Option<Rc<Counter>>,
}

impl Allowances {
    pub fn increment(&self, unchecked: bool) {
        self.all.increment();
        if let (true, Some(counter)) = (unchecked, &self.unchecked) {
            counter.increment();
        }
    }
}
