//! What is wrong with a configuration, and the words in which the operator learns it.

use crate::config::tests::{forms::as_struct, *};

/// A sound configuration of us-east-1 with these changes.
pub fn with(changes: Value) -> Value {
    merged(&us_only(&genesys()), &changes)
}

fn refresh(changes: Value) -> Value {
    with(json!({"refresh": changes}))
}

/// A configuration of us-east-1 alone.
pub fn us(region: Value) -> Value {
    us_only(&region)
}

pub fn hop(hop: Value) -> Value {
    with(json!({"peer_certificate": {"danger_trusted_hop": hop}}))
}

/// Fails unless the configuration is refused in exactly these words, one line for each thing that is wrong.
pub fn assert_wrong(document: &Value, expected: &[&str]) {
    let lines = |result: Result<Policy, Vec<ConfigError>>| -> Vec<String> {
        let errors = result.map(|_| ()).expect_err(&format!("accepted: {document:#}"));
        errors.iter().map(ToString::to_string).collect()
    };
    assert_eq!(lines(crate::config::load(as_struct(document))), expected, "{document:#}");
    // As JSON text the same, and perhaps where in the text.
    let from_text = lines(load(document));
    assert_eq!(from_text.len(), expected.len());
    for (line, expected) in from_text.iter().zip(expected) {
        let rest = line.strip_prefix(expected).unwrap_or_else(|| panic!("{line}\n{expected}"));
        assert!(rest.is_empty() || rest.starts_with(" (line 1, column "), "{line}");
    }
}

#[test]
fn wrong_shape_is_reported_with_place_and_expectation() {
    for (document, expected) in [
        (
            json!({"name": "x"}),
            "configuration: missing field `regions`: name the regions whose client may pass, such as {us-east-1: \
             {digicert: {pins: [api]}}}",
        ),
        (
            us(json!({"pins": ["api"]})),
            "regions.us-east-1.pins: unknown field `pins`, expected one of `certificate_name`, `domain`, `genesys`, `digicert`, `refresh`",
        ),
        (
            with(json!({"nmae": "x"})),
            "nmae: unknown field `nmae`, expected one of `name`, `regions`, `refresh`, `peer_certificate`, `names`, \
             `clock_skew`, `revocation`, `mode`, `identity`",
        ),
        (
            with(json!({"refesh": {}})),
            "refesh: unknown field `refesh`, expected one of `name`, `regions`, `refresh`, `peer_certificate`, \
             `names`, `clock_skew`, `revocation`, `mode`, `identity`",
        ),
        (with(json!({"name": 7})), "name: invalid type: number `7`, expected text: put it in quotes"),
        (
            json!({"regions": ["us-east-1"]}),
            "regions: invalid type: list, expected an object with one entry each, written `name: value`",
        ),
        (
            json!({"regions": "us-east-1"}),
            "regions: invalid type: text, expected an object with one entry each, written `name: value`",
        ),
        (
            us(json!({"digicert": {"pins": ["api"], "issuers": null}})),
            "regions.us-east-1.digicert.issuers: has no value, expected text",
        ),
        (
            us(json!({"genesys": null, "digicert": {"pins": ["api"]}})),
            "regions.us-east-1.genesys: has no value, expected an object with `ca_certificates`",
        ),
        (
            us(json!({"digicert": {"pins": ["api"]}, "refresh": {"oauth": null}})),
            "regions.us-east-1.refresh.oauth: has no value, expected `injected`, or an object with `client_id_env` and `client_secret_env`",
        ),
        (with(json!({"identity": null})), "identity: has no value, expected an object with `header`"),
        (
            us(json!(null)),
            "regions.us-east-1: has no value, expected an object with `genesys`, `digicert` or both",
        ),
        (
            us(json!({"genesys": cast().us_ca.pem})),
            "regions.us-east-1.genesys: invalid type: text, expected an object with `ca_certificates`",
        ),
        (
            us(json!({"genesys": {}})),
            "regions.us-east-1.genesys: missing field `ca_certificates`: give the region's root as PEM text, from the \
             .zip on Genesys' help page",
        ),
        (
            us(json!({"genesys": {"ca_certificate": "x"}})),
            "regions.us-east-1.genesys.ca_certificate: unknown field `ca_certificate`, expected `ca_certificates` or \
             `danger_public_ca`",
        ),
        (
            us(json!({"genesys": {"ca_certificates": ["x"]}})),
            "regions.us-east-1.genesys.ca_certificates: invalid type: list, expected text",
        ),
        (
            us(json!({"genesys": {"ca_certificates": "x", "danger_public_ca": "yes"}})),
            "regions.us-east-1.genesys.danger_public_ca: invalid type: text, expected true or false without quotes",
        ),
        (
            us(json!({"digicert": {}})),
            "regions.us-east-1.digicert: missing field `pins`: give `[api]` for what the certificates API names, or \
             fingerprints such as `sha256:<64 hex digits>`",
        ),
        (
            us(json!({"digicert": {"pins": "api"}})),
            "regions.us-east-1.digicert.pins: invalid type: text, expected a list in brackets, such as [api]",
        ),
        (
            us(json!({"digicert": {"pins": ["api", 7]}})),
            "regions.us-east-1.digicert.pins[1]: invalid type: number `7`, expected `api` or `sha256:<64 hex digits>`",
        ),
        (
            us(json!({"digicert": {"pins": ["API"]}})),
            "regions.us-east-1.digicert.pins[0]: `API` is not a pin: write `api` or `sha256:<64 hex digits>`",
        ),
        (
            us(json!({"digicert": {"pins": ["00".repeat(32)]}})),
            "regions.us-east-1.digicert.pins[0]: \
             `0000000000000000000000000000000000000000000000000000000000000000` is not a pin: write `sha256:` before it",
        ),
        (
            us(json!({"digicert": {"pins": ["sha256:00ff"]}})),
            "regions.us-east-1.digicert.pins[0]: `sha256:00ff`: expected 64 hexadecimal digits, as `openssl x509 \
             -fingerprint -sha256` prints them (colons are fine)",
        ),
        (with(json!({"mode": "shadwo"})), "mode: unknown value `shadwo`, expected `enforce` or `shadow`"),
        (
            with(json!({"names": "subject"})),
            "names: unknown value `subject`, expected one of `san_or_cn`, `san`, `cn`",
        ),
        (
            with(json!({"peer_certificate": {"source": "header"}})),
            "peer_certificate.source: unknown value `header`, expected one of `auto`, `attribute`, `filter_state`, \
             `xfcc`",
        ),
        (
            with(json!({"identity": true})),
            "identity: invalid type: boolean `true` (YAML takes a bare yes, no, on or off for one), expected an object with `header`",
        ),
        (
            with(json!({"identity": ["x-client"]})),
            "identity: invalid type: list, expected an object with `header`",
        ),
        (
            with(json!({"clock_skew": 60})),
            "clock_skew: invalid type: number `60`, expected a duration with its unit, such as 30s, 5m or 24h",
        ),
        (
            with(json!({"clock_skew": "60"})),
            "clock_skew: `60` is not a duration: write a number with a unit, such as 30s, 5m or 24h",
        ),
        (
            refresh(json!({"jitter": "90%"})),
            "refresh.jitter: `90%` is not a share between 0% and 50%: write it like 10%",
        ),
        (
            refresh(json!({"jitter": 10})),
            "refresh.jitter: invalid type: number `10`, expected a share such as 10%",
        ),
        (
            refresh(json!({"max_staleness": "never"})),
            "refresh.max_staleness: `never` is neither `none` nor a duration such as 72h",
        ),
        (
            refresh(json!({"on_unknown_certificate": {"max_held": "64"}})),
            "refresh.on_unknown_certificate.max_held: invalid type: text, expected a whole number, 0 or above, without quotes",
        ),
        (
            refresh(json!({"oauth": "s3cret"})),
            "refresh.oauth: invalid type: text, expected `injected`, or an object with `client_id_env` and \
             `client_secret_env`",
        ),
        (
            hop(json!({"header": "x", "peer": {"dns_san": "hop.example"}})),
            "peer_certificate.danger_trusted_hop: missing field `encoding`: say how the proxy in front writes the certificate, \
             such as `xfcc` for an Envoy",
        ),
        (
            hop(json!({"header": "x", "encoding": "pem", "peer": {"dns_san": "hop.example"}})),
            "peer_certificate.danger_trusted_hop.encoding: unknown value `pem`, expected one of `xfcc`, `url_pem`, `form_pem`, \
             `base64_der`, `rfc9440`",
        ),
        (
            refresh(json!({"oauth": {"client_secret": "s3cret"}})),
            "refresh.oauth.client_secret: unknown field `client_secret`, expected `client_id_env` or `client_secret_env`",
        ),
        (
            hop(json!({"header": "x", "encoding": "xfcc"})),
            "peer_certificate.danger_trusted_hop: missing field `peer`: say how the proxy in front is recognised: by \
             `sha256` or `dns_san` of its client certificate",
        ),
        (
            with(json!({"mode": false})),
            "mode: invalid type: boolean `false` (YAML takes a bare yes, no, on or off for one), expected `enforce` or `shadow`",
        ),
    ] {
        assert_wrong(&document, &[expected]);
    }
}

#[test]
fn value_out_of_bounds_is_reported_with_the_bounds() {
    for (document, expected) in [
        (with(json!({"name": "Edge"})), "name: `Edge` is not 1 to 32 of a-z, 0-9 and _"),
        (with(json!({"name": ""})), "name: `` is not 1 to 32 of a-z, 0-9 and _"),
        (
            with(json!({"name": "x".repeat(33)})),
            "name: `xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx` is not 1 to 32 of a-z, 0-9 and _",
        ),
        (json!({"regions": {}}), "regions: name at least one region, such as us-east-1"),
        (with(json!({"clock_skew": "2h"})), "clock_skew: 2h is outside 0s to 1h"),
        (
            with(json!({"clock_skew": "1500ms"})),
            "clock_skew: 1500ms is not in whole seconds, which is as fine as certificates are",
        ),
        (refresh(json!({"interval": "500ms"})), "refresh.interval: 500ms is outside 1s to 7d"),
        (refresh(json!({"interval": "8d"})), "refresh.interval: 8d is outside 1s to 7d"),
        (refresh(json!({"timeout": "0s"})), "refresh.timeout: 0s is outside 100ms to 1m"),
        (refresh(json!({"retry": {"base": "1ms"}})), "refresh.retry.base: 1ms is outside 100ms to 1h"),
        (refresh(json!({"retry": {"max": "2d"}})), "refresh.retry.max: 2d is outside 100ms to 1d"),
        (
            refresh(json!({"retry": {"base": "10s", "max": "5s"}})),
            "refresh.retry.max: 5s is below refresh.retry.base, 10s",
        ),
        (refresh(json!({"keep_removed": "31d"})), "refresh.keep_removed: 31d is outside 0s to 30d"),
        (
            refresh(json!({"max_staleness": "3975s"})),
            "refresh.max_staleness: 3975s is not above 3975s, the time between two refreshes that succeed slowly (interval, its \
             jitter and timeout for each of three calls), so pins would lapse between them: give it several intervals",
        ),
        (
            refresh(json!({"on_unknown_certificate": {"min_interval": "0s"}})),
            "refresh.on_unknown_certificate.min_interval: 0s is outside 1s to 1d",
        ),
        (
            refresh(json!({"on_unknown_certificate": {"hold": "2m"}})),
            "refresh.on_unknown_certificate.hold: 2m is outside 0s to 1m",
        ),
        (
            refresh(json!({"on_unknown_certificate": {"max_held": 10_001}})),
            "refresh.on_unknown_certificate.max_held: 10001 is outside 0 to 10000",
        ),
        (
            refresh(json!({"clusters": {"api": ""}})),
            "refresh.clusters.api: is empty: give the name of an Envoy cluster",
        ),
        (
            refresh(json!({"clusters": {"login": "outbound|443||{hsot}"}})),
            "refresh.clusters.login: `outbound|443||{hsot}`: only {host} and {region} are replaced in a cluster name",
        ),
        (
            refresh(json!({"oauth": {"client_secret_env": "aBc3dEfGhIjK"}})),
            "refresh.oauth.client_secret_env: is not the name of an environment variable (capital letters, digits and \
             _): give the variable's name, never what it holds",
        ),
        (
            with(json!({"identity": {"header": "x_client"}})),
            "identity.header: `x_client` is not a header name: use letters, digits and - only",
        ),
        (
            with(json!({"identity": {"header": ":path"}})),
            "identity.header: `:path` is not a header name: use letters, digits and - only",
        ),
        (
            with(json!({"identity": {"header": "Authorization"}})),
            "identity.header: `authorization` already has a meaning: choose another header",
        ),
    ] {
        assert_wrong(&document, &[expected]);
    }
}

/// Every place in which a name stands, as JSON pointers.
fn names(value: &Value, at: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                let at = format!("{at}/{name}");
                names(value, &at, found);
                found.push(at);
            }
        }
        Value::Array(values) => {
            values.iter().enumerate().for_each(|(n, value)| names(value, &format!("{at}/{n}"), found));
        }
        _ => {}
    }
}

#[test]
fn identity_header_has_no_other_meaning() {
    for header in [
        "host",
        "Upgrade",
        "expect",
        "content-type",
        "content-length",
        "connection",
        "keep-alive",
        "te",
        "trailer",
        "proxy-authorization",
        "proxy-connection",
        "transfer-encoding",
        "accept",
        "accept-encoding",
        "if-match",
        "range",
        "cookie",
        "authorization",
        "x-envoy-retry-on",
        "x-forwarded-for",
        "x-forwarded-client-cert",
        "x-request-id",
        "via",
        "grpc-timeout",
        "sec-fetch-mode",
    ] {
        let expected = format!(
            "identity.header: `{}` already has a meaning: choose another header",
            header.to_lowercase()
        );
        assert_wrong(&with(json!({"identity": {"header": header}})), &[&expected]);
    }
    for header in ["x-genesys-cloud-client", "x-caller", "client", "tea", "hostess", "trail", "x-upgrade"] {
        assert!(load(&with(json!({"identity": {"header": header}}))).is_ok(), "{header}");
    }
    let hop = json!({"header": "x-cert", "encoding": "url_pem", "peer": {"dns_san": "hop.example"}});
    let peer = json!({"danger_trusted_hop": hop});
    assert_wrong(
        &with(json!({"identity": {"header": "X-Cert"}, "peer_certificate": peer})),
        &["identity.header: `x-cert` already has a meaning: choose another header"],
    );
}

#[test]
fn client_id_and_secret_have_a_variable_each() {
    let message =
        "names the variable that is to hold the client id, which is public: give the secret its own";
    for oauth in [
        json!({"client_id_env": "A", "client_secret_env": "A"}),
        json!({"client_secret_env": "GENESYS_CLIENT_ID"}),
    ] {
        assert_wrong(
            &refresh(json!({"oauth": oauth})),
            &[&format!("refresh.oauth.client_secret_env: {message}")],
        );
    }
    let region = json!({"digicert": {"pins": ["api"]}, "refresh": {"oauth": {"client_id_env": "GENESYS_CLIENT_SECRET"}}});
    assert_wrong(&us(region), &[&format!("regions.us-east-1.refresh.oauth.client_secret_env: {message}")]);
}

/// The document as JSON text in which one name stands twice, the first time with this value.
fn twice(document: &Value, pointer: &str, first: &Value) -> String {
    let (parent, name) = pointer.rsplit_once('/').expect("a pointer");
    let mut document = document.clone();
    // Before every name there is, in a map that is sorted.
    document.pointer_mut(parent).expect("an object")["!"] = first.clone();
    document.to_string().replace("\"!\"", &json!(name).to_string())
}

#[test]
fn duplicate_name_in_json_is_rejected_anywhere() {
    let lists =
        json!([{"region": "us-east-1", "authority": "genesys", "url": "http://a.example/", "cluster": "a"}]);
    let list = merged(
        &everything(),
        &json!({"revocation": {"mode": "off", "lists": lists, "discover": {"crl.example": "crl"}}}),
    );
    let hop = json!({"header": "x-cert", "encoding": "url_pem", "peer": {"dns_san": "hop.example"}});
    let peer = json!({"peer_certificate": {"danger_trusted_hop": hop}});
    for document in [list, merged(&us_only(&genesys()), &peer)] {
        crate::config::load(document.to_string().as_bytes()).expect("once it is fine");
        let mut places = Vec::new();
        names(&document, "", &mut places);
        for place in places {
            let own = document.pointer(&place).expect("a value").clone();
            for first in [own, json!(0), json!(null), json!(true), json!("x"), json!([]), json!({})] {
                let text = twice(&document, &place, &first);
                assert!(crate::config::load(text.as_bytes()).is_err(), "{place}, first {first}: {text}");
            }
        }
    }
}

#[test]
fn duplicate_is_reported_with_its_name_and_place() {
    let region = genesys();
    let one = |rest: &str| format!(r#"{{"regions":{{"us-east-1":{region}}},{rest}}}"#);
    for (text, name) in [
        (format!(r#"{{"regions":{{"us-east-1":{region},"us-east-1":{region}}}}}"#), "us-east-1"),
        (one(r#""mode":"enforce","mode":"shadow""#), "mode"),
        // The second does not get its place.
        (one(r#""mode":0,"mode":"shadow""#), "mode"),
        (one(r#""mode":null,"mode":"shadow""#), "mode"),
        (one(r#""mode":"enforce","mo\u0064e":"shadow""#), "mode"),
        (one(r#""refresh":{"interval":"1h","interval":"2h"}"#), "interval"),
        (one(r#""refresh":{"clusters":{"api":"a","api":"b"}}"#), "api"),
        (one(r#""revocation":{"lists":[{"url":"x","url":"y"}]}"#), "url"),
        (one(r#""revocation":{"discover":{"crl.example":"a","crl.example":"b"}}"#), "crl.example"),
        (one(r#""unknown":[{"x":[],"x":[]}]"#), "x"),
    ] {
        let errors = crate::config::load(text.as_bytes()).unwrap_err();
        let line = errors[0].to_string();
        let expected = format!("configuration: `{name}` is written twice (line 1, column ");
        assert!(errors.len() == 1 && line.starts_with(&expected), "{text}: {line}");
    }
}

#[test]
fn errors_are_all_reported_at_once() {
    let document = json!({
        "name": "No Name",
        "regions": {"us-east-1": {"genesys": {"ca_certificates": ""}}, "us-esat-1": genesys()},
        "refresh": {"interval": "0s"},
        "identity": {"header": "host"},
        "peer_certificate": {"danger_trusted_hop": {"header": "te", "encoding": "xfcc", "peer": {}}},
    });
    let paths: Vec<String> = load(&document).unwrap_err().into_iter().map(|error| error.path).collect();
    let expected = [
        "name",
        "refresh.interval",
        "regions.us-east-1.genesys.ca_certificates",
        "regions.us-esat-1",
        "peer_certificate.danger_trusted_hop.header",
        "peer_certificate.danger_trusted_hop.peer",
        "identity.header",
    ];
    assert_eq!(paths, expected);
}

#[test]
fn duration_beyond_all_bounds_is_rejected_as_any_other() {
    let longest = format!("{}s", u64::MAX);
    for field in ["interval", "timeout"] {
        let document = refresh(json!({field: longest, "max_staleness": "1d"}));
        let errors = load(&document).expect_err("far too long");
        let told = errors.iter().find(|error| error.path == format!("refresh.{field}"));
        assert!(told.is_some_and(|error| error.message.contains("is outside")), "{errors:?}");
    }
}
