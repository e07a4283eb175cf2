//! Envoy's side of the ABI, played from a script.

use crate::guest::Guest;
use aws_lc_verifier::AwsLcVerifier;
use genesys_mtls_filter::x509::signature::{Hash, SignatureVerifier as _};

const OK: i32 = 0;
const NOT_FOUND: i32 = 1;
const CAS_MISMATCH: i32 = 8;

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The value of a header in the ABI's form of a map.
fn header<'a>(map: &'a [u8], name: &str) -> Option<&'a str> {
    let number = |index: usize| {
        let bytes = map.get(4 * index..4 * index + 4)?;
        usize::try_from(u32::from_le_bytes(bytes.try_into().ok()?)).ok()
    };
    let count = number(0)?;
    let mut at = 4 + 8 * count;
    for pair in 0..count {
        let (name_length, value_length) = (number(1 + 2 * pair)?, number(2 + 2 * pair)?);
        let value = at + name_length + 1;
        if &map[at..at + name_length] == name.as_bytes() {
            return std::str::from_utf8(&map[value..value + value_length]).ok();
        }
        at = value + value_length + 1;
    }
    None
}

/// What Envoy's function `verify_signature` says of a request: hash, key, signature and message, each with tag and length.
fn verifies(mut request: &[u8]) -> Option<bool> {
    let mut fields = Vec::new();
    while let Some((_tag, mut rest)) = request.split_first() {
        let length = prost::decode_length_delimiter(&mut rest).ok()?;
        let (field, after) = rest.split_at_checked(length)?;
        fields.push(field);
        request = after;
    }
    let [hash, key, signature, message] = fields[..] else { return None };
    let hash =
        [Hash::Sha256, Hash::Sha384, Hash::Sha512].into_iter().find(|one| one.name().as_bytes() == hash)?;
    AwsLcVerifier.verify(hash, key, signature, message).ok()
}

/// Answers one host call: the status to return, or nothing if the script does not know it.
pub fn answer(name: &str, guest: &mut Guest<'_, '_>) -> Option<i32> {
    match name {
        "proxy_get_property" => {
            let path = text(&guest.bytes(0)).replace('\0', ".");
            let Some(value) = guest.script().properties.get(&path).cloned() else { return Some(NOT_FOUND) };
            guest.give(2, &value);
        }
        "proxy_set_property" => {
            let (path, value) = (text(&guest.bytes(0)).replace('\0', "."), text(&guest.bytes(2)));
            guest.script().written.push((path, value));
        }
        "proxy_get_header_map_value" => {
            let name = text(&guest.bytes(1));
            let value = match guest.number(0) {
                0 => guest.script().request_headers.get(&name).cloned(),
                _ => (name == ":status").then(|| "200".to_owned()),
            };
            let Some(value) = value else { return Some(NOT_FOUND) };
            guest.give(3, value.as_bytes());
        }
        "proxy_get_buffer_bytes" => {
            let script = guest.script();
            let bytes =
                if script.response.is_empty() { &script.configuration } else { &script.response }.clone();
            guest.give(3, &bytes);
        }
        "proxy_get_shared_data" => {
            let key = guest.bytes(0);
            let Some((value, cas)) = guest.script().shared.get(&key).cloned() else { return Some(NOT_FOUND) };
            guest.give(2, &value);
            guest.write(4, &cas.to_le_bytes());
        }
        "proxy_set_shared_data" => {
            let (key, value) = (guest.bytes(0), guest.bytes(2));
            let cas = guest.number(4);
            let shared = &mut guest.script().shared;
            // A missing key is created with any version number.
            let known = shared.get(&key).map_or(0, |(_, version)| *version);
            if known != 0 && cas != 0 && cas != u64::from(known) {
                return Some(CAS_MISMATCH);
            }
            shared.insert(key, (value, known + 1));
        }
        "proxy_http_call" => {
            let path = header(&guest.bytes(2), ":path").unwrap_or_default().to_owned();
            let script = guest.script();
            script.tokens += 1;
            let token = script.tokens;
            script.dispatched.push((token, path));
            guest.write(9, &token.to_le_bytes());
        }
        "proxy_send_local_response" => {
            let reply = (guest.number(0), text(&guest.bytes(1)));
            guest.script().replies.push(reply);
        }
        "proxy_call_foreign_function" => {
            let (function, request) = (text(&guest.bytes(0)), guest.bytes(2));
            if function != "verify_signature" {
                return Some(NOT_FOUND);
            }
            let answer: &[u8] = if verifies(&request)? { &[8, 1] } else { &[0x12, 2, b'n', b'o'] };
            guest.give(4, answer);
        }
        "proxy_define_metric" => {
            let name = text(&guest.bytes(1));
            let metrics = &mut guest.script().metrics;
            // Envoy would make another handle, and keep both for as long as the VM lives.
            assert!(metrics.iter().all(|(metric, _)| *metric != name), "{name} is defined twice");
            metrics.push((name, 0));
            let id = u32::try_from(metrics.len() - 1).expect("few metrics");
            guest.write(3, &id.to_le_bytes());
        }
        "proxy_increment_metric" | "proxy_record_metric" => {
            let (id, value) = (guest.number(0), guest.number(1));
            let (_, now) = guest.script().metrics.get_mut(usize::try_from(id).ok()?)?;
            *now = if name == "proxy_record_metric" { value } else { now.wrapping_add(value) };
        }
        "proxy_get_metric" => {
            let id = usize::try_from(guest.number(0)).ok()?;
            let value = guest.script().metrics.get(id)?.1;
            guest.write(1, &value.to_le_bytes());
        }
        "proxy_log" => {
            let line = text(&guest.bytes(1));
            guest.script().log.push(line);
        }
        "proxy_get_log_level" => guest.write(0, &3_u32.to_le_bytes()),
        "clock_time_get" => {
            let script = guest.script();
            let nanoseconds = [script.wall, script.monotonic];
            guest.write(2, &nanoseconds[usize::from(guest.number(0) != 0)].to_le_bytes());
        }
        "random_get" => {
            let bytes: Vec<u8> = (0..guest.number(1)).map(|_| guest.script().random_byte()).collect();
            guest.write(0, &bytes);
        }
        "environ_sizes_get" => {
            let variables = &guest.script().environment;
            let (count, size) =
                (variables.len(), variables.iter().map(|variable| variable.len() + 1).sum::<usize>());
            guest.write(0, &u32::try_from(count).expect("few variables").to_le_bytes());
            guest.write(1, &u32::try_from(size).expect("short variables").to_le_bytes());
        }
        "environ_get" => {
            let mut at = guest.number(1);
            for (index, variable) in guest.script().environment.clone().iter().enumerate() {
                let pointer = usize::try_from(guest.number(0)).expect("an address") + 4 * index;
                guest.write_at(pointer, &u32::try_from(at).expect("an address").to_le_bytes());
                guest.write_at(usize::try_from(at).expect("an address"), format!("{variable}\0").as_bytes());
                at += variable.len() as u64 + 1;
            }
        }
        "proxy_add_header_map_value"
        | "proxy_remove_header_map_value"
        | "proxy_replace_header_map_value"
        | "proxy_set_tick_period_milliseconds"
        | "proxy_set_effective_context"
        | "proxy_continue_stream" => {}
        _ => return None,
    }
    Some(OK)
}
