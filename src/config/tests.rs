//! A configuration becomes the policy that the README describes, with the documented defaults.

use super::*;
use crate::config::checks::duration;
use crate::policy::{Credentials, Mode, NameRule, Peer, PeerSource, TrustedPeer};
use crate::test_support::{DAY, NOW, ca, cast, date, load, merged, policy, us_leaf, us_only};
use serde_json::{Value, json};
use std::time::Duration;

mod forms;
mod wrong;
mod wrong_lists;
mod wrong_trust;

fn genesys() -> Value {
    json!({"genesys": {"ca_certificates": cast().us_ca.pem}})
}

fn by_api() -> Value {
    json!({"digicert": {"pins": ["api"]}})
}

/// Every option there is, none at its default.
fn everything() -> Value {
    json!({
        "name": "edge_1",
        "regions": {
            "us-east-1": {
                "genesys": {"ca_certificates": cast().us_ca.pem, "danger_public_ca": true},
                "digicert": {
                    "pins": ["api", us_leaf(&cast().digicert_ca).pin()],
                    "issuers": cast().digicert_ca.pem,
                },
            },
            "eusc-de-east-1": {
                "certificate_name": "dataactions.example.mypurecloud.com",
                "domain": "edee1.eusc-pure.cloud",
                "digicert": {"pins": ["api"]},
                "refresh": {
                    "clusters": {"api": "eusc_api", "login": "eusc_login"},
                    "oauth": {"client_id_env": "EUSC_ID", "client_secret_env": "EUSC_SECRET"},
                },
            },
        },
        "refresh": {
            "clusters": {"api": "outbound|443||{host}", "login": "outbound|443||{host}"},
            "oauth": "injected",
            "interval": "30m",
            "timeout": "2500ms",
            "jitter": "20%",
            "retry": {"base": "2s", "max": "10m"},
            "keep_removed": "2d",
            "max_staleness": "72h",
            "on_unknown_certificate": {"min_interval": "1m", "hold": "0s", "max_held": 7},
        },
        "peer_certificate": {"source": "filter_state", "filter_state_key": "peer"},
        "names": "san",
        "clock_skew": "5s",
        "mode": "shadow",
        "identity": {"header": "X-Genesys"},
    })
}

#[test]
fn missing_setting_has_the_documented_default() {
    let policy = policy(&us_only(&merged(&genesys(), &by_api())));
    assert_eq!(
        (policy.name.as_str(), policy.names, policy.mode),
        ("default", NameRule::SanOrCn, Mode::Enforce)
    );
    assert_eq!((policy.clock_skew, policy.identity_header.as_deref()), (60, None));
    let Peer::Connection { source, filter_state_key } = &policy.peer else { panic!("{:?}", policy.peer) };
    assert_eq!((*source, filter_state_key.as_str()), (PeerSource::Auto, "genesys_mtls.peer_certificate"));

    let refresh = &policy.refresh;
    let second = Duration::from_secs(1);
    assert_eq!((refresh.interval, refresh.timeout, refresh.jitter), (3600 * second, 5 * second, 10));
    assert_eq!((refresh.retry.base, refresh.retry.max), (second, 300 * second));
    assert_eq!((refresh.keep_removed, refresh.max_staleness), (24 * 3600 * second, None));
    let unknown = &refresh.on_unknown_certificate;
    assert_eq!((unknown.min_interval, unknown.hold, unknown.max_held), (30 * second, 2 * second, 64));

    let [region] = policy.regions.as_slice() else { panic!("{:?}", policy.regions) };
    assert_eq!(region.certificate_name, crate::test_support::US);
    assert_eq!(region.genesys.len(), 1);
    let digicert = region.digicert.as_ref().unwrap();
    assert!(digicert.api && digicert.pins.is_empty() && digicert.issuers.is_empty());
    let source = region.source.as_ref().unwrap();
    assert_eq!(
        (source.api_host.as_str(), source.login_host.as_str()),
        ("api.mypurecloud.com", "login.mypurecloud.com")
    );
    assert_eq!(
        (source.api_cluster.as_str(), source.login_cluster.as_str()),
        ("genesys_api", "genesys_login")
    );
    let credentials = Credentials::Environment {
        client_id: "GENESYS_CLIENT_ID".to_owned(),
        client_secret: "GENESYS_CLIENT_SECRET".to_owned(),
    };
    assert_eq!(source.credentials, credentials);

    let named = merged(&us_only(&genesys()), &json!({"identity": {}}));
    assert_eq!(
        crate::test_support::policy(&named).identity_header.as_deref(),
        Some("x-genesys-cloud-client")
    );
}

#[test]
fn setting_arrives_in_the_policy() {
    let policy = policy(&everything());
    assert_eq!((policy.name.as_str(), policy.names, policy.mode), ("edge_1", NameRule::San, Mode::Shadow));
    assert_eq!((policy.clock_skew, policy.identity_header.as_deref()), (5, Some("x-genesys")));
    let Peer::Connection { source, filter_state_key } = &policy.peer else { panic!("{:?}", policy.peer) };
    assert_eq!((*source, filter_state_key.as_str()), (PeerSource::FilterState, "peer"));

    let refresh = &policy.refresh;
    assert_eq!((refresh.interval.as_secs(), refresh.timeout.as_millis(), refresh.jitter), (1800, 2500, 20));
    assert_eq!((refresh.retry.base.as_secs(), refresh.retry.max.as_secs()), (2, 600));
    assert_eq!(refresh.keep_removed.as_secs(), 2 * 24 * 3600);
    assert_eq!(refresh.max_staleness.map(|bound| bound.as_secs()), Some(72 * 3600));
    let unknown = &refresh.on_unknown_certificate;
    assert_eq!((unknown.min_interval.as_secs(), unknown.hold.as_secs(), unknown.max_held), (60, 0, 7));

    let [eusc, us] = policy.regions.as_slice() else { panic!("{:?}", policy.regions) };
    assert_eq!((eusc.id.as_str(), us.id.as_str()), ("eusc-de-east-1", "us-east-1"));
    assert_eq!(eusc.certificate_name, "dataactions.example.mypurecloud.com");
    let digicert = us.digicert.as_ref().unwrap();
    assert_eq!((digicert.pins.len(), digicert.issuers.len()), (1, 1));

    let (eusc, us) = (eusc.source.as_ref().unwrap(), us.source.as_ref().unwrap());
    assert_eq!(us.api_cluster, "outbound|443||api.mypurecloud.com");
    assert_eq!(us.login_cluster, "outbound|443||login.mypurecloud.com");
    assert_eq!(us.credentials, Credentials::Injected);
    assert_eq!((eusc.api_cluster.as_str(), eusc.login_cluster.as_str()), ("eusc_api", "eusc_login"));
    assert_eq!(eusc.login_host, "login.edee1.eusc-pure.cloud");
    let own = Credentials::Environment { client_id: "EUSC_ID".into(), client_secret: "EUSC_SECRET".into() };
    assert_eq!(eusc.credentials, own);
}

#[test]
fn regions_may_share_a_template_but_not_a_cluster() {
    let own = json!({"refresh": {"oauth": {"client_secret_env": "US_SECRET"}}});
    let two = json!({"regions": {"us-east-1": merged(&by_api(), &own), "eu-west-1": by_api()}});
    for template in ["outbound|443||{host}", "{region}_{host}"] {
        let refresh = json!({"refresh": {"clusters": {"api": template, "login": template}}});
        policy(&merged(&two, &refresh));
    }
    let by_region = json!({"refresh": {"clusters": {"api": "api_{region}", "login": "login_{region}"}}});
    let by_region = policy(&merged(&two, &by_region));
    let clusters = by_region.regions.iter().filter_map(|region| region.source.as_ref());
    let clusters: Vec<&str> = clusters.map(|source| source.api_cluster.as_str()).collect();
    assert_eq!(clusters, ["api_eu-west-1", "api_us-east-1"]);
    // A region without an API makes no call.
    policy(&json!({"regions": {"us-east-1": by_api(), "eu-west-1": genesys()}}));
}

/// The proxy tries a configuration in a throw-away VM, and again at every restart: the answer must not depend on when.
#[test]
fn validity_of_a_configuration_does_not_depend_on_time() {
    let past = ca("unit-past").valid(date(0), date(DAY)).self_signed();
    let future = ca("unit-future").valid(date(NOW + 9000 * DAY), date(NOW + 9999 * DAY)).self_signed();
    for ca in [past, future] {
        let region = json!({
            "genesys": {"ca_certificates": ca.pem},
            "digicert": {"pins": ["api"], "issuers": ca.pem},
        });
        let policy = policy(&us_only(&region));
        assert_eq!(policy.regions[0].genesys.len(), 1);
    }
}

#[test]
fn names_are_compared_in_lower_case() {
    let region = json!({"certificate_name": "Client.EXAMPLE.com", "domain": "EXAMPLE.com"});
    let policy = policy(&us_only(&merged(&region, &by_api())));
    assert_eq!(policy.regions[0].certificate_name, "client.example.com");
    assert_eq!(policy.regions[0].source.as_ref().unwrap().api_host, "api.example.com");
}

#[test]
fn a_trusted_hop_is_known_by_its_fingerprints_or_its_name() {
    let hop = |peer: Value| {
        let hop = json!({"header": "X-Forwarded-Client-Cert", "encoding": "xfcc", "peer": peer});
        let peer =
            policy(&merged(&us_only(&genesys()), &json!({"peer_certificate": {"danger_trusted_hop": hop}})))
                .peer;
        let Peer::Hop(hop) = peer else { panic!("{peer:?}") };
        assert_eq!(hop.header, "x-forwarded-client-cert");
        hop.peer
    };
    let digits = "0123456789abcdef".repeat(4);
    let two = [digits.clone(), digits.to_uppercase()];
    let TrustedPeer::Sha256(fingerprints) = hop(json!({"sha256": two})) else { panic!() };
    assert_eq!(fingerprints, [digits.parse().unwrap(); 2]);
    let TrustedPeer::DnsSan(name) = hop(json!({"dns_san": "Edge.Example.COM"})) else { panic!() };
    assert_eq!(name, "edge.example.com");
}

#[test]
fn a_large_configuration_loads() {
    let roots: String =
        (0..100).map(|n| ca("unit-many").dn(&[("CN", &format!("Root {n}"))]).self_signed().pem).collect();
    let pins: Vec<String> = (0..10_000).map(|n| format!("sha256:{n:064x}")).collect();
    let region = json!({"genesys": {"ca_certificates": roots}, "digicert": {"pins": pins}});
    let policy = policy(&us_only(&region));
    assert_eq!(policy.regions[0].genesys.len(), 100);
    assert_eq!(policy.regions[0].digicert.as_ref().unwrap().pins.len(), 10_000);
}

#[test]
fn durations_and_shares_are_read_as_people_write_them() {
    let millis = |text: &str| duration(text).ok().map(|duration| duration.as_millis());
    for (text, expected) in [
        ("250ms", Some(250)),
        ("30s", Some(30_000)),
        ("5m", Some(300_000)),
        ("1h 30m", Some(5_400_000)),
        ("7d", Some(604_800_000)),
        ("0s", Some(0)),
        ("30", None),
        ("", None),
        ("-1s", None),
        ("1,5h", None),
        ("soon", None),
    ] {
        assert_eq!(millis(text), expected, "{text}");
    }
    for text in ["0s", "1ms", "1500ms", "59s", "60m", "90m", "1h", "24h", "36h", "7d", "366d"] {
        let read = duration(text).unwrap();
        assert_eq!(duration(&show(read)), Ok(read), "{text} printed as {}", show(read));
    }
    assert_eq!(show(Duration::from_hours(36)), "36h");
    assert_eq!(show(Duration::from_millis(1500)), "1500ms");

    let percent = |text: &str| {
        let document = merged(&us_only(&genesys()), &json!({"refresh": {"jitter": text}}));
        load(&document).ok().map(|policy| policy.refresh.jitter)
    };
    for (text, expected) in
        [("0%", Some(0)), ("50%", Some(50)), ("51%", None), ("10", None), ("-1%", None), ("1.5%", None)]
    {
        assert_eq!(percent(text), expected, "{text}");
    }
}

#[test]
fn the_digest_tells_one_configuration_from_another() {
    let (one, two) = (us_only(&genesys()), merged(&us_only(&genesys()), &json!({"mode": "shadow"})));
    assert_eq!(policy(&one).digest, policy(&one).digest);
    assert_ne!(policy(&one).digest, policy(&two).digest);
    assert!(load(&json!({})).is_err());
}

#[test]
fn a_region_sets_what_it_names_and_has_the_rest_in_common() {
    let general = json!({"clusters": {"api": "api_of_all", "login": "login_of_all"}});
    let variables = json!({"client_id_env": "ID_OF_ALL", "client_secret_env": "SECRET_OF_ALL"});
    let source = |general: &Value, own: &Value| {
        let region =
            json!({"digicert": {"pins": ["api"], "issuers": cast().digicert_ca.pem}, "refresh": own});
        let document = json!({"regions": {"us-east-1": region}, "refresh": general});
        policy(&document).regions.remove(0).source.unwrap()
    };
    for (own, api, login) in [
        (json!({}), "api_of_all", "login_of_all"),
        (json!({"clusters": {}}), "api_of_all", "login_of_all"),
        (json!({"clusters": {"api": "{region}"}}), "us-east-1", "login_of_all"),
        (json!({"clusters": {"login": "{host}"}}), "api_of_all", "login.mypurecloud.com"),
    ] {
        let source = source(&general, &own);
        assert_eq!((source.api_cluster.as_str(), source.login_cluster.as_str()), (api, login), "{own}");
    }
    for (general, own, expected) in [
        (json!({"oauth": variables}), json!({}), Some(("ID_OF_ALL", "SECRET_OF_ALL"))),
        (
            json!({"oauth": variables}),
            json!({"oauth": {"client_id_env": "OWN"}}),
            Some(("OWN", "SECRET_OF_ALL")),
        ),
        (
            json!({"oauth": variables}),
            json!({"oauth": {"client_secret_env": "OWN"}}),
            Some(("ID_OF_ALL", "OWN")),
        ),
        (json!({"oauth": variables}), json!({"oauth": "injected"}), None),
        (json!({"oauth": "injected"}), json!({}), None),
        (
            json!({"oauth": "injected"}),
            json!({"oauth": {"client_id_env": "OWN"}}),
            Some(("OWN", "GENESYS_CLIENT_SECRET")),
        ),
    ] {
        let expected = expected.map_or(Credentials::Injected, |(id, secret)| Credentials::Environment {
            client_id: id.to_owned(),
            client_secret: secret.to_owned(),
        });
        assert_eq!(source(&general, &own).credentials, expected, "{general} {own}");
    }
}
