//! CRLs: which are fetched, what they decide, and what is counted and logged of them.

use super::*;
use crate::{
    http::{Failure, FailureCode},
    test_support::{DAY, EU, US, date, merged},
};
use std::cell::RefCell;
use testbed_pki::{Ca, serial_of};

const URL: &str = "http://crl.example/us.crl";

/// A policy that trusts us-east-1's CA, with these settings of `revocation`.
fn by_ca(revocation: &Value) -> Value {
    let genesys = json!({"ca_certificates": cast().us_ca.pem});
    json!({"regions": {"us-east-1": {"genesys": genesys}}, "revocation": revocation})
}

/// The same, with the CRL of this authority at [`URL`].
fn listed(mode: &str, authority: &str) -> Value {
    let list = json!({"region": "us-east-1", "authority": authority, "url": URL, "cluster": "crl"});
    by_ca(&json!({"mode": mode, "lists": [list]}))
}

/// A response with a CRL of this CA.
fn crl(ca: &Ca, number: u64, revoked: &[&Leaf]) -> HttpResponse {
    let crl = ca.crl().number(number).valid(date(NOW - 3600), date(NOW + DAY));
    response(200, &revoked.iter().fold(crl, |crl, leaf| crl.revoke(&serial_of(&leaf.der))).der())
}

#[test]
fn crl_decides_by_the_mode_of_revocation() {
    let client = us_leaf(&cast().us_ca);
    let missing = response(404, b"");
    let (empty, revoking) = (crl(&cast().us_ca, 1, &[]), crl(&cast().us_ca, 1, &[&client]));
    for (mode, crl, fetches, expected, unchecked) in [
        ("off", &revoking, 0, "allow", 0),
        ("soft", &missing, 1, "allow", 1),
        ("soft", &empty, 1, "allow", 0),
        ("soft", &revoking, 1, "revoked", 0),
        ("hard", &missing, 1, "revocation_unknown", 0),
        ("hard", &empty, 1, "allow", 0),
        ("hard", &revoking, 1, "revoked", 0),
    ] {
        let mut proxy = Proxy::new(&listed(mode, "genesys"), 1);
        let asked = Cell::new(0);
        let host = |_: &HttpCall| {
            asked.set(asked.get() + 1);
            crl.clone()
        };
        proxy.tick(0, &host);
        assert_eq!(asked.get(), fetches, "{mode}");
        assert_eq!(said(&proxy.request(0, 1, &Shown(Some(client.clone())))), expected, "{mode}");
        let effects = proxy.tick(0, &host);
        assert_eq!(counted(&effects, "crl_unchecked.genesys.us-east-1"), unchecked, "{mode}");
    }
}

#[test]
fn cached_verdict_ends_when_a_crl_revokes_the_certificate() {
    let leaf = us_leaf(&cast().us_ca);
    let client = Shown(Some(leaf.clone()));
    let mut proxy = Proxy::new(&listed("soft", "genesys"), 1);
    proxy.tick(0, &|_| crl(&cast().us_ca, 1, &[]));
    assert_eq!(said(&proxy.request(0, 1, &client)), "allow");
    proxy.pass(2 * HOUR);
    proxy.tick(0, &|_| crl(&cast().us_ca, 2, &[&leaf]));
    assert_eq!(said(&proxy.request(0, 2, &client)), "revoked");
    let log = proxy.log();
    assert!(log.iter().any(|line| line.contains("it was allowed before")), "{log:?}");
}

#[test]
fn crl_named_by_a_certificate_is_fetched_from_allowed_hosts() {
    let of = |ca: &Ca, urls: &[&str]| urls.iter().fold(leaf(ca).name(US), |leaf, url| leaf.crl(url)).issue();
    let ca = &cast().us_ca;
    let unknown = "revocation_unknown";
    for (what, leaf, asked, before, after) in [
        ("an allowed host", of(ca, &[URL]), vec!["/us.crl"], unknown, "allow"),
        ("its name in capitals", of(ca, &["http://CRL.Example/us.crl"]), vec!["/us.crl"], unknown, "allow"),
        ("two URLs", of(ca, &[URL, "http://crl.example/2"]), vec!["/us.crl", "/2"], unknown, "allow"),
        ("one URL twice", of(ca, &[URL, URL]), vec!["/us.crl"], unknown, "allow"),
        ("another host", of(ca, &["http://other.example/us.crl"]), vec![], unknown, unknown),
        ("HTTPS", of(ca, &["https://crl.example/us.crl"]), vec![], unknown, unknown),
        ("no URL", of(ca, &[]), vec![], unknown, unknown),
        ("another issuer", of(&cast().stranger_ca, &[URL]), vec![], "unknown_issuer", "unknown_issuer"),
    ] {
        let discover = json!({"mode": "hard", "discover": {"crl.example": "crl"}});
        let mut proxy = Proxy::new(&by_ca(&discover), 1);
        assert_eq!(proxy.calls(0), [], "{what}: no certificate has come yet");
        let client = Shown(Some(leaf));
        assert_eq!(said(&proxy.request(0, 1, &client)), before, "{what}");
        let calls = RefCell::new(Vec::new());
        proxy.tick(0, &|call| {
            assert_eq!(call.cluster, "crl", "{what}");
            calls.borrow_mut().extend(call.headers.iter().find(|(name, _)| *name == ":path").cloned());
            crl(ca, 1, &[])
        });
        let calls: Vec<String> = calls.take().into_iter().map(|(_, path)| path).collect();
        assert_eq!(calls, asked, "{what}");
        assert_eq!(said(&proxy.request(0, 2, &client)), after, "{what}");
    }
}

#[test]
fn crl_covers_certificates_of_its_own_authority_only() {
    let by_genesys = us_leaf(&cast().us_ca);
    let by_digicert = genuine();
    let digicert = json!({"pins": [by_digicert.pin()], "issuers": cast().digicert_ca.pem});
    let pinned = json!({"regions": {"us-east-1": {"digicert": digicert}}});
    for (authority, ca, covered, uncovered) in [
        ("genesys", &cast().us_ca, &by_genesys, &by_digicert),
        ("digicert", &cast().digicert_ca, &by_digicert, &by_genesys),
    ] {
        let document = merged(&listed("hard", authority), &pinned);
        let mut proxy = Proxy::new(&document, 1);
        proxy.tick(0, &|_| crl(ca, 1, &[]));
        assert_eq!(said(&proxy.request(0, 1, &Shown(Some(covered.clone())))), "allow", "{authority}");
        let said = said(&proxy.request(0, 2, &Shown(Some(uncovered.clone()))));
        assert_eq!(said, "revocation_unknown", "{authority}");
    }
}

#[test]
fn crl_of_a_shared_ca_counts_only_where_it_is_listed() {
    let (us_ca, digicert_ca) = (&cast().us_ca, &cast().digicert_ca);
    let (us, eu) = (genuine(), leaf(digicert_ca).name(EU).issue());
    let region = |leaf: &Leaf, ca: &Ca| json!({"digicert": {"pins": [leaf.pin()], "issuers": ca.pem}});
    let pinned = json!({"us-east-1": region(&us, digicert_ca), "eu-central-1": region(&eu, digicert_ca)});
    let both = json!({"us-east-1": region(&us, us_ca)});
    let by_us_ca = us_leaf(us_ca);
    for (what, authority, regions, ca, leaf, expected) in [
        ("the region's", "digicert", &pinned, digicert_ca, &us, "allow"),
        ("another region's", "digicert", &pinned, digicert_ca, &eu, "revocation_unknown"),
        ("the authority's", "genesys", &both, us_ca, &by_us_ca, "allow"),
        ("another authority's", "digicert", &both, us_ca, &by_us_ca, "revocation_unknown"),
    ] {
        let document = merged(&listed("hard", authority), &json!({"regions": regions}));
        let mut proxy = Proxy::new(&document, 1);
        proxy.tick(0, &|_| crl(ca, 1, &[]));
        assert_eq!(said(&proxy.request(0, 1, &Shown(Some(leaf.clone())))), expected, "{what}");
    }
}

#[test]
fn crl_fetch_is_counted_by_result_and_logged_on_change() {
    let (ca, client) = (&cast().us_ca, us_leaf(&cast().us_ca));
    let newer = crl(ca, 2, &[&client]);
    let mut proxy = Proxy::new(&listed("soft", "genesys"), 1);
    for (what, answer, result, news) in [
        ("host down", response(503, b""), "crl_unavailable", Some("reason=crl_unavailable")),
        ("still down", response(503, b""), "crl_unavailable", None),
        ("no CRL", response(200, b"<html>"), "crl_malformed", Some("failures=3")),
        ("first CRL", crl(ca, 1, &[]), "ok", Some("entries=0 changed=true recovered=true")),
        ("the same", crl(ca, 1, &[]), "ok", None),
        ("newer CRL", newer.clone(), "ok", Some("entries=1 changed=true recovered=false")),
        ("older CRL", crl(ca, 1, &[]), "crl_rollback", Some("reason=crl_rollback")),
        ("another CA", crl(&cast().eu_ca, 3, &[]), "crl_other_issuer", Some("reason=crl_other_issuer")),
        ("newer CRL again", newer, "ok", Some("entries=1 changed=false recovered=true")),
    ] {
        let effects = proxy.tick(0, &|_| answer.clone());
        let metric = format!("genesys_mtls.default.crl_fetches.{result}.genesys.us-east-1");
        assert_eq!(counted(&effects, &metric), 1, "{what}");
        assert_eq!(counted(&effects, ".genesys.us-east-1"), 1, "{what}: nothing else is counted");
        let log = lines(&effects);
        let log: Vec<&String> = log.iter().filter(|line| line.contains("revocation list")).collect();
        assert_eq!(log.len(), usize::from(news.is_some()), "{what}: {log:?}");
        for line in log {
            let verb =
                if result == "ok" { "revocation list fetched" } else { "fetching a revocation list failed" };
            assert!(
                line.starts_with(&format!("genesys_mtls: {verb} policy=default region=us-east-1")),
                "{line}"
            );
            assert!(line.contains(" authority=genesys list="), "{line}");
            assert!(line.contains(&format!("url={URL:?}")) && line.contains(news.unwrap()), "{what}: {line}");
        }
        proxy.pass(2 * HOUR);
    }
}

#[test]
fn crl_gauges_say_age_time_left_and_entries() {
    let revoked = us_leaf(&cast().us_ca);
    let mut proxy = Proxy::new(&listed("soft", "genesys"), 1);
    let effects = proxy.tick(0, &|_| crl(&cast().us_ca, 1, &[&revoked]));
    assert_eq!(gauged(&effects, "crl_"), None, "before there is a CRL");
    for (passed, age, left) in [(60, 60, 86_340), (86_400, 86_460, 0)] {
        proxy.pass(Duration::from_secs(passed));
        let effects = proxy.tick(0, &|_| response(503, b""));
        let gauges = ["crl_age_seconds", "crl_seconds_to_next_update", "crl_entries"];
        assert_eq!(gauges.map(|gauge| gauged(&effects, gauge)), [Some(age), Some(left), Some(1)]);
        let is_named = |effect: &Effect| {
            let Effect::Gauge { metric, .. } = effect else { return false };
            metric.starts_with("genesys_mtls.default.crl_entries.") && metric.ends_with(".genesys.us-east-1")
        };
        assert!(effects.iter().any(is_named), "{effects:?}");
    }
}

#[test]
fn crl_fetched_by_one_worker_is_used_by_all() {
    let client = us_leaf(&cast().us_ca);
    let mut proxy = Proxy::new(&listed("hard", "genesys"), 2);
    proxy.tick(0, &|_| crl(&cast().us_ca, 1, &[]));
    assert_eq!(said(&proxy.request(1, 1, &Shown(Some(client)))), "allow", "before its first tick");
    proxy.pass(SECOND);
    for (worker, role, other) in [(0, "fetching", "serving"), (1, "serving", "fetching")] {
        let effects = proxy.tick(worker, &|call| panic!("{call:?}"));
        let memory = |role| gauged(&effects, &format!("vm_memory_peak_bytes.{role}"));
        assert_eq!((memory(role), memory(other)), (Some(1), None), "worker {worker}");
    }
}

#[test]
fn crl_that_covers_no_known_certificate_is_told_and_gauged() {
    let elsewhere = "http://other.example/us.crl";
    let served = |point: Option<&str>| {
        let crl = cast().us_ca.crl().number(1).valid(date(NOW - 3600), date(NOW + DAY));
        response(200, &point.into_iter().fold(crl, |crl, url| crl.distribution_point(url, None)).der())
    };
    let names = leaf(&cast().us_ca).name(US).crl("http://OTHER.example:80/us.crl").issue();
    for (point, client, told, before, after) in [
        (None, None, 0, 1, 1),
        (Some("HTTP://Crl.Example:80/us.crl"), None, 0, 1, 1),
        (Some(elsewhere), None, 1, 0, 0),
        (Some(elsewhere), Some(us_leaf(&cast().us_ca)), 1, 0, 0),
        // The URL in use is a mirror.
        (Some(elsewhere), Some(names), 1, 0, 1),
    ] {
        let mut proxy = Proxy::new(&listed("hard", "genesys"), 1);
        let log = lines(&proxy.tick(0, &|_| served(point)));
        let lines = log.iter().filter(|line| line.contains("covers no certificate known here"));
        assert_eq!(lines.count(), told, "{point:?}: {log:?}");
        let mut gauge = || {
            proxy.pass(SECOND);
            gauged(&proxy.tick(0, &|call| panic!("{call:?}")), "crl_covers.")
        };
        assert_eq!(gauge(), Some(before), "{point:?}");
        if let Some(client) = client {
            proxy.request(0, 1, &Shown(Some(client)));
        }
        proxy.pass(SECOND);
        assert_eq!(
            gauged(&proxy.tick(0, &|call| panic!("{call:?}")), "crl_covers."),
            Some(after),
            "{point:?}"
        );
    }
}

#[test]
fn denial_names_the_urls_of_the_certificate_and_their_fate() {
    let client =
        leaf(&cast().us_ca).name(US).crl("https://crl.example/us.crl").crl("http://b.example/1").issue();
    let mut proxy = Proxy::new(&listed("hard", "genesys"), 1);
    proxy.tick(0, &|_| response(404, b""));
    assert_eq!(said(&proxy.request(0, 1, &Shown(Some(client)))), "revocation_unknown");
    let log = proxy.log();
    let line = log.iter().find(|line| line.contains("denied policy=")).expect("a line");
    for part in ["https://crl.example/us.crl (no http:// URL", "http://b.example/1 (not fetched: add it to"] {
        assert!(line.contains(part), "{line}");
    }
}

#[test]
fn crl_call_that_failed_is_counted_and_asks_again_later() {
    let mut proxy = Proxy::new(&listed("soft", "genesys"), 1);
    let calls = proxy.calls(0);
    assert!(matches!(calls.as_slice(), [CallId::Crl(_)]), "{calls:?}");
    let failure = Failure::new(FailureCode::DispatchFailed, "Envoy has no cluster `crl`");
    proxy.event(0, |engine, io| engine.on_response(&calls[0], Err(failure), io));
    let effects = proxy.take();
    assert_eq!(counted(&effects, "crl_fetches.dispatch_failed.genesys.us-east-1"), 1);
    assert!(lines(&effects)[0].contains("detail=\"Envoy has no cluster `crl`\""), "{effects:?}");
    assert_eq!(proxy.calls(0), []);
    proxy.pass(10 * SECOND);
    proxy.event(0, Engine::on_tick);
    let effects = proxy.take();
    assert!(gauged(&effects, "vm_memory_peak_bytes.serving").is_some(), "no CRL was received");
    let call = |effect: &Effect| matches!(effect, Effect::Call { id, .. } if *id == calls[0]);
    assert!(effects.iter().any(call), "{effects:?}");
}

#[test]
fn worker_that_ends_leaves_the_crl_fetch_to_another() {
    for (ends, calls) in [(false, 0), (true, 1)] {
        let mut proxy = Proxy::new(&listed("soft", "genesys"), 2);
        assert_eq!(proxy.calls(0).len(), 1);
        if ends {
            proxy.event(0, Engine::on_end);
        }
        assert_eq!(proxy.calls(1).len(), calls, "worker 0 ends: {ends}");
    }
}

#[test]
fn answer_to_an_unknown_call_changes_nothing() {
    let client = Shown(Some(us_leaf(&cast().us_ca)));
    for id in [CallId::Crl("00000000".to_owned()), CallId::Refresh("eu-west-1".to_owned())] {
        let mut proxy = Proxy::new(&listed("hard", "genesys"), 1);
        proxy.tick(0, &|_| response(404, b""));
        proxy.take();
        proxy.event(0, |engine, io| engine.on_response(&id, Ok(crl(&cast().us_ca, 1, &[])), io));
        let effects = proxy.take();
        assert_eq!((counted(&effects, ""), lines(&effects)), (0, vec![]), "{id:?}");
        assert_eq!(said(&proxy.request(0, 1, &client)), "revocation_unknown", "{id:?}");
    }
}
