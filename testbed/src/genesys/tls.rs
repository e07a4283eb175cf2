//! The server certificates of the stand-in, exchangeable while it runs.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use rustls::{
    ServerConfig,
    server::{ClientHello, NoServerSessionStorage, ResolvesServerCert},
    sign::CertifiedKey,
};
use testbed_pki::{Ca, Eku, KeyType, Leaf};
use time::Duration;

use crate::tls;

/// What a host presents in the TLS handshake.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ServerIdentity {
    /// A certificate for the host by the trusted server CA.
    #[default]
    Valid,
    /// For the host, signed by itself.
    SelfSigned,
    /// For the host, by a CA of the right name that is not the trusted one.
    UntrustedCa,
    /// By the trusted CA, for another host.
    WrongHost,
    /// By the trusted CA, for the host, over since last month.
    Expired,
}

/// Chooses the certificate by server name.
pub(super) struct Resolver {
    ca: Ca,
    identities: Mutex<HashMap<String, ServerIdentity>>,
    made: Mutex<HashMap<(String, ServerIdentity), Arc<CertifiedKey>>>,
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resolver").field("identities", &self.identities).finish_non_exhaustive()
    }
}

impl Resolver {
    pub fn new(ca: &Ca) -> Self {
        Self { ca: ca.clone(), identities: Mutex::default(), made: Mutex::default() }
    }

    pub fn set(&self, host: &str, identity: ServerIdentity) {
        self.identities
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(host.to_ascii_lowercase(), identity);
    }

    fn certify(&self, host: &str, identity: ServerIdentity) -> Arc<CertifiedKey> {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        let key = made.entry((host.to_owned(), identity));
        key.or_insert_with(|| Arc::new(tls::certified_key(&self.issue(host, identity)))).clone()
    }

    fn issue(&self, host: &str, identity: ServerIdentity) -> Leaf {
        let from = |ca: &Ca, host: &str| {
            ca.leaf()
                .key(KeyType::P256)
                .key_name("server")
                .ekus(&[Eku::ServerAuth])
                .cn(host)
                .dns(host)
                .issue()
        };
        match identity {
            ServerIdentity::Valid => from(&self.ca, host),
            ServerIdentity::WrongHost => from(&self.ca, "some.other.example"),
            ServerIdentity::UntrustedCa => {
                from(&Ca::builder("server-ca").key(KeyType::P384).self_signed(), host)
            }
            ServerIdentity::SelfSigned => {
                let own =
                    Ca::builder("self-signed-server").key(KeyType::P256).dn(&[("CN", host)]).self_signed();
                own.leaf()
                    .key(KeyType::P256)
                    .key_name("ca-self-signed-server")
                    .cn(host)
                    .dns(host)
                    .ekus(&[Eku::ServerAuth])
                    .issue()
            }
            ServerIdentity::Expired => self
                .ca
                .leaf()
                .key(KeyType::P256)
                .key_name("server")
                .ekus(&[Eku::ServerAuth])
                .dns(host)
                .valid_from_now(Duration::days(-60), Duration::days(-30))
                .issue(),
        }
    }
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let host = hello.server_name().unwrap_or("no-sni.example").to_ascii_lowercase();
        let identity = self.identities.lock().unwrap_or_else(PoisonError::into_inner).get(&host).copied();
        Some(self.certify(&host, identity.unwrap_or_default()))
    }
}

/// A server that never resumes a session: each handshake shows the certificate of the moment.
pub(super) fn server_config(resolver: Arc<Resolver>) -> Arc<ServerConfig> {
    let mut config = ServerConfig::builder_with_provider(tls::provider())
        .with_safe_default_protocol_versions()
        .expect("the provider supports TLS 1.2 and 1.3")
        .with_no_client_auth()
        .with_cert_resolver(resolver);
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Arc::new(config)
}
