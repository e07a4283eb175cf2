//! A list in pieces, for workers that cannot take each other's word: without a secret anybody may have written what
//! they share, so each of them verifies the CA's signature, and none has to hold the whole list to do so.
//!
//! A piece is some whole entries. Framed by the parts around the entries it is a list of its own, if one that nobody
//! signed, and webpki reads it as such; the digest goes over the pieces as the CA encoded them.

use crate::x509::ca::CaCertificate;
use crate::{
    crl::table::Table,
    x509::crl::{CrlError, CrlMetadata, Parts, Structure, any},
};
use serde::{Deserialize, Serialize};
use x509_parser::asn1_rs::{Header, Length, Tag, ToDer as _};

/// Size that a piece reaches before the next one begins.
const PIECE: usize = 64 * 1024;

/// Bytes of an entry with a serial number of one byte and a UTCTime.
const SMALLEST_ENTRY: usize = 20;

/// A list without its entries, as somebody wrote it down who need not be believed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outline {
    /// The list as it would be encoded without entries. Where they belong is read from it: were it told instead, they
    /// could be told to be something else, under a signature that fits.
    frame: Vec<u8>,
    /// Bytes of all entries, if the list has the field for them.
    length: Option<usize>,
}

/// What came out of verifying the pieces of a list.
pub struct Verified {
    pub terms: CrlMetadata,
    pub signed: Vec<u8>,
    pub table: Table,
}

/// Cuts the entries of a list, between two of them.
pub fn cut<'a>(parts: &Parts<'a>) -> impl Iterator<Item = &'a [u8]> {
    let mut entries = parts.entries.unwrap_or_default();
    std::iter::from_fn(move || {
        let mut rest = entries;
        while entries.len() - rest.len() < PIECE && !rest.is_empty() {
            rest = any(rest).ok()?.0;
        }
        let (piece, after) = entries.split_at_checked(entries.len() - rest.len())?;
        entries = after;
        (!piece.is_empty()).then_some(piece)
    })
}

impl Outline {
    pub fn of(parts: &Parts<'_>) -> Self {
        Self { frame: frame(parts, &[]), length: parts.entries.map(<[u8]>::len) }
    }

    /// Verifies the list whose entries come in these pieces, all but its dates: those are the caller's to look at. Reads
    /// no further than the length it expects, nor than `max_size`. `entries` is how many there seem to be: a table that
    /// grows would take twice the memory.
    pub fn verify(
        &self,
        mut pieces: impl Iterator<Item = Vec<u8>>,
        authorities: &[CaCertificate],
        max_size: usize,
        entries: usize,
    ) -> Result<Verified, CrlError> {
        let malformed = |what: &str| CrlError::Malformed(what.to_owned());
        let mut left = self.length.unwrap_or(0);
        if self.frame.len().saturating_add(left) > max_size {
            return Err(malformed("length"));
        }
        let structure = Structure::read(&self.frame)?;
        let mut digest = structure.begin_digest(authorities)?;
        digest.update(&opening(&structure.parts, self.length).ok_or_else(|| malformed("length"))?);
        let mut table = Table::with_room(entries.min(left / SMALLEST_ENTRY));
        while left > 0 {
            let piece = pieces.next().ok_or_else(|| malformed("a piece is missing"))?;
            left = left
                .checked_sub(piece.len())
                .filter(|_| !piece.is_empty())
                // Each costs a look at the whole frame, so nobody may make many of a few.
                .filter(|left| *left == 0 || piece.len() >= PIECE)
                .ok_or_else(|| malformed("size"))?;
            digest.update(&piece);
            let framed = frame(&structure.parts, &piece);
            table.extend(Structure::read(&framed)?.serials())?;
        }
        digest.update(structure.parts.after);
        let signed = digest.finish();
        let signer = structure.signer(&signed, authorities)?;
        Ok(Verified { terms: structure.terms(signer), signed, table: table.sorted() })
    }
}

/// A list of these entries, with everything else as in the other one; only its signature does not fit.
fn frame(parts: &Parts<'_>, entries: &[u8]) -> Vec<u8> {
    let listed = if entries.is_empty() { Vec::new() } else { sequence(&[entries]) };
    let signed = sequence(&[parts.before, &listed, parts.after]);
    sequence(&[&signed, parts.behind])
}

/// What is signed, up to the first entry of so many bytes of them.
fn opening(parts: &Parts<'_>, entries: Option<usize>) -> Option<Vec<u8>> {
    let listed = entries.map(header).unwrap_or_default();
    let length = [parts.before.len(), listed.len(), entries.unwrap_or(0), parts.after.len()];
    let length = length.into_iter().try_fold(0_usize, usize::checked_add)?;
    Some([&header(length)[..], parts.before, &listed].concat())
}

fn sequence(parts: &[&[u8]]) -> Vec<u8> {
    let content = parts.concat();
    [header(content.len()), content].concat()
}

/// Header of a SEQUENCE with content of this length. DER leaves no choice how to write it.
fn header(length: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    let header =
        Header::new(x509_parser::asn1_rs::Class::Universal, true, Tag::Sequence, Length::Definite(length));
    // Writing to a vector cannot fail, and a header that is missing fits no signature.
    let _ = header.write_der_header(&mut bytes);
    bytes
}
