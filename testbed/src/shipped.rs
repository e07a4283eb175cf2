//! The Envoy files under `envoy/`, fitted to a world.

use crate::{World, config, envoy, paths};
use serde_json::{Value, json};
use std::{fs, io, path::PathBuf};

/// Files that Envoy is started with.
pub const BOOTSTRAPS: [&str; 10] = [
    "envoy.yaml",
    "strict.yaml",
    "filter-state.yaml",
    "regions.yaml",
    "behind-proxy.yaml",
    "http3.yaml",
    "scope/host.yaml",
    "scope/listener.yaml",
    "scope/port.yaml",
    "xds/bootstrap.yaml",
];

/// What a bootstrap refers to.
pub const PARTS: [&str; 5] = [
    "xds/cds.yaml",
    "xds/client-cas.yaml",
    "xds/genesys_mtls.yaml",
    "xds/lds.yaml",
    "xds/server-certificate.yaml",
];

pub fn directory() -> PathBuf {
    paths::workspace_root().join("envoy")
}

/// The text of a file, with this world's files in place of those that it names.
pub fn installed(world: &World, name: &str) -> String {
    let text = fs::read_to_string(directory().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
    let at = |name: &str| world.path(name).to_str().expect("UTF-8").to_owned();
    [
        ("/etc/envoy/certs/server.pem", at("server.crt")),
        ("/etc/envoy/certs/server.key", at("server.key")),
        ("/etc/envoy/certs/client-cas.pem", at("client-ca.crt")),
        ("/etc/envoy/certs/proxy-ca.pem", at("client-ca.crt")),
        // Directories to watch.
        ("/etc/envoy/certs", at("")),
        ("/etc/envoy/xds", world.dir().to_str().expect("UTF-8").to_owned()),
        ("/etc/envoy/genesys_mtls_filter.wasm", paths::wasm_module().to_str().expect("UTF-8").to_owned()),
        ("/etc/ssl/certs/ca-certificates.crt", at("api-ca.crt")),
    ]
    .iter()
    .fold(text, |text, (shipped, here)| text.replace(shipped, here))
}

/// Puts this world's CA and pin where the file has its examples, and touches nothing else of the policies.
pub fn fit_policies(config: &mut Value, world: &World) {
    let us = &world.pki.us;
    config::each_plugin(config, |plugin| {
        let region = &mut plugin["configuration"]["value"]["regions"][us.region.id];
        if let Some(root) = region.pointer_mut("/genesys/ca_certificates") {
            *root = us.root.pem.clone().into();
        }
        let pin = region.pointer_mut("/digicert/pins/0").expect("a pin");
        if pin != "api" {
            *pin = us.digicert.pin().into();
        }
    });
}

/// A bootstrap, fitted to the world. Files that it refers to are installed.
pub fn bootstrap(world: &World, name: &str) -> Value {
    if name.starts_with("xds/") {
        install_watched(world).expect("the watched files are written");
        return config::parse_yaml(&installed(world, name)).expect("YAML");
    }
    let mut bootstrap = world.bootstrap(&format!("envoy/{name}"));
    fit_policies(&mut bootstrap, world);
    bootstrap
}

/// A file that Envoy watches, with this world's files in place of those that it names.
pub fn part(world: &World, file: &str) -> Value {
    config::parse_yaml(&installed(world, &format!("xds/{file}"))).expect("YAML")
}

/// Writes the files that Envoy watches into the world's directory; addresses, CA and paths are the world's.
fn install_watched(world: &World) -> io::Result<()> {
    let (mut listeners, mut clusters) = (part(world, "lds.yaml"), part(world, "cds.yaml"));
    let mut resources = json!({"static_resources": {
        "listeners": listeners["resources"].take(), "clusters": clusters["resources"].take(),
    }});
    world.localize(&mut resources);
    if envoy::version() < (1, 39) {
        config::show_certificate_in_xfcc(&mut resources);
    }
    listeners["resources"] = resources["static_resources"]["listeners"].take();
    clusters["resources"] = resources["static_resources"]["clusters"].take();
    let mut filter = part(world, "genesys_mtls.yaml");
    fit_policies(&mut filter, world);
    let (server, cas) = (part(world, "server-certificate.yaml"), part(world, "client-cas.yaml"));
    for (file, content) in [
        ("lds.yaml", listeners),
        ("cds.yaml", clusters),
        ("genesys_mtls.yaml", filter),
        ("server-certificate.yaml", server),
        ("client-cas.yaml", cas),
    ] {
        world.write(file, content.to_string())?;
    }
    Ok(())
}
