//! Genesys Cloud, and the files that Envoy and the callers need to meet it.

use std::{
    io::{Error, Result},
    path::Path,
};

use serde_json::Value;
use testbed::{Genesys, Pki, client::SERVICE_HOST, config};

use crate::{addresses::everywhere, callers::CALLERS};

const API_PORT: u16 = 443;
const CRL_PORT: u16 = 8080;

/// Where the directory is mounted in Envoy's container, as the shipped configuration expects it.
const MOUNTED: &str = "/etc/envoy/certs";

pub async fn run(shipped: &Path, dir: &Path) -> Result<()> {
    let pki = Pki::standard();
    write_files(&pki, shipped, dir)?;
    // Last: who can connect finds the files.
    let _genesys = Genesys::start_at(&pki, everywhere(API_PORT), everywhere(CRL_PORT)).await?;
    println!(
        "Genesys Cloud's stand-in is up: {} and {}",
        pki.us.region.api_host(),
        pki.us.region.login_host()
    );
    std::future::pending().await
}

fn write_files(pki: &Pki, shipped: &Path, dir: &Path) -> Result<()> {
    let write = |name: &str, text: &str| config::write_atomic(&dir.join(name), text);
    let server = pki.server(&[SERVICE_HOST, "localhost"]);
    write("server.pem", &server.chain_pem)?;
    write("server.key", &server.key_pem)?;
    write("client-cas.pem", &(pki.us.root.pem.clone() + &pki.digicert_root.pem))?;
    write("api-ca.pem", &pki.server_ca.pem)?;
    for caller in CALLERS {
        if let Some(leaf) = caller.certificate {
            let leaf = leaf(pki);
            write(&format!("{}.pem", caller.name), &leaf.chain_pem)?;
            write(&format!("{}.key", caller.name), &leaf.key_pem)?;
        }
    }
    let fitted = fit(config::load_yaml(shipped), pki)?;
    write("envoy.json", &serde_json::to_string_pretty(&fitted)?)
}

/// The shipped configuration with this run's CAs in place of the example's; all else stays as shipped.
fn fit(mut bootstrap: Value, pki: &Pki) -> Result<Value> {
    let mut policies = 0;
    config::each_plugin(&mut bootstrap, |plugin| {
        let region = &mut plugin["configuration"]["value"]["regions"][pki.us.region.id];
        if let Some(root) = region.pointer_mut("/genesys/ca_certificates") {
            *root = pki.us.root.pem.clone().into();
            policies += 1;
        }
    });
    let api_ca = Path::new(MOUNTED).join("api-ca.pem");
    if policies == 1 && config::set_trusted_ca(&mut bootstrap, "UpstreamTlsContext", &api_ca) > 0 {
        Ok(bootstrap)
    } else {
        Err(Error::other(format!("no policy for {} with API clusters to fit", pki.us.region.id)))
    }
}
