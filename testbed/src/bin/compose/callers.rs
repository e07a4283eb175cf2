//! Who knocks, what each should meet, and the table of what each met.

use std::{
    fs,
    io::{Error, Result},
    path::Path,
    time::Duration,
};

use rustls::pki_types::{CertificateDer, pem::PemObject as _};
use serde_json::Value;
use testbed::{
    Client, Pki,
    client::{ClientBuilder, Response},
    pki::Leaf,
};
use tokio::time::{Instant, sleep};

use crate::addresses::resolve;

/// How long an Envoy that just started may take to fetch its first pins.
const START: Duration = Duration::from_mins(1);

pub struct Caller {
    /// Of its files.
    pub name: &'static str,
    title: &'static str,
    pub certificate: Option<fn(&Pki) -> &Leaf>,
    /// The reason code of its denial, or nothing if it is allowed.
    refused: Option<&'static str>,
}

const fn caller(
    name: &'static str,
    title: &'static str,
    certificate: Option<fn(&Pki) -> &Leaf>,
    refused: Option<&'static str>,
) -> Caller {
    Caller { name, title, certificate, refused }
}

pub const CALLERS: &[Caller] = &[
    caller("genesys", "Genesys Cloud, by the region's own CA", Some(|pki| &pki.us.genesys), None),
    caller("digicert", "Genesys Cloud, by DigiCert, named by the API", Some(|pki| &pki.us.digicert), None),
    caller("anonymous", "a caller without a certificate", None, Some("no_client_certificate")),
    caller("stranger", "a stranger with its own CA", Some(|pki| &pki.stranger), Some("wrong_name")),
    caller("email", "a private person, by DigiCert", Some(|pki| &pki.email), Some("wrong_name")),
    caller(
        "lookalike",
        "the same with Genesys' name",
        Some(|pki| &pki.digicert_lookalike),
        Some("not_pinned"),
    ),
    caller(
        "other-region",
        "Genesys Cloud, another region",
        Some(|pki| &pki.eu.genesys),
        Some("wrong_region"),
    ),
    caller("expired", "Genesys Cloud, last month's", Some(|pki| &pki.us.genesys_expired), Some("expired")),
    caller(
        "impostor",
        "a CA that only looks the same",
        Some(|pki| &pki.impostor_leaf),
        Some("bad_signature"),
    ),
];

/// Lets everybody knock once, and prints what they met.
pub async fn visit(dir: &Path, envoy: &str) -> Result<()> {
    let addr = resolve(envoy).await?;
    let server_ca = CertificateDer::from_pem_file(dir.join("api-ca.pem")).map_err(Error::other)?;
    println!("{:<48} {:<38} as expected", "caller", "answer");
    let mut surprises = 0;
    for caller in CALLERS {
        let mut client = Client::trusting(addr, &server_ca);
        if caller.certificate.is_some() {
            client = client.identity(&load(dir, caller.name)?);
        }
        let response = ask(client).await?;
        let code = code(&response);
        let answer = format!("{} {}", response.status, code.as_deref().unwrap_or("from the service"));
        let expected = match caller.refused {
            None => response.status == 200 && response.header("x-upstream").is_some(),
            Some(reason) => response.status == 403 && code.as_deref() == Some(reason),
        };
        surprises += usize::from(!expected);
        println!("{:<48} {answer:<38} {}", caller.title, if expected { "yes" } else { "NO" });
    }
    match surprises {
        0 => Ok(()),
        n => {
            Err(Error::other(format!("{n} of {} callers met something else than they should", CALLERS.len())))
        }
    }
}

fn load(dir: &Path, name: &str) -> Result<Leaf> {
    let read = |ending: &str| fs::read_to_string(dir.join(format!("{name}.{ending}")));
    Leaf::from_pem(&read("pem")?, &read("key")?)
}

/// One request; again while Envoy says that it has not fetched its pins yet.
async fn ask(client: ClientBuilder) -> Result<Response> {
    let client = client.build();
    let deadline = Instant::now() + START;
    loop {
        let response = client.get("/").await.map_err(Error::other)?;
        if response.status != 503 || Instant::now() > deadline {
            return Ok(response);
        }
        sleep(Duration::from_millis(200)).await;
    }
}

/// The reason code of a refusal.
fn code(response: &Response) -> Option<String> {
    let body: Value = serde_json::from_slice(&response.body).ok()?;
    body["code"].as_str().map(str::to_owned)
}
