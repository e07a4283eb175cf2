//! The HTTP connection manager around the filter: how long streams may hang, and where the certificate is shown.

use super::{
    chains::{Chain, Filter},
    dump::{Dump, list, seconds, text, truth, type_of},
    finding::Finding,
    plugin::Plugin,
    routes,
    rules::Rule,
};
use genesys_mtls_filter::policy::{Peer, PeerSource};

/// The first Envoy that shows the certificate in an attribute.
const ATTRIBUTE_SINCE: (u64, u64) = (1, 39);

pub fn check(chain: &Chain, dump: &Dump) -> Vec<Finding> {
    let mut findings = stream_bound(chain);
    findings.extend(chain.plugins.iter().filter_map(|plugin| certificate_source(chain, plugin, dump)));
    findings.extend(forwarded_certificate(chain));
    findings
}

/// A VM that dies leaves the requests it held: something else has to end them.
fn stream_bound(chain: &Chain) -> Vec<Finding> {
    let zero = |value: Option<f64>| value.is_some_and(|seconds| seconds <= 0.0);
    let whole = seconds(chain.manager, "/common_http_protocol_options/max_stream_duration");
    if whole.is_some_and(|seconds| seconds > 0.0) {
        return Vec::new();
    }
    let fix = "set stream_idle_timeout: 60s, or common_http_protocol_options.max_stream_duration";
    let why = "requests that the filter held hang without end when its VM dies";
    if zero(seconds(chain.manager, "/stream_idle_timeout")) {
        return vec![Finding::new(
            Rule::NoStreamBound,
            &chain.path,
            format!("stream_idle_timeout is 0: {why}"),
            fix,
        )];
    }
    routes::all(chain)
        .filter(|route| route.action().is_some_and(|action| zero(seconds(action, "/idle_timeout"))))
        .map(|route| {
            let why = format!("its idle_timeout of 0 overrides stream_idle_timeout: {why}");
            Finding::new(Rule::NoStreamBound, &route.path(), why, "remove the route's idle_timeout: 0s")
        })
        .collect()
}

/// Whether Envoy shows the certificate where the policy looks for it.
fn certificate_source(chain: &Chain, plugin: &Plugin, dump: &Dump) -> Option<Finding> {
    let policy = plugin.policy()?;
    let mode = text(chain.manager, "/forward_client_cert_details");
    let header = matches!(mode, "SANITIZE_SET" | "APPEND_FORWARD")
        && truth(chain.manager, "/set_current_client_cert_details/cert");
    let (source, key) = match &policy.peer {
        Peer::Hop(hop) if hop.header == "x-forwarded-client-cert" => return hop_header(mode, &plugin.path),
        Peer::Hop(_) => return None,
        Peer::Connection { source, filter_state_key } => (*source, filter_state_key),
    };
    let old = dump.is_before(ATTRIBUTE_SINCE);
    let state = has_filter_state(chain, plugin, key);
    let (shown, needs) = match source {
        PeerSource::Attribute => (!old, "an Envoy from 1.39 on (source: attribute)"),
        PeerSource::FilterState => {
            (state, "a set_filter_state filter with %DOWNSTREAM_PEER_CERT% before the filter")
        }
        PeerSource::Xfcc => (header, XFCC),
        PeerSource::Auto => (!old || state || header, XFCC),
    };
    (!shown).then(|| {
        Finding::new(
            Rule::CertificateNotShown,
            &plugin.path,
            format!(
                "Envoy {} shows the certificate's bytes nowhere the policy looks: every request is refused with \
                 certificate_unavailable",
                dump.version_text()
            ),
            format!("use {needs}"),
        )
    })
}

/// Whether Envoy leaves a trusted hop's header as the hop wrote it.
fn hop_header(mode: &str, path: &str) -> Option<Finding> {
    let (rule, why) = match mode {
        "" | "SANITIZE" | "SANITIZE_SET" => (
            Rule::HopHeaderRemoved,
            "forward_client_cert_details removes or replaces the header that danger_trusted_hop reads: everything is \
             refused, or the hop's own certificate is judged",
        ),
        "APPEND_FORWARD" => (
            Rule::HopHeaderAppended,
            "APPEND_FORWARD adds the hop's own Hash to the header that danger_trusted_hop reads, and a Hash that is not \
             the certificate's is a doubt: everything is refused",
        ),
        _ => return None,
    };
    let fix = "set forward_client_cert_details: FORWARD_ONLY, with a listener that only the hop can reach";
    Some(Finding::new(rule, path, why, fix))
}

const XFCC: &str =
    "forward_client_cert_details: SANITIZE_SET with set_current_client_cert_details: {cert: true}";

/// Whether a filter before this one puts the certificate into filter state, under the policy's key.
fn has_filter_state(chain: &Chain, plugin: &Plugin, key: &str) -> bool {
    let http = chain.filters.iter().take(plugin.position).map(Filter::config);
    let network = chain.network_filters.iter().copied();
    let phases = ["/on_request_headers", "/on_new_connection", "/on_downstream_tls_handshake"];
    let values = http
        .chain(network)
        .filter(|config| type_of(config) == "Config")
        .flat_map(|config| phases.into_iter().flat_map(|phase| list(config, phase)));
    values.into_iter().any(|value| {
        text(value, "/object_key") == key && value.to_string().contains("%DOWNSTREAM_PEER_CERT%")
    })
}

/// XFCC that clients write does not fool the filter, but may fool the service.
fn forwarded_certificate(chain: &Chain) -> Option<Finding> {
    let mode = text(chain.manager, "/forward_client_cert_details");
    let hop = chain.plugins.iter().any(|p| p.policy().is_some_and(|p| matches!(p.peer, Peer::Hop(_))));
    (!hop && matches!(mode, "FORWARD_ONLY" | "APPEND_FORWARD" | "ALWAYS_FORWARD_ONLY")).then(|| {
        Finding::new(
            Rule::ForgeableClientCertHeader,
            &chain.path,
            format!(
                "with {mode} the x-forwarded-client-cert that the service receives was written by the client"
            ),
            "set forward_client_cert_details: SANITIZE_SET, or SANITIZE if the service does not need it",
        )
    })
}
