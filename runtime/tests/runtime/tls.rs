//! `wss`: TLS under a path whose URL requires it, with the certificates configured by the app.

use std::{future::poll_fn, net::SocketAddr, sync::Arc};

use bowline_protocol::{PublicKey, Reason, RouteKey, SUBPROTOCOL};
use bowline_runtime::{
    machines::Path,
    transport::{Address, Connector, Target, WebSocketConnector},
};
use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpListener;
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        crypto::ring,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    },
};
use tokio_tungstenite::{
    accept_hdr_async,
    tungstenite::handshake::server::{ErrorResponse, Request, Response},
};

use crate::rig::server_id;

const CA: &[u8] = include_bytes!("../fixtures/ca.pem");
const CERTIFICATE: &[u8] = include_bytes!("../fixtures/localhost.pem");
const KEY: &[u8] = include_bytes!("../fixtures/localhost.key");

/// Serves one WebSocket echo over TLS. Returns the requested path.
async fn echo() -> (SocketAddr, tokio::task::JoinHandle<Option<String>>) {
    let certificate = CertificateDer::from_pem_slice(CERTIFICATE).unwrap();
    let key = PrivateKeyDer::from_pem_slice(KEY).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let served = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.ok()?;
        let stream = TlsAcceptor::from(Arc::new(config))
            .accept(stream)
            .await
            .ok()?;
        let mut path = String::new();
        #[expect(clippy::result_large_err, reason = "the library's own callback type")]
        let look = |request: &Request, mut response: Response| -> Result<Response, ErrorResponse> {
            path = request.uri().path().to_owned();
            let protocol = SUBPROTOCOL.parse().unwrap();
            response
                .headers_mut()
                .insert("sec-websocket-protocol", protocol);
            Ok(response)
        };
        let mut socket = accept_hdr_async(stream, look).await.ok()?;
        let message = socket.next().await?.ok()?;
        socket.send(message).await.ok()?;
        Some(path)
    });
    (address, served)
}

fn target(address: SocketAddr) -> Target {
    let server_id = server_id();
    Target {
        address: Address {
            path: Path::Relay,
            address: format!("wss://localhost:{}", address.port()),
        },
        route_key: RouteKey::of_device(&PublicKey::from_bytes([1; 32]), &server_id),
        server_id,
    }
}

#[tokio::test]
async fn bx_3_a_wss_path_is_tls_and_carries_messages() {
    let (address, served) = echo().await;
    let target = target(address);
    let connector = WebSocketConnector::new(&[CA.to_vec()]).unwrap();
    let mut transport = connector.connect(&target).await.unwrap();
    transport.queue(b"sealed already").unwrap();
    poll_fn(|cx| transport.poll_flush(cx)).await.unwrap();
    let back = poll_fn(|cx| transport.poll_recv(cx)).await.unwrap();
    assert_eq!(back.as_ref(), b"sealed already");
    let path = served.await.unwrap().unwrap();
    assert_eq!(
        path,
        format!("/v1/client/{}/{}", target.server_id, target.route_key)
    );
}

#[tokio::test]
async fn bx_3_a_certificate_that_nobody_trusts_is_a_typed_failure() {
    let (address, _served) = echo().await;
    let connector = WebSocketConnector::new(&[]).unwrap();
    let Err(failure) = connector.connect(&target(address)).await else {
        panic!("an unknown authority was trusted");
    };
    assert_eq!(failure.reason, Reason::TlsFailed);
    assert!(failure.message.contains("localhost"), "{failure}");
}
