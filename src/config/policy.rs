//! [`Document`] to [`Policy`]: what the fields mean together, and every reason to refuse them.

use crate::{
    config::{
        Clusters, ConfigError, Document, OAuth, Pin,
        checks::{
            Errors, HOUR, check_clusters, check_oauth, check_refresh, is_host, is_label, is_policy_name,
            near_policy_name,
        },
        document::{DigicertDocument, GenesysDocument, PeerCertificate, RefreshDocument, RegionDocument},
        words,
    },
    policy::{
        Credentials, DigicertPolicy, Peer, PeerSource, Policy, RegionPolicy, Revocation, Source, TrustedHop,
        TrustedPeer,
    },
};
use crate::{
    policy::names::RegionNames,
    regions,
    time::UnixSeconds,
    x509::{ca::CaCertificate, fingerprint::Fingerprint},
};
use std::{collections::BTreeMap, time::Duration};

impl Policy {
    /// Checks a document as a whole. All its errors are reported at once.
    pub fn build(document: &Document, digest: Fingerprint) -> Result<Self, Vec<ConfigError>> {
        let mut errors = Errors::default();
        if !is_policy_name(&document.name) {
            let hint = near_policy_name(&document.name).map(|near| format!("; `{near}` would do"));
            let hint = hint.unwrap_or_default();
            errors.add("name", format!("`{}` is not 1 to 32 of a-z, 0-9 and _{hint}", document.name));
        }
        if document.regions.is_empty() {
            errors.add("regions", "name at least one region, such as us-east-1");
        }
        let refresh = check_refresh(&document.refresh, &mut errors);
        errors.check_span("clock_skew", document.clock_skew.0, Duration::ZERO..=HOUR);
        if document.clock_skew.0.subsec_nanos() > 0 {
            let message = format!(
                "{} is not in whole seconds, which is as fine as certificates are",
                document.clock_skew
            );
            errors.add("clock_skew", message);
        }
        let regions: Vec<RegionPolicy> = document
            .regions
            .iter()
            .filter_map(|(id, region)| RegionPolicy::build(id, region, &document.refresh, &mut errors))
            .collect();
        check_distinct(&regions, &mut errors);
        let (revocation, wrong) = Revocation::build(&document.revocation, &regions);
        errors.0.extend(wrong);
        let peer = peer(&document.peer_certificate, &mut errors);
        let identity_header = document.identity.as_ref().map(|identity| {
            let header = identity.header.to_ascii_lowercase();
            errors.check_header("identity.header", &header);
            header
        });
        let skew = UnixSeconds::try_from(document.clock_skew.0.as_secs()).unwrap_or_default();
        match peer {
            Some(peer) if errors.0.is_empty() => Ok(Self {
                name: document.name.clone(),
                region_names: RegionNames::new(
                    regions.iter().map(|region| (region.certificate_name.as_str(), region.id.as_str())),
                ),
                regions,
                names: document.names,
                clock_skew: skew,
                mode: document.mode,
                peer,
                identity_header,
                refresh,
                revocation,
                digest,
            }),
            _ => Err(errors.0),
        }
    }
}

impl RegionPolicy {
    fn build(
        id: &str,
        document: &RegionDocument,
        refresh: &RefreshDocument,
        errors: &mut Errors,
    ) -> Option<Self> {
        let path = format!("regions.{id}");
        let known = regions::by_id(id);
        if !is_label(id) {
            let hint =
                nearest_region(&id.to_ascii_lowercase()).map(|near| format!("; did you mean `{near}`?"));
            let message = format!("a region id is 1 to 63 of a-z, 0-9 and -{}", hint.unwrap_or_default());
            errors.add(&path, message);
            return None;
        }
        let hint = || match nearest_region(id) {
            Some(near) => format!("`{id}` is not in the catalogue; did you mean `{near}`? Otherwise give"),
            None => format!("`{id}` is not in the catalogue: give"),
        };
        let name = document.certificate_name.as_deref().or(known.and_then(|known| known.certificate_name));
        let Some(name) = name.map(str::to_ascii_lowercase) else {
            let why = if known.is_some() {
                "Genesys publishes no name for this region: give".into()
            } else {
                hint()
            };
            errors.add(&path, format!("{why} certificate_name, the name in its client certificate"));
            return None;
        };
        if !is_host(&name) {
            errors.add(
                &format!("{path}.certificate_name"),
                format!("`{name}` is not a host name: give the name as it stands in the client certificate, in full"),
            );
        }
        if let Some(other) = regions::by_certificate_name(&name).filter(|other| other.id != id) {
            errors.add(
                &format!("{path}.certificate_name"),
                format!("`{name}` is the name of {0}: configure it under `regions.{0}`", other.id),
            );
        }
        if document.genesys.is_none() && document.digicert.is_none() {
            errors
                .add(&path, "no authority vouches for this region: configure `genesys`, `digicert` or both");
        }
        let genesys = document.genesys.as_ref().map(|genesys| genesys_authorities(&path, genesys, errors));
        let digicert = document.digicert.as_ref().map(|digicert| digicert_policy(&path, digicert, errors));
        let source = digicert.as_ref().filter(|digicert| digicert.api).and_then(|digicert| {
            let Some(domain) = document.domain.as_deref().or(known.map(|known| known.domain)) else {
                errors.add(&path, format!("{} domain, under which api.<domain> answers", hint()));
                return None;
            };
            let domain = domain.to_ascii_lowercase();
            if !is_host(&domain) {
                errors.add(
                    &format!("{path}.domain"),
                    format!("`{domain}` is not a host name: give the domain alone, such as `mypurecloud.com`"),
                );
            } else if let Some((host, rest)) = domain.split_once('.').filter(|(host, _)| ["api", "login"].contains(host)) {
                errors.add(
                    &format!("{path}.domain"),
                    format!("`{host}.` is put before the domain by the filter itself: write `{rest}`"),
                );
            }
            let own = document.refresh.as_ref();
            let own_path = format!("{path}.refresh");
            if let Some(clusters) = own.and_then(|own| own.clusters.as_ref()) {
                check_clusters(&own_path, clusters.api.as_ref(), clusters.login.as_ref(), errors);
            }
            if let Some(OAuth::Environment(own)) = own.and_then(|own| own.oauth.as_ref()) {
                check_oauth(&own_path, own.client_id_env.as_ref(), own.client_secret_env.as_ref(), errors);
            }
            let clusters = own.map_or_else(|| refresh.clusters.clone(), |own| own.clusters(&refresh.clusters));
            let oauth = own.map_or_else(|| refresh.oauth.clone(), |own| own.oauth(&refresh.oauth));
            if matches!(oauth, OAuth::Injected(_)) && digicert.issuers.is_empty() {
                errors.add(
                    &format!("{path}.digicert.issuers"),
                    "required with `oauth: injected`: without a secret of its own the filter can trust pins shared \
                     between workers only if it can verify who issued them",
                );
            }
            Some(source(id, &name, &domain, &clusters, &oauth))
        });
        if document.refresh.is_some() && source.is_none() {
            errors.add(
                &format!("{path}.refresh"),
                "has no effect, since `api` is not among this region's digicert.pins: add it there, or remove `refresh`",
            );
        }
        Some(Self {
            id: id.to_owned(),
            certificate_name: name,
            genesys: genesys.unwrap_or_default(),
            digicert,
            source,
        })
    }
}

fn genesys_authorities(path: &str, document: &GenesysDocument, errors: &mut Errors) -> Vec<CaCertificate> {
    let path = format!("{path}.genesys.ca_certificates");
    let authorities = authorities(&path, &document.ca_certificates, errors);
    for authority in
        authorities.iter().filter(|authority| authority.is_digicert && !document.danger_public_ca)
    {
        errors.add(
            &path,
            format!(
                "`{}` is a DigiCert CA, which issues certificates to the public: configure it as digicert.issuers, \
                 next to pins (danger_public_ca: true if you mean it)",
                authority.name
            ),
        );
    }
    authorities
}

fn digicert_policy(path: &str, document: &DigicertDocument, errors: &mut Errors) -> DigicertPolicy {
    if document.pins.is_empty() {
        errors.add(
            &format!("{path}.digicert.pins"),
            "is empty, so no certificate could pass: add `api`, or `sha256:<hex>` of the client certificate",
        );
    }
    let issuers = document.issuers.as_deref();
    DigicertPolicy {
        pins: document
            .pins
            .iter()
            .filter_map(|pin| if let Pin::Sha256(fingerprint) = pin { Some(*fingerprint) } else { None })
            .collect(),
        api: document.pins.contains(&Pin::Api),
        issuers: issuers
            .map(|pem| authorities(&format!("{path}.digicert.issuers"), pem, errors))
            .unwrap_or_default(),
    }
}

fn authorities(path: &str, pem: &str, errors: &mut Errors) -> Vec<CaCertificate> {
    CaCertificate::parse_bundle(pem.as_bytes()).unwrap_or_else(|error| {
        errors.add(path, error.to_string());
        Vec::new()
    })
}

fn source(id: &str, name: &str, domain: &str, clusters: &Clusters, oauth: &OAuth) -> Source {
    let (api_host, login_host) = (format!("api.{domain}"), format!("login.{domain}"));
    let render = |template: &str, host: &str| template.replace("{host}", host).replace("{region}", id);
    Source {
        region: id.to_owned(),
        certificate_name: name.to_owned(),
        api_cluster: render(&clusters.api, &api_host),
        login_cluster: render(&clusters.login, &login_host),
        api_host,
        login_host,
        credentials: match oauth {
            OAuth::Injected(_) => Credentials::Injected,
            OAuth::Environment(variables) => Credentials::Environment {
                client_id: variables.client_id_env.clone(),
                client_secret: variables.client_secret_env.clone(),
            },
        },
    }
}

/// What no single region can see: names, clusters and OAuth secrets that two of them share.
fn check_distinct(regions: &[RegionPolicy], errors: &mut Errors) {
    let mut names = BTreeMap::new();
    let mut hosts: BTreeMap<&str, (&str, &str)> = BTreeMap::new();
    let mut secrets = BTreeMap::new();
    for region in regions {
        if let Some(other) = names.insert(&region.certificate_name, &region.id) {
            let path = format!("regions.{}.certificate_name", region.id);
            errors.add(
                &path,
                format!(
                    "`{}` is the name of `{other}` as well, and a name tells one region only",
                    region.certificate_name
                ),
            );
        }
        let Some(source) = &region.source else { continue };
        if let Credentials::Environment { client_secret, .. } = &source.credentials
            && let Some(other) = secrets.insert(client_secret, &region.id)
        {
            errors.add(
                &format!("regions.{}.refresh.oauth", region.id),
                format!(
                    "`{client_secret}` is the secret of `{other}` as well, and would be sent to the login hosts of both: an \
                     organisation and its OAuth client are in one region, so name variables per region \
                     (`client_id_env`, `client_secret_env`)"
                ),
            );
        }
        let path = format!("regions.{}.refresh.clusters", region.id);
        for (cluster, host) in
            [(&source.api_cluster, &source.api_host), (&source.login_cluster, &source.login_host)]
        {
            match hosts.insert(cluster, (host, &region.id)) {
                Some((_, other)) if other != region.id => errors.add(
                    &path,
                    format!(
                        "cluster `{cluster}` serves {other} already, so one region's secret would reach the other's \
                         host: use a template such as `outbound|443||{{host}}`, or name clusters per region"
                    ),
                ),
                _ => {}
            }
        }
    }
}

fn peer(document: &PeerCertificate, errors: &mut Errors) -> Option<Peer> {
    let Some(hop) = &document.danger_trusted_hop else {
        let key = document.filter_state_key.clone();
        return Some(Peer::Connection {
            source: document.source,
            filter_state_key: key.unwrap_or_else(|| "genesys_mtls.peer_certificate".to_owned()),
        });
    };
    let path = "peer_certificate.danger_trusted_hop";
    if document.source != PeerSource::Auto || document.filter_state_key.is_some() {
        errors.add(
            path,
            "cannot stand beside `source` or `filter_state_key`: the certificate is read from its header",
        );
    }
    let header = hop.header.to_ascii_lowercase();
    errors.check_header(&format!("{path}.header"), &header);
    let fingerprints = match hop.peer.fingerprints() {
        Ok(fingerprints) => fingerprints,
        Err(error) => {
            errors.add(&format!("{path}.peer.sha256"), error);
            return None;
        }
    };
    let peer = match (&hop.peer.dns_san, fingerprints) {
        (None, fingerprints) if !fingerprints.is_empty() => TrustedPeer::Sha256(fingerprints),
        (Some(name), fingerprints) if fingerprints.is_empty() && is_host(&name.to_ascii_lowercase()) => {
            TrustedPeer::DnsSan(name.to_ascii_lowercase())
        }
        _ => {
            errors.add(
                &format!("{path}.peer"),
                "give either sha256 (a list) or dns_san (a host name) of the hop's certificate, not both",
            );
            return None;
        }
    };
    Some(Peer::Hop(TrustedHop { header, peer }))
}

fn nearest_region(id: &str) -> Option<&'static str> {
    words::nearest(id, regions::REGIONS.iter().map(|known| known.id))
}
