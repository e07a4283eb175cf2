//! The identity header: only the filter writes it, and no request is refused for the names of its headers.

use crate::{
    setup::{with, world},
    stage::{Doors, by_ca},
};
use http::Request;
use serde_json::{Value, json};
use std::time::Duration;
use testbed::{
    config,
    manifests::{documents, examples},
    shipped::{BOOTSTRAPS, PARTS, directory},
    upstream::echoed,
};

/// The rule for a header, as the shipped files have it: between letters and digits any character counts as a separator.
fn pattern(header: &str) -> String {
    let class = |c: char| if c.is_ascii_alphanumeric() { c.to_string() } else { "[^a-z0-9]".to_owned() };
    header.to_ascii_lowercase().chars().map(class).collect()
}

/// What a header's name may consist of besides letters and digits (RFC 9110, section 5.6.2).
const SEPARATORS: &str = "!#$%&'*+-.^_`|~";

/// Names that a server may take for this one: other separators, all of them or one, and another letter case.
fn spellings(header: &str) -> Vec<String> {
    let mut all = vec![header.to_owned()];
    for separator in SEPARATORS.chars().map(String::from) {
        all.push(header.replace('-', &separator));
        all.push(header.replacen('-', &separator, 1));
        if let Some((start, end)) = header.rsplit_once('-') {
            all.push([start, end].join(&separator));
        }
    }
    all
}

/// A name as CGI and its successors read it.
fn folded(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' }).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn no_spelling_forges_the_identity_header_and_none_is_refused() {
    let world = world().await;
    let headers = ["x-genesys-cloud-client", "x-caller", "client", "x-2-b-3"];
    let mut doors = Doors::of(&world, "envoy/envoy.yaml");
    for header in headers {
        let policy = with(by_ca(&world), "/identity/header", json!(header));
        doors.add(header, &policy, |door| {
            let strip =
                &mut door.hcm()["early_header_mutation_extensions"][0]["typed_config"]["mutations"][0];
            let regex = strip.pointer_mut("/remove_on_match/key_matcher/safe_regex/regex").expect("a rule");
            *regex = pattern(header).into();
        });
    }
    let stage = doors.open(world).await;
    let genuine = &stage.world.pki.us.genesys;
    for header in headers {
        let client = stage.client(header).identity(genuine);
        let mut http2 = client.clone().http2().build().connect().await.expect("a handshake");
        for name in spellings(header) {
            let request = Request::get("/").header(&name, "forged").header("my_header", "kept");
            let response = http2.send(request.body(Vec::new()).expect("a request")).await.expect("an answer");
            assert_eq!(response.status, 200, "{name}: {}", response.text());
            assert_only_the_filters(header, &name, &response.json());
        }
        // Frameworks differ in what letter case they send by HTTP/1.1.
        let capital: Vec<String> =
            spellings(header).iter().flat_map(|name| [name.to_ascii_uppercase(), name.clone()]).collect();
        for names in capital.chunks(50) {
            let lines = names.join(": forged\r\n") + ": forged\r\n";
            let request = format!(
                "GET / HTTP/1.1\r\nhost: service.example\r\nMy_Header: kept\r\n{lines}connection: close\r\n\r\n"
            );
            let answer = client.clone().build().raw(request.as_bytes(), Duration::from_secs(5)).await;
            let answer = String::from_utf8(answer.expect("an answer")).expect("UTF-8");
            assert!(answer.starts_with("HTTP/1.1 200"), "{header}: {answer}");
            let (_, body) = answer.split_once("\r\n\r\n").expect("a body");
            let body = body.split_once('{').map(|(_, body)| format!("{{{body}")).expect("JSON");
            let body = body.rsplit_once('}').map(|(body, _)| format!("{body}}}")).expect("JSON");
            assert_only_the_filters(header, header, &serde_json::from_str(&body).expect("JSON"));
        }
    }
}

/// Of all headers that could be read as this one the service got the filter's alone, and an unrelated one arrived.
fn assert_only_the_filters(header: &str, sent: &str, answer: &Value) {
    let pairs = answer["headers"].as_array().expect("headers");
    let alike = pairs.iter().filter(|pair| folded(pair[0].as_str().expect("a name")) == folded(header));
    let alike: Vec<&Value> = alike.collect();
    let [one] = alike.as_slice() else { panic!("{sent}: {alike:?}") };
    assert_eq!(one[0], header, "{sent}");
    assert!(one[1].as_str().is_some_and(|value| value.starts_with("region=\"us-east-1\"")), "{sent}: {one}");
    assert_eq!(echoed(answer, "my_header"), ["kept"], "{sent}");
}

/// Every shipped file and rendered example: where our filter is, the header that its policy names is stripped so.
#[test]
fn every_shipped_file_strips_the_header_and_refuses_no_name() {
    let mut files: Vec<_> = BOOTSTRAPS.iter().chain(&PARTS).map(|name| directory().join(name)).collect();
    for example in std::fs::read_dir(examples()).expect("examples").flatten() {
        let rendered = ["shadow.yaml", "enforce.yaml"].map(|name| example.path().join(name));
        files.extend(rendered.into_iter().filter(|path| path.is_file()));
    }
    let mut stripped = 0;
    for path in files {
        let (mut rules, mut plugins) = (Vec::new(), 0);
        let mut header = "x-genesys-cloud-client".to_owned();
        for mut document in documents(&path) {
            config::walk(&mut document, &mut |map| {
                if let Some(action) = map.get("headers_with_underscores_action") {
                    panic!("{}: {action}", path.display());
                }
                if map.contains_key("earlyRequestHeaders") {
                    assert_eq!(map["withUnderscoresAction"], "Allow", "{}", path.display());
                }
                plugins += usize::from(map.contains_key("regions"));
                if let Some(name) = map.get("identity").and_then(|identity| identity["header"].as_str()) {
                    header = name.to_owned();
                }
                if let Some(rule) = map.get("remove_on_match") {
                    rules.extend(rule.pointer("/key_matcher/safe_regex/regex").cloned());
                }
                for rule in map.get("removeOnMatch").and_then(Value::as_array).into_iter().flatten() {
                    assert_eq!(rule["type"], "RegularExpression", "{}", path.display());
                    rules.push(rule["value"].clone());
                }
            });
        }
        let is_bootstrap = plugins > 0 && path.file_name().is_some_and(|name| name != "genesys_mtls.yaml");
        assert!(!is_bootstrap || !rules.is_empty(), "{}: not stripped", path.display());
        assert!(rules.iter().all(|rule| *rule == pattern(&header)), "{}: {rules:?}", path.display());
        stripped += rules.len();
    }
    assert!(stripped >= 20, "{stripped}");
}
