//! Verdicts: cached, applied, counted, logged.

use super::*;
use crate::{engine::reply, test_support::END};

fn by_ca() -> Value {
    json!({"regions": {"us-east-1": {"genesys": {"ca_certificates": cast().us_ca.pem}}}})
}

#[test]
fn cached_verdict_reads_no_clock_and_no_certificate() {
    let mut proxy = Proxy::new(&by_ca(), 1);
    proxy.tick(0, &naming(&[]));
    let client = Shown(Some(us_leaf(&cast().us_ca)));
    assert_eq!(said(&proxy.request(0, 1, &client)), "allow");
    proxy.around.clock_reads.set(0);
    for stream in 2..100 {
        assert_eq!(said(&proxy.request(0, stream, &client)), "allow");
    }
    assert_eq!(proxy.around.clock_reads.get(), 0);
    let effects = proxy.tick(0, &naming(&[]));
    assert_eq!(counted(&effects, "cache_hits"), 98);
    assert_eq!(counted(&effects, "decisions.allow.genesys.us-east-1"), 99);
}

#[test]
fn cached_verdict_ends_with_the_certificate_even_without_ticks() {
    let mut proxy = Proxy::new(&by_ca(), 1);
    let client = Shown(Some(us_leaf(&cast().us_ca)));
    assert_eq!(said(&proxy.request(0, 1, &client)), "allow");
    proxy.around.now.wall = END + 3600;
    let said: Vec<&str> = (0..2000).map(|stream| said(&proxy.request(0, stream, &client))).collect();
    assert_eq!(said.last(), Some(&"expired"));
}

#[test]
fn verdict_and_identity_say_region_and_authority() {
    let mut proxy = Proxy::new(&by_ca(), 1);
    let Action::Allow(allowed) = proxy.request(0, 1, &Shown(Some(us_leaf(&cast().us_ca)))) else { panic!() };
    assert_eq!(allowed.verdict, "allow;us-east-1;genesys");
    assert!(allowed.identity.starts_with("region=\"us-east-1\", authority=genesys, sha256=:"));
}

#[test]
fn shadow_mode_denies_without_a_reply() {
    for (mode, expected) in [("enforce", true), ("shadow", false)] {
        let mut proxy = Proxy::new(&crate::test_support::merged(&by_ca(), &json!({"mode": mode})), 1);
        let action = proxy.request(0, 1, &Shown(Some(stranger())));
        let Action::Deny { reason: Reason::WrongName, replies } = action else { panic!("{action:?}") };
        assert_eq!(replies, expected, "{mode}");
    }
}

#[test]
fn denial_says_its_code_and_nothing_about_the_policy() {
    let reply = reply::denial(Reason::NotPinned, Some("r-1".to_owned()));
    assert_eq!((reply.status, reply.details.as_str()), (403, "genesys_mtls:not_pinned"));
    assert_eq!(
        reply.body,
        r#"{"type":"about:blank","title":"Forbidden","status":403,"code":"not_pinned","request_id":"r-1"}"#
    );
    let reply = reply::denial(Reason::SignatureUnavailable, None);
    assert_eq!(reply.status, 503);
    assert!(reply.headers.contains(&("retry-after", "5")));
}

#[test]
fn denials_of_one_reason_get_ten_lines_a_minute() {
    let mut proxy = Proxy::new(&by_ca(), 1);
    proxy.tick(0, &naming(&[]));
    for stream in 0..25 {
        proxy.request(0, stream, &Shown(None));
    }
    proxy.request(0, 99, &Shown(Some(stranger())));
    let log = proxy.log();
    let of = |reason: &str| log.iter().filter(|line| line.contains(&format!("reason={reason} "))).count();
    assert_eq!((of("no_client_certificate"), of("wrong_name")), (10, 1));
    proxy.pass(61 * SECOND);
    proxy.request(0, 100, &Shown(None));
    let log = proxy.log();
    assert!(log[0].ends_with("suppressed=15"), "{log:?}");
}

#[test]
fn denial_line_escapes_what_the_client_wrote() {
    let mut proxy = Proxy::new(&by_ca(), 1);
    let name = "evil\n\u{1b}[31m forged=\"x\"";
    let evil = leaf(&cast().stranger_ca).cn(name).issue();
    proxy.request(0, 1, &Shown(Some(evil)));
    let log = proxy.log();
    let line = log.iter().find(|line| line.contains("denied")).unwrap();
    assert!(!line.contains(['\n', '\u{1b}']), "{line:?}");
    assert!(line.contains("request_id=\"r-1\"") && line.contains("forged=\\\"x\\\""), "{line}");
}

#[test]
fn access_that_is_revoked_is_counted_once() {
    let mut proxy = Proxy::new(&by_ca(), 1);
    proxy.tick(0, &naming(&[]));
    let client = Shown(Some(us_leaf(&cast().us_ca)));
    assert_eq!(said(&proxy.request(0, 1, &client)), "allow");
    proxy.around.now.wall = END + 3600;
    proxy.tick(0, &naming(&[]));
    for stream in 2..4 {
        assert_eq!(said(&proxy.request(0, stream, &client)), "expired");
    }
    let log = proxy.log();
    assert_eq!(log.iter().filter(|line| line.contains("it was allowed before")).count(), 1, "{log:?}");
    assert_eq!(counted(&proxy.tick(0, &naming(&[])), "lost_access.expired"), 1);
}

/// A request whose connection has this certificate's digest, and shows another certificate or none.
struct Unbound {
    peer: Leaf,
    shown: Option<Leaf>,
}

impl Request for Unbound {
    fn property(&self, path: &str) -> Option<Vec<u8>> {
        let shown =
            if path == "connection\0peer_certificate" { self.shown.clone()? } else { self.peer.clone() };
        Shown(Some(shown)).property(path)
    }

    fn header(&self, name: &str) -> Option<Vec<u8>> {
        Shown(None).header(name)
    }
}

#[test]
fn certificate_that_is_not_that_of_the_connection_is_denied() {
    let peer = us_leaf(&cast().us_ca);
    for (what, shown, expected) in [
        ("the peer's", Some(peer.clone()), "allow"),
        ("none", None, "certificate_unavailable"),
        ("another one", Some(us_leaf(&cast().us_ca)), "certificate_mismatch"),
    ] {
        let mut proxy = Proxy::new(&by_ca(), 1);
        let request = Unbound { peer: peer.clone(), shown };
        for stream in 0..2 {
            let action = proxy.event(0, |engine, io| engine.on_request(stream, &request, io));
            assert_eq!(said(&action), expected, "{what}");
        }
        let effects = proxy.tick(0, &naming(&[]));
        assert_eq!(counted(&effects, "cache_hits"), u64::from(expected == "allow"), "{what}");
        let log = lines(&effects);
        let denied: Vec<_> = log.iter().filter(|line| line.contains("denied")).collect();
        assert_eq!(denied.len(), if expected == "allow" { 0 } else { 2 }, "{what}: {log:?}");
        let reason = format!("reason={expected} request_id=\"r-1\"");
        assert!(
            denied.iter().all(|line| line.contains(&reason) && line.contains(&peer.sha256)),
            "{denied:?}"
        );
    }
}

#[test]
fn malformed_certificate_is_parsed_once_then_denied_by_cache() {
    let leaf = us_leaf(&cast().us_ca);
    let longer = leaf.with_der([leaf.der.as_slice(), &[0]].concat());
    let mut proxy = Proxy::new(&by_ca(), 1);
    for detail in ["bytes after its end", "decided before", "decided before"] {
        let action = proxy.request(0, 1, &Shown(Some(longer.clone())));
        assert_eq!(said(&action), "malformed_certificate");
        let log = proxy.log();
        let line = log.iter().find(|line| line.contains("denied")).unwrap();
        assert!(line.contains(detail) && line.contains("reason=malformed_certificate "), "{line}");
    }
    let effects = proxy.tick(0, &naming(&[]));
    assert_eq!(counted(&effects, "decisions.deny.malformed_certificate"), 3);
    assert_eq!(counted(&effects, "cache_hits"), 2);
}
