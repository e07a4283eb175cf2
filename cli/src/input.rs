//! Where bytes come from: a file, standard input or a URL.

use crate::usage::Usage;
use std::{io::Read as _, sync::Arc, time::Duration};
use ureq::tls::{Certificate, RootCerts, TlsConfig, TlsProvider};

/// No dump and no bundle is larger.
const MAX_BYTES: u64 = 512 * 1024 * 1024;

/// Reads a file, standard input for `-`, or what an http:// or https:// URL answers. Text with a byte order mark comes as plain UTF-8.
pub fn read(path: &str) -> Result<Vec<u8>, Usage> {
    let bytes = raw(path)?;
    let is_marked =
        [&[0xff, 0xfe][..], &[0xfe, 0xff], &[0xef, 0xbb, 0xbf]].iter().any(|mark| bytes.starts_with(mark));
    Ok(text(&bytes).filter(|_| is_marked).map(String::into_bytes).unwrap_or(bytes))
}

fn raw(path: &str) -> Result<Vec<u8>, Usage> {
    if path.starts_with("http://") || path.starts_with("https://") {
        return fetch(path);
    }
    let mut bytes = Vec::new();
    let result = if path == "-" {
        std::io::stdin().lock().take(MAX_BYTES + 1).read_to_end(&mut bytes)
    } else {
        std::fs::File::open(path).and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut bytes))
    };
    match result {
        Ok(_) if bytes.len() as u64 > MAX_BYTES => Err(Usage::new(format!("{path} is larger than 512 MiB"))),
        Ok(_) => Ok(bytes),
        Err(error) if looks_like_a_url(path) => {
            Err(Usage::new(format!("cannot read {path}: {error}; if it is a URL, write http://{path}")))
        }
        Err(error) => Err(Usage::new(format!("cannot read {path}: {error}"))),
    }
}

/// The same for text: UTF-8, or UTF-16 with a byte order mark, as PowerShell writes it.
pub fn read_text(path: &str) -> Result<String, Usage> {
    String::from_utf8(read(path)?).map_err(|_| Usage::new(format!("{path} is not text in UTF-8 or UTF-16")))
}

/// Bytes as text, without a byte order mark.
pub fn text(bytes: &[u8]) -> Option<String> {
    let utf16 = |bytes: &[u8], unit: fn([u8; 2]) -> u16| {
        let (pairs, rest) = bytes.as_chunks();
        let units: Vec<u16> = pairs.iter().copied().map(unit).collect();
        String::from_utf16(&units).ok().filter(|_| rest.is_empty())
    };
    match bytes {
        [0xff, 0xfe, rest @ ..] => utf16(rest, u16::from_le_bytes),
        [0xfe, 0xff, rest @ ..] => utf16(rest, u16::from_be_bytes),
        [0xef, 0xbb, 0xbf, rest @ ..] => String::from_utf8(rest.to_vec()).ok(),
        _ => String::from_utf8(bytes.to_vec()).ok(),
    }
}

/// `localhost:9901/config_dump`
pub fn looks_like_a_url(path: &str) -> bool {
    let host = path.split('/').next().unwrap_or_default();
    let port = host.rsplit_once(':').map(|(_, port)| port);
    port.is_some_and(|port| !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()))
}

fn fetch(url: &str) -> Result<Vec<u8>, Usage> {
    let roots = rustls_native_certs::load_native_certs().certs;
    let roots = roots.iter().map(|der| Certificate::from_der(der).to_owned()).collect();
    let tls = TlsConfig::builder()
        .provider(TlsProvider::Rustls)
        .root_certs(RootCerts::Specific(Arc::new(roots)))
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .build();
    let config =
        ureq::Agent::config_builder().tls_config(tls).timeout_global(Some(Duration::from_secs(30))).build();
    let answer = ureq::Agent::new_with_config(config)
        .get(url)
        .call()
        .and_then(|mut response| response.body_mut().with_config().limit(MAX_BYTES).read_to_vec());
    answer.map_err(|error| Usage::new(format!("{url}: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_read_in_the_encodings_that_windows_writes() {
        for bytes in [&b"\xef\xbb\xbfa\xc3\xa9"[..], b"\xff\xfea\0\xe9\0", b"\xfe\xff\0a\0\xe9", b"a\xc3\xa9"]
        {
            assert_eq!(text(bytes).as_deref(), Some("aé"), "{bytes:?}");
        }
        for bytes in [&b"\xff\xfea"[..], b"\xff\xfe\x00\xd8", b"\xe9"] {
            assert_eq!(text(bytes), None, "{bytes:?}");
        }
    }

    #[test]
    fn url_without_scheme_is_told_from_a_file() {
        assert!(looks_like_a_url("localhost:9901/config_dump") && looks_like_a_url("[::1]:9901"));
        assert!(!looks_like_a_url("envoy.yaml") && !looks_like_a_url("c:/envoy.yaml"));
    }
}
