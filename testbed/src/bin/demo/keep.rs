//! Afterwards: everything stays up for one's own curl.

use std::{io, net::SocketAddr, time::Duration};

use testbed::{client::SERVICE_HOST, pki::Leaf};

use crate::{
    acts,
    checks::{Demo, IDENTITY},
    stage::Stage,
};

/// How long it stays up.
pub const AT_MOST: Duration = Duration::from_hours(1);

/// Prints how to reach everything.
pub fn explain(demo: &Demo, explain: &Stage, strict: &Stage) -> io::Result<()> {
    let (screen, world) = (&demo.screen, &demo.world);
    let pki = &world.pki;
    world.write("server-ca.crt", &pki.server_ca.pem)?;
    let door = explain.envoy.listener_addr(explain.listener);

    screen.line("");
    screen.title("Still running, for an hour at most. Ctrl-C ends it.");
    screen.line("");
    screen.line(format!("    cd {}", world.dir().display()));
    let callers: [(&str, &str, &Leaf); 9] = [
        ("genesys", "Genesys Cloud, by the Genesys CA: 200", &pki.us.genesys),
        ("digicert", "Genesys Cloud, by DigiCert, in the API: 200", &pki.us.digicert_upcoming),
        ("digicert-old", "the one before the rotation: not_pinned", &pki.us.digicert),
        ("stranger", "a stranger: wrong_name", &pki.stranger),
        ("other-region", "Genesys Cloud's other region: wrong_region", &pki.eu.genesys),
        ("expired", "Genesys Cloud, expired: expired", &pki.us.genesys_expired),
        ("impostor", "an impostor CA: bad_signature", &pki.impostor_leaf),
        ("email", "an e-mail certificate, by DigiCert: wrong_name", &pki.email),
        ("lookalike", "the same with our name: not_pinned", &pki.digicert_lookalike),
    ];
    for (file, what, leaf) in callers {
        world.write_leaf(file, leaf)?;
        screen.note(&format!("# {what}"));
        screen.line(format!("    {}", curl(door, Some(file), "")));
    }
    screen.note("# without a certificate: no_client_certificate");
    screen.line(format!("    {}", curl(door, None, "")));
    world.write(
        "forged-xfcc.txt",
        format!("x-forwarded-client-cert: {}", acts::forged_xfcc(&pki.us.genesys)),
    )?;
    screen.note("# the stranger, forging XFCC: wrong_name");
    screen.line(format!("    {}", curl(door, Some("stranger"), " -H @forged-xfcc.txt")));
    screen.note("# Genesys Cloud, forging the identity header: 200, and the service does not see it");
    screen.line(format!("    {}", curl(door, Some("genesys"), &format!(" -H '{IDENTITY}: forged'"))));
    screen.note("# profile strict, a stranger: a TLS alert");
    let strict_door = strict.envoy.listener_addr(strict.listener);
    screen.line(format!("    {}", curl(strict_door, Some("stranger"), "")));

    for (profile, stage) in [("explain", explain), ("strict", strict)] {
        let (admin, dir) = (stage.envoy.admin_addr(), stage.envoy.dir().display());
        screen.line("");
        screen.line(format!(
            "    {profile:<8} https://{SERVICE_HOST}:{}/",
            stage.envoy.listener_addr(stage.listener).port()
        ));
        screen.line(format!("    metrics  curl -s 'http://{admin}/stats?filter=genesys_(mtls|guard)'"));
        screen.line(format!("    log      {dir}/envoy.log"));
        screen.line(format!("    access   {dir}/output.txt"));
        screen.line(format!("    config   {dir}/envoy.json"));
    }
    Ok(())
}

fn curl(door: SocketAddr, certificate: Option<&str>, more: &str) -> String {
    let identity = certificate.map_or(String::new(), |file| format!(" --cert {file}.crt --key {file}.key"));
    let port = door.port();
    format!(
        "curl --cacert server-ca.crt{identity}{more} --resolve {SERVICE_HOST}:{port}:{} https://{SERVICE_HOST}:{port}/",
        door.ip()
    )
}
