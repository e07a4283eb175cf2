//! Development only: compares Kubernetes manifests with the models that their projects publish.
//!
//! The models are generated from the CRDs. They know every field, its type and the values of enumerations; what they do not
//! know here is an error, since an API server would drop it without a word.

use k8s_openapi::api::{apps::v1::DeploymentSpec, core::v1::ServiceSpec};
use kcr_extensions_istio_io::v1alpha1::wasmplugins::WasmPluginSpec;
use kcr_gateway_networking_k8s_io::v1 as gateway_api;
use kcr_networking_istio_io::{v1 as networking, v1alpha3::envoyfilters::EnvoyFilterSpec};
use kcr_security_istio_io::v1::authorizationpolicies::AuthorizationPolicySpec;
use kcr_telemetry_istio_io::v1::telemetries::TelemetrySpec;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// What is wrong with a manifest; nothing if it is as published.
pub fn problems(manifest: &Value) -> Vec<String> {
    let text = |key: &str| manifest[key].as_str().unwrap_or_default();
    let mut problems = match (text("apiVersion"), text("kind")) {
        ("extensions.istio.io/v1alpha1", "WasmPlugin") => compare::<WasmPluginSpec>(manifest),
        ("gateway.networking.k8s.io/v1", "Gateway") => {
            compare::<gateway_api::gateways::GatewaySpec>(manifest)
        }
        ("gateway.networking.k8s.io/v1", "HTTPRoute") => {
            compare::<gateway_api::httproutes::HttpRouteSpec>(manifest)
        }
        ("networking.istio.io/v1", "DestinationRule") => {
            compare::<networking::destinationrules::DestinationRuleSpec>(manifest)
        }
        ("networking.istio.io/v1", "Gateway") => compare::<networking::gateways::GatewaySpec>(manifest),
        ("networking.istio.io/v1", "ServiceEntry") => {
            compare::<networking::serviceentries::ServiceEntrySpec>(manifest)
        }
        ("networking.istio.io/v1", "VirtualService") => {
            compare::<networking::virtualservices::VirtualServiceSpec>(manifest)
        }
        ("networking.istio.io/v1alpha3", "EnvoyFilter") => compare::<EnvoyFilterSpec>(manifest),
        ("security.istio.io/v1", "AuthorizationPolicy") => compare::<AuthorizationPolicySpec>(manifest),
        ("telemetry.istio.io/v1", "Telemetry") => compare::<TelemetrySpec>(manifest),
        ("apps/v1", "Deployment") => compare::<DeploymentSpec>(manifest),
        ("v1", "Service") => compare::<ServiceSpec>(manifest),
        ("v1", "ConfigMap" | "Secret" | "ServiceAccount")
        | ("rbac.authorization.k8s.io/v1", "Role" | "RoleBinding")
        | ("gateway.networking.k8s.io/v1beta1", "ReferenceGrant") => return Vec::new(),
        (version, kind) => vec![format!("no model of {version} {kind} is here")],
    };
    unknown_keys(manifest, "", &["apiVersion", "kind", "metadata", "spec"], &mut problems);
    unknown_keys(
        &manifest["metadata"],
        "metadata.",
        &["annotations", "labels", "name", "namespace"],
        &mut problems,
    );
    if manifest["metadata"]["name"].as_str().is_none_or(str::is_empty) {
        problems.push("metadata.name is missing".into());
    }
    problems
}

fn compare<Spec: DeserializeOwned>(manifest: &Value) -> Vec<String> {
    let mut problems = Vec::new();
    let read = serde_ignored::deserialize::<_, _, Spec>(&manifest["spec"], |path| {
        problems.push(format!("spec.{path} is unknown"));
    });
    let error = read.err().map(|error| format!("spec: {error}"));
    problems.extend(error);
    problems
}

fn unknown_keys(object: &Value, place: &str, known: &[&str], problems: &mut Vec<String>) {
    let keys = object.as_object().into_iter().flat_map(|object| object.keys());
    problems.extend(
        keys.filter(|key| !known.contains(&key.as_str())).map(|key| format!("{place}{key} is unknown")),
    );
}
