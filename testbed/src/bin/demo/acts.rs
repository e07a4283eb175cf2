//! The acts with the *explain* profile: who gets in, a rotation, an outage.

use serde_json::{Value, json};
use testbed::{
    World,
    envoy::Error,
    genesys::{Entity, Status},
    pki::Leaf,
};

use crate::{
    checks::{
        Demo,
        Expect::{LetIn, Refused},
        IDENTITY,
    },
    stage::{Caller, Stage},
};

const REGION: &str = "us-east-1";
pub const EXPLAIN: &str = "envoy/envoy.yaml";

/// Requests sent on each of two connections while the API is down.
const BURST: usize = 100;

/// The shipped policy with a hurry: refreshed each second, removed pins dropped after six.
pub fn policy(world: &World) -> Value {
    let mut policy = world.policy();
    policy["identity"] = json!({"header": IDENTITY});
    policy["refresh"] = json!({
        "interval": "1s",
        "retry": {"base": "500ms", "max": "1s"},
        "keep_removed": "6s",
        // Generous, so that a busy machine has time to ask the API.
        "on_unknown_certificate": {"hold": "4s"},
    });
    policy
}

/// Makes the API name these DigiCert certificates, beside the Genesys one.
pub fn api_names(world: &World, current: &Leaf, upcoming: Option<&Leaf>) {
    let digicert = |leaf: &Leaf| Entity::digicert(leaf, &world.pki.digicert_root.der);
    let current = vec![digicert(current), Entity::genesys(&world.pki.us.genesys)];
    world.genesys.set_entities(REGION, Status::Current, current);
    world.genesys.set_entities(REGION, Status::Upcoming, upcoming.into_iter().map(digicert).collect());
}

/// What a client without any say in the matter may write into `x-forwarded-client-cert`.
pub fn forged_xfcc(genuine: &Leaf) -> String {
    let escaped = genuine.cert_pem.chars().map(|c| match c {
        '\n' => "%0A".into(),
        ' ' => "%20".into(),
        '+' => "%2B".into(),
        '/' => "%2F".into(),
        '=' => "%3D".into(),
        other => String::from(other),
    });
    format!("Hash={};Cert=\"{}\"", genuine.sha256, escaped.collect::<String>())
}

pub async fn who_gets_in(demo: &mut Demo, stage: &Stage) -> Result<(), Error> {
    demo.screen.act(
        1,
        "who gets in",
        "Profile explain (envoy/envoy.yaml): TLS lets everybody in, the filter decides, and each refusal has its \
         reason. Each caller proves in a real handshake that it owns the key of its certificate.",
    );
    stage.metric("refreshes.ok", |n| n > 0).await?;
    let pki = demo.world.pki.clone();
    let xfcc = forged_xfcc(&pki.us.genesys);
    demo.screen.columns("caller");
    let rows = [
        ("Genesys Cloud, by the Genesys CA", Some(&pki.us.genesys), LetIn("genesys")),
        ("Genesys Cloud, by DigiCert, in the API", Some(&pki.us.digicert), LetIn("digicert")),
        ("without a certificate", None, Refused(403, "no_client_certificate")),
        ("a stranger, by its own CA", Some(&pki.stranger), Refused(403, "wrong_name")),
        ("Genesys Cloud's other region, eu-central-1", Some(&pki.eu.genesys), Refused(403, "wrong_region")),
        ("Genesys Cloud, expired a month ago", Some(&pki.us.genesys_expired), Refused(403, "expired")),
        (
            "an impostor CA with the Genesys CA's name",
            Some(&pki.impostor_leaf),
            Refused(403, "bad_signature"),
        ),
        ("an e-mail certificate, by DigiCert", Some(&pki.email), Refused(403, "wrong_name")),
        ("the same with our name, not in the API", Some(&pki.digicert_lookalike), Refused(403, "not_pinned")),
    ];
    demo.table(stage, &rows).await?;
    let forging = |name, leaf| Caller::new(name, leaf).header("x-forwarded-client-cert", &xfcc);
    let caller = forging("the stranger, with a forged XFCC header", Some(&pki.stranger));
    demo.check(stage, caller, Refused(403, "wrong_name")).await?;
    let caller = forging("no certificate, the same forged header", None);
    demo.check(stage, caller, Refused(403, "no_client_certificate")).await?;
    let caller = Caller::new("Genesys Cloud, forging the identity header", &pki.us.genesys);
    let caller = caller.header(IDENTITY, "region=\"mars\"");
    let seen = demo.check(stage, caller, LetIn("genesys")).await?;
    demo.screen.quote("service", &format!("{IDENTITY}: {}", seen.identity().join(" and ")));
    demo.screen
        .note("The forged header held the genuine certificate. Why \"the same with our name\" was refused:");
    demo.screen.quote("log", &stage.log_line("reason=not_pinned").await?);
    demo.show_log_if_wrong(stage);
    Ok(())
}

pub async fn rotation(demo: &mut Demo, stage: &Stage) -> Result<(), Error> {
    demo.screen.act(
        2,
        "DigiCert rotates its certificate",
        "Nobody touches Envoy: the filter asks the certificates API, here every second, by default every hour. A \
         certificate that is new to it makes it ask at once.",
    );
    let pki = demo.world.pki.clone();
    let (old, new) = (&pki.us.digicert, &pki.us.digicert_upcoming);
    demo.screen.columns("caller or metric");
    let before = Caller::new("the new certificate, not published yet", new);
    demo.check(stage, before, Refused(403, "not_pinned")).await?;

    api_names(&demo.world, old, Some(new));
    demo.screen.quote("API", "Current: the old certificate. Upcoming: the new one.");
    let published = stage.log_line("pins=2 kept=0").await?;
    demo.screen.quote("log", &published);
    demo.check_soon(stage, Caller::new("the new certificate, upcoming", new), LetIn("digicert")).await?;
    demo.check(stage, Caller::new("the old certificate, current", old), LetIn("digicert")).await?;

    demo.world.genesys.rotate(REGION);
    demo.screen.quote("API", "Current: the new certificate. Upcoming: none.");
    demo.metric(stage, "pins.kept", "1", |n| n == 1).await?;
    demo.check(stage, Caller::new("the old certificate, kept for a while", old), LetIn("digicert")).await?;
    demo.check(stage, Caller::new("the new certificate, current", new), LetIn("digicert")).await?;
    demo.screen.note("Waiting for the overlap to end: keep_removed is 6s here, 24h by default.");
    let after = Caller::new("the old certificate, after keep_removed", old);
    demo.check_soon(stage, after, Refused(403, "not_pinned")).await?;
    demo.show_log_if_wrong(stage);
    Ok(())
}

pub async fn outage(demo: &mut Demo, stage: &Stage) -> Result<(), Error> {
    demo.screen.act(
        3,
        "login and API are down",
        "Both refuse connections. What is trusted stays trusted, and whoever was let in is let in. Only a certificate \
         of which nobody knows yet has to wait: 503, since an answer of the API could change the verdict.",
    );
    let pki = demo.world.pki.clone();
    demo.world.genesys.stop().await;
    demo.screen.columns("caller or metric");
    demo.metric(stage, "refreshes.api_unavailable", "above 0", |n| n > 0).await?;
    demo.metric(stage, "refresh_failures_in_a_row", "above 0", |n| n > 0).await?;
    demo.screen.quote("log", &stage.log_line("refresh failed").await?);

    let rows = [
        ("Genesys Cloud, by the Genesys CA", Some(&pki.us.genesys), LetIn("genesys")),
        ("Genesys Cloud, by DigiCert", Some(&pki.us.digicert_upcoming), LetIn("digicert")),
        ("a stranger", Some(&pki.stranger), Refused(403, "wrong_name")),
    ];
    demo.table(stage, &rows).await?;
    let good = burst(demo, stage, &[&pki.us.genesys, &pki.us.digicert_upcoming]).await;
    let all = 2 * BURST;
    demo.fact(
        "more requests of those two",
        &format!("{all} times 200"),
        &format!("{good} times 200"),
        good == all,
    );
    let unannounced = pki.us.digicert_again(&pki.digicert_ca);
    let third = Caller::new("a third certificate, not announced", &unannounced);
    demo.check(stage, third, Refused(503, "trust_unrefreshed")).await?;

    api_names(&demo.world, &unannounced, None);
    demo.world.genesys.resume().await?;
    demo.screen.quote("API", "Back. Current: the third certificate.");
    demo.screen.quote("log", &stage.log_line("recovered=true").await?);
    let third = Caller::new("the third certificate, now named", &unannounced);
    demo.check_soon(stage, third, LetIn("digicert")).await?;
    demo.metric(stage, "refresh_failures_in_a_row", "0", |n| n == 0).await?;
    demo.show_log_if_wrong(stage);
    Ok(())
}

/// Many requests on one connection per certificate; how many were answered 200.
async fn burst(demo: &Demo, stage: &Stage, leaves: &[&Leaf]) -> usize {
    let mut good = 0;
    for leaf in leaves {
        let client = demo.world.client(stage.envoy.listener_addr(stage.listener)).identity(leaf).build();
        let Ok(mut connection) = client.connect().await else { continue };
        for _ in 0..BURST {
            good += usize::from(connection.get("/burst").await.is_ok_and(|response| response.status == 200));
        }
    }
    good
}
