//! HTTP/2 and gRPC as an attacker would write them: frame by frame, with headers that no library would send. No
//! stranger reaches the service.

use crate::{
    peer::cert,
    setup::world,
    stage::{Doors, Stage, by_ca},
};
use serde_json::json;
use std::time::Duration;
use testbed::pki::Leaf;

/// How long a server is silent when it has said everything.
const QUIET: Duration = Duration::from_millis(300);

/// Frame types and flags, RFC 9113, section 6.
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a short frame").to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A text as HPACK has it, not compressed (RFC 7541, section 5.2).
fn text(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    match bytes.len().checked_sub(127) {
        None => out.push(u8::try_from(bytes.len()).expect("short")),
        Some(mut rest) => {
            out.push(127);
            while rest >= 128 {
                out.push(u8::try_from(rest % 128).expect("seven bits") | 128);
                rest /= 128;
            }
            out.push(u8::try_from(rest).expect("seven bits"));
        }
    }
    out.extend_from_slice(bytes);
    out
}

type Header = (&'static str, Vec<u8>);

fn header(name: &'static str, value: impl AsRef<[u8]>) -> Header {
    (name, value.as_ref().to_vec())
}

fn request(method: &str, path: &str) -> Vec<Header> {
    vec![
        header(":method", method),
        header(":scheme", "https"),
        header(":authority", "service.example"),
        header(":path", path),
    ]
}

fn get() -> Vec<Header> {
    request("GET", "/")
}

/// A connection with this one request, and what its body begins with.
fn bytes(headers: &[Header], body: &[u8]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in headers {
        // A literal that is not to be indexed.
        block.push(0);
        block.extend(text(name.as_bytes()));
        block.extend(text(value));
    }
    let mut all = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    all.extend(frame(SETTINGS, 0, 0, &[]));
    let flags = if body.is_empty() { END_HEADERS | END_STREAM } else { END_HEADERS };
    all.extend(frame(HEADERS, flags, 1, &block));
    if !body.is_empty() {
        // A tunnel stays open in both directions.
        let is_tunnel = headers.iter().any(|(_, value)| value == b"CONNECT");
        all.extend(frame(DATA, if is_tunnel { 0 } else { END_STREAM }, 1, body));
    }
    all
}

/// How many requests reach the service when this caller sends these bytes.
async fn reaching(stage: &Stage, leaf: Option<&Leaf>, request: &[u8]) -> usize {
    let before = stage.world.upstream.count();
    let client = stage.client("ingress").http2();
    let client = leaf.map_or(client.clone(), |leaf| client.identity(leaf)).build();
    // A closed connection is an answer, too.
    let _ = client.raw(request, QUIET).await;
    stage.world.upstream.count() - before
}

#[tokio::test(flavor = "multi_thread")]
async fn no_odd_http2_request_takes_a_stranger_to_the_service() {
    let world = world().await;
    let mut doors = Doors::of(&world, "envoy/envoy.yaml");
    doors.add("ingress", &by_ca(&world), |door| {
        // As open as can be.
        door.forward("APPEND_FORWARD", json!({"cert": true}));
        door.hcm()["upgrade_configs"] = json!([{"upgrade_type": "websocket"}, {"upgrade_type": "CONNECT"}]);
        door.hcm()["http2_protocol_options"] = json!({"allow_connect": true});
        door.virtual_host()["domains"] = json!(["*"]);
        let tunnel = json!({"cluster": "service", "upgrade_configs": [{"upgrade_type": "CONNECT", "connect_config": {}}]});
        door.routes().insert(0, json!({"match": {"path": "/chat"}, "route": {"cluster": "service"}}));
        door.routes().insert(1, json!({"match": {"connect_matcher": {}}, "route": tunnel}));
    });
    let stage = doors.open(world).await;
    let pki = &stage.world.pki;
    let forged = cert(&pki.us.genesys);
    let xfcc = "x-forwarded-client-cert";
    let (left, right) = forged.split_at(forged.len() / 2);
    let and = |mut headers: Vec<Header>, more: Vec<Header>| {
        headers.extend(more);
        headers
    };
    let with = |more: Vec<Header>| and(get(), more);
    let nothing: &[u8] = b"";
    let grpc = || vec![header("content-type", "application/grpc"), header("te", "trailers")];
    let tunnel = vec![header(":method", "CONNECT"), header(":authority", "service.example:443")];
    let websocket = and(vec![header(":protocol", "websocket")], request("CONNECT", "/chat"));
    // The request, and whether Genesys Cloud reaches the service with it.
    let cases: Vec<(&str, Vec<Header>, &[u8], bool)> = vec![
        ("plain", get(), nothing, true),
        ("gRPC", and(request("POST", "/package.Service/Method"), grpc()), b"\0\0\0\0\0", true),
        ("gRPC-Web", with(vec![header("content-type", "application/grpc-web+proto")]), nothing, true),
        ("gRPC, forged XFCC", with(and(grpc(), vec![header(xfcc, &forged)])), nothing, true),
        ("another host", with(vec![header("host", "elsewhere.example")]), nothing, true),
        ("forged XFCC", with(vec![header(xfcc, &forged)]), nothing, true),
        ("twice", with(vec![header(xfcc, &forged), header(xfcc, &forged)]), nothing, true),
        ("in halves", with(vec![header(xfcc, left), header(xfcc, right)]), nothing, true),
        ("not UTF-8", with(vec![header(xfcc, b"Cert=\"\xff\xfe\";\xa0")]), nothing, true),
        ("empty", with(vec![header(xfcc, "")]), nothing, true),
        ("NUL in a value", with(vec![header(xfcc, b"Cert=\"\0\"")]), nothing, false),
        ("a line end in a value", with(vec![header(xfcc, b"x\r\nx-y: z")]), nothing, false),
        ("NUL in a name", with(vec![header("x-forwarded\0-client-cert", "x")]), nothing, false),
        ("a space in a name", with(vec![header("x-genesys-cloud-client ", "x")]), nothing, false),
        ("capitals", with(vec![header("X-Forwarded-Client-Cert", &forged)]), nothing, false),
        ("underscores", with(vec![header("x_genesys_cloud_client", "x")]), nothing, false),
        ("an empty name", with(vec![header("", "x")]), nothing, false),
        ("the verdict", with(vec![header("wasm.genesys-mtls.default", "allow;x")]), nothing, true),
        ("an unknown pseudo-header", with(vec![header(":verdict", "allow;x")]), nothing, false),
        ("two paths", and(vec![header(":path", "/a")], get()), nothing, false),
        ("a path at the end", with(vec![header("x-a", "b"), header(":path", "/b")]), nothing, false),
        ("no path", get().into_iter().take(3).collect(), nothing, false),
        (
            "hop-by-hop headers",
            with(vec![header("connection", "upgrade"), header("upgrade", "h2c")]),
            nothing,
            false,
        ),
        ("smuggled chunks", with(vec![header("transfer-encoding", "chunked")]), nothing, false),
        ("a tunnel, and a request in it", tunnel, b"GET /in HTTP/1.1\r\nhost: x\r\n\r\n", true),
        ("WebSocket", websocket, nothing, true),
    ];
    let mut wrong = Vec::new();
    for (what, headers, body, passes) in &cases {
        let request = bytes(headers, body);
        for (who, leaf) in [("a stranger", Some(&pki.stranger)), ("no certificate", None)] {
            assert_eq!(reaching(&stage, leaf, &request).await, 0, "{what}: {who}");
        }
        // The same from Genesys Cloud: what is denied above is well-formed enough to be allowed.
        let reached = reaching(&stage, Some(&pki.us.genesys), &request).await;
        if reached != usize::from(*passes) {
            wrong.push(format!("{what}: {reached} of Genesys Cloud's requests reach the service"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn long_texts_have_their_length_in_several_bytes() {
    assert_eq!(text(b"ab"), b"\x02ab");
    assert_eq!(text(&[b'x'; 127])[..3], [127, 0, b'x']);
    // The example of RFC 7541, section C.1.2 is 1337 with a prefix of five bits; with seven: 1337 - 127 = 1210.
    assert_eq!(text(&[b'x'; 1337])[..4], [127, 0xba, 0x09, b'x']);
}
