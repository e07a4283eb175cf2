//! All of it together: cast, stand-in, upstream and files on disk.

use std::{
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};
use tempfile::TempDir;
use testbed_pki::{Leaf, Pki, RegionPki};

use crate::{
    client::{Client, ClientBuilder, SERVICE_HOST},
    config,
    envoy::{self, Envoy, EnvoyBuilder},
    genesys::Genesys,
    net::LOOPBACK,
    paths,
    upstream::Upstream,
};

/// The world around one Envoy.
#[derive(Debug)]
pub struct World {
    /// The certificates.
    pub pki: Pki,
    /// Genesys Cloud.
    pub genesys: Genesys,
    /// The service behind Envoy.
    pub upstream: Upstream,
    dir: TempDir,
}

impl World {
    /// Starts it. Needs a multi-threaded tokio runtime.
    pub async fn start() -> io::Result<Self> {
        Self::start_at(LOOPBACK, LOOPBACK, LOOPBACK).await
    }

    /// The same with chosen addresses: of the login and API hosts, of the host of revocation lists, and of the service.
    pub async fn start_at(genesys: SocketAddr, crls: SocketAddr, service: SocketAddr) -> io::Result<Self> {
        let pki = Pki::standard();
        let genesys = Genesys::start_at(&pki, genesys, crls).await?;
        let upstream = Upstream::start_at(service).await?;
        let dir = tempfile::Builder::new().prefix("testbed-").tempdir()?;
        let world = Self { pki, genesys, upstream, dir };
        world.write_files()?;
        Ok(world)
    }

    fn write_files(&self) -> io::Result<()> {
        let server = self.pki.server(&[SERVICE_HOST, "localhost", "other.example", "*.wild.example"]);
        self.write("server.crt", &server.chain_pem)?;
        self.write("server.key", &server.key_pem)?;
        self.write("api-ca.crt", &self.pki.server_ca.pem)?;
        let clients = [&self.pki.us.root, &self.pki.eu.root, &self.pki.digicert_ca, &self.pki.digicert_root];
        self.write("client-ca.crt", clients.map(|ca| ca.pem.as_str()).concat())?;
        Ok(())
    }

    /// The directory for files: `server.crt`, `server.key`, `client-ca.crt` (all authorities that sign Genesys clients),
    /// `api-ca.crt` (signs the API and login hosts), and the files that a test adds.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The path of a file in [`Self::dir`].
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes a file into [`Self::dir`], complete at once for who watches it.
    pub fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> io::Result<PathBuf> {
        let path = self.path(name);
        config::write_atomic(&path, bytes)?;
        Ok(path)
    }

    /// Writes a certificate as `<name>.crt` (with intermediates) and `<name>.key`, e.g. for curl.
    pub fn write_leaf(&self, name: &str, leaf: &Leaf) -> io::Result<(PathBuf, PathBuf)> {
        Ok((
            self.write(&format!("{name}.crt"), &leaf.chain_pem)?,
            self.write(&format!("{name}.key"), &leaf.key_pem)?,
        ))
    }

    /// Reads a configuration of the repository (path from its root) and fits it to this world.
    pub fn bootstrap(&self, file: &str) -> Value {
        let mut bootstrap = config::load_yaml(&paths::workspace_root().join(file));
        self.localize(&mut bootstrap);
        bootstrap
    }

    /// Fits a bootstrap to this world: free ports; the cluster `service` is the upstream, those with TLS are the stand-in,
    /// plain ones with `crl` in their name its host of revocation lists; certificates and CAs of TLS contexts; the wasm
    /// module. Where Envoy is older than 1.39, the certificate is shown as the shipped files say in a comment. The
    /// plugin's configuration stays: see [`Self::policy`].
    pub fn localize(&self, bootstrap: &mut Value) {
        config::free_ports(bootstrap);
        for (cluster, tls) in config::clusters(bootstrap) {
            let addr = match (cluster.as_str(), tls) {
                ("service", _) => self.upstream.addr(),
                (_, true) => self.genesys.addr(),
                (name, false) if name.contains("crl") => self.genesys.crl_addr(),
                _ => continue,
            };
            config::set_endpoint(bootstrap, &cluster, addr);
        }
        config::set_server_certificate(bootstrap, &self.path("server.crt"), &self.path("server.key"));
        config::set_trusted_ca(bootstrap, "DownstreamTlsContext", &self.path("client-ca.crt"));
        config::set_trusted_ca(bootstrap, "UpstreamTlsContext", &self.path("api-ca.crt"));
        let mut plugins = 0;
        config::each_plugin(bootstrap, |_| plugins += 1);
        if plugins > 0 {
            config::set_module(bootstrap, &paths::wasm_module());
            if envoy::version() < (1, 39) {
                config::show_certificate_in_xfcc(bootstrap);
            }
        }
    }

    /// A filter configuration for us-east-1: its root, DigiCert pins by the API, the rest left at defaults.
    pub fn policy(&self) -> Value {
        json!({"regions": {self.pki.us.region.id: self.region_policy(&self.pki.us)}})
    }

    /// One region's part of a filter configuration.
    pub fn region_policy(&self, region: &RegionPki) -> Value {
        json!({"genesys": {"ca_certificates": region.root.pem}, "digicert": {"pins": ["api"]}})
    }

    /// Begins an Envoy with a bootstrap of [`Self::bootstrap`]; us-east-1's OAuth client is in its environment as
    /// `GENESYS_CLIENT_ID` and `GENESYS_CLIENT_SECRET`.
    pub fn envoy(&self, bootstrap: Value) -> EnvoyBuilder {
        let credentials = self.genesys.credentials(self.pki.us.region.id);
        Envoy::builder(bootstrap)
            .env("GENESYS_CLIENT_ID", &credentials.client_id)
            .env("GENESYS_CLIENT_SECRET", &credentials.client_secret)
    }

    /// Begins a TLS client of one of Envoy's listeners; without a certificate so far.
    pub fn client(&self, addr: SocketAddr) -> ClientBuilder {
        Client::tls(addr, &self.pki.server_ca)
    }

    /// Keeps the directory and says where it is.
    pub fn keep(self) -> PathBuf {
        self.dir.keep()
    }
}
