//! The stand-in of Genesys Cloud answers the testbed's client as Genesys Cloud does, and shows the faults that a test sets.

use std::time::{Duration, Instant};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::Request;
use serde_json::{Value, json};
use testbed::{
    Client, Genesys, Pki,
    client::{AlertDescription, Error, Response},
    genesys::{Endpoint, Entity, Fault, Gate, ServerIdentity, Status},
};

const US: &str = "us-east-1";
const EU: &str = "eu-central-1";
const API: &str = "api.mypurecloud.com";
const LOGIN: &str = "login.mypurecloud.com";
const SOON: Duration = Duration::from_secs(5);

struct Bench {
    pki: Pki,
    genesys: Genesys,
}

impl Bench {
    async fn start() -> Self {
        let pki = Pki::standard();
        let genesys = Genesys::start(&pki).await.unwrap();
        Self { pki, genesys }
    }

    fn client(&self, host: &str) -> Client {
        Client::tls(self.genesys.addr(), &self.pki.server_ca).host(host).timeout(SOON).build()
    }

    async fn login(&self, host: &str, secret: &str) -> Result<Response, Error> {
        let basic = STANDARD.encode(secret);
        let request = Request::post("/oauth/token")
            .header("authorization", format!("Basic {basic}"))
            .header("content-type", "application/x-www-form-urlencoded")
            .body(b"grant_type=client_credentials".to_vec());
        self.client(host).send(request.unwrap()).await
    }

    async fn token(&self) -> String {
        let answer = self.login(LOGIN, "client-of-us-east-1:secret-of-us-east-1").await.unwrap();
        assert_eq!(answer.status, 200);
        answer.json()["access_token"].as_str().unwrap().to_owned()
    }

    async fn list(&self, token: &str, query: &str) -> Result<Response, Error> {
        self.list_at(API, token, query).await
    }

    async fn list_at(&self, host: &str, token: &str, query: &str) -> Result<Response, Error> {
        let request = Request::get(format!("/api/v2/integrations/actions/certificates{query}"))
            .header("authorization", format!("Bearer {token}"));
        self.client(host).send(request.body(Vec::new()).unwrap()).await
    }
}

fn certificates(answer: &Response) -> Vec<String> {
    let json = answer.json();
    let text = |e: &Value| e["certificate"].as_str().unwrap_or_default().to_owned();
    json["entities"].as_array().unwrap().iter().map(text).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_and_certificates_as_the_real_ones() {
    let bench = Bench::start().await;
    let login = bench.login(LOGIN, "client-of-us-east-1:secret-of-us-east-1").await.unwrap();
    assert_eq!(login.json()["token_type"], "bearer");
    assert_eq!(login.json()["expires_in"], 86_400);
    let token = login.json()["access_token"].as_str().unwrap().to_owned();

    let current = bench.list(&token, "?status=Current").await.unwrap();
    assert_eq!(current.status, 200);
    assert_eq!(current.header("inin-ratelimit-allowed"), Some("300"));
    assert!(current.header("ININ-Correlation-Id").is_some());
    let json = current.json();
    assert_eq!(json["total"], 2);
    assert_eq!(json["entities"][0]["signingAuthority"], "DigiCert");
    assert_eq!(json["entities"][0]["status"], "Current");
    assert_eq!(json["entities"][0]["type"], "Client");
    assert_eq!(json.get("nextUri"), None);
    let texts = certificates(&current);
    assert_eq!(texts[0].matches("BEGIN CERTIFICATE").count(), 3);
    assert!(texts[0].contains("\r\n") && texts[0].ends_with("-----END CERTIFICATE-----"));
    assert!(texts[1].ends_with("-----END CERTIFICATE-----\n\n") && !texts[1].contains('\r'));

    let upcoming = bench.list(&token, "?status=Upcoming&type=Client").await.unwrap();
    assert_eq!(upcoming.json()["entities"], json!([]));
    let both = bench.list(&token, "").await.unwrap();
    assert_eq!(both.json()["total"], 2);

    let seen = bench.genesys.requests();
    assert_eq!((seen[0].endpoint, seen[0].method.as_str()), (Endpoint::Token, "POST"));
    assert_eq!(seen[0].body, "grant_type=client_credentials");
    assert_eq!(seen[0].sni.as_deref(), Some(LOGIN));
    assert_eq!(seen[1].authorization, Some(format!("Bearer {token}")));
    assert_eq!(seen[1].target, "/api/v2/integrations/actions/certificates?status=Current");
    assert_eq!(bench.genesys.count(Some(US), Endpoint::Upcoming), 1);
    assert_eq!(bench.genesys.count(Some(EU), Endpoint::Upcoming), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals() {
    let bench = Bench::start().await;
    let wrong = bench.login(LOGIN, "client-of-us-east-1:nonsense").await.unwrap();
    assert_eq!((wrong.status, wrong.json()["error"].as_str()), (401, Some("invalid_client")));
    let other_region = bench.login("login.mypurecloud.de", "client-of-us-east-1:secret-of-us-east-1").await;
    assert_eq!(other_region.unwrap().status, 401);

    let without = bench.client(API).get("/api/v2/integrations/actions/certificates").await.unwrap();
    assert_eq!((without.status, without.json()["code"].as_str()), (401, Some("authentication.required")));
    let unknown = bench.list("made-up", "").await.unwrap();
    assert_eq!((unknown.status, unknown.json()["code"].as_str()), (401, Some("bad.credentials")));

    let token = bench.token().await;
    assert_eq!(
        bench.list_at("api.mypurecloud.de", &token, "").await.unwrap().status,
        401,
        "bound to a region"
    );
    bench.genesys.set_permitted(US, false);
    let forbidden = bench.list(&token, "").await.unwrap();
    assert_eq!((forbidden.status, forbidden.json()["code"].as_str()), (403, Some("missing.permissions")));
    bench.genesys.set_permitted(US, true);
    assert_eq!(bench.list(&token, "?status=Nonsense").await.unwrap().status, 400);
    bench.genesys.revoke_tokens(US);
    assert_eq!(bench.list(&token, "").await.unwrap().status, 401);
    assert_eq!(bench.client("api.unknown.example").get("/").await.unwrap().status, 404);

    bench.genesys.set_expires_in(US, None);
    let login = bench.login(LOGIN, "client-of-us-east-1:secret-of-us-east-1").await.unwrap();
    assert_eq!(login.json().get("expires_in"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn rotation_and_pages() {
    let bench = Bench::start().await;
    let token = bench.token().await;
    let before = certificates(&bench.list(&token, "?status=Current").await.unwrap());
    let next = Entity::digicert(&bench.pki.us.digicert_upcoming, &bench.pki.digicert_root.der);
    bench.genesys.set_entities(US, Status::Upcoming, vec![next.clone()]);
    let announced = certificates(&bench.list(&token, "?status=Upcoming").await.unwrap());
    bench.genesys.rotate(US);
    let after = certificates(&bench.list(&token, "?status=Current").await.unwrap());
    assert_eq!(after, [announced[0].clone(), before[1].clone()], "the Genesys entity stays");
    assert!(certificates(&bench.list(&token, "?status=Upcoming").await.unwrap()).is_empty());

    let odd = Entity::new("Other", "-").with("extra", 7).without("type").without("status");
    bench.genesys.set_pages(US, Status::Current, vec![vec![next], vec![odd]]);
    bench.genesys.set_next_uri(US, Status::Current, Some("https://elsewhere.example/x"));
    let first = bench.list(&token, "?status=Current").await.unwrap().json();
    let uri = first["nextUri"].as_str().unwrap();
    let query = uri.split_once('?').unwrap().1;
    let second = bench.list(&token, &format!("?{query}")).await.unwrap().json();
    assert_eq!(second["entities"][0], json!({"signingAuthority": "Other", "certificate": "-", "extra": 7}));
    assert_eq!(second["nextUri"], "https://elsewhere.example/x");
}

#[tokio::test(flavor = "multi_thread")]
async fn faults_that_answer() {
    let bench = Bench::start().await;
    let token = bench.token().await;
    let script = [
        Fault::Status(500),
        Fault::too_many_requests(Some(17)),
        Fault::too_many_requests(None),
        Fault::redirect(302, "https://elsewhere.example/"),
        Fault::html(),
        Fault::truncated_json(),
        Fault::huge(2_000_000),
        Fault::Body(b"[]".to_vec()),
        Fault::Pass,
        Fault::api_error(403, "missing.permissions"),
    ];
    bench.genesys.script(Some(US), Some(Endpoint::Current), script);
    let mut answers = Vec::new();
    for _ in 0..11 {
        answers.push(bench.list(&token, "?status=Current").await.unwrap());
    }
    let statuses: Vec<u16> = answers.iter().map(|a| a.status).collect();
    assert_eq!(statuses, [500, 429, 429, 302, 200, 200, 200, 200, 200, 403, 200]);
    assert_eq!(answers[0].json()["code"], "internal.server.error");
    assert_eq!((answers[1].header("retry-after"), answers[2].header("retry-after")), (Some("17"), None));
    assert_eq!(answers[6].body.len(), 2_000_002);
    assert_eq!(answers[7].text(), "[]");
    assert_eq!(answers[10].json()["total"], 2);

    // Another endpoint and another region are not touched.
    bench.genesys.fault(Some(EU), None, Fault::Status(503));
    bench.genesys.fault_times(Some(US), Some(Endpoint::Token), 2, Fault::Status(503));
    assert_eq!(bench.list(&token, "?status=Upcoming").await.unwrap().status, 200);
    let secret = "client-of-us-east-1:secret-of-us-east-1";
    let mut logins = Vec::new();
    for _ in 0..3 {
        logins.push(bench.login(LOGIN, secret).await.unwrap().status);
    }
    assert_eq!(logins, [503, 503, 200]);
    assert_eq!(bench.list_at("api.mypurecloud.de", "x", "").await.unwrap().status, 503);
    bench.genesys.clear_faults();
    assert_eq!(bench.list_at("api.mypurecloud.de", "x", "").await.unwrap().status, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn faults_that_break_the_connection() {
    let bench = Bench::start().await;
    let token = bench.token().await;
    let breaking =
        [Fault::Reset, Fault::ResetMidBody, Fault::CloseMidBody, Fault::Raw(b"not http\r\n\r\n".to_vec())];
    for fault in breaking {
        bench.genesys.script(None, Some(Endpoint::Current), [fault.clone()]);
        let error = bench.list(&token, "?status=Current").await.expect_err("no whole answer");
        match fault {
            Fault::Raw(_) => assert!(matches!(error, Error::Http(_)), "{error:?}"),
            _ => assert!(matches!(error, Error::Closed(_)), "{fault:?}: {error:?}"),
        }
    }
    let last = bench.genesys.requests().pop().unwrap();
    assert_eq!(last.answered, None);

    bench.genesys.script(None, Some(Endpoint::Current), [Fault::Hang]);
    let impatient =
        Client::tls(bench.genesys.addr(), &bench.pki.server_ca).host(API).timeout(Duration::from_millis(300));
    let error = impatient.build().get("/api/v2/integrations/actions/certificates?status=Current").await;
    assert!(matches!(error, Err(Error::Timeout(_))), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn faults_that_take_time() {
    let bench = Bench::start().await;
    let token = bench.token().await;
    let gate = Gate::new();
    bench.genesys.script(None, Some(Endpoint::Current), [Fault::Gate(gate.clone())]);
    let waiting = bench.list(&token, "?status=Current");
    let opener = async {
        let arrived = |seen: &[testbed::genesys::Seen]| seen.iter().any(|s| s.endpoint == Endpoint::Current);
        bench.genesys.wait_for("the request", SOON, arrived).await.unwrap();
        assert_eq!(bench.genesys.requests().pop().unwrap().answered, None);
        // The answer shows the state of the time when the gate opens.
        bench.genesys.set_entities(US, Status::Current, vec![]);
        gate.open();
    };
    let (answer, ()) = tokio::join!(waiting, opener);
    assert_eq!(answer.unwrap().json()["total"], 0);
    bench.genesys.wait_answered(Some(US), Endpoint::Current, 1, SOON).await.unwrap();

    bench.genesys.script(
        None,
        Some(Endpoint::Current),
        [Fault::Delay(Duration::from_millis(200)), Fault::Trickle(Duration::from_micros(100))],
    );
    let start = Instant::now();
    assert_eq!(bench.list(&token, "?status=Current").await.unwrap().status, 200);
    assert!(start.elapsed() >= Duration::from_millis(200));
    assert_eq!(bench.list(&token, "?status=Current").await.unwrap().json()["total"], 0);

    let never = bench.genesys.wait_for("pigs to fly", Duration::from_millis(50), |_| false).await;
    assert!(never.unwrap_err().to_string().contains("pigs to fly"));
}

#[tokio::test(flavor = "multi_thread")]
async fn server_certificates_change_at_run_time() {
    let bench = Bench::start().await;
    let mut open = bench.client(API).connect().await.unwrap();
    let impostors = [
        ServerIdentity::SelfSigned,
        ServerIdentity::UntrustedCa,
        ServerIdentity::WrongHost,
        ServerIdentity::Expired,
    ];
    for (count, identity) in (1..).zip(impostors) {
        bench.genesys.set_tls(API, identity);
        let error = bench.client(API).get("/").await.expect_err("refused by the client");
        assert!(matches!(error, Error::Tls(rustls::Error::InvalidCertificate(_))), "{identity:?}: {error:?}");
        assert_eq!(error.alert(), None);
        // Before the next exchange closes the connection with the alert still unread.
        bench.genesys.wait_failed_handshakes(count, SOON).await.unwrap();
    }
    assert!(open.wait_closed(SOON).await, "an exchange closes what is open");
    assert!(bench.genesys.requests().is_empty(), "nothing was sent to it");
    assert_eq!(bench.client(LOGIN).get("/").await.unwrap().status, 404, "the other host is as before");
    bench.genesys.set_tls(API, ServerIdentity::Valid);
    assert_eq!(bench.client(API).get("/").await.unwrap().status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn stops_and_resumes_on_the_same_port() {
    let bench = Bench::start().await;
    let addr = bench.genesys.addr();
    let mut open = bench.client(API).connect().await.unwrap();
    assert_eq!(open.get("/").await.unwrap().status, 404);
    for _ in 0..3 {
        bench.genesys.stop().await;
        let error = bench.client(API).get("/").await.expect_err("refused");
        assert!(
            matches!(&error, Error::Connect(e) if e.kind() == std::io::ErrorKind::ConnectionRefused),
            "{error:?}"
        );
        bench.genesys.resume().await.unwrap();
        assert_eq!(bench.client(API).get("/").await.unwrap().status, 404);
    }
    assert!(open.wait_closed(SOON).await);
    assert_eq!(bench.genesys.addr(), addr);
}

#[tokio::test(flavor = "multi_thread")]
async fn revocation_lists_over_plain_http() {
    let bench = Bench::start().await;
    let serial = testbed::pki::serial_of(&bench.pki.us.genesys.der);
    let list = bench.pki.us.root.crl().revoke(&serial).der();
    bench.genesys.set_crl("/us.crl", 200, list.clone());
    let client = Client::plain(bench.genesys.crl_addr()).host("crl.example").build();
    let answer = client.get("/us.crl").await.unwrap();
    assert_eq!((answer.status, answer.body), (200, list));
    assert_eq!(client.get("/none.crl").await.unwrap().status, 404);
    bench.genesys.script(None, Some(Endpoint::Crl), [Fault::Status(503)]);
    assert_eq!(client.get("/us.crl").await.unwrap().status, 503);
    assert_eq!(bench.genesys.count(None, Endpoint::Crl), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_is_kept_and_said_to_be() {
    let bench = Bench::start().await;
    let client = bench.client(API);
    let mut connection = client.connect().await.unwrap();
    assert_eq!(connection.tls().unwrap().version, "TLSv1_3");
    assert_eq!(connection.get("/").await.unwrap().nth_on_connection, 1);
    assert_eq!(connection.get("/").await.unwrap().nth_on_connection, 2);
    assert!(connection.is_open());
    assert_eq!(bench.genesys.connections(), 1);
    let wrong_ca = Client::tls(bench.genesys.addr(), &bench.pki.stranger_ca).host(API).build();
    let error = wrong_ca.get("/").await.unwrap_err();
    assert!(matches!(error, Error::Tls(_)) && error.alert() != Some(AlertDescription::UnknownCA));
}
