//! Of any answer of the login host: what goes on to the API is one clean header, and nothing of the answer is logged.
#![no_main]

use genesys_mtls_filter::{
    http::HttpResponse,
    pins::{Client, Fetch, Progress, Token, Upstreams},
    shared::Secret,
    time::{Monotonic, Now},
};
use genesys_mtls_fuzz::cast::by_api;
use libfuzzer_sys::fuzz_target;
use std::{sync::LazyLock, time::Duration};

static POLICY: LazyLock<genesys_mtls_filter::policy::Policy> = LazyLock::new(|| by_api(false));
const STATUSES: [u16; 8] = [200, 200, 200, 200, 400, 429, 302, 503];

fuzz_target!(|data: &[u8]| {
    let [status, body @ ..] = data else { return };
    let source = POLICY.regions[0].source.as_ref().unwrap();
    let client = Client::Own { id: "id".to_owned(), secret: Secret::new("s3cret".to_owned()) };
    let upstreams = Upstreams { source, client: &client, timeout: Duration::from_secs(5) };
    let (mut token, now) =
        (None::<Token>, Now { mono: Monotonic::from_millis(1_000_000), wall: 0, random: 0.5 });
    let (mut fetch, call) = Fetch::begin(upstreams, &mut token, now.mono);
    assert!(call.cluster == source.login_cluster, "the secret goes to the login host");
    let response = HttpResponse {
        status: STATUSES[usize::from(*status) % STATUSES.len()],
        body: Some(body.to_vec()),
        retry_after: None,
    };
    match fetch.on_response(&response, upstreams, &mut token, now) {
        Progress::Call(call) => {
            assert_eq!(response.status, 200);
            assert!(call.cluster == source.api_cluster, "the token goes to the API");
            let plain = |text: &str| text.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic());
            assert!(call.headers.iter().all(|(_, value)| plain(value)));
            let token = token.unwrap();
            assert!(token.is_fresh(now.mono) || !token.is_fresh(now.mono + Duration::from_hours(48)));
            assert!(!token.is_fresh(now.mono + Duration::from_hours(48)), "no token is used for longer");
            let bearer = token.bearer.expose();
            assert!(bearer.len() < 16 || !format!("{token:?}").contains(bearer));
        }
        Progress::Done(result) => {
            let failure = result.current.unwrap_err();
            assert!(failure.detail.len() < 250 && failure.detail.is_ascii(), "{}", failure.detail);
        }
    }
});
