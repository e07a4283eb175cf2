mod claims;
mod damage;
mod order;
mod workers;

use crate::x509::{ca::CaCertificate, certificate::ClientCertificate};
use crate::{
    crl::pieces::{self, Outline},
    x509::crl::{CertificateList, CrlError, significant},
};
use proptest::{prelude::*, sample};
use std::sync::LazyLock;
use testbed_pki::{Ca, KeyType, KeyUsagePurpose, Leaf, Pki};
use time::Duration as Span;

static PKI: LazyLock<Pki> = LazyLock::new(Pki::standard);
const URL: &str = "http://crl.example/us.crl";

fn now() -> i64 {
    i64::try_from(std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs()).unwrap()
}

fn authority(ca: &Ca) -> CaCertificate {
    CaCertificate::parse(&ca.der).unwrap()
}

fn client(leaf: &Leaf) -> ClientCertificate {
    ClientCertificate::parse(&leaf.der).unwrap()
}

fn verify(der: &[u8], authorities: &[CaCertificate]) -> Result<usize, CrlError> {
    let list = CertificateList::verify(der, authorities, now(), 60)?;
    list.serials().try_fold(0, |count, serial| serial.map(|_| count + 1))
}

/// What it is, the list, the CAs, and the number of its entries or what is wrong.
type Case<'c> = (&'static str, Vec<u8>, &'c [CaCertificate], Result<usize, &'static str>);

#[test]
fn a_list_is_believed_only_with_its_issuers_signature_and_in_its_time() {
    let ca = &PKI.us.root;
    let us = [authority(ca)];
    let eu = [authority(&PKI.eu.root)];
    let both = [authority(&PKI.impostor), authority(ca)];
    let fine = ca.crl().revoke(&[1, 2]).revoke(&[3]).der();
    let mut tampered = fine.clone();
    let at = tampered.len() / 2;
    tampered[at] ^= 1;
    let pem = ca.crl().pem();
    let cases: Vec<Case<'_>> = vec![
        ("signed", fine.clone(), &us, Ok(2)),
        ("empty", ca.crl().der(), &us, Ok(0)),
        ("signed by the second of one name", fine.clone(), &both, Ok(2)),
        ("of another CA", fine.clone(), &eu, Err("crl_other_issuer")),
        ("of a CA with the same name", PKI.impostor.crl().der(), &us, Err("crl_bad_signature")),
        ("PEM", pem.into_bytes(), &us, Err("crl_malformed")),
        ("nothing", Vec::new(), &us, Err("crl_malformed")),
        ("a certificate", ca.der.clone(), &us, Err("crl_malformed")),
        ("cut off", fine[..fine.len() - 1].to_vec(), &us, Err("crl_malformed")),
        ("with bytes behind it", [&fine[..], &[0]].concat(), &us, Err("crl_malformed")),
        (
            "not begun",
            ca.crl().valid_from_now(Span::hours(1), Span::hours(2)).der(),
            &us,
            Err("crl_not_yet_valid"),
        ),
        ("over", ca.crl().valid_from_now(Span::hours(-2), Span::hours(-1)).der(), &us, Err("crl_expired")),
    ];
    for (what, der, authorities, expected) in cases {
        assert_eq!(verify(&der, authorities).map_err(|error| error.code().code()), expected, "{what}");
    }
    assert!(verify(&tampered, &us).is_err(), "one flipped bit");
}

#[test]
fn the_issuer_must_be_allowed_to_sign_lists() {
    let allowed = Ca::builder("crl-signer").key(KeyType::P256).self_signed();
    let forbidden = Ca::builder("crl-signer")
        .key(KeyType::P256)
        .key_usages(&[KeyUsagePurpose::KeyCertSign])
        .self_signed();
    let list = allowed.crl().der();
    assert_eq!(verify(&list, &[authority(&allowed)]), Ok(0));
    assert_eq!(verify(&list, &[authority(&forbidden)]), Err(CrlError::MayNotSign));
}

/// Or the two parsers would read two lists: one for some certificates, and one for all.
#[test]
fn a_distribution_point_counts_only_as_both_parsers_read_it() {
    /// A point; and one with a name that is longer than its field.
    const POINT: &[u8] = &[0];
    const CUT_OFF: &[u8] = &[1];
    const ONLY_USERS: &[u8] = &[0x81, 1, 0xff];
    const ONLY_CAS: &[u8] = &[0x82, 1, 0xff];
    const NOT_ONLY_CAS: &[u8] = &[0x82, 1, 0];
    const NOT_INDIRECT: &[u8] = &[0x84, 1, 0];
    let us = [authority(&PKI.us.root)];
    let list = PKI.us.root.crl().distribution_point(URL, None).der();
    let point = |url: &[u8], cut_off| {
        let length = u8::try_from(url.len()).unwrap();
        [&[0xa0, length + 4, 0xa0, length + 2, 0x86, length + cut_off], url].concat()
    };
    let written = point(URL.as_bytes(), 0);
    let at = list.windows(written.len()).position(|bytes| bytes == written).unwrap();
    // Its signature does not fit any more: whoever notices only that has read it.
    let cases: [(&str, &[&[u8]], &str); 9] = [
        ("as it is", &[POINT], "crl_bad_signature"),
        ("a field more", &[POINT, ONLY_USERS], "crl_bad_signature"),
        ("a default spelled out", &[POINT, NOT_INDIRECT], "crl_bad_signature"),
        ("of CAs", &[POINT, ONLY_CAS], "crl_unsupported"),
        ("a field in front", &[ONLY_USERS, POINT], "crl_malformed"),
        ("of CAs, in front", &[ONLY_CAS, POINT], "crl_malformed"),
        ("of CAs, behind its place", &[POINT, NOT_INDIRECT, ONLY_CAS], "crl_malformed"),
        ("of CAs, and not", &[POINT, ONLY_CAS, NOT_ONLY_CAS], "crl_malformed"),
        ("a name cut off", &[CUT_OFF], "crl_malformed"),
    ];
    for (what, fields, code) in cases {
        let others: usize = fields.iter().map(|field| field.len()).filter(|length| *length > 1).sum();
        let field = |field: &&[u8]| match **field {
            [cut_off] => point(&vec![b'x'; URL.len() - others], cut_off),
            _ => field.to_vec(),
        };
        let mut changed = list.clone();
        changed.splice(at..at + written.len(), fields.iter().flat_map(field));
        assert_eq!(verify(&changed, &us).map_err(|error| error.code().code()), Err(code), "{what}");
    }
}

/// webpki's own look-up, on the whole list, is the oracle.
#[test]
fn ten_thousand_serial_numbers_are_found_as_webpki_finds_them() {
    let der = PKI.us.root.crl().padding(5_000).der();
    let authorities = [authority(&PKI.us.root)];
    let list = CertificateList::verify(&der, &authorities, now(), 60).unwrap();
    let table = super::Table::collect(list.serials()).unwrap();
    let oracle: webpki::CertRevocationList<'_> =
        webpki::OwnedCertRevocationList::from_der(&der).unwrap().into();
    let mut revoked = 0;
    for n in 0..10_000_u32 {
        // Every other number is one of the list's, in another order.
        let mut serial = vec![0x7f; if n % 2 == 0 { 12 } else { 11 }];
        serial.extend((n.wrapping_mul(2_654_435_761) % 5_000).to_be_bytes());
        let expected = oracle.find_serial(&serial).unwrap().is_some();
        revoked += u32::from(expected);
        let bucket = table.bucket(super::table::bucket_for(&serial));
        assert_eq!(super::table::contains(&bucket, &serial), expected, "{serial:?}");
    }
    assert_eq!(revoked, 5_000);
}

/// Without a secret workers verify pieces. What they find is what whoever has the whole list finds.
/// A change to a list's pieces.
type Change<'c> = &'c dyn Fn(&mut Vec<Vec<u8>>);

#[test]
fn a_list_in_pieces_is_the_list_or_it_is_refused() {
    let ca = &PKI.us.root;
    let authorities = [authority(ca)];
    let cases = [
        ("without entries", ca.crl().der(), 0),
        ("one entry", ca.crl().revoke(&[1]).der(), 1),
        ("several pieces", ca.crl().number(7).distribution_point(URL, None).padding(5_000).der(), 4),
    ];
    for (what, der, expected) in cases {
        let list = CertificateList::verify(&der, &authorities, now(), 60).unwrap();
        let whole = super::Table::collect(list.serials()).unwrap();
        let pieces: Vec<Vec<u8>> = pieces::cut(&list.parts).map(<[u8]>::to_vec).collect();
        assert_eq!(pieces.len(), expected, "{what}");
        let outline = Outline::of(&list.parts);
        let verify = |pieces: Vec<Vec<u8>>| outline.verify(pieces.into_iter(), &authorities, der.len(), 0);
        let verified = verify(pieces.clone()).unwrap();
        assert_eq!((verified.terms, verified.signed), (list.terms.clone(), list.signed.clone()), "{what}");
        assert_eq!(verified.table.digests(), whole.digests(), "{what}");

        assert!(
            outline.verify(pieces.clone().into_iter(), &[authority(&PKI.impostor)], der.len(), 0).is_err()
        );
        for at in 0..pieces.len() {
            let last = pieces[at].len() - 1;
            let changes: [(&str, Change<'_>); 5] = [
                ("one bit of a serial number", &|pieces| pieces[at][6] ^= 1),
                ("its last bit", &|pieces| pieces[at][last] ^= 1),
                ("left out", &|pieces| drop(pieces.remove(at))),
                ("emptied", &|pieces| pieces[at].clear()),
                ("cut short", &|pieces| pieces[at].truncate(last)),
            ];
            for (how, change) in changes {
                let mut changed = pieces.clone();
                change(&mut changed);
                assert!(verify(changed).is_err(), "{what}: piece {at}: {how}");
            }
        }
        if expected > 1 {
            let mut small = pieces.clone();
            let one_entry = 2 + usize::from(small[0][1]);
            let rest = small[0].split_off(one_entry);
            small.insert(1, rest);
            assert!(verify(small).is_err(), "{what}: in more pieces than it has to be");
            let mut swapped = pieces.clone();
            swapped.swap(0, 1);
            assert!(verify(swapped).is_err(), "{what}: in another order");
            assert!(
                outline.verify(pieces.into_iter(), &authorities, 1000, usize::MAX).is_err(),
                "{what}: above max_size"
            );
        }
    }
}

#[test]
fn numbers_are_compared_without_leading_zeros() {
    assert_eq!(significant(&[0, 0, 1, 0]), &[1, 0]);
    assert_eq!(significant(&[0]), &[] as &[u8]);
}

proptest! {
    #[test]
    fn no_change_of_a_list_leaves_it_its_issuers(
        at in any::<sample::Index>(), byte in any::<u8>(), cut in any::<sample::Index>(),
    ) {
        static SIGNER: LazyLock<Ca> = LazyLock::new(|| Ca::builder("crl-changed").key(KeyType::P256).self_signed());
        static LIST: LazyLock<Vec<u8>> =
            LazyLock::new(|| SIGNER.crl().number(7).distribution_point(URL, None).revoke(&[1, 2]).der());
        let authorities = [authority(&SIGNER)];
        let mut changed = LIST.clone();
        let at = at.index(changed.len());
        changed[at] = byte;
        prop_assert_eq!(verify(&changed, &authorities).is_ok(), changed == *LIST);
        changed.truncate(cut.index(changed.len()));
        prop_assert!(verify(&changed, &authorities).is_err());
    }
}
