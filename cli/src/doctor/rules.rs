//! Everything the doctor can find, under stable codes.

use crate::output::{BAD, NOTE, WARN, paint};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Strangers can pass, secrets can leave, or nothing can pass at all.
    Error,
    /// Not examined, or something likely breaks it.
    Warning,
    /// Worth knowing.
    Note,
}

impl Severity {
    pub fn code(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Note => "note",
        }
    }

    pub fn painted(self, text: impl std::fmt::Display) -> String {
        let style = match self {
            Self::Error => BAD,
            Self::Warning => WARN,
            Self::Note => NOTE,
        };
        paint(style, text)
    }
}

macro_rules! rules {
    ($($severity:ident $name:ident $code:literal $meaning:literal;)+) => {
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Rule {
            $($name),+
        }

        impl Rule {
            pub const ALL: &[Self] = &[$(Self::$name),+];

            pub fn code(self) -> &'static str {
                match self {
                    $(Self::$name => $code),+
                }
            }

            pub fn severity(self) -> Severity {
                match self {
                    $(Self::$name => Severity::$severity),+
                }
            }

            pub fn meaning(self) -> &'static str {
                match self {
                    $(Self::$name => $meaning),+
                }
            }
        }
    };
}

rules! {
    Error InvalidConfiguration "invalid_configuration" "the policy does not load";
    Error SharedName "shared_name" "two policies have one name: each opens the other's guard";

    Error GuardMissing "guard_missing" "nothing behind the filter demands its verdict";
    Error GuardBeforeFilter "guard_before_filter" "the guard comes before the filter";
    Error GuardNotDirectlyBehind "guard_not_directly_behind" "other filters see requests between filter and guard";
    Error GuardDisabled "guard_disabled" "the guard is disabled, or a matcher can skip it";
    Error GuardWrongKey "guard_wrong_key" "the guard reads another policy's verdict";
    Error GuardTooWeak "guard_too_weak" "the guard lets more through than `allow;` verdicts";
    Note GuardOnlyShadow "guard_only_shadow" "roll-out: the policy enforces, the guard only counts";
    Warning BothShadow "both_shadow" "policy and guard are in shadow: strangers get through";
    Note HalfSwitched "half_switched" "roll-out: the policy is in shadow mode, the guard is not";
    Error FilterDisabled "filter_disabled" "the filter is disabled, and no route enables it";

    Error UnguardedWayIn "unguarded_way_in" "a way to the protected service has no guard: another chain, cluster, upgrade, mirror, filter or TCP proxy";
    Warning DestinationUnknown "destination_unknown" "it was not examined where a route leads";
    Warning NotExamined "not_examined" "an extension that is not known to be harmless";
    Warning DiscoveryUnresolved "discovery_unresolved" "what discovery brings was not examined";
    Error NameTwice "name_twice" "two sources deliver something of one name";
    Error VerdictWritten "verdict_written" "something else writes the verdict that the guard believes";
    Error RouteFilterUnknown "route_filter_unknown" "a typed_per_filter_config for a filter that is not there";
    Warning PartialInput "partial_input" "a part of the configuration is missing";
    Warning UpdateRejected "update_rejected" "Envoy rejected its newest configuration";
    Error AdminExposed "admin_exposed" "the admin interface listens beyond loopback";
    Error AdminReachable "admin_reachable" "a listener leads to the admin interface";
    Warning TwoPolicies "two_policies" "callers of two policies reach one service";
    Error RouteBypassesGuard "route_bypasses_guard" "a route switches the guard off, or replaces its rules";
    Error RouteBypassesFilter "route_bypasses_filter" "a route disables the filter, and nothing demands its verdict";
    Warning FilterDisabledOnRoute "filter_disabled_on_route" "a route disables the filter but not the guard";

    Error NoTls "no_tls" "the chain does not end TLS";
    Error ClientCertificateNotAsked "client_certificate_not_asked" "Envoy asks for no client certificate";
    Warning ClientCaMissing "client_ca_missing" "an authority that the policy trusts is not in the CA list of the handshake";
    Warning SessionResumption "session_resumption" "TLS verifies the chain, but not on resumed sessions";
    Error CertificateNotShown "certificate_not_shown" "Envoy shows the certificate nowhere the policy looks";
    Warning ForgeableClientCertHeader "forgeable_client_cert_header" "the service gets an x-forwarded-client-cert that clients write";
    Error HopHeaderRemoved "hop_header_removed" "the header of the trusted hop is removed on the way in";
    Error HopHeaderAppended "hop_header_appended" "Envoy adds an element of its own to the header of the trusted hop";
    Error HopForgeable "hop_forgeable" "this Envoy is the trusted hop, and forwards the header that clients write";
    Error HopUnverified "hop_unverified" "the trusted hop is known by a name that TLS does not verify";
    Warning NoStreamBound "no_stream_bound" "requests that a dead VM held hang without end";

    Error CalloutClusterMissing "callout_cluster_missing" "a cluster that the policy calls does not exist";
    Error CalloutWithoutTls "callout_without_tls" "credentials travel in plain text";
    Error CalloutUnverifiedChain "callout_unverified_chain" "credentials go to any host that answers";
    Error CalloutUnverifiedHost "callout_unverified_host" "credentials go to any host with a good certificate";
    Error CalloutWrongHost "callout_wrong_host" "the verified name is another host's";

    Error FailOpen "fail_open" "a crashed filter is skipped";
    Note FailurePolicy "failure_policy" "a crashed VM is not started again";
    Error CapabilityMissing "capability_missing" "the VM may not call, or be called, as the filter needs";
    Error HeadersStopIteration "headers_stop_iteration" "a request that waits goes on without a verdict as its body arrives";
    Error CredentialsNotPassed "credentials_not_passed" "the VM is not given the OAuth client's variables";
    Warning SecretInConfiguration "secret_in_configuration" "every config dump shows the OAuth secret";
    Error SharedEnvironment "shared_environment" "before Envoy 1.39: plugins of one VM see the first one's variables";

    Error ModuleNotFetched "module_not_fetched" "the mesh has not fetched the module, and denies everything instead";
    Warning RefreshFailing "refresh_failing" "a running filter cannot refresh its pins";
    Warning PinsMissing "pins_missing" "a running filter knows no pin of a region";
    Warning GuardRefuses "guard_refuses" "the guard has refused requests that the filter let pass or never saw";
    Warning CalloutNoAddress "callout_no_address" "a cluster that the policy calls has no address";
}
