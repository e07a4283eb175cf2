//! The three scopes on a gateway that serves others too, attacked by the other host's way in with our host's name.

use super::Site;
use crate::{setup::assert_refused, stage::assert_guarded};

/// File, the others' listener, and the status for our host there: the guard denies, or no route leads to us.
const SCOPES: [(&str, &str, u16); 4] = [
    ("scope/host.yaml", "ingress", 403),
    ("scope/port.yaml", "others", 403),
    ("scope/listener.yaml", "others", 404),
    ("http3.yaml", "ingress", 403),
];

const OTHER: &str = "other.example";

#[tokio::test(flavor = "multi_thread")]
async fn our_host_by_others_entry_is_denied_and_others_are_served() {
    for (file, others, refusal) in SCOPES {
        let site = Site::open(file).await;
        let pki = &site.world.pki;
        for (who, leaf) in [
            ("no certificate", None),
            ("a stranger", Some(&pki.stranger)),
            ("Genesys Cloud", Some(&pki.us.digicert)),
        ] {
            for host in ["service.example", "service.example:8443", "SERVICE.example"] {
                let what = format!("{file}: {who} asks for {host}");
                let response = site.ask(others, OTHER, host, leaf).await;
                if refusal == 403 {
                    assert_guarded(&what, &response);
                } else {
                    assert_eq!(response.status, refusal, "{what}: {}", response.text());
                }
            }
            // Another name for a host leads elsewhere, or nowhere; never to us.
            site.ask(others, OTHER, "service.example.", leaf).await;
            let before = site.others.count();
            let response = site.ask(others, OTHER, OTHER, leaf).await;
            assert_eq!(response.status, 200, "{file}: {who} asks for the others: {}", response.text());
            assert_eq!(site.others.count(), before + 1, "{file}");
        }
        assert_eq!(site.world.upstream.count(), 0, "{file}: no request reached the service");

        // Our own way in.
        for host in ["service.example", "service.example:8443", "SERVICE.example"] {
            let response = site.ask("ingress", "service.example", host, Some(&pki.us.digicert)).await;
            assert_eq!(response.status, 200, "{file}: {host}: {}", response.text());
        }
        assert_eq!(site.world.upstream.count(), 3, "{file}");
        let others_before = site.others.count();
        let response = site.ask("ingress", "service.example", OTHER, None).await;
        assert_refused("the others' host by our way in", &response, 403, "no_client_certificate");
        assert_eq!(site.others.count(), others_before, "{file}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn host_name_makes_no_difference_on_a_separate_listener() {
    let site = Site::with("envoy.yaml", |_, _| {}, |envoy, _| envoy).await;
    let pki = &site.world.pki;
    for (sni, host) in [(OTHER, "service.example"), ("service.example", OTHER), (OTHER, OTHER)] {
        let nobody = site.ask("ingress", sni, host, None).await;
        assert_refused("no certificate", &nobody, 403, "no_client_certificate");
        let stranger = site.ask("ingress", sni, host, Some(&pki.stranger)).await;
        assert_refused("a stranger", &stranger, 403, "wrong_name");
        assert_eq!(site.ask("ingress", sni, host, Some(&pki.us.genesys)).await.status, 200);
    }
}
