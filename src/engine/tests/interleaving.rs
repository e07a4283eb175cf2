//! What another worker does between two looks at shared data.

use super::*;
use crate::shared::SharedStore;
use std::cell::RefCell;

/// Shared data that another worker writes to at the read with this number.
struct Interrupted<'a, F> {
    store: RefCell<&'a mut MemoryStore>,
    reads: Cell<u32>,
    at: u32,
    interruption: RefCell<Option<F>>,
}

impl<F: FnOnce(&mut MemoryStore)> SharedStore for Interrupted<'_, F> {
    fn get(&self, key: &str) -> (Option<Vec<u8>>, Option<u32>) {
        let mut store = self.store.borrow_mut();
        if self.reads.get() == self.at
            && let Some(interruption) = self.interruption.take()
        {
            interruption(&mut store);
        }
        self.reads.set(self.reads.get() + 1);
        store.get(key)
    }

    fn set(&mut self, key: &str, value: &[u8], cas: Option<u32>) -> bool {
        self.store.get_mut().set(key, value, cas)
    }
}

/// Decides on `client` in worker 1 while worker 0, whose refresh is under way, is answered at the read with this number.
/// Returns how it is decided, and whether there was such a read.
fn interrupted(proxy: &mut Proxy, api: Api<'_>, client: &Shown, at: u32) -> (Action, bool) {
    let mut calls = proxy.take();
    let Proxy { store, workers, around, effects } = proxy;
    let (first, second) = workers.split_at_mut(1);
    let around = &*around;
    let interruption = |store: &mut MemoryStore| {
        while let Some(effect) = calls.pop() {
            let Effect::Call { id, call } = effect else { continue };
            let mut io = Io::new(store, VERIFIER, around);
            first[0].on_response(&id, Ok(api(&call)), &mut io);
            calls.extend(io.effects);
        }
    };
    let mut store = Interrupted {
        store: RefCell::new(store),
        reads: Cell::new(0),
        at,
        interruption: RefCell::new(Some(interruption)),
    };
    let mut io = Io::new(&mut store, VERIFIER, around);
    let action = second[0].on_request(7, client, &mut io);
    effects.extend(io.effects);
    let was_interrupted = store.interruption.borrow().is_none();
    (action, was_interrupted)
}

#[test]
fn news_during_a_decision_are_never_missed() {
    let (old, new) = (genuine(), genuine());
    let client = Shown(Some(new.clone()));
    let mut decided = Vec::new();
    for at in 0.. {
        let mut proxy = Proxy::by_api(&json!({}), 2);
        for worker in 0..2 {
            proxy.tick(worker, &naming(&[&old]));
        }
        proxy.pass(HOUR);
        proxy.event(0, Engine::on_tick);
        let api = naming(&[&old, &new]);
        let (action, was_interrupted) = interrupted(&mut proxy, &api, &client, at);
        if !was_interrupted {
            assert_eq!(said(&action), "hold", "the refresh has not been answered");
            break;
        }
        if said(&action) == "hold" {
            assert_eq!(released(&proxy.tick(1, &api)), [(7, "allow")], "at read {at}");
        } else {
            assert_eq!(said(&action), "allow", "at read {at}");
        }
        decided.push(said(&action));
    }
    assert!(decided.contains(&"allow"), "{decided:?}");
}
