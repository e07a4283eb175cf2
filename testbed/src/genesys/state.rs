//! What the stand-in knows: regions, credentials, tokens, certificates.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Mutex, MutexGuard, PoisonError, atomic::AtomicU64},
    time::{Duration, Instant},
};

use serde_json::{Map, Value};
use testbed_pki::{Leaf, Region, RegionPki, pem_block};

use super::{fault::Rule, log::Log};

/// The OAuth client of one region.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// Client id.
    pub client_id: String,
    /// Client secret.
    pub client_secret: String,
}

/// The API's two lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// In use.
    Current,
    /// Announced.
    Upcoming,
}

impl Status {
    /// As the API spells it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Current => "Current",
            Self::Upcoming => "Upcoming",
        }
    }
}

/// One element of `entities`. The field `status` is filled in by the list that holds it.
#[derive(Clone, Debug, PartialEq)]
pub struct Entity {
    fields: Map<String, Value>,
    omitted: BTreeSet<String>,
}

impl Entity {
    /// An entity of this authority with this certificate text, of type `Client`.
    pub fn new(authority: &str, certificate: &str) -> Self {
        let fields = [("signingAuthority", authority), ("certificate", certificate), ("type", "Client")];
        let fields = fields.into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect();
        Self { fields, omitted: BTreeSet::new() }
    }

    /// As the API gives a DigiCert certificate: leaf, intermediate and root, `\r\n`, no newline at the end.
    pub fn digicert(leaf: &Leaf, root_der: &[u8]) -> Self {
        let text = format!("{}{}", leaf.chain_pem, pem_block(root_der));
        Self::new("DigiCert", text.trim_end().replace('\n', "\r\n").as_str())
    }

    /// As the API gives a Genesys certificate: the leaf, `\n`, an empty line at the end.
    pub fn genesys(leaf: &Leaf) -> Self {
        Self::new("Genesys", &format!("{}\n", leaf.cert_pem))
    }

    /// With a field set to any value, known or not.
    #[must_use]
    pub fn with(mut self, field: &str, value: impl Into<Value>) -> Self {
        self.omitted.remove(field);
        self.fields.insert(field.into(), value.into());
        self
    }

    /// Without a field.
    #[must_use]
    pub fn without(mut self, field: &str) -> Self {
        self.fields.remove(field);
        self.omitted.insert(field.into());
        self
    }

    fn authority(&self) -> Option<String> {
        self.fields.get("signingAuthority")?.as_str().map(str::to_ascii_lowercase)
    }

    pub(super) fn render(&self, status: Status) -> Value {
        let mut fields = self.fields.clone();
        if !self.omitted.contains("status") {
            fields.entry("status").or_insert_with(|| status.name().into());
        }
        Value::Object(fields)
    }
}

/// A list in pages.
#[derive(Clone, Debug, Default)]
pub(super) struct Listing {
    pub pages: Vec<Vec<Entity>>,
    pub next_uri: Option<String>,
}

impl Listing {
    pub fn of(entities: Vec<Entity>) -> Self {
        Self { pages: vec![entities], next_uri: None }
    }
}

#[derive(Debug)]
pub(super) struct RegionState {
    pub region: Region,
    pub credentials: Credentials,
    pub current: Listing,
    pub upcoming: Listing,
    pub expires_in: Option<Value>,
    pub permitted: bool,
    pub calls: u64,
    tokens: HashMap<String, Option<Instant>>,
    issued: u64,
}

impl RegionState {
    pub fn new(pki: &RegionPki, digicert_root: &[u8]) -> Self {
        let region = pki.region;
        let current = vec![Entity::digicert(&pki.digicert, digicert_root), Entity::genesys(&pki.genesys)];
        Self {
            region,
            credentials: Credentials {
                client_id: format!("client-of-{}", region.id),
                client_secret: format!("secret-of-{}", region.id),
            },
            current: Listing::of(current),
            upcoming: Listing::of(Vec::new()),
            expires_in: Some(86_400.into()),
            permitted: true,
            calls: 0,
            tokens: HashMap::new(),
            issued: 0,
        }
    }

    pub fn list(&mut self, status: Status) -> &mut Listing {
        match status {
            Status::Current => &mut self.current,
            Status::Upcoming => &mut self.upcoming,
        }
    }

    /// Upcoming entities take the place of the current ones of the same authority.
    pub fn rotate(&mut self) {
        let upcoming = std::mem::replace(&mut self.upcoming, Listing::of(Vec::new()));
        let mut entities: Vec<Entity> = upcoming.pages.into_iter().flatten().collect();
        let kept = self.current.pages.drain(..).flatten();
        let replaced: Vec<_> = entities.iter().map(Entity::authority).collect();
        let kept: Vec<Entity> = kept.filter(|e| !replaced.contains(&e.authority())).collect();
        entities.extend(kept);
        self.current = Listing::of(entities);
    }

    pub fn new_token(&mut self) -> String {
        self.issued += 1;
        let token = format!("token-{}-{}", self.region.id, self.issued);
        self.tokens.insert(token.clone(), honoured(self.expires_in.as_ref()));
        token
    }

    pub fn knows_token(&self, token: &str) -> bool {
        self.tokens.get(token).is_some_and(|end| end.is_none_or(|end| Instant::now() < end))
    }

    pub fn revoke_tokens(&mut self) {
        self.tokens.clear();
    }
}

#[derive(Debug, Default)]
pub(super) struct State {
    pub regions: Vec<RegionState>,
    pub rules: Vec<Rule>,
    pub crls: BTreeMap<String, (u16, Vec<u8>)>,
}

impl State {
    pub fn region(&mut self, id: &str) -> &mut RegionState {
        self.regions
            .iter_mut()
            .find(|r| r.region.id == id)
            .unwrap_or_else(|| panic!("no region {id} at the stand-in"))
    }

    /// The region that a host belongs to, and whether it is the login host.
    pub fn host(&mut self, host: &str) -> Option<(&mut RegionState, bool)> {
        let host = host.split(':').next().unwrap_or_default().to_ascii_lowercase();
        let (service, domain) = host.split_once('.')?;
        let login = match service {
            "login" => true,
            "api" => false,
            _ => return None,
        };
        self.regions.iter_mut().find(|r| r.region.domain == domain).map(|region| (region, login))
    }
}

/// How long a token of this `expires_in` is honoured.
fn honoured(expires_in: Option<&Value>) -> Option<Instant> {
    let seconds = expires_in.and_then(Value::as_u64).unwrap_or(86_400).min(172_800);
    Instant::now().checked_add(Duration::from_secs(seconds))
}

/// What the connections share.
#[derive(Debug)]
pub(super) struct Inner {
    pub state: Mutex<State>,
    pub log: Log,
    pub connections: AtomicU64,
}

impl Inner {
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
