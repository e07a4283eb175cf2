//! `inspect` and `explain` name what is no certificate, and read the ones next to it.

use crate::run::{directory, run};
use std::io::Write as _;

const AT: &str = "--at=2026-06-01";

fn fixture(name: &str) -> Vec<u8> {
    std::fs::read(directory("fixtures").join(name)).expect("a fixture")
}

fn pem(label: &str) -> Vec<u8> {
    format!("-----BEGIN {label}-----\nMAA=\n-----END {label}-----\n").into_bytes()
}

/// Der's header of a SEQUENCE of 100 bytes, and what is in it first.
fn der(inside: &[u8]) -> Vec<u8> {
    let mut der = vec![0x30, 100];
    der.extend(inside);
    der.resize(102, 0);
    der
}

/// Bytes, and the words they are named by.
fn forms() -> Vec<(Vec<u8>, &'static str)> {
    let pkcs7 = [6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 13, 1, 7, 2];
    let bare: String = String::from_utf8(fixture("genesys-root.pem"))
        .expect("text")
        .lines()
        .filter(|line| !line.starts_with('-'))
        .collect();
    vec![
        (der(&pkcs7), "PKCS#7"),
        ([&[0x30, 0x80][..], &pkcs7].concat(), "PKCS#7"),
        (pem("PKCS7"), "PKCS#7"),
        (der(&[2, 1, 3]), "PKCS#12"),
        (fixture("list.crl"), "a CRL"),
        (fixture("list.pem"), "a CRL"),
        (pem("TRUSTED CERTIFICATE"), "TRUSTED CERTIFICATE"),
        (pem("CERTIFICATE REQUEST"), "certificate request"),
        (pem("PUBLIC KEY"), "public key"),
        (der(&[2, 1, 0]), "private key"),
        (pem("PRIVATE KEY"), "private key"),
        (b"\x1f\x8b\x08".to_vec(), "gzip"),
        (b"\n<!doctype html>".to_vec(), "HTML"),
        (bare.into_bytes(), "base64 without PEM's lines"),
        (b"hello".to_vec(), "neither PEM nor DER"),
        (Vec::new(), "neither PEM nor DER"),
    ]
}

#[test]
fn foreign_forms_are_named_for_what_they_are() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("file");
    let path = file.to_str().expect("text");
    for (bytes, words) in forms() {
        std::fs::write(&file, bytes).expect("a file");
        let outcome = run(&["inspect", path]);
        assert_eq!(outcome.code, 1, "{words}: {}", outcome.stdout);
        assert!(outcome.stdout.contains(words), "{words}: {}", outcome.stdout);
        assert!(!outcome.stdout.contains("1970"), "{words}: {}", outcome.stdout);
        let outcome = run(&["explain", "-c", "policy.yaml", "--cert", path]);
        assert_eq!(outcome.code, 2, "{words}: {}", outcome.stdout);
        assert!(outcome.stderr.contains(words), "{words}: {}", outcome.stderr);
    }
}

#[test]
fn certificates_are_read_beside_foreign_files() {
    let directory = tempfile::tempdir().expect("a directory");
    let archive = directory.path().join("archive.zip");
    let write = |files: &[(&str, &[u8])]| {
        let mut zip = zip::ZipWriter::new(std::fs::File::create(&archive).expect("a file"));
        for (name, content) in files {
            zip.start_file(*name, zip::write::SimpleFileOptions::default()).expect("an entry");
            zip.write_all(content).expect("an entry");
        }
        zip.finish().expect("an archive");
        run(&["inspect", archive.to_str().expect("text"), AT])
    };
    let root = fixture("genesys-root.pem");
    let outcome = write(&[("readme.txt", b"hello"), ("root.pem", &root), ("list.crl", &fixture("list.crl"))]);
    assert_eq!(outcome.code, 0, "{}", outcome.stdout);
    assert!(
        outcome.stdout.contains("is neither PEM nor DER") && outcome.stdout.contains("is a CRL"),
        "{}",
        outcome.stdout
    );
    assert_eq!(write(&[("readme.txt", b"hello")]).code, 1);
    assert_eq!(write(&[("root.pem", &root), ("key.pem", &pem("PRIVATE KEY"))]).code, 1);
    assert_eq!(write(&[("all.pem", &[&root[..], &pem("X509 CRL")].concat())]).code, 0);
}

#[test]
fn pem_is_read_in_the_encodings_that_windows_writes() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("root.pem");
    let text = String::from_utf8(fixture("genesys-root.pem")).expect("text").replace('\n', "\r\n");
    let utf16: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
    for bytes in [[&b"\xff\xfe"[..], &utf16].concat(), [b"\xef\xbb\xbf", text.as_bytes()].concat()] {
        std::fs::write(&file, bytes).expect("a file");
        let outcome = run(&["inspect", file.to_str().expect("text"), AT]);
        assert_eq!(outcome.code, 0, "{}", outcome.stdout);
    }
}
