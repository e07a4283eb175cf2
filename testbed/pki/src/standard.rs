//! The standard cast: two regions of Genesys Cloud, DigiCert's look-alike, and who tries to pass for them.

use time::Duration;

use super::{
    ca::Ca,
    eku::Eku,
    keys::KeyType,
    leaf::{Leaf, LeafBuilder},
};

/// A row of Genesys Cloud's region catalogue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Region {
    /// The region's id.
    pub id: &'static str,
    /// The domain below `api.` and `login.`.
    pub domain: &'static str,
    /// The name in the data-actions client certificate.
    pub certificate_name: &'static str,
}

impl Region {
    /// The API's host name.
    pub fn api_host(&self) -> String {
        format!("api.{}", self.domain)
    }

    /// The login host's name.
    pub fn login_host(&self) -> String {
        format!("login.{}", self.domain)
    }
}

/// Americas (US East).
pub const US_EAST_1: Region = Region {
    id: "us-east-1",
    domain: "mypurecloud.com",
    certificate_name: "dataactions.prod.us-east-1.mypurecloud.com",
};

/// EMEA (Frankfurt).
pub const EU_CENTRAL_1: Region = Region {
    id: "eu-central-1",
    domain: "mypurecloud.de",
    certificate_name: "dataactions.prod-euc1.eu-central-1.mypurecloud.com",
};

/// One region's authorities and certificates.
#[derive(Clone, Debug)]
pub struct RegionPki {
    /// Which region.
    pub region: Region,
    /// The region's private root, RSA-4096; signs leaves directly.
    pub root: Ca,
    /// The data-actions certificate by [`Self::root`].
    pub genesys: Leaf,
    /// The same a month after its end.
    pub genesys_expired: Leaf,
    /// The current data-actions certificate by the DigiCert look-alike, due to end in 60 days.
    pub digicert: Leaf,
    /// The one that follows it, valid already.
    pub digicert_upcoming: Leaf,
}

/// Everybody who appears in the tests.
#[derive(Clone, Debug)]
pub struct Pki {
    /// us-east-1.
    pub us: RegionPki,
    /// eu-central-1.
    pub eu: RegionPki,
    /// A public root like DigiCert's.
    pub digicert_root: Ca,
    /// Its intermediate, which issues clients *and private persons' e-mail certificates*.
    pub digicert_ca: Ca,
    /// Such an e-mail certificate: right chain, clientAuth, a person's name.
    pub email: Leaf,
    /// An e-mail certificate of that intermediate whose CN is us-east-1's name: only the pin tells.
    pub digicert_lookalike: Leaf,
    /// An attacker's CA with the DN of us-east-1's root and another key.
    pub impostor: Ca,
    /// us-east-1's name under [`Self::impostor`].
    pub impostor_leaf: Leaf,
    /// A CA that no policy trusts, and its client.
    pub stranger_ca: Ca,
    /// A client of [`Self::stranger_ca`].
    pub stranger: Leaf,
    /// Signs the servers: the ingress, the API and login hosts.
    pub server_ca: Ca,
}

impl Pki {
    /// Makes the cast.
    pub fn standard() -> Self {
        let digicert_root = Ca::builder("digicert-root")
            .key(KeyType::Rsa2048)
            .dn(&[("C", "US"), ("O", "Testbed DigiCert Inc"), ("CN", "Testbed Assured ID Root G2")])
            .self_signed();
        let digicert_ca = Ca::builder("digicert-ca")
            .key(KeyType::Rsa2048)
            .dn(&[("C", "US"), ("O", "Testbed DigiCert Inc"), ("CN", "Testbed Assured ID Client CA G2")])
            .ekus(&[Eku::ClientAuth, Eku::EmailProtection])
            .path_len(0)
            .signed_by(&digicert_root);
        let us = RegionPki::make(US_EAST_1, &digicert_ca);
        let eu = RegionPki::make(EU_CENTRAL_1, &digicert_ca);
        let both = [Eku::ClientAuth, Eku::EmailProtection];
        let email = digicert_ca
            .leaf()
            .key_name("email")
            .cn("A Person")
            .email("person@mail.example")
            .ekus(&both)
            .issue();
        let digicert_lookalike =
            digicert_ca.leaf().key_name("email").cn(US_EAST_1.certificate_name).ekus(&both).issue();
        let impostor = Ca::builder("impostor").dn(&genesys_dn(&US_EAST_1)).self_signed();
        let impostor_leaf = impostor.leaf().key_name("stranger").name(US_EAST_1.certificate_name).issue();
        let stranger_ca = Ca::builder("stranger").key(KeyType::P256).self_signed();
        let stranger = stranger_ca.leaf().key_name("stranger").name("client.stranger.example").issue();
        let server_ca = Ca::builder("server-ca").key(KeyType::P256).self_signed();
        Self {
            us,
            eu,
            digicert_root,
            digicert_ca,
            email,
            digicert_lookalike,
            impostor,
            impostor_leaf,
            stranger_ca,
            stranger,
            server_ca,
        }
    }

    /// The cast of a region by its id.
    ///
    /// # Panics
    /// If the id is neither us-east-1 nor eu-central-1.
    pub fn region(&self, id: &str) -> &RegionPki {
        [&self.us, &self.eu]
            .into_iter()
            .find(|r| r.region.id == id)
            .unwrap_or_else(|| panic!("no region {id} here"))
    }

    /// A TLS server certificate for these DNS names, by [`Self::server_ca`].
    pub fn server(&self, names: &[&str]) -> Leaf {
        let leaf = self.server_ca.leaf().key(KeyType::P256).key_name("server").ekus(&[Eku::ServerAuth]);
        names.iter().fold(leaf, LeafBuilder::dns).issue()
    }
}

impl RegionPki {
    fn make(region: Region, digicert: &Ca) -> Self {
        let root = Ca::builder(&format!("genesys-{}", region.id)).dn(&genesys_dn(&region)).self_signed();
        let genesys_leaf = || root.leaf().key_name("genesys").name(region.certificate_name);
        let digicert_leaf = |key| {
            let both = [Eku::ClientAuth, Eku::EmailProtection];
            digicert
                .leaf()
                .key_name(key)
                .organization("Testbed Genesys")
                .name(region.certificate_name)
                .ekus(&both)
        };
        Self {
            region,
            genesys: genesys_leaf().issue(),
            genesys_expired: genesys_leaf().expired().issue(),
            digicert: digicert_leaf("digicert")
                .valid_from_now(Duration::days(-300), Duration::days(60))
                .issue(),
            digicert_upcoming: digicert_leaf("digicert-upcoming")
                .valid_from_now(Duration::days(-1), Duration::days(364))
                .issue(),
            root,
        }
    }

    /// Another good DigiCert-like certificate of this region, as after an out-of-cycle rotation.
    pub fn digicert_again(&self, digicert: &Ca) -> Leaf {
        digicert.leaf().key_name("digicert").name(self.region.certificate_name).issue()
    }
}

fn genesys_dn(region: &Region) -> [(&'static str, &'static str); 4] {
    [
        ("C", "US"),
        ("ST", "Indiana"),
        ("O", "Testbed Genesys"),
        (
            "CN",
            if region.id == EU_CENTRAL_1.id { "Genesys Root eu-central-1" } else { "Genesys Root us-east-1" },
        ),
    ]
}
