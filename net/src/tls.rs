//! TLS for `wss`. Sessions are sealed end to end inside it; TLS hides from networks on the way who
//! connects to a relay, and lets proxies route the connection.

use std::{fmt, io, sync::Arc};

use bowline_protocol::relay::TlsExporter;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{
        self, CertificateError, ClientConfig, ProtocolVersion, RootCertStore,
        crypto::ring,
        pki_types::{CertificateDer, ServerName, pem::PemObject},
    },
};

/// Why a root certificate is unusable.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RootError {
    /// The text contains no certificate.
    #[error("no certificate in it")]
    Empty,
    /// A certificate is malformed.
    #[error("{0}")]
    Malformed(String),
    /// The TLS library rejects its own defaults.
    #[error("no TLS: {0}")]
    Library(String),
}

/// Why a TLS handshake failed. Each text says what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TlsProblem {
    /// Signed by an untrusted issuer.
    #[error(
        "its certificate is of an authority that is not trusted here; trust that authority's root certificate (the setting \
         `relay_root`, in an app `extraRoots`)"
    )]
    UnknownIssuer,
    /// Expired.
    #[error(
        "its certificate has expired; its operator must renew it (or this machine's clock is wrong)"
    )]
    Expired,
    /// Not valid yet.
    #[error("its certificate is not valid yet; is this machine's clock right?")]
    NotYetValid,
    /// Issued for another name.
    #[error("its certificate is for another name; dial it by a name that the certificate lists")]
    WrongName,
    /// Not a name that a certificate can be issued for.
    #[error("not a name that a certificate can be issued for")]
    NoName,
    /// The server does not speak TLS.
    #[error("it does not speak TLS there; is it ws:// instead of wss://, or another port?")]
    NotTls,
    /// The connection ended during the handshake.
    #[error("it closed the connection during the TLS handshake: {0}")]
    HungUp(String),
    /// Any other problem.
    #[error("{0}")]
    Other(String),
}

impl From<io::Error> for TlsProblem {
    fn from(error: io::Error) -> Self {
        let inner = error
            .get_ref()
            .and_then(|inner| inner.downcast_ref::<rustls::Error>());
        match inner {
            Some(rustls::Error::InvalidCertificate(problem)) => match problem {
                CertificateError::UnknownIssuer => Self::UnknownIssuer,
                CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                    Self::Expired
                }
                CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                    Self::NotYetValid
                }
                CertificateError::NotValidForName
                | CertificateError::NotValidForNameContext { .. } => Self::WrongName,
                other => Self::Other(format!("its certificate is not valid: {other}")),
            },
            Some(rustls::Error::InvalidMessage(_)) => Self::NotTls,
            Some(other) => Self::Other(other.to_string()),
            None => Self::HungUp(error.to_string()),
        }
    }
}

/// A TLS client with its trusted roots. Clones share it.
#[derive(Clone)]
pub struct Tls(TlsConnector);

impl Tls {
    /// Trusts the public certificate roots and additional ones (PEM). Each text must contain at
    /// least one certificate.
    ///
    /// # Errors
    /// [`RootError`], with the index of the rejected text.
    pub fn new<R: AsRef<[u8]>>(extra_roots: &[R]) -> Result<Self, (usize, RootError)> {
        let mut store = RootCertStore {
            roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
        };
        for (index, pem) in extra_roots.iter().enumerate() {
            add(&mut store, pem.as_ref()).map_err(|error| (index, error))?;
        }
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| (0, RootError::Library(error.to_string())))?
            .with_root_certificates(store)
            .with_no_client_auth();
        Ok(Self(TlsConnector::from(Arc::new(config))))
    }

    pub(crate) async fn connect<S>(&self, host: &str, stream: S) -> Result<TlsStream<S>, TlsProblem>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let name = ServerName::try_from(host.to_owned()).map_err(|_| TlsProblem::NoName)?;
        Ok(self.0.connect(name, stream).await?)
    }
}

/// The exporter of a connection. TLS 1.2 has none that binds it.
pub(crate) fn exporter<S>(stream: &TlsStream<S>) -> Option<TlsExporter> {
    let (_, connection) = stream.get_ref();
    if connection.protocol_version() != Some(ProtocolVersion::TLSv1_3) {
        return None;
    }
    let exported = connection.export_keying_material([0; 32], TlsExporter::LABEL, Some(&[]));
    exported.ok().map(TlsExporter::from_bytes)
}

fn add(store: &mut RootCertStore, pem: &[u8]) -> Result<(), RootError> {
    let before = store.len();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|error| RootError::Malformed(error.to_string()))?;
        let added = store.add(certificate);
        added.map_err(|error| RootError::Malformed(error.to_string()))?;
    }
    if store.len() == before {
        return Err(RootError::Empty);
    }
    Ok(())
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tls")
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};
    use tokio::io::{AsyncWriteExt, duplex};
    use tokio_rustls::{
        TlsAcceptor,
        rustls::{ServerConfig, pki_types::PrivateKeyDer},
    };

    use super::*;

    /// The error of a client that trusts `trusted`, for a server with that certificate dialled as
    /// `localhost`.
    async fn problem(params: CertificateParams, trusted: bool) -> Option<TlsProblem> {
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let roots = trusted.then(|| certificate.pem());
        let tls = Tls::new(roots.as_slice()).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate.der().clone()],
                PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
            )
            .unwrap();
        let (near, far) = duplex(64 * 1024);
        tokio::spawn(async move {
            TlsAcceptor::from(Arc::new(config))
                .accept(far)
                .await
                .map(drop)
        });
        tls.connect("localhost", near).await.err()
    }

    fn params(name: &str, from: i32, until: i32) -> CertificateParams {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.not_before = date_time_ymd(from, 1, 1);
        params.not_after = date_time_ymd(until, 1, 1);
        params
    }

    /// C40: a TLS error names the problem and its remedy.
    #[tokio::test]
    async fn case_c40_a_certificate_error_names_the_problem() {
        assert_eq!(problem(params("localhost", 2020, 2090), true).await, None);
        for (params, trusted, expected) in [
            (
                params("localhost", 2020, 2090),
                false,
                TlsProblem::UnknownIssuer,
            ),
            (params("localhost", 2010, 2011), true, TlsProblem::Expired),
            (
                params("localhost", 2090, 2091),
                true,
                TlsProblem::NotYetValid,
            ),
            (params("elsewhere", 2020, 2090), true, TlsProblem::WrongName),
        ] {
            assert_eq!(problem(params, trusted).await, Some(expected));
        }
        let tls = Tls::new::<&str>(&[]).unwrap();
        let (near, mut far) = duplex(1_024);
        far.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            .await
            .unwrap();
        assert_eq!(
            tls.connect("localhost", near).await.err(),
            Some(TlsProblem::NotTls)
        );
    }

    #[test]
    fn unusable_roots_are_refused_with_their_index() {
        let good = rcgen::generate_simple_self_signed(vec!["x".to_owned()])
            .unwrap()
            .cert
            .pem();
        assert!(Tls::new(&[&good]).is_ok());
        assert_eq!(
            Tls::new(&[&good, "nothing"]).unwrap_err(),
            (1, RootError::Empty)
        );
        let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        assert!(matches!(
            Tls::new(&[broken]).unwrap_err(),
            (0, RootError::Malformed(_))
        ));
    }
}
