//! `regions`: whose client may pass, and which authorities prove that it is that client.

use crate::{
    config::{
        checks::{is_host, is_label},
        error::ErrorKind,
        refresh::{Access, access},
        section::{Fields, Section},
    },
    policy::{Credentials, DigicertPolicy, RegionPolicy, Source},
    regions::{self, REGIONS},
    x509::{ca::CaCertificate, fingerprint::Fingerprint},
};
use std::collections::BTreeMap;

pub fn regions(root: &mut Section<'_>, entries: Fields, general: &Access) -> Vec<RegionPolicy> {
    if entries.is_empty() {
        root.wrong("regions", "name at least one region, such as us-east-1");
    }
    let mut regions = Vec::new();
    for (id, value) in entries {
        let expected = "an object with `genesys`, `digicert` or both";
        let section = root.nested(&format!("regions.{id}"), value, expected);
        regions.extend(section.and_then(|section| region(section, id, general)));
    }
    check_distinct(root, &regions);
    regions
}

#[inline(never)] // V8 takes more than twice as long for twice the function
fn region(mut section: Section<'_>, id: String, general: &Access) -> Option<RegionPolicy> {
    let name = section.text("certificate_name");
    let domain = section.text("domain");
    let genesys = section.optional_object("genesys", "an object with `ca_certificates`").map(genesys);
    let digicert = section.optional_object("digicert", "an object with `pins`, and perhaps `issuers`");
    let digicert = digicert.map(digicert_policy);
    let own = section.optional_object("refresh", "an object with `clusters` and `oauth`");
    let own = own.map(|mut own| access(&mut own, general.clone()));

    let unknown = || ErrorKind::UnknownValue {
        name: id.clone(),
        expected: REGIONS.iter().map(|region| region.id).collect(),
    };
    if !is_label(&id) {
        section.wrong_kind("", "a region id is 1 to 63 of a-z, 0-9 and -", unknown());
        return None;
    }
    let known = regions::by_id(&id);
    let name = name.or(known.and_then(|known| known.certificate_name).map(str::to_owned));
    let Some(name) = name.map(|name| name.to_ascii_lowercase()) else {
        let fix = "give certificate_name, the name in its client certificate";
        match known {
            Some(_) => section.wrong("", &format!("Genesys publishes no name for this region: {fix}")),
            None => section.wrong_kind("", &format!("`{id}` is not in the catalogue: {fix}"), unknown()),
        }
        return None;
    };
    if !is_host(&name) {
        let message =
            format!("`{name}` is not a host name: give the name in the client certificate, in full");
        section.wrong("certificate_name", &message);
    }
    if let Some(other) = regions::by_certificate_name(&name).filter(|other| other.id != id) {
        let message = format!("`{name}` is the name of {0}: configure it under `regions.{0}`", other.id);
        section.wrong("certificate_name", &message);
    }
    if genesys.is_none() && digicert.is_none() {
        section.wrong("", "no authority vouches for this region: configure `genesys`, `digicert` or both");
    }
    let mut source = None;
    if digicert.as_ref().is_some_and(|digicert| digicert.api) {
        if let Some(domain) = domain.or(known.map(|known| known.domain.to_owned())) {
            let domain = domain.to_ascii_lowercase();
            check_domain(&section, &domain);
            source = Some(self::source(&id, &name, &domain, own.as_ref().unwrap_or(general)));
        } else {
            let message =
                format!("`{id}` is not in the catalogue: give domain, under which api.<domain> answers");
            section.wrong_kind("", &message, unknown());
        }
    }
    if own.is_some() && source.is_none() {
        section.wrong(
            "refresh",
            "has no effect, since `api` is not among this region's digicert.pins: add it there, or remove `refresh`",
        );
    }
    let verifies_issuer = digicert.as_ref().is_some_and(|digicert| !digicert.issuers.is_empty());
    if !verifies_issuer && source.as_ref().is_some_and(|source| source.credentials == Credentials::Injected) {
        section.wrong(
            "digicert.issuers",
            "required with `oauth: injected`: without a secret the filter can trust pins shared between workers only if it \
             can verify who issued them",
        );
    }
    Some(RegionPolicy { id, certificate_name: name, genesys: genesys.unwrap_or_default(), digicert, source })
}

fn check_domain(section: &Section<'_>, domain: &str) {
    let message = match domain.split_once('.') {
        _ if !is_host(domain) => {
            format!("`{domain}` is not a host name: give the domain alone, such as `mypurecloud.com`")
        }
        Some((host @ ("api" | "login"), rest)) => {
            format!("`{host}.` is put before the domain by the filter itself: write `{rest}`")
        }
        _ => return,
    };
    section.wrong("domain", &message);
}

fn source(id: &str, name: &str, domain: &str, access: &Access) -> Source {
    let (api_host, login_host) = (format!("api.{domain}"), format!("login.{domain}"));
    let render = |template: &str, host: &str| template.replace("{host}", host).replace("{region}", id);
    Source {
        region: id.to_owned(),
        certificate_name: name.to_owned(),
        api_cluster: render(&access.api, &api_host),
        login_cluster: render(&access.login, &login_host),
        api_host,
        login_host,
        credentials: if access.injected {
            Credentials::Injected
        } else {
            Credentials::Environment {
                client_id: access.client_id.clone(),
                client_secret: access.client_secret.clone(),
            }
        },
    }
}

fn genesys(mut section: Section<'_>) -> Vec<CaCertificate> {
    section.require(
        "ca_certificates",
        "give the region's root as PEM text, from the .zip on Genesys' help page",
    );
    let authorities = authorities(&mut section, "ca_certificates");
    if !section.boolean("danger_public_ca") {
        for authority in authorities.iter().filter(|authority| authority.is_digicert) {
            let message = format!(
                "`{}` is a DigiCert CA, which issues certificates to the public: configure it as digicert.issuers, next to \
                 pins (danger_public_ca: true if you mean it)",
                authority.name
            );
            section.wrong("ca_certificates", &message);
        }
    }
    authorities
}

fn digicert_policy(mut section: Section<'_>) -> DigicertPolicy {
    section.require(
        "pins",
        "give `[api]` for what the certificates API names, or fingerprints such as `sha256:<64 hex digits>`",
    );
    let pins = section.list("pins", "`api` or `sha256:<64 hex digits>`", pin);
    if pins.is_empty() {
        section.wrong(
            "pins",
            "is empty, so no certificate could pass: add `api`, or `sha256:<hex>` of the client certificate",
        );
    }
    DigicertPolicy {
        api: pins.contains(&None),
        pins: pins.into_iter().flatten().collect(),
        issuers: authorities(&mut section, "issuers"),
    }
}

/// A fingerprint, or nothing for `api`.
fn pin(text: &str) -> Result<Option<Fingerprint>, String> {
    if text == "api" {
        return Ok(None);
    }
    match text.strip_prefix("sha256:") {
        Some(digits) => digits.parse().map(Some).map_err(|error| format!("`{text}`: {error}")),
        None if text.parse::<Fingerprint>().is_ok() => {
            Err(format!("`{text}` is not a pin: write `sha256:` before it"))
        }
        None => Err(format!("`{text}` is not a pin: write `api` or `sha256:<64 hex digits>`")),
    }
}

fn authorities(section: &mut Section<'_>, name: &'static str) -> Vec<CaCertificate> {
    let Some(pem) = section.text(name) else { return Vec::new() };
    CaCertificate::parse_bundle(pem.as_bytes()).unwrap_or_else(|error| {
        section.wrong(name, &error.to_string());
        Vec::new()
    })
}

/// What no single region can see: names, clusters and OAuth secrets that two of them share.
fn check_distinct(root: &Section<'_>, regions: &[RegionPolicy]) {
    let mut taken = BTreeMap::new();
    // Whose it is already, if that is another region's.
    let mut take = |kind: &'static str, text, region| {
        taken.insert((kind, text), region).filter(|other| *other != region)
    };
    for RegionPolicy { id, certificate_name: name, source, .. } in regions {
        let wrong = |field: &str, message: &str| root.wrong(&format!("regions.{id}.{field}"), message);
        if let Some(other) = take("name", name, id) {
            let message =
                format!("`{name}` is the name of `{other}` as well, and a name tells one region only");
            wrong("certificate_name", &message);
        }
        let Some(source) = source else { continue };
        if let Credentials::Environment { client_secret, .. } = &source.credentials
            && let Some(other) = take("secret", client_secret, id)
        {
            let message = format!(
                "`{client_secret}` is the secret of `{other}` as well, and would be sent to the login hosts of both: an \
                 organisation and its OAuth client are in one region, so name variables per region (`client_id_env`, \
                 `client_secret_env`)"
            );
            wrong("refresh.oauth", &message);
        }
        for cluster in [&source.api_cluster, &source.login_cluster] {
            if let Some(other) = take("cluster", cluster, id) {
                let message = format!(
                    "cluster `{cluster}` serves {other} already, so one region's secret would reach the other's host: use a \
                     template such as `outbound|443||{{host}}`, or name clusters per region"
                );
                wrong("refresh.clusters", &message);
            }
        }
    }
}
