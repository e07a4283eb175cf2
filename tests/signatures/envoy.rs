//! The same questions, which a module asks in a tick of a real Envoy. The module only carries them: the code of the filter
//! writes the requests and reads the answers.

use crate::{cavp, record, wycheproof};
use genesys_mtls_filter::x509::verify_signature::{FUNCTION, is_yes};
use serde_json::json;
use std::{fs, time::Duration};
use testbed::envoy::Envoy;

/// Statuses of the ABI.
const OK: u8 = 0;
const BAD_ARGUMENT: u8 = 2;

/// Where the module keeps its own data, the host's answer, the line that it logs, and the questions.
const PAGE: usize = 65536;
const QUESTIONS: usize = 4 * PAGE;

/// A module that asks the function 200 questions a tick, and logs each status and answer in hexadecimal digits.
fn module(questions: &[record::Asked]) -> Vec<u8> {
    let mut data = Vec::new();
    for question in questions {
        data.extend(u32::try_from(question.request.len()).unwrap().to_le_bytes());
        data.extend(&question.request);
    }
    let end = QUESTIONS + data.len();
    let text = format!(
        r#"(module
            (import "env" "proxy_call_foreign_function" (func (param i32 i32 i32 i32 i32 i32) (result i32)))
            (import "env" "proxy_log" (func (param i32 i32 i32) (result i32)))
            (import "env" "proxy_set_tick_period_milliseconds" (func (param i32) (result i32)))
            (memory (export "memory") {pages})
            (global (mut i32) (i32.const {QUESTIONS}))
            (global (mut i32) (i32.const 0))
            (data (i32.const 0) "{FUNCTION}")
            (data (i32.const 64) "0123456789abcdef")
            (data (i32.const 96) "answers end")
            (func (export "proxy_abi_version_0_2_1"))
            (func (export "malloc") (param i32) (result i32) (i32.const {answer}))
            (func (export "proxy_on_context_create") (param i32 i32))
            (func (export "proxy_on_vm_start") (param i32 i32) (result i32) (i32.const 1))
            (func (export "proxy_on_configure") (param i32 i32) (result i32)
                (drop (call 2 (i32.const 1))) (i32.const 1))
            (func (export "proxy_on_tick") (param i32) (local i32 i32 i32 i32)
                (local.set 1 (i32.const 200))
                (block (loop
                    (br_if 1 (i32.eqz (local.get 1)))
                    (local.set 1 (i32.sub (local.get 1) (i32.const 1)))
                    (if (i32.ge_u (global.get 0) (i32.const {end})) (then
                        (drop (call 2 (i32.const 0)))
                        (drop (call 1 (i32.const 2) (i32.const 96) (i32.const 11)))
                        (return)))
                    (local.set 2 (i32.load align=1 (global.get 0)))
                    (i32.store (i32.const 128) (i32.const {answer}))
                    (i32.store (i32.const 132) (i32.const 0))
                    (local.set 3 (call 0 (i32.const 0) (i32.const {name})
                        (i32.add (global.get 0) (i32.const 4)) (local.get 2) (i32.const 128) (i32.const 132)))
                    (global.set 0 (i32.add (i32.add (global.get 0) (i32.const 4)) (local.get 2)))
                    (global.set 1 (i32.const {line}))
                    (i32.store align=1 (global.get 1) (i32.const 0x3a3d3d61))
                    (global.set 1 (i32.add (global.get 1) (i32.const 4)))
                    (call $digits (local.get 3))
                    (local.set 4 (i32.const 0))
                    (block (loop
                        (br_if 1 (i32.ge_u (local.get 4) (i32.load (i32.const 132))))
                        (br_if 1 (i32.ge_u (local.get 4) (i32.const 256)))
                        (call $digits (i32.load8_u (i32.add (i32.load (i32.const 128)) (local.get 4))))
                        (local.set 4 (i32.add (local.get 4) (i32.const 1)))
                        (br 0)))
                    (drop (call 1 (i32.const 2) (i32.const {line}) (i32.sub (global.get 1) (i32.const {line}))))
                    (br 0))))
            (func $digits (param i32)
                (i32.store8 (global.get 1)
                    (i32.load8_u offset=64 (i32.and (i32.shr_u (local.get 0) (i32.const 4)) (i32.const 15))))
                (i32.store8 offset=1 (global.get 1)
                    (i32.load8_u offset=64 (i32.and (local.get 0) (i32.const 15))))
                (global.set 1 (i32.add (global.get 1) (i32.const 2))))
            (func (export "proxy_on_done") (param i32) (result i32) (i32.const 1))
            (func (export "proxy_on_delete") (param i32))
            (data (i32.const {QUESTIONS}) "{data}"))"#,
        pages = end / PAGE + 1,
        answer = PAGE,
        line = 2 * PAGE,
        name = FUNCTION.len(),
        data = escaped(&data),
    );
    wat::parse_str(&text).unwrap_or_else(|error| panic!("{error}"))
}

fn escaped(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |nibble: u8| char::from(DIGITS[usize::from(nibble)]);
    let mut text = String::with_capacity(3 * bytes.len());
    for byte in bytes {
        text.extend(['\\', digit(byte >> 4), digit(byte & 15)]);
    }
    text
}

/// Status and answer, as the module logs them.
fn logged(line: &str) -> Option<(u8, Vec<u8>)> {
    let digits = line.rsplit_once("a==:")?.1.split_whitespace().next()?;
    let pairs =
        digits.as_bytes().chunks(2).map(|pair| u8::from_str_radix(str::from_utf8(pair).ok()?, 16).ok());
    let bytes: Vec<u8> = pairs.collect::<Option<_>>()?;
    let (status, answer) = bytes.split_first()?;
    Some((*status, answer.to_vec()))
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_and_the_tools_verifier_agree_on_every_vector() {
    wycheproof::the_algorithms_agree_with_every_vector_of_their_kind();
    wycheproof::no_vector_of_another_kind_is_accepted_by_any_algorithm();
    wycheproof::damaged_keys_and_signatures_verify_nothing();
    cavp::ecdsa_signatures_verify_as_nist_says();
    cavp::rsa_signatures_verify_as_nist_says();
    let asked = record::take();
    assert!(asked.len() > 7000, "only {} questions", asked.len());

    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("questions.wasm");
    fs::write(&file, module(&asked)).unwrap();
    let service = json!({
        "@type": "type.googleapis.com/envoy.extensions.wasm.v3.WasmService",
        "singleton": true,
        "config": {"name": "questions", "vm_config": {
            "runtime": "envoy.wasm.runtime.v8",
            "code": {"local": {"filename": file}},
        }},
    });
    let bootstrap =
        json!({"bootstrap_extensions": [{"name": "envoy.bootstrap.wasm", "typed_config": service}]});
    let envoy = Envoy::builder(bootstrap).start().await.unwrap();
    envoy.wait_for_log("answers end", Duration::from_mins(2)).await.unwrap();
    let answers: Vec<(u8, Vec<u8>)> = envoy.log().lines().filter_map(logged).collect();
    assert_eq!(answers.len(), asked.len());

    let mut wrong = Vec::new();
    for (number, (asked, (status, answer))) in asked.iter().zip(&answers).enumerate() {
        // As the filter's own call reads it.
        let verified = match *status {
            OK => Some(is_yes(answer)),
            BAD_ARGUMENT => Some(false),
            _ => None,
        };
        if verified != Some(asked.verified) {
            let text = String::from_utf8_lossy(answer);
            wrong.push(format!(
                "{number}: {} here, {status} {text:?} in Envoy: {:02x?}",
                asked.verified, asked.request
            ));
        }
    }
    assert!(wrong.is_empty(), "{} of {} differ:\n{}", wrong.len(), asked.len(), wrong.join("\n"));
    let yes = asked.iter().filter(|asked| asked.verified).count();
    assert!(yes > 1000 && asked.len() - yes > 1000, "{yes} of {} are good", asked.len());
}
