//! TLS under `wss`. The session is sealed end to end inside; TLS hides the relay's traffic shape from
//! the networks in between and lets proxies route it.

use std::sync::Arc;

use bowline_protocol::Reason;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{
        ClientConfig, RootCertStore,
        crypto::ring,
        pki_types::{CertificateDer, ServerName, pem::PemObject},
    },
};

use crate::error::Failure;

/// A TLS client with its trust.
#[derive(Clone)]
pub(super) struct Tls(TlsConnector);

fn failure(message: impl Into<String>) -> Failure {
    Failure::new(Reason::TlsFailed, message)
}

impl Tls {
    pub(super) fn new(extra_roots: &[Vec<u8>]) -> Result<Self, Failure> {
        let mut roots = RootCertStore {
            roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
        };
        for pem in extra_roots {
            for certificate in CertificateDer::pem_slice_iter(pem) {
                let certificate =
                    certificate.map_err(|error| failure(format!("an extra root: {error}")))?;
                roots
                    .add(certificate)
                    .map_err(|error| failure(format!("an extra root: {error}")))?;
            }
        }
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| failure(error.to_string()))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self(TlsConnector::from(Arc::new(config))))
    }

    pub(super) async fn connect<S>(&self, host: &str, stream: S) -> Result<TlsStream<S>, Failure>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_| failure(format!("`{host}` is no name a certificate can be for")))?;
        self.0
            .connect(name, stream)
            .await
            .map_err(|error| failure(format!("TLS with {host} failed: {error}")))
    }
}
