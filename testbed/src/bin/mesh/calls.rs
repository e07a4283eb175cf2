//! Callers, and what they are answered, in few words.

use std::{
    net::Ipv4Addr,
    time::{Duration, Instant},
};

use http::Request;
use testbed::{World, client::ClientBuilder, pki::Leaf};

/// Longer than a configuration takes to arrive on a busy machine.
const PATIENCE: Duration = Duration::from_secs(25);

/// An image that no registry has.
pub const MISSING: &str = "sha256:1111111111111111111111111111111111111111111111111111111111111111";

/// Genesys Cloud by its CA, the same by DigiCert and pinned, a stranger of DigiCert, one of an unknown CA, no certificate.
pub const WHO: [&str; 5] = ["genesys", "pinned", "email", "stranger", "none"];
/// What they are answered where filter and guard enforce, and where nothing is denied, and by the guard alone.
pub const ENFORCED: [&str; 5] =
    ["200", "200", "403 wrong_name", "403 wrong_name", "403 no_client_certificate"];
pub const OPEN: [&str; 5] = ["200", "200", "200", "200", "200"];
pub const GUARDED: [&str; 5] = ["200", "200", "403 guard", "403 guard", "403 guard"];
pub const CLOSED: [&str; 5] = ["403 guard", "403 guard", "403 guard", "403 guard", "403 guard"];

pub fn leaf<'a>(world: &'a World, who: &str) -> Option<&'a Leaf> {
    match who {
        "genesys" => Some(&world.pki.us.genesys),
        "pinned" => Some(&world.pki.us.digicert),
        "pinned-eu" => Some(&world.pki.eu.digicert),
        "email" => Some(&world.pki.email),
        "stranger" => Some(&world.pki.stranger),
        _ => None,
    }
}

pub fn client(world: &World, address: Ipv4Addr, port: u16, who: &str) -> ClientBuilder {
    let client = world.client((address, port).into()).timeout(Duration::from_secs(10));
    match leaf(world, who) {
        Some(leaf) => client.identity(leaf),
        None => client,
    }
}

/// `200`, `403 not_pinned`, `403 guard`, `TLS`, or what went wrong.
pub async fn ask(client: ClientBuilder) -> String {
    ask_with(client, &[]).await
}

pub async fn ask_with(client: ClientBuilder, headers: &[(&str, &str)]) -> String {
    let mut request = Request::get("/");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    match client.build().send(request.body(Vec::new()).expect("a request")).await {
        Ok(response) => {
            let body: serde_json::Value = serde_json::from_slice(&response.body).unwrap_or_default();
            match body["code"].as_str() {
                Some(code) => format!("{} {code}", response.status),
                None if response.text() == "RBAC: access denied" => format!("{} guard", response.status),
                None => response.status.to_string(),
            }
        }
        Err(error) if error.alert().is_some() => "TLS".into(),
        Err(error) => error.to_string(),
    }
}

/// Every caller's answer, asked again until it is as expected or patience ends.
pub async fn matrix(world: &World, address: Ipv4Addr, expected: [&str; 5]) -> [String; 5] {
    settle(expected.map(str::to_owned), async || {
        let mut got: [String; 5] = Default::default();
        for (answer, who) in got.iter_mut().zip(WHO) {
            *answer = ask(client(world, address, 443, who)).await;
        }
        got
    })
    .await
}

/// Asks until the answer is the expected one, twice in a row: while a configuration arrives, workers differ.
pub async fn settle<T: PartialEq>(expected: T, ask: impl AsyncFn() -> T) -> T {
    let begun = Instant::now();
    let mut right = 0;
    loop {
        let got = ask().await;
        right = if got == expected { right + 1 } else { 0 };
        if right == 2 || begun.elapsed() > PATIENCE {
            return got;
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
}
