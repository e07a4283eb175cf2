//! The calls of a refresh, over HTTPS: chain and host name verified, no redirects, bounded answers.

use crate::output::{self, Usage};
use genesys_mtls_filter::{
    http::{HttpCall, HttpResponse},
    x509::pem,
};
use std::{
    cell::RefCell,
    fmt,
    net::{SocketAddr, ToSocketAddrs as _},
    sync::Arc,
    time::Duration,
};
use ureq::{
    Agent, Body,
    config::Config,
    http::{Request, Response, Uri},
    tls::{Certificate, RootCerts, TlsConfig, TlsProvider},
    unversioned::{
        resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver},
        transport::{DefaultConnector, NextTimeout},
    },
};

/// An HTTPS client that remembers why the last call failed before there was an answer.
pub struct Https {
    agent: Agent,
    last_error: RefCell<Option<String>>,
}

impl fmt::Debug for Https {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Https").finish_non_exhaustive()
    }
}

impl Https {
    pub fn new(roots: Option<&str>, connect_to: Option<&str>, timeout: Duration) -> Result<Self, Usage> {
        let tls = TlsConfig::builder()
            .provider(TlsProvider::Rustls)
            .root_certs(RootCerts::Specific(Arc::new(trusted(roots)?)))
            .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
            .build();
        let config = Agent::config_builder()
            .tls_config(tls)
            .https_only(true)
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .timeout_global(Some(timeout))
            .build();
        let fixed = connect_to.map(address).transpose()?;
        let resolver = To { fixed, names: DefaultResolver::default() };
        let agent = Agent::with_parts(config, DefaultConnector::default(), resolver);
        Ok(Self { agent, last_error: RefCell::default() })
    }

    /// Makes a call. The status is 0 if the host could not be reached or verified.
    pub fn call(&self, call: &HttpCall) -> HttpResponse {
        self.last_error.replace(None);
        let answer = self.send(call).and_then(|mut response| read(&mut response, call.max_body));
        answer.unwrap_or_else(|error| {
            self.last_error.replace(Some(error));
            HttpResponse { status: 0, body: None, retry_after: None }
        })
    }

    pub fn last_error(&self) -> Option<String> {
        self.last_error.borrow().clone()
    }

    fn send(&self, call: &HttpCall) -> Result<Response<Body>, String> {
        let pseudo = |name: &str| {
            let header = call.headers.iter().find(|(header, _)| *header == name);
            header.map(|(_, value)| value.as_str()).unwrap_or_default()
        };
        let uri = format!("https://{}{}", pseudo(":authority"), pseudo(":path"));
        let mut request = Request::builder().method(pseudo(":method")).uri(uri);
        for (name, value) in call.headers.iter().filter(|(name, _)| !name.starts_with(':')) {
            request = request.header(*name, value);
        }
        let error = |error: ureq::Error| error.to_string();
        if call.body.is_empty() {
            self.agent.run(request.body(()).map_err(|e| e.to_string())?).map_err(error)
        } else {
            self.agent.run(request.body(call.body).map_err(|e| e.to_string())?).map_err(error)
        }
    }
}

fn read(response: &mut Response<Body>, max_body: usize) -> Result<HttpResponse, String> {
    let retry_after = response.headers().get("retry-after").map(|value| value.as_bytes().to_vec());
    let limit = u64::try_from(max_body).unwrap_or(u64::MAX).saturating_add(1);
    let body = response.body_mut().with_config().limit(limit).read_to_vec();
    let body = match body {
        Ok(body) => Some(body),
        Err(ureq::Error::BodyExceedsLimit(_)) => None,
        Err(error) => return Err(error.to_string()),
    };
    Ok(HttpResponse { status: response.status().as_u16(), body, retry_after })
}

/// The roots that servers have to chain to.
fn trusted(file: Option<&str>) -> Result<Vec<Certificate<'static>>, Usage> {
    let ders: Vec<Vec<u8>> = if let Some(path) = file {
        pem::certificates(&output::read(path)?).map_err(|error| Usage::new(format!("{path}: {error}")))?
    } else {
        let loaded = rustls_native_certs::load_native_certs();
        loaded.certs.iter().map(|der| der.to_vec()).collect()
    };
    if ders.is_empty() {
        return Err(Usage::new(
            "this system has no root certificates: install ca-certificates, or give --ca-certificates",
        ));
    }
    Ok(ders.iter().map(|der| Certificate::from_der(der).to_owned()).collect())
}

fn address(text: &str) -> Result<SocketAddr, Usage> {
    let mut found = text
        .to_socket_addrs()
        .map_err(|error| Usage::new(format!("--connect-to {text}: {error}; write HOST:PORT")))?;
    found.next().ok_or_else(|| Usage::new(format!("--connect-to {text}: no such host")))
}

/// Resolves by name, or to one address for each name.
#[derive(Debug)]
struct To {
    fixed: Option<SocketAddr>,
    names: DefaultResolver,
}

impl Resolver for To {
    fn resolve(
        &self,
        uri: &Uri,
        config: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let Some(address) = self.fixed else { return self.names.resolve(uri, config, timeout) };
        let mut found = self.empty();
        found.push(address);
        Ok(found)
    }
}
