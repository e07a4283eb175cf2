//! Early refreshes.

use crate::{
    pins::tests::{PKI, Proxy, TICK, fingerprint},
    time::Monotonic,
    x509::fingerprint::Fingerprint,
};
use serde_json::json;
use std::time::Duration;

const HOLD: Duration = Duration::from_secs(2);
const SECOND: Duration = Duration::from_secs(1);

/// Three workers an hour from their next refresh.
fn settled() -> Proxy {
    let settings =
        json!({"interval": "1h", "jitter": "0%", "on_unknown_certificate": {"min_interval": "30s"}});
    let mut proxy = Proxy::new(3, &settings);
    proxy.run(Duration::from_mins(1));
    assert_eq!(proxy.api.sets, 1);
    proxy
}

/// The n-th certificate that lacks only its pin.
fn unknown(n: u8) -> Fingerprint {
    Fingerprint::of(&[n])
}

fn ask(proxy: &mut Proxy, worker: usize, fingerprint: Fingerprint) {
    let now = proxy.at();
    proxy.workers[worker].request_early(fingerprint, &mut proxy.shared, now);
}

/// The certificate comes to a worker every `pause`. Returns when the API was asked, in seconds.
fn keeps_coming(proxy: &mut Proxy, n: u8, pause: Duration, span: Duration) -> Vec<u64> {
    let (began, mut last, mut at) = (proxy.now, None::<Monotonic>, Vec::new());
    while proxy.now.since(began) < span {
        if last.is_none_or(|last| proxy.now.since(last) >= pause) {
            let worker = usize::try_from(proxy.now.millis() / 250 % 3).unwrap();
            ask(proxy, worker, unknown(n));
            last = Some(proxy.now);
        }
        let sets = proxy.api.sets;
        proxy.run(TICK);
        if proxy.api.sets > sets {
            at.push(proxy.now.since(began).as_secs());
        }
    }
    at
}

fn expects_news(proxy: &Proxy, worker: usize) -> bool {
    proxy.workers[worker].expects_news(proxy.now + HOLD, proxy.now)
}

/// Seconds until the API is asked again.
fn next_attempt(proxy: &Proxy, worker: usize) -> u64 {
    let is_by = |seconds: &u64| {
        proxy.workers[worker].expects_news(proxy.now + Duration::from_secs(*seconds), proxy.now)
    };
    (0..3600).find(is_by).unwrap()
}

#[test]
fn any_worker_can_ask_and_one_refresh_answers_all() {
    let mut proxy = settled();
    let new = fingerprint(&PKI.us.digicert_upcoming);
    proxy.api.current = vec![PKI.us.digicert_upcoming.clone()];
    for worker in [2, 0, 1, 2, 0] {
        assert!(expects_news(&proxy, worker));
        ask(&mut proxy, worker, new);
    }
    proxy.run(TICK * 2);
    assert_eq!(proxy.api.sets, 2);
    assert!((0..3).all(|worker| proxy.has_pin(worker, &PKI.us.digicert_upcoming)));
    assert!(!(0..3).any(|worker| expects_news(&proxy, worker)), "nothing more is to be waited for");
    proxy.run(Duration::from_mins(10));
    assert_eq!(proxy.api.sets, 2, "what was asked before the answer is settled by it");
}

/// It is allowed seconds after the API names it, instead of at the next regular refresh.
#[test]
fn a_certificate_that_keeps_coming_is_asked_for_until_named() {
    let mut proxy = settled();
    let asked = keeps_coming(&mut proxy, 1, SECOND, Duration::from_mins(10));
    // After 30, 60 and then every 100 seconds.
    assert_eq!(asked, [0, 30, 90, 190, 290, 390, 490, 590]);
    proxy.run(Duration::from_mins(30));
    assert_eq!(proxy.api.sets, 1 + asked.len() + 1, "one more, and no certificate comes any more");
}

#[test]
fn pause_is_at_most_interval_or_min_interval_if_longer() {
    for (interval, min_interval, expected) in
        [("40s", "30s", vec![0, 30]), ("1h", "5m", vec![0, 300, 600]), ("1h", "100s", vec![0, 100, 200, 300])]
    {
        let settings = json!({"interval": interval, "jitter": "0%", "on_unknown_certificate": {"min_interval": min_interval}});
        let mut proxy = Proxy::new(3, &settings);
        proxy.run(TICK);
        let asked = keeps_coming(&mut proxy, 1, SECOND, Duration::from_secs(expected.last().unwrap() + 5));
        let early: Vec<u64> =
            asked.into_iter().filter(|at| expected.iter().any(|of| at.abs_diff(*of) <= 1)).collect();
        assert_eq!(early.len(), expected.len(), "{interval} {min_interval}: {early:?}");
    }
}

#[test]
fn a_retired_certificate_delays_no_new_one() {
    for pause in [1, 31, 90] {
        let mut proxy = settled();
        keeps_coming(&mut proxy, 1, Duration::from_secs(pause), Duration::from_mins(9));
        proxy.run(Duration::from_secs(35));
        let sets = proxy.api.sets;
        ask(&mut proxy, 1, unknown(2));
        assert!(expects_news(&proxy, 1), "{pause}: it is worth waiting");
        proxy.run(TICK * 2);
        assert_eq!(proxy.api.sets, sets + 1, "{pause}");
    }
}

#[test]
fn new_certificates_restart_the_schedule_8_times_an_hour() {
    let mut proxy = settled();
    keeps_coming(&mut proxy, 0, SECOND, Duration::from_mins(5));
    let before = proxy.api.sets;
    for n in 1..=40 {
        keeps_coming(&mut proxy, n, SECOND, Duration::from_mins(1));
    }
    let sets = proxy.api.sets - before;
    // 40 minutes have room for 24 pauses of 100 seconds; each restart adds fewer than 3.
    assert!((24..=24 + 8 * 3).contains(&sets), "{sets}");
}

#[test]
fn however_many_ask_there_is_one_early_refresh_per_min_interval() {
    let mut proxy = settled();
    let end = proxy.now + Duration::from_mins(5);
    let mut n = 0;
    while proxy.now < end {
        for worker in 0..3 {
            n = n % 250 + 1;
            ask(&mut proxy, worker, unknown(n));
        }
        proxy.run(TICK);
    }
    let early = proxy.api.sets - 1;
    assert!((4..=10).contains(&early), "{early} early refreshes in 5 minutes");
}

#[test]
fn a_certificate_met_during_a_refresh_is_not_settled_by_it() {
    let mut proxy = settled();
    proxy.api.silent = true;
    ask(&mut proxy, 1, unknown(1));
    proxy.run(TICK * 2);
    assert_eq!(proxy.api.unanswered, 1, "the early refresh is under way");
    // Another certificate comes meanwhile. The answer may have been made before; nothing more is allowed for now.
    proxy.now += Duration::from_millis(500);
    ask(&mut proxy, 2, unknown(2));
    assert!(expects_news(&proxy, 2));
    proxy.api.silent = false;
    proxy.run(Duration::from_secs(20));
    let settled = proxy.api.sets;
    assert_eq!(settled, 2, "one retry, which succeeded");
    ask(&mut proxy, 2, unknown(2));
    proxy.run(Duration::from_secs(5));
    assert_eq!(proxy.api.sets, settled, "not before min_interval has passed");
    proxy.run(Duration::from_secs(10));
    assert_eq!(proxy.api.sets, settled + 1);
}

#[test]
fn a_server_that_asked_to_be_left_alone_is() {
    let mut proxy = settled();
    proxy.api.current_status = Some(429);
    proxy.api.retry_after = Some("300".to_owned());
    ask(&mut proxy, 0, unknown(1));
    proxy.run(Duration::from_mins(1));
    assert_eq!(proxy.failures(), ["api_rate_limited"]);
    let asked = proxy.api.sets;
    for worker in 0..3 {
        assert!(!expects_news(&proxy, worker), "an API that must not be asked is not waited for");
        ask(&mut proxy, worker, unknown(2));
        let next = next_attempt(&proxy, worker);
        assert!((238..=242).contains(&next), "{next}");
    }
    proxy.run(Duration::from_mins(3));
    assert_eq!(proxy.api.sets, asked);
    proxy.api.current_status = None;
    proxy.run(Duration::from_mins(2));
    assert_eq!(proxy.api.sets, asked + 1);
}

#[test]
fn request_may_wait_for_an_early_refresh_that_is_soon() {
    let mut proxy = settled();
    ask(&mut proxy, 0, unknown(1));
    proxy.run(TICK * 2);
    assert_eq!(proxy.api.sets, 2);
    let began = proxy.now;
    assert_eq!(next_attempt(&proxy, 0), 30);
    while !expects_news(&proxy, 0) {
        proxy.run(TICK);
        assert!(proxy.now < began + Duration::from_secs(30), "never");
    }
    proxy.run(TICK * 2);
    // The request waits and its worker asks at every tick, as long as it may wait.
    let deadline = proxy.now + HOLD;
    while proxy.api.sets == 2 {
        assert!(proxy.now < deadline && proxy.workers[0].expects_news(deadline, proxy.now));
        ask(&mut proxy, 0, unknown(1));
        proxy.run(TICK);
    }
    assert!(proxy.now + TICK * 2 >= began + Duration::from_secs(30), "{:?}", proxy.now.since(began));
}

#[test]
fn an_early_refresh_whose_worker_dies_or_leaves_is_made_up_for() {
    for leaves in [false, true] {
        let mut proxy = settled();
        proxy.api.current = vec![PKI.us.digicert_upcoming.clone()];
        proxy.api.silent = true;
        ask(&mut proxy, 2, unknown(1));
        proxy.now += TICK;
        let busy = (0..3).find(|worker| {
            proxy.tick(*worker);
            proxy.api.unanswered == 1
        });
        let mut gone = proxy.remove(busy.expect("the early refresh is under way"));
        if leaves {
            gone.leave(&mut proxy.shared, proxy.now);
        }
        proxy.api.silent = false;
        // No certificate comes again: the refresh is due until one has ended, and then not any more.
        proxy.run(if leaves { SECOND * 3 } else { Duration::from_secs(13) });
        assert!(proxy.has_pin(0, &PKI.us.digicert_upcoming), "leaves: {leaves}");
        let asked = proxy.api.sets;
        proxy.run(Duration::from_mins(5));
        assert_eq!(proxy.api.sets, asked);
    }
}

#[test]
fn a_question_of_a_worker_that_has_missed_the_answer_is_void() {
    let mut proxy = Proxy::new(2, &json!({"interval": "1h"}));
    proxy.now += TICK;
    proxy.tick(0);
    assert_eq!(proxy.api.sets, 1);
    proxy.now += Duration::from_millis(1);
    ask(&mut proxy, 1, unknown(1));
    proxy.run(SECOND);
    assert_eq!(proxy.api.sets, 1, "the answer is there, and what it does not cure is asked again");
    proxy.api.current = vec![PKI.us.digicert_upcoming.clone()];
    ask(&mut proxy, 1, unknown(1));
    proxy.run(SECOND * 3);
    assert_eq!(proxy.api.sets, 2);
    assert!(proxy.has_pin(1, &PKI.us.digicert_upcoming));
}
