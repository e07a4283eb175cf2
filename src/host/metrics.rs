//! Envoy's counters and gauges. They belong to the proxy, not to a VM.

use proxy_wasm::{hostcalls, types::MetricType};
use std::{cell::RefCell, collections::BTreeMap};

thread_local! {
    /// Handles by name. Envoy makes a new handle at each definition and keeps it as long as the VM lives, so each metric is defined once.
    /// A handle is the same for all plugins of a VM, so it carries nothing from one policy to another.
    static HANDLES: RefCell<BTreeMap<String, u32>> = const { RefCell::new(BTreeMap::new()) };
}

fn handle(kind: MetricType, name: &str) -> Option<u32> {
    HANDLES.with_borrow_mut(|handles| {
        if let Some(handle) = handles.get(name) {
            return Some(*handle);
        }
        let handle = hostcalls::define_metric(kind, name).ok()?;
        handles.insert(name.to_owned(), handle);
        Some(handle)
    })
}

/// Adds to a counter, which exists from then on.
pub fn count(name: &str, by: u64) {
    let by = i64::try_from(by).unwrap_or(i64::MAX);
    // The host treats an increment of zero as an error.
    if let Some(counter) = handle(MetricType::Counter, name)
        && by > 0
    {
        let _ = hostcalls::increment_metric(counter, by);
    }
}

pub fn gauge(name: &str, value: u64) {
    if let Some(gauge) = handle(MetricType::Gauge, name) {
        let _ = hostcalls::record_metric(gauge, value);
    }
}

/// Raises a gauge to a value; a higher value stays. For gauges that show the highest value of all VMs.
pub fn raise_gauge(name: &str, value: u64) {
    if let Some(gauge) = handle(MetricType::Gauge, name)
        && hostcalls::get_metric(gauge).is_ok_and(|known| known < value)
    {
        let _ = hostcalls::record_metric(gauge, value);
    }
}
