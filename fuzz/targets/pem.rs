//! Of any text: each block becomes a certificate or the whole is refused, private keys always are, and no error quotes it.
#![no_main]

use genesys_mtls_filter::x509::pem::{PemError, blocks, certificates};
use genesys_mtls_fuzz::text::pem;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let holds_key = data.windows(11).any(|window| window == b"PRIVATE KEY");
    match certificates(data) {
        Ok(read) => {
            assert!(!holds_key && read.len() == blocks(data) && !read.is_empty());
            let again: String = read.iter().map(|der| pem(der)).collect();
            assert_eq!(certificates(again.as_bytes()), Ok(read));
        }
        Err(PemError::PrivateKey) => assert!(holds_key),
        Err(error) => {
            let shown = error.to_string();
            assert!(!holds_key && shown.len() < 160, "{shown}");
        }
    }
});
