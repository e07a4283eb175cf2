//! Log lines of refreshes, pins and CAs.

use super::*;
use crate::test_support::{CA_BEGIN, CA_END, DAY, ca, date};
use log::Level::{self, Info, Warn};

/// The lines that have this in them, with their level.
fn about<'e>(effects: &'e [Effect], what: &str) -> Vec<(Level, &'e str)> {
    let line = |effect: &'e Effect| match effect {
        Effect::Log { level, line } if line.contains(what) => Some((*level, line.as_str())),
        _ => None,
    };
    effects.iter().filter_map(line).collect()
}

#[test]
fn refresh_is_counted_each_time_and_logged_on_change() {
    let (first, second) = (genuine(), genuine());
    let (one, both) = (naming(&[&first]), naming(&[&first, &second]));
    let (down, forbidden) = (|_: &HttpCall| response(503, b""), |_: &HttpCall| response(403, b""));
    let failed = "genesys_mtls: refresh failed policy=default region=us-east-1 reason";
    let refreshed = "genesys_mtls: refreshed policy=default region=us-east-1";
    let steps: [(&str, Api<'_>, &str, Option<(Level, String)>); 8] = [
        (
            "login host down",
            &down,
            "login_unavailable",
            Some((Warn, format!("{failed}=login_unavailable detail="))),
        ),
        ("still down", &down, "login_unavailable", None),
        (
            "one named",
            &one,
            "ok",
            Some((Info, format!("{refreshed} pins=1 kept=0 changed=true recovered=true"))),
        ),
        ("the same", &one, "ok", None),
        (
            "two named",
            &both,
            "ok",
            Some((Info, format!("{refreshed} pins=2 kept=0 changed=true recovered=false"))),
        ),
        ("forbidden", &forbidden, "api_forbidden", Some((Warn, format!("{failed}=api_forbidden detail=")))),
        ("API down", &down, "api_unavailable", Some((Warn, format!("{failed}=api_unavailable detail=")))),
        (
            "two again",
            &both,
            "ok",
            Some((Info, format!("{refreshed} pins=2 kept=0 changed=false recovered=true"))),
        ),
    ];
    let mut proxy = Proxy::by_api(&json!({}), 1);
    for (what, api, result, expected) in steps {
        let effects = proxy.tick(0, api);
        assert_eq!(
            counted(&effects, &format!("genesys_mtls.default.refreshes.{result}.us-east-1")),
            1,
            "{what}"
        );
        let log = about(&effects, "genesys_mtls: refresh");
        assert_eq!(log.len(), usize::from(expected.is_some()), "{what}: {log:?}");
        for ((level, line), (expected, beginning)) in log.into_iter().zip(expected) {
            assert_eq!(level, expected, "{what}");
            assert!(line.starts_with(&beginning), "{what}: {line}");
        }
        proxy.pass(2 * HOUR);
    }
}

/// The API, answering with these entities: authority, status and text.
fn listing(entities: Vec<Value>) -> impl Fn(&HttpCall) -> HttpResponse {
    let login = naming(&[]);
    move |call| {
        let path = &call.headers[1].1;
        if path == "/oauth/token" {
            return login(call);
        }
        let of_status = |entity: &&Value| path.ends_with(entity["status"].as_str().unwrap());
        let entities: Vec<&Value> = entities.iter().filter(of_status).collect();
        response(200, json!({"entities": entities}).to_string().as_bytes())
    }
}

fn entity(authority: &str, status: &str, certificate: impl Into<Value>) -> Value {
    json!({"signingAuthority": authority, "status": status, "certificate": certificate.into()})
}

#[test]
fn entities_that_are_no_leaves_are_logged_once_with_reasons() {
    let known = genuine();
    let answer = |more: &[Value]| {
        let usual = [entity("DigiCert", "Current", known.chain_pem.as_str())];
        listing(usual.iter().chain(more).cloned().collect())
    };
    let other = entity("Another", "Current", "");
    let (one, none) = (answer(std::slice::from_ref(&other)), answer(&[]));
    let several = answer(&[other, entity("DigiCert", "Current", "no PEM"), entity("DigiCert", "Current", 7)]);
    let steps: [(&str, Api<'_>, Option<(Level, &str)>); 5] = [
        ("all used", &none, None),
        ("another authority", &one, Some((Info, r#"entities={"other_authority": 1} unreadable=[]"#))),
        ("the same", &one, None),
        (
            "several",
            &several,
            Some((
                Warn,
                r#"entities={"no_pem": 1, "other_authority": 1} unreadable=["entities[3].certificate"]"#,
            )),
        ),
        ("all used again", &none, Some((Info, "entities={} unreadable=[]"))),
    ];
    let mut proxy = Proxy::by_api(&json!({}), 1);
    for (what, api, expected) in steps {
        let effects = proxy.tick(0, api);
        let expected = expected.map(|(level, text)| {
            let about = "genesys_mtls: not pinned from the API's answer policy=default region=us-east-1";
            (level, format!("{about} {text}"))
        });
        let log = about(&effects, "not pinned from");
        let expected: Vec<_> = expected.iter().map(|(level, line)| (*level, line.as_str())).collect();
        assert_eq!(log, expected, "{what}");
        assert_eq!(counted(&effects, "refreshes.ok.us-east-1"), 1, "{what}");
        proxy.pass(2 * HOUR);
    }
}

/// Weeks before the day on which it would be noticed.
#[test]
fn announced_certificate_that_will_be_denied_is_logged_once() {
    let (old, next) = (genuine(), us_leaf(&cast().stranger_ca));
    let usual = || vec![entity("DigiCert", "Current", old.chain_pem.as_str())];
    let with = |more: Value| listing(usual().into_iter().chain([more]).collect());
    let none = listing(usual());
    let announced = with(entity("DigiCert", "Upcoming", next.chain_pem.as_str()));
    let both = {
        let next = entity("DigiCert", "Upcoming", next.chain_pem.as_str());
        let genesys = entity("Genesys", "Current", us_leaf(&cast().impostor).cert_pem);
        let illegible = entity("Genesys", "Upcoming", "no PEM");
        listing(usual().into_iter().chain([next, genesys, illegible]).collect())
    };
    let steps: [(&str, Api<'_>, &[&str]); 6] = [
        ("all allowed", &none, &[]),
        ("announced", &announced, &["authority=digicert status=upcoming reason=unknown_issuer"]),
        ("the same", &announced, &[]),
        (
            "more",
            &both,
            &[
                "authority=genesys status=current reason=bad_signature",
                "authority=genesys status=upcoming reason=malformed_certificate",
            ],
        ),
        ("gone", &none, &[]),
        ("announced again", &announced, &["authority=digicert status=upcoming reason=unknown_issuer"]),
    ];
    let genesys = json!({"genesys": {"ca_certificates": cast().us_ca.pem}});
    let mut proxy = Proxy::by_api(&json!({"regions": {"us-east-1": genesys}}), 2);
    for (what, api, expected) in steps {
        let mut effects = proxy.tick(0, api);
        effects.extend(proxy.tick(1, api));
        let log = about(&effects, "announced certificate will be denied");
        assert_eq!(log.len(), expected.len(), "{what}: {log:?}");
        for expected in expected {
            let start = "genesys_mtls: announced certificate will be denied policy=default region=us-east-1";
            let is_it = |(level, line): &&(Level, &str)| {
                *level == Warn && line.starts_with(&format!("{start} {expected} issuer="))
            };
            assert_eq!(log.iter().filter(is_it).count(), 1, "{what}: {log:?}");
        }
        if what == "announced" {
            let rest = format!(
                "issuer=\"CN=unit-stranger\" sha256={} not_before=2027-01-14T08:00:00Z not_after=2027-04-15T08:00:00Z \
                 detail=\"no CA configured for us-east-1 has its issuer's name and is valid now; it is pinned, but not signed by \
                 digicert.issuers\"",
                next.sha256
            );
            assert!(log[0].1.ends_with(&rest), "{log:?}");
        }
        proxy.pass(2 * HOUR);
    }
}

/// The start-up summary of a new configuration repeats what is known.
#[test]
fn new_configuration_says_again_what_will_be_denied() {
    let announced = listing(vec![
        entity("DigiCert", "Current", genuine().chain_pem),
        entity("DigiCert", "Upcoming", us_leaf(&cast().stranger_ca).chain_pem),
    ]);
    let mut proxy = Proxy::by_api(&json!({}), 1);
    assert_eq!(about(&proxy.tick(0, &announced), "will be denied").len(), 1);
    for (changes, lines) in [(json!({}), 0), (json!({"clock_skew": "1s"}), 1)] {
        let reloaded = Proxy::by_api(&changes, 1);
        proxy.workers = reloaded.workers;
        let effects = proxy.tick(0, &announced);
        assert_eq!(about(&effects, "will be denied").len(), lines);
        assert_eq!(about(&effects, "trusts policy=").len(), lines, "it comes with the summary");
    }
}

#[test]
fn pin_gets_a_line_for_each_change_of_its_status() {
    let (first, second) = (genuine(), genuine());
    let (one, other) = (naming(&[&first]), naming(&[&second]));
    let down = |_: &HttpCall| response(503, b"");
    let named = "pinned, the API names it";
    let kept = "pin kept for 2h, the API stopped naming it";
    let lapsed = "pin lapsed, the API stopped naming it";
    let stale = "pin out of use, no refresh has succeeded within max_staleness";
    let steps: [(&str, u32, Api<'_>, Vec<(&Leaf, Level, &str)>); 7] = [
        ("named first", 0, &one, vec![(&first, Info, named)]),
        ("still named", 2, &one, vec![]),
        ("another named", 2, &other, vec![(&first, Warn, kept), (&second, Info, named)]),
        ("within keep_removed", 1, &down, vec![]),
        ("after keep_removed", 2, &other, vec![(&first, Warn, lapsed)]),
        ("after max_staleness", 5, &down, vec![(&second, Warn, stale)]),
        ("API up again", 1, &other, vec![(&second, Info, named)]),
    ];
    let mut proxy = Proxy::by_api(&json!({"refresh": {"keep_removed": "2h", "max_staleness": "4h"}}), 1);
    for (what, hours, api, expected) in steps {
        proxy.pass(hours * HOUR);
        let effects = proxy.tick(0, api);
        let log = about(&effects, "genesys_mtls: pin");
        assert_eq!(log.len(), expected.len(), "{what}: {log:?}");
        for (leaf, level, news) in expected {
            let sha256 = Fingerprint::of(&leaf.der);
            let line = format!(
                "genesys_mtls: {news} policy=default region=us-east-1 sha256={sha256} until=2027-04-15T08:00:00Z"
            );
            assert!(log.contains(&(level, line.as_str())), "{what}: {log:?}");
        }
    }
}

#[test]
fn pins_that_change_at_once_get_twenty_lines_and_a_sum() {
    for (count, more) in [(20, None), (23, Some("3 more pins changed policy=default region=us-east-1"))] {
        let leaves: Vec<Leaf> = (0..count).map(|_| genuine()).collect();
        let mut proxy = Proxy::by_api(&json!({}), 1);
        let effects = proxy.tick(0, &naming(&leaves.iter().collect::<Vec<_>>()));
        assert_eq!(about(&effects, "pinned, the API names it").len(), 20, "{count}");
        let more = more.map(|more| format!("genesys_mtls: {more}"));
        let more: Vec<_> = more.iter().map(|line| (Warn, line.as_str())).collect();
        assert_eq!(about(&effects, "more pins changed"), more, "{count}");
    }
}

#[test]
fn announced_ca_says_until_when_and_whether_it_has_expired() {
    let expired = "this CA has expired and verifies no certificate:";
    for (what, from, until, level, text, date_text) in [
        ("valid", CA_BEGIN, CA_END, Info, "trusts CA", "2037-01-12T08:00:00Z"),
        ("in its last second", CA_BEGIN, NOW, Info, "trusts CA", "2027-01-15T08:00:00Z"),
        ("expired", CA_BEGIN, NOW - 1, Warn, expired, "2027-01-15T07:59:59Z"),
        ("before 1970", -2 * DAY, -DAY, Warn, expired, "-86400"),
    ] {
        let pem = ca("unit-announced").valid(date(from), date(until)).self_signed().pem;
        let document = json!({"regions": {"us-east-1": {"genesys": {"ca_certificates": pem}}}});
        let mut proxy = Proxy::new(&document, 1);
        let effects = proxy.tick(0, &naming(&[]));
        let line = format!(
            "genesys_mtls: {text} policy=default region=us-east-1 subject=\"CN=unit-announced\" until={date_text}"
        );
        assert_eq!(about(&effects, "unit-announced"), [(level, line.as_str())], "{what}");
    }
}

/// Its certificates would be denied without a word on the CA.
#[test]
fn ca_with_a_key_that_does_not_work_is_logged_and_counted() {
    let mut forged = cast().us_ca.der.clone();
    *forged.last_mut().unwrap() ^= 1;
    // ecdsa-with-SHA256, and SHA224, which is not verified.
    let mut sha224 = cast().us_ca.der.clone();
    let oid = b"\x2a\x86\x48\xce\x3d\x04\x03\x02";
    for at in 0..sha224.len() - oid.len() {
        if sha224[at..].starts_with(oid) {
            sha224[at + oid.len() - 1] = 1;
        }
    }
    let of = |der: &[u8]| json!({"ca_certificates": testbed_pki::pem_block(der)});
    for (der, text) in [
        (&cast().us_ca.der, None),
        (&forged, Some("this CA's key verifies nothing, not even its own signature:")),
        (&sha224, Some("this CA's own signature has an algorithm that is not verified")),
    ] {
        let mut proxy = Proxy::new(&json!({"regions": {"us-east-1": {"genesys": of(der)}}}), 1);
        let effects = proxy.tick(0, &naming(&[]));
        assert_eq!(gauged(&effects, "default.authority_unusable"), text.map(|_| 1));
        let log = about(&effects, "genesys_mtls: this CA's");
        assert_eq!(log.len(), usize::from(text.is_some()), "{log:?}");
        assert!(log.iter().all(|(level, line)| *level == Warn && line.contains(text.unwrap())), "{log:?}");
    }
}
