//! However the connection's certificate is written into a header, it is found: percent-encoded in any letter case, in
//! part or not at all, plain, in XFCC's text form or its JSON form.
#![no_main]

use genesys_mtls_filter::{
    peer::{
        bind::{Shown, bind},
        xfcc::MAX_HEADER,
    },
    x509::fingerprint::Fingerprint,
};
use genesys_mtls_fuzz::text::{pem, percent_decoded};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let _ = bind(&Fingerprint::of(data), [Shown::Pem(data.to_vec())]);
    let [form, choices @ .., _] = data else { return };
    let der = data;
    let mut choice = choices.iter().cycle();
    let mut encoded = String::new();
    for byte in pem(der).bytes() {
        match choice.next().unwrap_or(&0) % 4 {
            0 if byte != b'\n' => encoded.push(char::from(byte)),
            1 => encoded += &format!("%{byte:02x}"),
            _ => encoded += &format!("%{byte:02X}"),
        }
    }
    assert_eq!(percent_decoded(encoded.as_bytes()), pem(der).as_bytes());
    let shown = match form % 5 {
        0 => Shown::Pem(pem(der).into_bytes()),
        1 => Shown::Pem(encoded.into_bytes()),
        2 => Shown::Xfcc(format!("Hash=00;Cert=\"{encoded}\";URI=x").into_bytes()),
        3 => Shown::Xfcc(format!("By=y;Cert={encoded}").into_bytes()),
        _ => Shown::Xfcc(format!("[{{\"Cert\":\"{}\"}}]", pem(der).replace('\n', "\\n")).into_bytes()),
    };
    let (Shown::Pem(text) | Shown::Xfcc(text)) = &shown;
    if text.len() <= MAX_HEADER {
        assert_eq!(bind(&Fingerprint::of(der), [shown]).as_deref(), Ok(der));
    }
});
