//! A registry over TLS that serves the images of `scripts/oci.sh`.

use std::{
    convert::Infallible,
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
};

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
    tls: Arc<ServerConfig>,
    task: Option<JoinHandle<()>>,
}

impl Registry {
    /// Packs the module under test.
    pub fn new(world: &World) -> Result<Self, Failure> {
        let layout = world.path("oci");
        let script = paths::workspace_root().join("scripts/oci.sh");
        run(Command::new(script).arg(&layout).env("GENESYS_MTLS_WASM", paths::wasm_module()), "")?;
        let leaf = world.pki.server(&["registry.example"]);
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(leaf.chain_pem.as_bytes()).collect();
        let key = PrivateKeyDer::from_pem_slice(leaf.key_pem.as_bytes())?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(chain?, key)?;
        Ok(Self { layout, tls: Arc::new(tls), task: None })
    }

    /// The digest of the image's manifest, `sha256:...`.
    pub fn digest(&self) -> Result<String, Failure> {
        let index: Value = serde_json::from_slice(&fs::read(self.layout.join("index.json"))?)?;
        Ok(index["manifests"][0]["digest"].as_str().ok_or("no digest")?.to_owned())
    }

    /// A file with the layer's content, as the kubelet's image volume would have it.
    pub fn unpack(&self, directory: &Path) -> Result<(), Failure> {
        let digest = self.digest()?;
        let manifest: Value = serde_json::from_slice(&fs::read(blob(&self.layout, &digest))?)?;
        let layer = blob(&self.layout, manifest["layers"][0]["digest"].as_str().ok_or("no layer")?);
        run(Command::new("tar").arg("-xzf").arg(layer).arg("-C").arg(directory), "").map(drop)
    }

    pub async fn start(&mut self) -> Result<(), Failure> {
        let listener = TcpListener::bind((REGISTRY, 443)).await?;
        let (acceptor, layout) = (TlsAcceptor::from(self.tls.clone()), self.layout.clone());
        self.task = Some(tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, layout) = (acceptor.clone(), layout.clone());
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    let answer = service_fn(|request| {
                        let response = answer(&layout, &request);
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

fn blob(layout: &Path, digest: &str) -> PathBuf {
    layout.join("blobs").join(digest.replace(':', "/"))
}

fn answer(layout: &Path, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    let status = |status| Response::builder().status(status).body(Full::default()).expect("a response");
    let path = request.uri().path();
    if path == "/v2/" {
        return status(StatusCode::OK);
    }
    let Some(digest) =
        path.rsplit('/').next().filter(|name| name.starts_with("sha256:") && !name.contains(".."))
    else {
        return status(StatusCode::NOT_FOUND);
    };
    let Ok(bytes) = fs::read(blob(layout, digest)) else { return status(StatusCode::NOT_FOUND) };
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
