//! The TLS peer's certificate: who is connected, and the bytes of the certificate from wherever Envoy shows them.

pub mod bind;
pub mod digest;
pub mod identify;
pub mod request;
pub mod xfcc;
