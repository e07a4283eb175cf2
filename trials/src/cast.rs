//! Who calls: certificates, headers, and what has to become of each at first.

use crate::{outcome::Outcome, stage::CRL_URL};
use std::sync::Arc;
use testbed::{
    World,
    pki::{Leaf, LeafBuilder},
};
use time::Duration;

/// Requests on a connection before the next one.
const PER_CONNECTION: usize = 50;
/// The same where each connection has its own certificate.
const PER_FRESH: usize = 4;

/// A certificate, none, or another one for each connection.
#[derive(Clone)]
pub enum Identity {
    Nobody,
    Leaf(Box<Leaf>),
    Fresh(Arc<dyn Fn() -> Leaf + Send + Sync>),
}

impl Identity {
    /// Tells it from another one.
    pub fn key(&self) -> &str {
        match self {
            Self::Nobody => "no certificate",
            Self::Leaf(leaf) => &leaf.sha256,
            Self::Fresh(_) => "fresh",
        }
    }
}

/// A caller that sends request after request.
#[derive(Clone)]
pub struct Caller {
    pub name: &'static str,
    pub door: &'static str,
    pub identity: Identity,
    /// The header that it sends along, if any.
    pub header: Option<(&'static str, String)>,
    /// Its share of the requests.
    pub share: usize,
    /// Requests on a connection before the next one.
    pub per_connection: usize,
    /// What is right; more than one where both are.
    pub expected: Vec<Outcome>,
}

impl Caller {
    pub fn new(name: &'static str, door: &'static str, identity: Identity, expected: Outcome) -> Self {
        let per_connection = if matches!(identity, Identity::Fresh(_)) { PER_FRESH } else { PER_CONNECTION };
        Self { name, door, identity, header: None, share: 1, per_connection, expected: vec![expected] }
    }

    #[must_use]
    pub fn forging(mut self, header: &'static str, value: String) -> Self {
        self.header = Some((header, value));
        self
    }

    /// A new connection for each request.
    #[must_use]
    pub fn unkept(mut self) -> Self {
        self.per_connection = 1;
        self
    }

    #[must_use]
    pub fn share(mut self, share: usize) -> Self {
        self.share = share;
        self
    }
}

/// Always this certificate.
pub fn leaf(leaf: &Leaf) -> Identity {
    Identity::Leaf(Box::new(leaf.clone()))
}

/// A data-actions certificate of us-east-1 by the Genesys CA that names the revocation list.
pub fn by_ca(world: &World) -> LeafBuilder<'_> {
    let us = &world.pki.us;
    us.root.leaf().key_name("genesys").name(us.region.certificate_name).crl(CRL_URL).valid_from_now(
        // Valid a day earlier and a day later, too.
        Duration::days(-10),
        Duration::days(80),
    )
}

/// A DigiCert-like data-actions certificate of us-east-1.
pub fn by_digicert(world: &World) -> Leaf {
    let builder =
        world.pki.digicert_ca.leaf().key_name("digicert").name(world.pki.us.region.certificate_name);
    builder.valid_from_now(Duration::days(-10), Duration::days(80)).issue()
}

/// The certificates that something happens to.
pub struct Fated {
    /// Named by the API from the beginning, then announced, then named without announcement.
    pub digicert: [Leaf; 3],
    pub revoked: Leaf,
    pub ends_soon: Leaf,
    pub began_lately: Leaf,
}

impl Fated {
    pub fn new(world: &World) -> Self {
        let half_a_day = Duration::hours(12);
        Self {
            digicert: std::array::from_fn(|_| by_digicert(world)),
            revoked: by_ca(world).issue(),
            ends_soon: by_ca(world).valid_from_now(Duration::days(-10), half_a_day).issue(),
            began_lately: by_ca(world).valid_from_now(-half_a_day, Duration::days(80)).issue(),
        }
    }
}

pub const BY_CA: &str = "Genesys Cloud, by the Genesys CA";
pub const FRESH: &str = "the same, a new certificate for each connection";
pub const DIGICERT: [&str; 3] =
    ["Genesys Cloud, by DigiCert", "DigiCert's announced certificate", "DigiCert's unannounced certificate"];
pub const REVOKED: &str = "a certificate that gets revoked";
pub const ENDS_SOON: &str = "a certificate with half a day left";
pub const BEGAN_LATELY: &str = "a certificate half a day old";
pub const HARD: &str = "Genesys Cloud, where revocation is hard";
pub const HARD_REVOKED: &str = "the one that gets revoked, where it is hard";

/// All callers, before anything happens.
pub fn everybody(world: &Arc<World>, fated: &Fated) -> Vec<Caller> {
    let pki = &world.pki;
    let denied = Outcome::denied;
    let forged = forged_xfcc(&pki.us.genesys);
    let xfcc = "x-forwarded-client-cert";
    let soft = |name, identity, expected| Caller::new(name, "ingress", identity, expected);
    let issuing = world.clone();
    let fresh = Identity::Fresh(Arc::new(move || by_ca(&issuing).issue()));
    vec![
        soft(BY_CA, leaf(&by_ca(world).issue()), Outcome::LetIn).share(4),
        soft(FRESH, fresh, Outcome::LetIn),
        soft(DIGICERT[0], leaf(&fated.digicert[0]), Outcome::LetIn).share(4),
        soft(DIGICERT[1], leaf(&fated.digicert[1]), denied("not_pinned")).or_unsettled(),
        // Not seen before its time.
        soft(DIGICERT[2], leaf(&fated.digicert[2]), Outcome::LetIn).share(0),
        soft(REVOKED, leaf(&fated.revoked), Outcome::LetIn),
        soft(ENDS_SOON, leaf(&fated.ends_soon), Outcome::LetIn),
        soft(BEGAN_LATELY, leaf(&fated.began_lately), Outcome::LetIn),
        Caller::new(HARD, "hard", leaf(&by_ca(world).issue()), Outcome::LetIn),
        Caller::new(HARD_REVOKED, "hard", leaf(&fated.revoked), Outcome::LetIn),
        soft("no certificate", Identity::Nobody, denied("no_client_certificate")),
        soft("a stranger", leaf(&pki.stranger), denied("wrong_name")),
        soft("another region", leaf(&pki.eu.genesys), denied("wrong_region")),
        soft("an impostor CA", leaf(&pki.impostor_leaf), denied("bad_signature")),
        soft("DigiCert, our name, no pin", leaf(&pki.digicert_lookalike), denied("not_pinned"))
            .or_unsettled(),
        soft("a stranger, forged XFCC", leaf(&pki.stranger), denied("wrong_name"))
            .forging(xfcc, forged.clone()),
        soft("no certificate, forged XFCC", Identity::Nobody, denied("no_client_certificate"))
            .forging(xfcc, forged),
    ]
}

impl Caller {
    /// Also right: that the API could not be asked so far.
    #[must_use]
    pub fn or_unsettled(mut self) -> Self {
        self.expected.extend(unsettled());
        self
    }
}

/// What is right for a certificate that lacks nothing but a pin, as long as a worker could not ask the API about it.
pub fn unsettled() -> [Outcome; 2] {
    ["trust_unrefreshed", "trust_not_loaded"].map(Outcome::unavailable)
}

/// Strangers without end, a new certificate for each connection.
pub fn strangers(world: &Arc<World>) -> Caller {
    let issuing = world.clone();
    let fresh = move || {
        let leaf = issuing.pki.stranger_ca.leaf().key_name("stranger");
        leaf.name("client.stranger.example").issue()
    };
    let fresh = Identity::Fresh(Arc::new(fresh));
    Caller::new(
        "a stranger, a new certificate for each connection",
        "ingress",
        fresh,
        Outcome::denied("wrong_name"),
    )
}

/// The genuine certificate in a header, as Envoy would write it.
pub fn forged_xfcc(genuine: &Leaf) -> String {
    let escape = |byte: u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' => char::from(byte).to_string(),
        other => format!("%{other:02X}"),
    };
    let pem: String = genuine.cert_pem.bytes().map(escape).collect();
    format!("Hash={};Cert=\"{pem}\"", genuine.sha256)
}
