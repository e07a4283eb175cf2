//! A registry over TLS that serves the images of `scripts/oci.sh`.

use std::{
    convert::Infallible,
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};
use serde_json::Value;
use testbed::{World, paths};
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_rustls::TlsAcceptor;

use crate::{common::Failure, network::REGISTRY, shell::run};

/// Ends with this value.
#[derive(Debug)]
pub struct Registry {
    layout: PathBuf,
    /// Where all images' blobs lie: what is served.
    blobs: PathBuf,
    tls: Arc<ServerConfig>,
    private: Arc<AtomicBool>,
    task: Option<JoinHandle<()>>,
}

/// Who may pull, while the registry is private.
pub const PULLER: (&str, &str) = ("puller", "example");

impl Registry {
    /// Packs the module under test.
    pub fn new(world: &World) -> Result<Self, Failure> {
        let (layout, blobs) = (world.path("oci"), world.path("blobs"));
        pack(&paths::wasm_module(), &layout, &blobs)?;
        let leaf = world.pki.server(&["registry.example"]);
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(leaf.chain_pem.as_bytes()).collect();
        let key = PrivateKeyDer::from_pem_slice(leaf.key_pem.as_bytes())?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(chain?, key)?;
        Ok(Self { layout, blobs, tls: Arc::new(tls), private: Arc::default(), task: None })
    }

    /// The digest of the image's manifest, `sha256:...`.
    pub fn digest(&self) -> Result<String, Failure> {
        digest(&self.layout)
    }

    /// Serves another module as well, and says its image's digest.
    pub fn add(&self, world: &World, name: &str, module: &[u8]) -> Result<String, Failure> {
        let (file, layout) = (world.write(&format!("{name}.wasm"), module)?, world.path(name));
        pack(&file, &layout, &self.blobs)?;
        digest(&layout)
    }

    /// Whether it wants [`PULLER`]'s password.
    pub fn set_private(&self, private: bool) {
        self.private.store(private, Ordering::Relaxed);
    }

    /// A file with the layer's content, as the kubelet's image volume would have it.
    pub fn unpack(&self, directory: &Path) -> Result<(), Failure> {
        let digest = self.digest()?;
        let manifest: Value = serde_json::from_slice(&fs::read(blob(&self.blobs, &digest))?)?;
        let layer = blob(&self.blobs, manifest["layers"][0]["digest"].as_str().ok_or("no layer")?);
        run(Command::new("tar").arg("-xzf").arg(layer).arg("-C").arg(directory), "").map(drop)
    }

    pub async fn start(&mut self) -> Result<(), Failure> {
        let listener = TcpListener::bind((REGISTRY, 443)).await?;
        let acceptor = TlsAcceptor::from(self.tls.clone());
        let (blobs, private) = (self.blobs.clone(), self.private.clone());
        self.task = Some(tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, blobs, private) = (acceptor.clone(), blobs.clone(), private.clone());
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    let answer = service_fn(|request| {
                        let response = answer(&blobs, private.load(Ordering::Relaxed), &request);
                        async { Ok::<_, Infallible>(response) }
                    });
                    let _ = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), answer)
                        .await;
                });
            }
        }));
        Ok(())
    }

    /// Connections are refused from now on.
    pub async fn stop(&mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
            let _ = task.await;
        }
    }
}

fn pack(module: &Path, layout: &Path, blobs: &Path) -> Result<(), Failure> {
    let script = paths::workspace_root().join("scripts/oci.sh");
    run(Command::new(script).arg(layout).env("GENESYS_MTLS_WASM", module), "")?;
    fs::create_dir_all(blobs)?;
    run(Command::new("cp").arg("-r").arg(layout.join("blobs/.")).arg(blobs), "").map(drop)
}

fn digest(layout: &Path) -> Result<String, Failure> {
    let index: Value = serde_json::from_slice(&fs::read(layout.join("index.json"))?)?;
    Ok(index["manifests"][0]["digest"].as_str().ok_or("no digest")?.to_owned())
}

fn blob(blobs: &Path, digest: &str) -> PathBuf {
    blobs.join(digest.replace(':', "/"))
}

fn answer(blobs: &Path, private: bool, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    let status = |status| Response::builder().status(status).body(Full::default()).expect("a response");
    let path = request.uri().path();
    let (user, password) = PULLER;
    let expected = format!("Basic {}", STANDARD.encode(format!("{user}:{password}")));
    if private && request.headers().get(header::AUTHORIZATION).is_none_or(|sent| sent != expected.as_str()) {
        return Response::builder()
            .status(StatusCode::UNAUTHORIZED)
            .header(header::WWW_AUTHENTICATE, "Basic realm=\"https://registry.example/\"")
            .body(Full::default())
            .expect("a response");
    }
    if path == "/v2/" {
        return status(StatusCode::OK);
    }
    let Some(digest) =
        path.rsplit('/').next().filter(|name| name.starts_with("sha256:") && !name.contains(".."))
    else {
        return status(StatusCode::NOT_FOUND);
    };
    let Ok(bytes) = fs::read(blob(blobs, digest)) else { return status(StatusCode::NOT_FOUND) };
    let kind = if path.contains("/manifests/") {
        "application/vnd.oci.image.manifest.v1+json"
    } else {
        "application/octet-stream"
    };
    let response = Response::builder()
        .header(header::CONTENT_TYPE, kind)
        .header(header::CONTENT_LENGTH, bytes.len())
        .header("docker-content-digest", digest);
    let body = if request.method() == Method::HEAD { Bytes::new() } else { bytes.into() };
    response.body(Full::new(body)).expect("a response")
}
