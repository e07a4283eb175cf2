//! All failures of a refresh: existing trust stays, the log reports the failure once, and the next good answer ends it.

use crate::{
    pace::{API, LOGIN, REGION, fast, logged, more, outcomes, run},
    setup::{PATIENCE, Running, digicert, world},
};
use serde_json::json;
use std::time::Duration;
use testbed::{
    World,
    genesys::{Credentials, Endpoint, Entity, Fault, ServerIdentity, Status},
};

/// Proxies that work through the rows in parallel, each with its own world.
const LANES: usize = 6;
const MIB: usize = 1024 * 1024;

/// The fault, and how it ends.
enum Trouble {
    Answer(Endpoint, Fault),
    Certificate(&'static str, ServerIdentity),
    /// What the API names as current.
    Names(Vec<Entity>),
    Pages(Vec<Vec<Entity>>),
    NextUri(String),
    Credentials,
    Permission,
    Refused,
}

struct Row {
    name: &'static str,
    trouble: Trouble,
    code: &'static str,
    /// A part of the detail in the log.
    says: &'static str,
}

fn row(name: &'static str, trouble: Trouble, code: &'static str) -> Row {
    Row { name, trouble, code, says: "" }
}

impl Row {
    fn says(self, says: &'static str) -> Self {
        Self { says, ..self }
    }
}

fn login_rows() -> Vec<Row> {
    let login = |name, fault, code| row(name, Trouble::Answer(Endpoint::Token, fault), code);
    let token = |answer| Fault::json(200, &answer);
    vec![
        login("login 400", Fault::oauth_error(400, "invalid_client"), "login_rejected"),
        login("login 401", Fault::oauth_error(401, "invalid_client"), "login_rejected"),
        login("login 403", Fault::Status(403), "login_rejected"),
        login("login 404", Fault::Status(404), "login_unexpected_status"),
        login("login 429", Fault::too_many_requests(None), "login_rate_limited"),
        login("login 500", Fault::Status(500), "login_unavailable"),
        login("login redirect", Fault::redirect(302, "https://evil.example/"), "login_redirected"),
        login("login reset", Fault::Reset, "login_unavailable"),
        login("login silent", Fault::Hang, "login_unavailable")
            .says("no answer came within the timeout (Envoy answered 504)"),
        login("login HTML", Fault::html(), "login_malformed").says("an HTML or XML page"),
        login("login empty", Fault::respond(200, &[], ""), "login_malformed").says("but empty"),
        login("no token", token(json!({"token_type": "bearer", "expires_in": 60})), "login_malformed"),
        login(
            "a token of another type",
            token(json!({"access_token": "x", "token_type": "mac"})),
            "login_malformed",
        ),
        row("a wrong secret", Trouble::Credentials, "login_rejected").says("egress address"),
    ]
}

fn api_rows() -> Vec<Row> {
    let api = |name, fault, code| row(name, Trouble::Answer(Endpoint::Current, fault), code);
    vec![
        api("API 400", Fault::api_error(400, "bad.request"), "api_unexpected_status"),
        api("API 401", Fault::api_error(401, "bad.credentials"), "api_unauthorized"),
        row("API 403, no permission", Trouble::Permission, "api_forbidden"),
        api("API 404", Fault::Status(404), "api_unexpected_status"),
        api("API 301", Fault::redirect(301, "https://evil.example/"), "api_redirected"),
        api("API 307", Fault::redirect(307, "https://api.mypurecloud.com/"), "api_redirected"),
        api("API 429", Fault::too_many_requests(None), "api_rate_limited"),
        // As long as it wants, but no longer than an interval.
        api("API 429 for a year", Fault::too_many_requests(Some(365 * 24 * 3600)), "api_rate_limited"),
        api("API 500", Fault::api_error(500, "internal.server.error"), "api_unavailable"),
        api("API 503", Fault::api_error(503, "service.unavailable"), "api_unavailable")
            .says("the certificates API answered 503\""),
        api("API 504", Fault::api_error(504, "gateway.timeout"), "api_unavailable"),
        api("API reset", Fault::Reset, "api_unavailable"),
        api("API reset in the middle of the body", Fault::ResetMidBody, "api_unavailable"),
        api("API closed in the middle of the body", Fault::CloseMidBody, "api_unavailable"),
        api("API silent", Fault::Hang, "api_unavailable"),
        api("API slower than the timeout", Fault::Delay(Duration::from_secs(5)), "api_unavailable"),
        api("not HTTP", Fault::Raw(b"SSH-2.0-OpenSSH_9.2\r\n".to_vec()), "api_unavailable"),
        row("Upcoming 500", Trouble::Answer(Endpoint::Upcoming, Fault::Status(500)), "api_unavailable"),
        row("no listener", Trouble::Refused, "login_unavailable").says("it refused the connection"),
    ]
}

fn certificate_rows() -> Vec<Row> {
    use ServerIdentity::{Expired, SelfSigned, UntrustedCa, WrongHost};
    let shows = |name, host, identity| {
        let code = if host == LOGIN { "login_unavailable" } else { "api_unavailable" };
        row(name, Trouble::Certificate(host, identity), code).says("or Envoy its certificate")
    };
    vec![
        shows("login host self-signed", LOGIN, SelfSigned),
        shows("login host expired", LOGIN, Expired),
        shows("login host under another name", LOGIN, WrongHost),
        shows("login host by another CA", LOGIN, UntrustedCa),
        shows("API host self-signed", API, SelfSigned),
        shows("API host expired", API, Expired),
        shows("API host under another name", API, WrongHost),
        shows("API host by another CA", API, UntrustedCa),
    ]
}

fn body_rows(world: &World) -> Vec<Row> {
    let answers = |name, body: Vec<u8>, code| {
        row(name, Trouble::Answer(Endpoint::Current, Fault::respond(200, &[], body)), code)
    };
    // As the help article prints it: line breaks inside of texts, and a full stop behind the list.
    let article = format!(
        "{{\n  \"entities\": [\n    {{\n      \"signingAuthority\": \"Digicert\",\n      \"certificate\": \"{}\",\n      \
         \"status\": \"Current\",\n      \"type\": \"Client\"\n    }}\n  ].\n}}\n",
        world.pki.us.digicert.cert_pem
    );
    vec![
        answers("an empty body", Vec::new(), "api_malformed").says("but empty"),
        answers("gzip", b"\x1f\x8b\x08\x00\x00".to_vec(), "api_malformed").says("compressed with gzip"),
        row("HTML", Trouble::Answer(Endpoint::Current, Fault::html()), "api_malformed"),
        row("truncated JSON", Trouble::Answer(Endpoint::Current, Fault::truncated_json()), "api_malformed"),
        answers("JSON of another shape", b"[1, 2]".to_vec(), "api_malformed")
            .says("JSON, but not as specified"),
        answers("the article's sample", article.into_bytes(), "api_malformed"),
        answers("1 MiB and a byte", vec![b' '; MIB + 1], "api_too_large"),
        // More than Envoy buffers, which then reports no answer at all.
        answers("33 MB", vec![b' '; 33 * MIB], "api_unavailable"),
    ]
}

fn entity_rows(world: &World) -> Vec<Row> {
    let pki = &world.pki;
    let names = |name, entities| row(name, Trouble::Names(entities), "no_usable_certificate");
    let with_text = |text: String| Entity::new("DigiCert", &text);
    let cas = pki.digicert_ca.pem.clone() + &pki.digicert_root.pem;
    let two = pki.us.digicert.cert_pem.clone() + &pki.us.digicert_upcoming.cert_pem;
    let expired = pki.digicert_ca.leaf().key_name("digicert").name(pki.us.region.certificate_name).expired();
    let good = || digicert(world, &pki.us.digicert);
    let list = "/api/v2/integrations/actions/certificates?status=Current";
    vec![
        names("no entities", vec![]),
        names("only Genesys' own authority", vec![Entity::genesys(&pki.us.genesys)]),
        names("only another region's", vec![digicert(world, &pki.eu.digicert)]),
        names("only expired ones", vec![digicert(world, &expired.issue())]),
        names("only CAs", vec![with_text(cas)]),
        names("two leaves in one entity", vec![with_text(two)]),
        names("another person's certificate", vec![digicert(world, &pki.email)]),
        names("unknown values", vec![good().with("signingAuthority", "Acme"), good().with("type", "Server")]),
        names("missing fields", vec![good().without("certificate"), good().without("signingAuthority")]),
        names("text that is no PEM", vec![with_text("MIIFazCCA1OgAwIBAgIRAIIQz7DSQON".to_owned())]),
        row(
            "nextUri to another host",
            Trouble::NextUri(format!("https://evil.example{list}")),
            "next_uri_refused",
        ),
        row(
            "nextUri to another service",
            Trouble::NextUri("/api/v2/users/me".to_owned()),
            "next_uri_refused",
        ),
        row("six pages", Trouble::Pages(vec![vec![good()]; 6]), "too_many_pages"),
    ]
}

fn rows(world: &World) -> Vec<Row> {
    [login_rows(), api_rows(), certificate_rows(), body_rows(world), entity_rows(world)]
        .into_iter()
        .flatten()
        .collect()
}

impl Trouble {
    async fn begin(&self, world: &World) {
        let genesys = &world.genesys;
        match self {
            Self::Answer(endpoint, fault) => genesys.fault(Some(REGION), Some(*endpoint), fault.clone()),
            Self::Certificate(host, identity) => genesys.set_tls(host, *identity),
            Self::Names(entities) => genesys.set_entities(REGION, Status::Current, entities.clone()),
            Self::Pages(pages) => genesys.set_pages(REGION, Status::Current, pages.clone()),
            Self::NextUri(uri) => genesys.set_next_uri(REGION, Status::Current, Some(uri)),
            Self::Credentials => {
                let client_id = genesys.credentials(REGION).client_id;
                genesys
                    .set_credentials(REGION, Credentials { client_id, client_secret: "another".to_owned() });
            }
            Self::Permission => genesys.set_permitted(REGION, false),
            Self::Refused => genesys.stop().await,
        }
    }

    async fn end(&self, world: &World, usual: &Credentials) {
        let genesys = &world.genesys;
        genesys.clear_faults();
        match self {
            Self::Answer(..) => {}
            Self::Certificate(host, _) => genesys.set_tls(host, ServerIdentity::Valid),
            Self::Names(_) | Self::Pages(_) | Self::NextUri(_) => {
                let usual = vec![digicert(world, &world.pki.us.digicert)];
                genesys.set_entities(REGION, Status::Current, usual);
            }
            Self::Credentials => genesys.set_credentials(REGION, usual.clone()),
            Self::Permission => genesys.set_permitted(REGION, true),
            Self::Refused => genesys.resume().await.expect("the stand-in listens again"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_failure_keeps_trust_is_reported_once_and_heals() {
    let lanes: Vec<_> = (0..LANES).map(|lane| tokio::spawn(work_through(lane))).collect();
    for lane in lanes {
        lane.await.expect("the message above names the row");
    }
}

async fn work_through(lane: usize) {
    let world = world().await;
    // Each refresh logs in anew, so that failures of the login host show.
    world.genesys.set_expires_in(REGION, Some(json!(60)));
    let policy = fast(&world);
    let run = run(world, &policy, |_, _| {}, |envoy| envoy).await;
    run.refreshed().await;
    for row in rows(&run.world).into_iter().skip(lane).step_by(LANES) {
        check(&run, &row).await;
    }
}

async fn check(run: &Running, Row { name, trouble, code, says }: &Row) {
    let genesys = &run.world.genesys;
    let usual = genesys.credentials(REGION);
    // Right after a refresh, a second is left before the next.
    more(run, "ok", 1).await;
    let line = format!("refresh failed policy=default region={REGION} reason={code} ");
    let [failed, recovered, by_code] =
        ["refresh failed", "recovered=true", &line].map(|text| run.envoy.count_in_log(text));
    let before = outcomes(run).await;
    let asked = genesys.requests().len();
    trouble.begin(&run.world).await;
    more(run, code, 2).await;
    let during = &genesys.requests()[asked..];
    let after = outcomes(run).await;

    for (other, count) in after.iter().filter(|(other, _)| other != code) {
        assert_eq!(before.get(other), Some(count), "{name}: {after:?}, before {before:?}");
    }
    run.assert_in(name, &run.world.pki.us.digicert).await;
    if let Trouble::Certificate(host, _) = trouble {
        let reached = during.iter().filter(|seen| seen.host == *host).count();
        assert_eq!(reached, 0, "{name}: a secret went to a host that could not prove its name: {during:?}");
    }
    logged(run, "refresh failed", failed + 1, name).await;
    // The first retry is after `base`, or an interval if it was asked for more.
    let next = if *name == "API 429 for a year" { "1.0s" } else { "0.1s" };
    logged(run, &line, by_code + 1, name).await;
    let log = run.envoy.log();
    let last = log.lines().rfind(|text| text.contains(&line)).unwrap_or_default();
    assert!(last.contains(&format!("failures=1 next_in={next};")), "{name}: {last}");
    assert!(last.contains(says), "{name}: {last}");

    trouble.end(&run.world, &usual).await;
    more(run, "ok", 1).await;
    logged(run, "recovered=true", recovered + 1, name).await;
    logged(run, "refresh failed", failed + 1, name).await;
    logged(run, &line, by_code + 1, name).await;
    run.assert_in(name, &run.world.pki.us.digicert).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pasted_credentials_lose_marks_and_quotes_are_named() {
    let paste = async |change: fn(&str) -> String| {
        let world = world().await;
        let Credentials { client_id, client_secret } = world.genesys.credentials(REGION);
        let policy = fast(&world);
        run(
            world,
            &policy,
            |_, _| {},
            |envoy| {
                let envoy = envoy.env("GENESYS_CLIENT_ID", &change(&client_id));
                envoy.env("GENESYS_CLIENT_SECRET", &change(&client_secret))
            },
        )
        .await
    };
    // As `echo`, Windows and PowerShell write them.
    let pastes: [fn(&str) -> String; 2] = [|text| format!("{text}\n"), |text| format!("\u{feff}{text}\r\n")];
    for change in pastes {
        let pasted = paste(change).await;
        pasted.refreshed().await;
        pasted.assert_in("pinned", &pasted.world.pki.us.digicert).await;
    }
    let quoted = paste(|text| format!("\"{text}\"")).await;
    let line = quoted.envoy.wait_for_log("reason=login_rejected", PATIENCE).await.expect("a line");
    for part in [
        "the client id has a quotation mark at an end; the client secret has a quotation mark at an end",
        "egress address",
        "; there are no pins of the API yet",
    ] {
        assert!(line.contains(part), "{line}");
    }
}
