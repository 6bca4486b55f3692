//! TLS under `wss`. Sessions are sealed end to end inside; TLS hides from the networks in between who is at the relay.

use std::{io, path::PathBuf, sync::Arc};

use tokio::net::TcpStream;
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{
        ClientConfig, RootCertStore,
        crypto::ring,
        pki_types::{CertificateDer, ServerName, pem::PemObject},
    },
};

/// Why relays cannot be spoken to over TLS.
#[derive(Debug, thiserror::Error)]
pub enum RelayTlsError {
    /// A root certificate is not usable.
    #[error("`relay_root`: {}: {problem}; it must hold certificates in PEM", path.display())]
    Root {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// The TLS library refuses its own defaults.
    #[error("no TLS: {0}")]
    Library(#[from] tokio_rustls::rustls::Error),
}

/// A TLS client with its trust.
#[derive(Clone)]
pub(super) struct Tls(TlsConnector);

impl Tls {
    /// Trusts the public certificate roots, and those in these files besides.
    pub(super) fn new(roots: &[PathBuf]) -> Result<Self, RelayTlsError> {
        let mut store = RootCertStore {
            roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
        };
        for path in roots {
            let wrong = |problem: String| RelayTlsError::Root {
                path: path.clone(),
                problem,
            };
            let certificates =
                CertificateDer::pem_file_iter(path).map_err(|error| wrong(error.to_string()))?;
            let before = store.len();
            for certificate in certificates {
                let certificate = certificate.map_err(|error| wrong(error.to_string()))?;
                let added = store.add(certificate);
                added.map_err(|error| wrong(error.to_string()))?;
            }
            if store.len() == before {
                return Err(wrong("no certificate in it".to_owned()));
            }
        }
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(store)
            .with_no_client_auth();
        Ok(Self(TlsConnector::from(Arc::new(config))))
    }

    pub(super) async fn connect(
        &self,
        host: &str,
        stream: TcpStream,
    ) -> io::Result<TlsStream<TcpStream>> {
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_| io::Error::other("that is no name a certificate can be for"))?;
        self.0.connect(name, stream).await
    }
}
