//! What bytes are that should have been a certificate.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use x509_parser::prelude::{
    CertificateRevocationList, FromDer as _, X509Certificate, X509CertificationRequest,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A certificate, or what may be one.
    Certificate,
    /// What it is, and how it becomes one.
    Other(&'static str),
    /// The same, with a private key in it.
    Secret(&'static str),
}

const PRIVATE_KEY: &str = "a private key, which belongs neither here nor into the configuration";
const PKCS7: &str = "a PKCS#7 bundle (.p7b): `openssl pkcs7 -print_certs -in FILE` makes PEM of it (-inform DER, if it is binary)";
const CRL: &str = "a CRL: `genesys-mtls explain --crl` reads it";
const REQUEST: &str = "a certificate request: the CA's answer to it is the certificate";

/// What bytes without PEM are.
pub fn of(bytes: &[u8]) -> Form {
    const PKCS7_OID: [u8; 10] = [6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 13, 1, 7];
    let starts: [(&[u8], &str); 7] = [
        (b"\x1f\x8b", "gzip: unpack it first"),
        (b"7z\xbc\xaf", "a 7z archive: unpack it first"),
        (b"Rar!", "a RAR archive: unpack it first"),
        (
            b"\xfe\xed\xfe\xed",
            "a Java key store: `keytool -exportcert -rfc` writes a certificate of it as PEM",
        ),
        (b"<", "HTML or XML, such as an error page: download it again"),
        (b"{", "JSON"),
        (b"%PDF", "a PDF"),
    ];
    if let Some((_, what)) = starts.iter().find(|(start, _)| bytes.trim_ascii_start().starts_with(start)) {
        return Form::Other(what);
    }
    let text: Vec<u8> = bytes.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect();
    if STANDARD.decode(&text).is_ok_and(|der| content(&der).is_some()) {
        return Form::Other(
            "base64 without PEM's lines: put it between -----BEGIN CERTIFICATE----- and -----END CERTIFICATE-----",
        );
    }
    match content(bytes) {
        None => Form::Other("neither PEM nor DER"),
        Some(inside) if inside.starts_with(&PKCS7_OID) => Form::Other(PKCS7),
        Some([2, 1, 3, ..]) => Form::Other(
            "a PKCS#12 store (.pfx, .p12): `openssl pkcs12 -in FILE -nokeys` makes PEM of its certificates",
        ),
        Some([2, 1, 0 | 1, ..]) => Form::Secret(PRIVATE_KEY),
        Some(_) if X509Certificate::from_der(bytes).is_ok() => Form::Certificate,
        Some(_) if CertificateRevocationList::from_der(bytes).is_ok() => Form::Other(CRL),
        Some(_) if X509CertificationRequest::from_der(bytes).is_ok() => Form::Other(REQUEST),
        Some(_) => Form::Certificate,
    }
}

/// What is in the SEQUENCE that DER begins with; its length may be left open, as BER allows.
fn content(der: &[u8]) -> Option<&[u8]> {
    match der {
        [0x30, length, rest @ ..] if *length <= 0x80 => Some(rest),
        [0x30, length, rest @ ..] => rest.get(usize::from(length & 0x7f)..),
        _ => None,
    }
}

/// The certificates of PEM, and the labels of other blocks. A private key is left among the former: it is refused there.
pub fn blocks(pem: &[u8]) -> (Vec<u8>, Vec<String>) {
    let text = String::from_utf8_lossy(pem);
    let (mut certificates, mut labels) = (String::new(), Vec::new());
    for block in text.split("-----BEGIN ").skip(1) {
        let label = block.split("-----").next().unwrap_or_default();
        if label == "CERTIFICATE" || label.contains("PRIVATE") {
            certificates = certificates + "-----BEGIN " + block;
        } else {
            labels.push(label.to_owned());
        }
    }
    (certificates.into_bytes(), labels)
}

/// What a block with another label than CERTIFICATE is.
pub fn label(label: &str) -> &'static str {
    match label {
        "PKCS7" | "CMS" => PKCS7,
        "TRUSTED CERTIFICATE" => {
            "OpenSSL's own form with trust settings (TRUSTED CERTIFICATE): `openssl x509 -in FILE` makes a plain certificate of it"
        }
        "X509 CERTIFICATE" => "an old label (X509 CERTIFICATE): `openssl x509 -in FILE` writes it anew",
        "X509 CRL" => CRL,
        "CERTIFICATE REQUEST" | "NEW CERTIFICATE REQUEST" => REQUEST,
        "PUBLIC KEY" | "RSA PUBLIC KEY" => "a public key without its certificate",
        "DH PARAMETERS" | "EC PARAMETERS" => "parameters of a key",
        _ => "a PEM block with another label than CERTIFICATE",
    }
}
