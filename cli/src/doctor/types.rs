//! The extensions that are known to keep a request on its way: they send it nowhere else, answer with nothing of the service's,
//! and neither write verdicts nor make Envoy choose a route again. Everything else is "not examined".

use super::dump::{full_type, text};
use serde_json::Value;

/// Where an extension is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    ListenerFilter,
    NetworkFilter,
    HttpFilter,
    UpstreamSocket,
}

impl Place {
    pub fn name(self) -> &'static str {
        match self {
            Self::ListenerFilter => "listener filter",
            Self::NetworkFilter => "network filter",
            Self::HttpFilter => "HTTP filter",
            Self::UpstreamSocket => "transport socket",
        }
    }

    /// Message types, those of Envoy without `envoy.extensions.`.
    fn known(self) -> &'static [&'static str] {
        match self {
            Self::ListenerFilter => &[
                "filters.listener.http_inspector.v3.HttpInspector",
                "filters.listener.local_ratelimit.v3.LocalRateLimit",
                "filters.listener.original_dst.v3.OriginalDst",
                "filters.listener.original_src.v3.OriginalSrc",
                "filters.listener.proxy_protocol.v3.ProxyProtocol",
                "filters.listener.set_filter_state.v3.Config",
                "filters.listener.tls_inspector.v3.TlsInspector",
                "filters.udp.dns_filter.v3.DnsFilterConfig",
            ],
            // Manager and TCP proxy are followed.
            Self::NetworkFilter => &[
                "filters.network.connection_limit.v3.ConnectionLimit",
                "filters.network.direct_response.v3.Config",
                "filters.network.echo.v3.Echo",
                "filters.network.ext_authz.v3.ExtAuthz",
                "filters.network.geoip.v3.Geoip",
                "filters.network.http_connection_manager.v3.HttpConnectionManager",
                "filters.network.local_ratelimit.v3.LocalRateLimit",
                "filters.network.ratelimit.v3.RateLimit",
                "filters.network.rbac.v3.RBAC",
                "filters.network.set_filter_state.v3.Config",
                "filters.network.tcp_bandwidth_limit.v3.TcpBandwidthLimit",
                "filters.network.tcp_proxy.v3.TcpProxy",
                "io.istio.network.authn.Config",
                "envoy.tcp.metadataexchange.config.MetadataExchange",
                "stats.PluginConfig",
            ],
            Self::HttpFilter => &[
                "filters.http.adaptive_concurrency.v3.AdaptiveConcurrency",
                "filters.http.admission_control.v3.AdmissionControl",
                "filters.http.alternate_protocols_cache.v3.FilterConfig",
                "filters.http.api_key_auth.v3.ApiKeyAuth",
                "filters.http.bandwidth_limit.v3.BandwidthLimit",
                "filters.http.basic_auth.v3.BasicAuth",
                "filters.http.body_size_limit.v3.BodySizeLimit",
                "filters.http.buffer.v3.Buffer",
                "filters.http.cdn_loop.v3.CdnLoopConfig",
                "filters.http.compressor.v3.Compressor",
                "filters.http.connect_grpc_bridge.v3.FilterConfig",
                "filters.http.cors.v3.Cors",
                "filters.http.credential_injector.v3.CredentialInjector",
                "filters.http.csrf.v3.CsrfPolicy",
                "filters.http.decompressor.v3.Decompressor",
                "filters.http.ext_authz.v3.ExtAuthz",
                "filters.http.fault.v3.HTTPFault",
                "filters.http.geoip.v3.Geoip",
                "filters.http.grpc_http1_bridge.v3.Config",
                "filters.http.grpc_stats.v3.FilterConfig",
                "filters.http.grpc_web.v3.GrpcWeb",
                "filters.http.header_mutation.v3.HeaderMutation",
                "filters.http.health_check.v3.HealthCheck",
                "filters.http.ip_tagging.v3.IPTagging",
                "filters.http.jwt_authn.v3.JwtAuthentication",
                "filters.http.local_ratelimit.v3.LocalRateLimit",
                "filters.http.original_src.v3.OriginalSrc",
                "filters.http.ratelimit.v3.RateLimit",
                "filters.http.rbac.v3.RBAC",
                "filters.http.router.v3.Router",
                "filters.http.set_filter_state.v3.Config",
                "filters.http.stateful_session.v3.StatefulSession",
                "filters.http.upstream_codec.v3.UpstreamCodec",
                "io.istio.http.peer_metadata.Config",
                "istio.envoy.config.filter.http.alpn.v2alpha1.FilterConfig",
                "stats.PluginConfig",
            ],
            Self::UpstreamSocket => &[
                "transport_sockets.alts.v3.Alts",
                "transport_sockets.internal_upstream.v3.InternalUpstreamTransport",
                "transport_sockets.proxy_protocol.v3.ProxyProtocolUpstreamTransport",
                "transport_sockets.quic.v3.QuicUpstreamTransport",
                "transport_sockets.raw_buffer.v3.RawBuffer",
                "transport_sockets.starttls.v3.UpstreamStartTlsConfig",
                "transport_sockets.tap.v3.Tap",
                "transport_sockets.tcp_stats.v3.Config",
                "transport_sockets.tls.v3.UpstreamTlsContext",
            ],
        }
    }
}

/// Why an extension here was not examined; nothing if it is known to be harmless.
pub fn unexamined(place: Place, config: &Value) -> Option<String> {
    let kind = full_type(config);
    let name = kind.strip_prefix("envoy.extensions.").unwrap_or(kind);
    if !place.known().contains(&name) {
        let kind = if kind.is_empty() { "without a type" } else { kind };
        return Some(format!("the {} {kind} is not known to keep requests on their way", place.name()));
    }
    unusual(config).map(|what| format!("the {} {kind} {what}", place.name()))
}

/// What a harmless extension can be configured to do that is not harmless.
pub fn unusual(config: &Value) -> Option<String> {
    match config {
        Value::Object(fields) => fields.iter().find_map(|(name, value)| match (name.as_str(), value) {
            ("clear_route_cache", value) if *value != false => {
                Some("makes Envoy choose the route again, behind what has been asked before".to_owned())
            }
            ("google_grpc" | "target_uri", _) => {
                Some("calls an address of its own, which no cluster names".to_owned())
            }
            ("object_key", key) => key.as_str().and_then(|key| {
                key.starts_with("envoy.")
                    .then(|| format!("writes filter state that Envoy itself reads ({key})"))
            }),
            ("upstream_http_filters", _) => None,
            (_, value) => unusual(value),
        }),
        Value::Array(items) => items.iter().find_map(unusual),
        _ => None,
    }
}

/// A key under which verdicts are written, if the extension writes filter state there.
pub fn written_verdict(config: &Value) -> Option<&str> {
    match config {
        Value::Object(fields) => {
            let key = text(config, "/object_key");
            let own = key.starts_with("wasm.genesys_mtls.").then_some(key);
            own.or_else(|| fields.values().find_map(written_verdict))
        }
        Value::Array(items) => items.iter().find_map(written_verdict),
        _ => None,
    }
}
