//! The metrics: what the reference lists, Envoy exports and the files in `envoy/observability` use is this.

/// A metric of the filter: its name in `/stats` after the policy's, with what varies in angle brackets; whether it is a
/// gauge; the labels that the shipped `stats_tags` make of it, in addition to `genesys_policy`.
pub struct Metric {
    pub name: &'static str,
    pub gauge: bool,
    pub labels: &'static [&'static str],
}

const fn counter(name: &'static str, labels: &'static [&'static str]) -> Metric {
    Metric { name, gauge: false, labels }
}

const fn gauge(name: &'static str, labels: &'static [&'static str]) -> Metric {
    Metric { name, gauge: true, labels }
}

pub const METRICS: &[Metric] = &[
    counter("decisions.allow.<authority>.<region>", &["decision", "authority", "region"]),
    counter("decisions.deny.<reason>", &["decision", "reason"]),
    counter("lost_access.<reason>", &["reason"]),
    counter("cache_hits", &[]),
    counter("held_requests", &[]),
    gauge("signature_unavailable", &[]),
    gauge("authority_unusable", &[]),
    gauge("enforcing", &[]),
    counter("refreshes.<result>.<region>", &["result", "region"]),
    gauge("refresh_failures_in_a_row.<region>", &["region"]),
    gauge("trust_age_seconds.<region>", &["region"]),
    gauge("pins.<status>.<region>", &["status", "region"]),
    gauge("announced_but_denied.<reason>.<authority>.<region>", &["reason", "authority", "region"]),
    gauge("seconds_to_first_expiry.<trusted>.<region>", &["trusted", "region"]),
    gauge("seconds_to_last_expiry.<trusted>.<region>", &["trusted", "region"]),
    counter("crl_unchecked.<authority>.<region>", &["authority", "region"]),
    counter("crl_fetches.<result>.<authority>.<region>", &["result", "authority", "region"]),
    gauge("crl_age_seconds.<list>.<authority>.<region>", &["list", "authority", "region"]),
    gauge("crl_seconds_to_next_update.<list>.<authority>.<region>", &["list", "authority", "region"]),
    gauge("crl_entries.<list>.<authority>.<region>", &["list", "authority", "region"]),
    gauge("crl_covers.<list>.<authority>.<region>", &["list", "authority", "region"]),
    gauge("vm_memory_peak_bytes.<role>", &["role"]),
];

/// Metrics that begin to exist when what they count happens, which an Envoy in order does not let happen.
pub const RARE: &[&str] = &["signature_unavailable", "authority_unusable"];

/// Envoy's own metrics that the alerts and the dashboard use.
pub const ENVOYS: &[&str] =
    &["envoy_http_rbac_denied", "envoy_http_rbac_shadow_denied", "envoy_wasm_genesys_mtls_vm_reload_success"];

/// The same where a control plane is: Istio's name for the guard in shadow, and listeners by discovery.
pub const MESHES: &[&str] = &["envoy_http_rbac", "envoy_listener_manager_lds_update_rejected"];

impl Metric {
    /// Its name in Prometheus: that in `/stats` without what became labels.
    pub fn prometheus(&self) -> String {
        let first = self.name.split('.').next().unwrap_or(self.name);
        format!("genesys_mtls_{first}")
    }

    /// Its labels in Prometheus, in order.
    pub fn prometheus_labels(&self) -> Vec<String> {
        let labels = ["policy"].iter().chain(self.labels);
        let mut labels: Vec<String> = labels.map(|label| format!("genesys_{label}")).collect();
        labels.sort();
        labels
    }
}
