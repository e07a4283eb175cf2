//! The client's side of TLS.

use std::{fmt, sync::Arc};

use rustls::{
    ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme, SupportedProtocolVersion,
    client::{
        ResolvesClientCert, Resumption, WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    pki_types::{CertificateDer, ServerName, UnixTime},
    sign::CertifiedKey,
};
use testbed_pki::Leaf;

use crate::tls;

/// Which TLS versions a client offers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TlsVersions {
    /// 1.2 and 1.3.
    #[default]
    Both,
    /// 1.2 only.
    Tls12,
    /// 1.3 only.
    Tls13,
}

impl TlsVersions {
    fn list(self) -> Vec<&'static SupportedProtocolVersion> {
        match self {
            Self::Both => vec![&rustls::version::TLS13, &rustls::version::TLS12],
            Self::Tls12 => vec![&rustls::version::TLS12],
            Self::Tls13 => vec![&rustls::version::TLS13],
        }
    }
}

pub(super) struct Options<'a> {
    pub server_ca: &'a [u8],
    pub verify_name: &'a str,
    pub identity: Option<&'a Leaf>,
    pub versions: TlsVersions,
    pub resumption: bool,
    pub alpn: &'a [u8],
    pub sni: bool,
}

pub(super) fn config(options: &Options<'_>) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(options.server_ca)).expect("the server CA");
    let provider = tls::provider();
    let inner = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone())
        .build()
        .expect("a verifier for the server CA");
    let name = ServerName::try_from(options.verify_name.to_owned()).expect("a DNS name to verify");
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&options.versions.list())
        .expect("the provider supports these versions")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(FixedName { inner, name }));
    let mut config = match options.identity {
        Some(leaf) => builder.with_client_cert_resolver(Arc::new(Always(Arc::new(tls::certified_key(leaf))))),
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![options.alpn.to_vec()];
    config.enable_sni = options.sni;
    config.resumption =
        if options.resumption { Resumption::in_memory_sessions(16) } else { Resumption::disabled() };
    config
}

/// Verifies the server for one name, with any SNI.
struct FixedName {
    inner: Arc<WebPkiServerVerifier>,
    name: ServerName<'static>,
}

impl fmt::Debug for FixedName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FixedName").field("name", &self.name).finish_non_exhaustive()
    }
}

impl ServerCertVerifier for FixedName {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.inner.verify_server_cert(end_entity, intermediates, &self.name, ocsp, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

/// Presents its certificate without regard to the CAs that the server names.
#[derive(Debug)]
struct Always(Arc<CertifiedKey>);

impl ResolvesClientCert for Always {
    fn resolve(&self, _hints: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.0.clone())
    }

    fn has_certs(&self) -> bool {
        true
    }
}
