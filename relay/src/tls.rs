//! TLS with certificate and key from files, read again on SIGHUP, so that a renewed certificate
//! needs no restart.

use std::{
    io,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use bowline_protocol::relay::TlsExporter;
use tokio::net::TcpStream;
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        self, ProtocolVersion, ServerConfig,
        crypto::ring::default_provider,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    },
    server::TlsStream,
};

/// Paths of certificate and key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// PEM: the certificate, then the chain to the root.
    pub cert: PathBuf,
    /// PEM: the private key.
    pub key: PathBuf,
}

/// TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read or has the wrong format.
    #[error("{}: {problem}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The error.
        problem: String,
    },
    /// Certificate and key do not match, or are not usable.
    #[error("{} and {} cannot be used: {error}", files.cert.display(), files.key.display())]
    Pair {
        /// The file.
        files: TlsFiles,
        /// The error.
        error: Box<rustls::Error>,
    },
}

/// The certificate in force.
#[derive(Debug)]
pub(crate) struct Tls {
    files: TlsFiles,
    config: Mutex<Arc<ServerConfig>>,
}

impl Tls {
    /// Reads the files.
    pub(crate) fn read(files: TlsFiles) -> Result<Self, TlsError> {
        let config = Mutex::new(Arc::new(config(&files)?));
        Ok(Self { files, config })
    }

    /// Reads the files again. After an error the old ones stay in force.
    pub(crate) fn reload(&self) -> Result<(), TlsError> {
        let config = Arc::new(config(&self.files)?);
        *self.config.lock().unwrap_or_else(PoisonError::into_inner) = config;
        Ok(())
    }

    /// The server's side of a TLS handshake.
    pub(crate) async fn accept(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let config = Arc::clone(&self.config.lock().unwrap_or_else(PoisonError::into_inner));
        TlsAcceptor::from(config).accept(stream).await
    }
}

/// The exporter of an accepted connection. TLS 1.2 has none that binds it.
pub(crate) fn exporter(stream: &TlsStream<TcpStream>) -> Option<TlsExporter> {
    let (_, connection) = stream.get_ref();
    if connection.protocol_version() != Some(ProtocolVersion::TLSv1_3) {
        return None;
    }
    let exported = connection.export_keying_material([0; 32], TlsExporter::LABEL, Some(&[]));
    exported.ok().map(TlsExporter::from_bytes)
}

fn config(files: &TlsFiles) -> Result<ServerConfig, TlsError> {
    let wrong = |path: &PathBuf, problem: String| TlsError::File {
        path: path.clone(),
        problem,
    };
    let chain: Vec<_> = CertificateDer::pem_file_iter(&files.cert)
        .and_then(Iterator::collect)
        .map_err(|error| wrong(&files.cert, error.to_string()))?;
    if chain.is_empty() {
        return Err(wrong(&files.cert, "it has no certificate".to_owned()));
    }
    let key = PrivateKeyDer::from_pem_file(&files.key)
        .map_err(|error| wrong(&files.key, error.to_string()))?;
    let pair = |error| TlsError::Pair {
        files: files.clone(),
        error: Box::new(error),
    };
    let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(pair)?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(pair)?;
    // WebSocket upgrades use HTTP/1.1 here.
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}
