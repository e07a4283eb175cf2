//! Of any answers of the certificates API: the conversation ends after a bounded number of calls, all of them to that API
//! and path. Answers are separated by 0xFF, which no JSON holds.
#![no_main]

use aws_lc_verifier::AwsLcVerifier;
use genesys_mtls_filter::{
    http::HttpResponse,
    pins::{Client, Fetch, Forecast, Progress, Reader, Selection, Upstreams},
    policy::Policy,
    time::{Monotonic, Now},
};
use genesys_mtls_fuzz::{
    NOW,
    cast::{US, by_api, holds_name},
};
use libfuzzer_sys::fuzz_target;
use std::{sync::LazyLock, time::Duration};

static POLICY: LazyLock<Policy> = LazyLock::new(|| by_api(true));
const PATH: &str = "/api/v2/integrations/actions/certificates";

fuzz_target!(|data: &[u8]| {
    let region = POLICY.regions.iter().find(|region| region.id == "us-east-1").unwrap();
    let source = region.source.as_ref().unwrap();
    let upstreams = Upstreams { source, client: &Client::Injected, timeout: Duration::from_secs(5) };
    let (mut token, now) = (None, Now { mono: Monotonic::from_millis(1_000_000), wall: NOW, random: 0.5 });
    let (mut fetch, mut call) = Fetch::begin(upstreams, &mut token, now.mono);
    let mut answers = data.split(|byte| *byte == 0xff);
    // Both statuses, five pages each.
    for _ in 0..10 {
        let header = |name: &str| call.headers.iter().find(|(known, _)| *known == name).unwrap().1.as_str();
        assert!(call.cluster == source.api_cluster && header(":authority") == source.api_host);
        let path = header(":path");
        assert!(path.starts_with(PATH) && path.bytes().all(|byte| byte.is_ascii_graphic()), "{path}");
        let body = answers.next().unwrap_or_default().to_vec();
        let response = HttpResponse { status: 200, body: Some(body), retry_after: None };
        match fetch.on_response(&response, upstreams, &mut token, now) {
            Progress::Call(next) => call = next,
            Progress::Done(result) => {
                let halves = [&result.current, &result.upcoming];
                for failure in halves.iter().filter_map(|half| half.as_ref().err()) {
                    assert!(failure.detail.len() < 250 && failure.detail.is_ascii(), "{}", failure.detail);
                }
                let entities: Vec<_> = halves.into_iter().flatten().flatten().flatten().collect();
                let reader =
                    Reader { policy: &POLICY, region: &region.id, verifier: &AwsLcVerifier, now: NOW };
                // Escapes and line breaks may keep the name from view, but not in the certificate itself.
                let named = |text: &String| {
                    let blocks =
                        genesys_mtls_filter::x509::pem::certificates(text.as_bytes()).unwrap_or_default();
                    blocks.iter().any(|der| holds_name(der, US))
                };
                let any = entities.iter().filter_map(|entity| entity.certificate.as_ref()).any(named);
                let count = entities.len();
                let selection = Selection::of(result, reader);
                assert!(selection.forecasts.len() <= count);
                assert!(any || !selection.forecasts.iter().any(Forecast::is_pin));
                return;
            }
        }
    }
    panic!("more calls than pages are allowed");
});
