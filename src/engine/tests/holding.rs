//! Certificates that lack only their pin: held, asked about, released.

use super::*;

/// A proxy that knows the API's answer (which names `known`), one second later.
fn refreshed(changes: &Value, workers: usize, known: &[&Leaf]) -> Proxy {
    let mut proxy = Proxy::by_api(changes, workers);
    for worker in 0..workers {
        proxy.tick(worker, &naming(known));
    }
    proxy.pass(SECOND);
    proxy
}

#[test]
fn unknown_certificate_is_held_only_where_waiting_may_help() {
    let early = |settings: Value| json!({"refresh": {"on_unknown_certificate": settings}});
    let outsider = leaf(&cast().stranger_ca).name(crate::test_support::US).issue();
    for (what, changes, leaf, expected) in [
        ("by the issuer", json!({}), genuine(), "hold"),
        ("no hold configured", early(json!({"hold": "0s"})), genuine(), "trust_unrefreshed"),
        ("no room configured", early(json!({"max_held": 0})), genuine(), "trust_unrefreshed"),
        ("the right name by another CA", json!({}), outsider, "unknown_issuer"),
        ("a stranger", json!({}), stranger(), "wrong_name"),
    ] {
        let mut proxy = refreshed(&changes, 1, &[&genuine()]);
        assert_eq!(said(&proxy.request(0, 1, &Shown(Some(leaf)))), expected, "{what}");
    }
}

#[test]
fn held_requests_are_bounded() {
    let mut proxy =
        refreshed(&json!({"refresh": {"on_unknown_certificate": {"max_held": 2}}}), 1, &[&genuine()]);
    let client = Shown(Some(genuine()));
    let said: Vec<_> = (0..3).map(|stream| said(&proxy.request(0, stream, &client))).collect();
    assert_eq!(said, ["hold", "hold", "trust_unrefreshed"]);
}

#[test]
fn held_request_is_released_by_what_the_api_says() {
    let new = genuine();
    for (what, named, expected) in [("named", vec![&new], "allow"), ("not named", vec![], "not_pinned")] {
        let other = genuine();
        let mut proxy = refreshed(&json!({}), 1, &[&other]);
        assert_eq!(said(&proxy.request(0, 7, &Shown(Some(new.clone())))), "hold", "{what}");
        proxy.pass(SECOND / 10);
        let named: Vec<&Leaf> = named.into_iter().chain([&other]).collect();
        let effects = proxy.tick(0, &naming(&named));
        assert_eq!(released(&effects), [(7, expected)], "{what}");
        assert_eq!(counted(&effects, "held_requests"), 1, "{what}");
    }
}

#[test]
fn held_request_waits_no_longer_than_its_hold() {
    let mut proxy = refreshed(&json!({}), 1, &[&genuine()]);
    assert_eq!(said(&proxy.request(0, 7, &Shown(Some(genuine())))), "hold");
    assert!(!proxy.calls(0).is_empty(), "it is asked about");
    for (tenths, expected) in [(10, vec![]), (9, vec![]), (2, vec![(7, "trust_unrefreshed")])] {
        proxy.pass(SECOND * tenths / 10);
        proxy.event(0, Engine::on_tick);
        let effects = proxy.take();
        assert_eq!(released(&effects), expected);
    }
}

#[test]
fn held_request_whose_stream_ended_is_forgotten() {
    let mut proxy = refreshed(&json!({}), 1, &[&genuine()]);
    let new = genuine();
    assert_eq!(said(&proxy.request(0, 7, &Shown(Some(new.clone())))), "hold");
    proxy.workers[0].forget(7);
    assert_eq!(released(&proxy.tick(0, &naming(&[&new]))), []);
}

#[test]
fn ticks_are_quick_only_while_something_is_awaited() {
    let mut proxy = Proxy::by_api(&json!({}), 1);
    proxy.event(0, Engine::start);
    assert_eq!(tick_periods(&proxy.take()), [50]);
    let known = genuine();
    assert_eq!(tick_periods(&proxy.tick(0, &naming(&[&known]))), [250]);
    proxy.pass(SECOND);
    proxy.request(0, 1, &Shown(Some(genuine())));
    assert_eq!(tick_periods(&proxy.take()), [50]);
    assert_eq!(tick_periods(&proxy.tick(0, &naming(&[&known]))), [250]);
}

#[test]
fn early_refresh_reaches_the_request_of_another_worker() {
    let (old, new) = (genuine(), genuine());
    let mut proxy = refreshed(&json!({}), 2, &[&old]);
    assert_eq!(said(&proxy.request(1, 7, &Shown(Some(new.clone())))), "hold");
    proxy.pass(SECOND / 10);
    let named = [&old, &new];
    let api = naming(&named);
    let mut effects = proxy.tick(0, &api);
    effects.extend(proxy.tick(1, &api));
    assert_eq!(released(&effects), [(7, "allow")]);
}

#[test]
fn stranger_starts_no_early_refresh() {
    let mut proxy = refreshed(&json!({}), 1, &[&genuine()]);
    for stream in 0..100 {
        proxy.request(0, stream, &Shown(Some(stranger())));
    }
    assert_eq!(proxy.calls(0), []);
}

#[test]
fn held_requests_of_one_certificate_are_decided_once() {
    let (old, new) = (genuine(), genuine());
    for (what, named, expected, cached_denials) in
        [("named", vec![&old, &new], "allow", 0), ("not named", vec![&old], "not_pinned", 1)]
    {
        let mut proxy = refreshed(&json!({}), 1, &[&old]);
        for stream in [7, 8] {
            assert_eq!(said(&proxy.request(0, stream, &Shown(Some(new.clone())))), "hold", "{what}");
        }
        proxy.pass(SECOND / 10);
        let effects = proxy.tick(0, &naming(&named));
        assert_eq!(released(&effects), [(7, expected), (8, expected)], "{what}");
        let log = lines(&effects);
        let cached = log.iter().filter(|line| line.contains("decided before")).count();
        assert_eq!(cached, cached_denials, "{what}: {log:?}");
        proxy.pass(SECOND);
        assert_eq!(counted(&proxy.tick(0, &naming(&named)), "cache_hits"), 1, "{what}");
    }
}

/// A refresh that had begun before the certificate came may not know it yet.
#[test]
fn held_request_waits_on_after_a_refresh_that_began_earlier() {
    let (old, other, new) = (genuine(), genuine(), genuine());
    let mut proxy = refreshed(&json!({}), 1, &[&old]);
    proxy.pass(HOUR);
    proxy.event(0, Engine::on_tick);
    proxy.pass(SECOND / 10);
    assert_eq!(said(&proxy.request(0, 7, &Shown(Some(new.clone())))), "hold");
    proxy.pass(SECOND / 10);
    let effects = proxy.tick(0, &naming(&[&old, &other]));
    assert_eq!(counted(&effects, "refreshes.ok.us-east-1"), 1, "the refresh has ended");
    assert_eq!(released(&effects), []);
    let after = (1..10).find_map(|tenths| {
        proxy.pass(SECOND / 10);
        let released = released(&proxy.tick(0, &naming(&[&old, &other, &new])));
        (!released.is_empty()).then_some((tenths, released))
    });
    let (tenths, released) = after.unwrap();
    assert_eq!(released, [(7, "allow")]);
    assert!(tenths <= 3, "{tenths}");
}

/// It is refused, and asked for in the background until the API names it. Each worker sees that it keeps coming.
#[test]
fn denied_certificate_is_asked_for_until_named() {
    let no_hold = json!({"refresh": {"on_unknown_certificate": {"hold": "0s"}}});
    for workers in [1, 2] {
        let (old, new) = (genuine(), genuine());
        let mut proxy = refreshed(&no_hold, workers, &[&old]);
        let client = Shown(Some(new.clone()));
        assert_eq!(said(&proxy.request(0, 7, &client)), "trust_unrefreshed");
        proxy.pass(SECOND / 10);
        let mut log = lines(&proxy.tick(0, &naming(&[&old])));
        let mut asked = Vec::new();
        for second in 1..=100 {
            proxy.pass(SECOND);
            let worker = second % workers;
            let effects = proxy.tick(worker, &naming(&[&old]));
            if counted(&effects, "refreshes.ok.us-east-1") > 0 {
                asked.push(second);
            }
            // A worker that meets it later awaits a refresh that begins later.
            let action = proxy.request(worker, 8, &client);
            let is_later = worker == 1 && second <= 30;
            assert_eq!(said(&action), if is_later { "trust_unrefreshed" } else { "not_pinned" }, "{second}");
            log.extend(proxy.log());
        }
        assert_eq!(asked, [30, 90], "{workers}");
        assert!(log.iter().any(|line| line.contains("; the API is asked again in 29s")), "{log:?}");
        for worker in 0..workers {
            proxy.pass(SECOND * 95);
            proxy.request(worker, 9, &client);
            proxy.tick(worker, &naming(&[&old, &new]));
        }
        assert_eq!(said(&proxy.request(0, 10, &client)), "allow", "{workers}");
    }
}
