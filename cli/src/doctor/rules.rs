//! Everything the doctor can find, under stable codes.

use crate::output::{BAD, NOTE, WARN, paint};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Requests can pass that should not, secrets can leave, or nothing can pass at all.
    Error,
    /// Holds today; something likely breaks it.
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
    Error GuardBeforeFilter "guard_before_filter" "the guard stands before the filter";
    Error GuardNotDirectlyBehind "guard_not_directly_behind" "other filters see requests between filter and guard";
    Error GuardDisabled "guard_disabled" "the guard is disabled, or a matcher can skip it";
    Error GuardWrongKey "guard_wrong_key" "the guard reads another policy's verdict";
    Error GuardTooWeak "guard_too_weak" "the guard lets more through than `allow;` verdicts";
    Error GuardOnlyShadow "guard_only_shadow" "the policy enforces, the guard only counts";
    Note BothShadow "both_shadow" "policy and guard are in shadow: nobody is refused";
    Warning HalfSwitched "half_switched" "the policy is in shadow mode, the guard is not";
    Warning FilterDisabled "filter_disabled" "the filter is disabled, and no route enables it";

    Error UnguardedWayIn "unguarded_way_in" "a way to the protected service has no guard: another chain, cluster, mirror or TCP proxy";
    Warning DestinationUnknown "destination_unknown" "a request, or a plugin, says which service a route leads to";
    Note TwoPolicies "two_policies" "callers of two policies reach one service: whom either of them lets in";
    Note PartlyGuarded "partly_guarded" "a service is guarded in one chain and open in another, beside a host with a rule of its own";
    Error UpgradeBypass "upgrade_bypass" "an upgrade has filters of its own, without filter and guard";
    Error RouteBypassesGuard "route_bypasses_guard" "a route switches the guard off, or replaces its rules";
    Error RouteBypassesFilter "route_bypasses_filter" "a route disables the filter, and nothing demands its verdict";
    Warning FilterDisabledOnRoute "filter_disabled_on_route" "a route disables the filter but not the guard";
    Warning RoutesUnknown "routes_unknown" "routes that could not be examined";

    Error NoTls "no_tls" "the chain does not end TLS";
    Error ClientCertificateNotAsked "client_certificate_not_asked" "Envoy asks for no client certificate";
    Warning SessionResumption "session_resumption" "TLS verifies the chain, but not on resumed sessions";
    Error CertificateNotShown "certificate_not_shown" "Envoy shows the certificate nowhere the policy looks";
    Warning ForgeableClientCertHeader "forgeable_client_cert_header" "the service gets an x-forwarded-client-cert that clients write";
    Error HopHeaderRemoved "hop_header_removed" "the header of the trusted hop is removed on the way in";
    Error HopHeaderAppended "hop_header_appended" "Envoy adds an element of its own to the header of the trusted hop";
    Error HopUnverified "hop_unverified" "the trusted hop is known by a name that TLS does not verify";
    Warning NoStreamBound "no_stream_bound" "requests that a dead VM held hang for ever";

    Error CalloutClusterMissing "callout_cluster_missing" "a cluster that the policy calls does not exist";
    Error CalloutWithoutTls "callout_without_tls" "credentials travel in plain text";
    Error CalloutUnverifiedChain "callout_unverified_chain" "credentials go to whoever answers";
    Error CalloutUnverifiedHost "callout_unverified_host" "credentials go to any host with a good certificate";
    Error CalloutWrongHost "callout_wrong_host" "the verified name is another host's";

    Error FailOpen "fail_open" "a crashed filter is skipped";
    Warning FailurePolicy "failure_policy" "a crashed VM is not started again";
    Error CapabilityMissing "capability_missing" "the VM may not call, or be called, as the filter needs";
    Error HeadersStopIteration "headers_stop_iteration" "a request that waits goes on without a verdict as its body arrives";
    Error CredentialsNotPassed "credentials_not_passed" "the VM is not given the OAuth client's variables";
    Warning SecretInConfiguration "secret_in_configuration" "every config dump shows the OAuth secret";
    Error SharedEnvironment "shared_environment" "before Envoy 1.39: plugins of one VM see the first one's variables";
}
