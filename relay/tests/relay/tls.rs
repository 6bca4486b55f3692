//! TLS with certificate files, read again without a restart.

use std::{net::SocketAddr, path::Path, sync::Arc};

use bowline_protocol::relay::{Binding, DaemonMessage, Registration, RelayMessage, TlsExporter};
use bowline_relay::config::TlsFiles;
use futures_util::{SinkExt, StreamExt};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{ClientConfig, RootCertStore, crypto::ring, pki_types::CertificateDer},
};
use tokio_tungstenite::{
    client_async,
    tungstenite::{Message, client::IntoClientRequest, http::header},
};

use crate::{
    peers::{Daemon, Pair, identity, start, within},
    pressure::{frame, number, numbered, send_until_held_back},
};

/// Writes a new certificate and returns it.
fn write(dir: &Path) -> CertificateDer<'static> {
    let names = vec!["localhost".to_owned()];
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(names).unwrap();
    std::fs::write(dir.join("cert.pem"), cert.pem()).unwrap();
    std::fs::write(dir.join("key.pem"), signing_key.serialize_pem()).unwrap();
    cert.der().clone()
}

fn files(dir: &Path) -> TlsFiles {
    TlsFiles {
        cert: dir.join("cert.pem"),
        key: dir.join("key.pem"),
    }
}

/// A TLS connection that trusts one certificate.
pub(crate) async fn connect(
    address: SocketAddr,
    believed: &CertificateDer<'static>,
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(believed.clone()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = TcpStream::connect(address).await?;
    let name = "localhost".try_into().unwrap();
    let connector = TlsConnector::from(Arc::new(config));
    within("a TLS handshake", connector.connect(name, stream)).await
}

#[tokio::test]
async fn sockets_are_served_over_tls() {
    let dir = tempfile::tempdir().unwrap();
    let cert = write(dir.path());
    let (_relay, address) = start(|s| s.tls = Some(files(dir.path()))).await;
    let stream = connect(address, &cert).await.unwrap();
    let url = format!("wss://localhost:{}/v1/daemon", address.port());
    let mut request = url.into_client_request().unwrap();
    let protocol = "bowline.relay.v1".parse().unwrap();
    request
        .headers_mut()
        .insert(header::SEC_WEBSOCKET_PROTOCOL, protocol);
    let (mut socket, _) = within("an upgrade", client_async(request, stream))
        .await
        .unwrap();
    let first = within("the challenge", socket.next()).await;
    let first = first.unwrap().unwrap().into_text().unwrap();
    assert!(first.starts_with(r#"{"type":"challenge""#), "{first}");

    // Without TLS there is no answer.
    let mut plain = TcpStream::connect(address).await.unwrap();
    plain
        .write_all(b"GET /healthz HTTP/1.1\r\n\r\n")
        .await
        .unwrap();
    let mut said = Vec::new();
    let _ = within("the end", plain.read_to_end(&mut said)).await;
    assert!(!said.starts_with(b"HTTP"));
}

/// Who ends the daemon's TLS and opens another connection to the relay has another exporter.
#[tokio::test]
async fn tr_9_a_proof_made_over_another_tls_connection_does_not_register() {
    let dir = tempfile::tempdir().unwrap();
    let cert = write(dir.path());
    let (_relay, address) = start(|s| s.tls = Some(files(dir.path()))).await;
    let exporter = |stream: &TlsStream<TcpStream>| {
        let (_, connection) = stream.get_ref();
        let exported =
            connection.export_keying_material([0; 32], b"EXPORTER-Channel-Binding", Some(&[]));
        TlsExporter::from_bytes(exported.unwrap())
    };
    let elsewhere = exporter(&connect(address, &cert).await.unwrap());
    for passed_on in [true, false] {
        let stream = connect(address, &cert).await.unwrap();
        let own = exporter(&stream);
        let mut request = format!("wss://localhost:{}/v1/daemon", address.port())
            .into_client_request()
            .unwrap();
        let protocol = "bowline.relay.v1".parse().unwrap();
        let headers = request.headers_mut();
        headers.insert(header::SEC_WEBSOCKET_PROTOCOL, protocol);
        let upgraded = within("an upgrade", client_async(request, stream)).await;
        let (mut socket, _) = upgraded.unwrap();
        let challenge = within("the challenge", socket.next()).await.unwrap();
        let challenge = serde_json::from_str(&challenge.unwrap().into_text().unwrap()).unwrap();
        let RelayMessage::Challenge { nonce } = challenge else {
            panic!("{challenge:?}");
        };
        let binding = Binding {
            origin: "wss://relay.example.org".parse().unwrap(),
            exporter: Some(if passed_on { elsewhere } else { own }),
        };
        let answer = Registration::answer(&identity(), &nonce, binding, None);
        let answer = serde_json::to_string(&DaemonMessage::Register(Box::new(answer))).unwrap();
        socket.send(Message::text(answer)).await.unwrap();
        match within("the verdict", socket.next()).await.unwrap().unwrap() {
            Message::Close(Some(frame)) => {
                assert_eq!((u16::from(frame.code), passed_on), (4415, true));
            }
            Message::Text(text) => assert!(!passed_on && text.contains("dataToken"), "{text}"),
            other => panic!("{other:?}"),
        }
    }
}

/// A whole session through TLS: peers use plain TCP, and a TLS proxy runs in between.
fn bridge(listener: TcpListener, relay: SocketAddr, cert: CertificateDer<'static>) {
    tokio::spawn(async move {
        while let Ok((mut plain, _)) = listener.accept().await {
            let cert = cert.clone();
            tokio::spawn(async move {
                let mut tls = connect(relay, &cert).await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut plain, &mut tls).await;
            });
        }
    });
}

#[tokio::test]
async fn a_session_over_tls_is_held_back_and_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let cert = write(dir.path());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let bridged = listener.local_addr().unwrap();
    let (_relay, address) = start(|s| {
        s.tls = Some(files(dir.path()));
        s.origin = vec![format!("ws://{bridged}").parse().unwrap()];
    })
    .await;
    bridge(listener, address, cert);
    let address = bridged;
    let mut daemon = Daemon::register(address).await;
    let Pair {
        mut client,
        mut data,
        lane,
        ..
    } = daemon.pair().await;
    let sent = send_until_held_back(&mut data.0, |n| frame(lane, n)).await;
    let flushing = tokio::spawn(async move {
        data.0.0.flush().await.unwrap();
        data
    });
    for n in 0..sent {
        assert_eq!(number(&client.binary().await), n, "of {sent}");
    }
    let mut data = flushing.await.unwrap();
    let sent = send_until_held_back(&mut client, |n| Message::binary(numbered(n))).await;
    let flushing = tokio::spawn(async move {
        client.0.flush().await.unwrap();
        client
    });
    for n in 0..sent {
        assert_eq!(number(&data.heard().await.1), n, "of {sent}");
    }
    let mut client = flushing.await.unwrap();
    data.send(lane, "the last word").await;
    assert_eq!(client.binary().await, "the last word");
}

#[tokio::test]
async fn a_renewed_certificate_is_served_after_a_reload_and_a_broken_one_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let old = write(dir.path());
    let (relay, address) = start(|s| s.tls = Some(files(dir.path()))).await;
    let mut open = connect(address, &old).await.unwrap();
    let new = write(dir.path());
    assert!(
        connect(address, &new).await.is_err(),
        "not before it is told"
    );
    relay.reload().unwrap();
    assert!(connect(address, &new).await.is_ok());
    assert!(connect(address, &old).await.is_err());

    std::fs::write(dir.path().join("key.pem"), "garbage").unwrap();
    let error = relay.reload().unwrap_err().to_string();
    assert!(error.contains("key.pem"), "{error}");
    assert!(
        connect(address, &new).await.is_ok(),
        "what was in force stays"
    );
    // An open socket continues.
    open.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .await
        .unwrap();
    let mut said = vec![0; 15];
    within("an answer", open.read_exact(&mut said))
        .await
        .unwrap();
    assert_eq!(said, b"HTTP/1.1 200 OK");
}

#[tokio::test]
async fn files_that_cannot_be_used_are_named() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path());
    let start = async || {
        let mut settings = crate::peers::settings();
        settings.tls = Some(files(dir.path()));
        let error = bowline_relay::Relay::start(settings).await.unwrap_err();
        error.to_string()
    };
    std::fs::write(dir.path().join("cert.pem"), "").unwrap();
    assert!(start().await.contains("cert.pem"));
    let other = tempfile::tempdir().unwrap();
    write(other.path());
    std::fs::copy(other.path().join("cert.pem"), dir.path().join("cert.pem")).unwrap();
    let said = start().await;
    assert!(
        said.contains("cert.pem") && said.contains("key.pem"),
        "they do not fit: {said}"
    );
    std::fs::remove_file(dir.path().join("key.pem")).unwrap();
    assert!(start().await.contains("key.pem"));
}

/// SIGHUP, as the systemd unit and certificate renewals send it.
#[cfg(unix)]
#[tokio::test]
async fn sighup_reads_the_certificate_again() {
    let dir = tempfile::tempdir().unwrap();
    let old = write(dir.path());
    let (cert, key) = (dir.path().join("cert.pem"), dir.path().join("key.pem"));
    let program = crate::program::Running::start(&[
        "--tls-cert",
        cert.to_str().unwrap(),
        "--tls-key",
        key.to_str().unwrap(),
    ]);
    assert!(connect(program.address(), &old).await.is_ok());
    let new = write(dir.path());
    program.signal(rustix::process::Signal::HUP);
    within("the new certificate", async {
        while connect(program.address(), &new).await.is_err() {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    })
    .await;
}
