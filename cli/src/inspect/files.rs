//! Files to certificates: PEM, DER, and both inside a .zip.

use super::form::{self, Form};
use crate::{input, output::Usage};
use genesys_mtls_filter::x509::pem;
use std::{
    borrow::Cow,
    io::{Cursor, Read as _},
};
use zip::ZipArchive;

/// Entries of an archive that are looked at, and the bytes of each.
const MAX_ENTRIES: usize = 200;
const MAX_ENTRY: u64 = 4 * 1024 * 1024;
/// Certificates of a file, or of an archive in all.
const MAX_CERTIFICATES: usize = 1000;
/// Characters of an entry's name: each certificate in it is named by it.
const MAX_NAME: usize = 200;

/// What a file turned out to hold.
#[derive(Debug)]
pub enum Item {
    Certificate {
        origin: String,
        der: Vec<u8>,
    },
    Problem {
        origin: String,
        message: String,
    },
    /// Something else, which does no harm next to certificates.
    Foreign {
        origin: String,
        message: String,
    },
}

pub fn open(path: &str) -> Result<Vec<Item>, Usage> {
    let origin = if path == "-" { "standard input" } else { path };
    let bytes = input::read(path)?;
    Ok(if bytes.starts_with(b"PK\x03\x04") { archive(origin, bytes) } else { single(origin, &bytes) })
}

fn archive(origin: &str, bytes: Vec<u8>) -> Vec<Item> {
    let problem = |message: String| vec![Item::Problem { origin: origin.to_owned(), message }];
    let mut archive = match ZipArchive::new(Cursor::new(bytes)) {
        Ok(archive) => archive,
        Err(error) => return problem(format!("the .zip cannot be read: {error}")),
    };
    if archive.len() > MAX_ENTRIES {
        return problem(format!("the .zip has more than {MAX_ENTRIES} entries"));
    }
    let mut items = Vec::new();
    for index in 0..archive.len() {
        let entry = match archive.by_index(index) {
            Ok(entry) => entry,
            Err(error) => {
                items.extend(problem(format!("entry {index} cannot be read: {error}")));
                continue;
            }
        };
        let Ok(inner) = entry.name().map(std::borrow::Cow::into_owned) else {
            items.extend(problem(format!("entry {index} has an unreadable name")));
            continue;
        };
        // What macOS adds to archives.
        if entry.is_dir() || inner.contains("__MACOSX") || inner.ends_with(".DS_Store") {
            continue;
        }
        let name: String = inner.chars().take(MAX_NAME).collect();
        let name = format!("{origin}:{name}");
        let mut content = Vec::new();
        match entry.take(MAX_ENTRY + 1).read_to_end(&mut content) {
            Ok(_) if content.len() as u64 <= MAX_ENTRY => items.extend(single(&name, &content)),
            Ok(_) => {
                items.push(Item::Problem { origin: name, message: "too large for a certificate".to_owned() });
            }
            Err(error) => items.push(Item::Problem { origin: name, message: error.to_string() }),
        }
        if items.len() > MAX_CERTIFICATES {
            return problem(too_many());
        }
    }
    if items.is_empty() { problem("the .zip holds no file".to_owned()) } else { items }
}

fn single(origin: &str, bytes: &[u8]) -> Vec<Item> {
    let bytes = &*input::text(bytes).map_or(Cow::Borrowed(bytes), |text| Cow::Owned(text.into_bytes()));
    let item = |message: &str, is_fault| {
        let (origin, message) = (origin.to_owned(), message.to_owned());
        if is_fault { Item::Problem { origin, message } } else { Item::Foreign { origin, message } }
    };
    if pem::blocks(bytes) == 0 {
        return vec![match form::of(bytes) {
            Form::Certificate => Item::Certificate { origin: origin.to_owned(), der: bytes.to_vec() },
            Form::Other(message) => item(message, false),
            Form::Secret(message) => item(message, true),
        }];
    }
    let (certificates, labels) = form::blocks(bytes);
    let mut items: Vec<Item> = labels.iter().map(|label| item(form::label(label), false)).collect();
    if certificates.is_empty() && !items.is_empty() {
        return items;
    }
    match pem::certificates(if labels.is_empty() { bytes } else { &certificates }) {
        Err(error) => items.push(item(&error.to_string(), true)),
        Ok(blocks) if blocks.len() > MAX_CERTIFICATES => items.push(item(&too_many(), true)),
        Ok(blocks) => {
            let count = blocks.len();
            let name = |n| if count == 1 { origin.to_owned() } else { format!("{origin} ({n} of {count})") };
            let certificate = |(der, n)| Item::Certificate { origin: name(n), der };
            items.extend(blocks.into_iter().zip(1..).map(certificate));
        }
    }
    items
}

fn too_many() -> String {
    format!("it holds more than {MAX_CERTIFICATES} certificates")
}
