//! How relays are reached as the settings say: TLS and its authorities (`relay_root`), a token in a
//! file, a proxy.

use std::path::Path;

use bowline_daemon::{config::RelayUrl, daemon::Daemon, daemon::StartError, setup::Services};
use bowline_protocol::Reason;
use bowline_relay::config::TlsFiles;
use bowline_testkit::{Proxy, eventually};

use crate::support::{
    TestDaemon,
    relay::{registered, relay, relay_with, shown, url},
};

/// Writes a certificate for `localhost` and its key; the certificate is its own authority.
fn certificate(dir: &Path) -> TlsFiles {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let files = TlsFiles {
        cert: dir.join("cert.pem"),
        key: dir.join("key.pem"),
    };
    std::fs::write(&files.cert, made.cert.pem()).unwrap();
    std::fs::write(&files.key, made.signing_key.serialize_pem()).unwrap();
    files
}

#[tokio::test]
async fn a_relay_is_registered_with_over_tls_if_its_authority_is_trusted() {
    let dir = tempfile::tempdir().unwrap();
    let files = certificate(dir.path());
    let root = files.cert.clone();
    let (_relay, address) = relay_with(|settings| settings.tls = Some(files)).await;
    let url: RelayUrl = format!("wss://localhost:{}", address.port())
        .parse()
        .unwrap();
    let trusting = TestDaemon::with(|settings| {
        settings.relay = vec![url.clone()];
        settings.relay_root = vec![root];
    })
    .await;
    registered(&trusting, 0).await;
    let doubting = TestDaemon::with(|settings| settings.relay = vec![url]).await;
    eventually("the certificate is refused", async || {
        let error = shown(&doubting, 0).last_error;
        error.is_some_and(|error| error.reason == Reason::TlsFailed)
    })
    .await;
    assert_eq!(shown(&doubting, 0).registrations, 0);
}

/// The daemon dials a name and a port that the relay knows nothing of, and TLS goes through to it.
#[tokio::test]
async fn tr_9_a_relay_that_ends_tls_itself_needs_no_origin() {
    let dir = tempfile::tempdir().unwrap();
    let files = certificate(dir.path());
    let root = files.cert.clone();
    let (_relay, address) = relay_with(|settings| settings.tls = Some(files)).await;
    let proxy = Proxy::start(address).await.unwrap();
    let url = format!("wss://localhost:{}", proxy.addr().port());
    let daemon = TestDaemon::with(|settings| {
        settings.relay = vec![url.parse().unwrap()];
        settings.relay_root = vec![root];
    })
    .await;
    registered(&daemon, 0).await;
}

#[tokio::test]
async fn a_root_that_is_none_is_said_before_anything_runs() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("root.pem");
    std::fs::write(&path, "nothing of the kind").unwrap();
    for root in [path, dir.path().join("missing.pem")] {
        let mut settings = bowline_daemon::config::Settings::for_state_dir(dir.path());
        settings.relay_root = vec![root.clone()];
        let error = Daemon::start(settings, Services::none()).await.unwrap_err();
        assert!(matches!(error, StartError::RelaySettings(_)), "{error}");
        assert!(
            error.to_string().contains(root.to_str().unwrap()),
            "{error}"
        );
    }
}

#[tokio::test]
async fn a_private_relays_token_may_stand_in_a_file() {
    let (_relay, address) = relay_with(|settings| {
        settings.daemon_token = Some("s3cret/%2F".into());
    })
    .await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("token");
    std::fs::write(&file, "s3cret/%2F\n").unwrap();
    let daemon = TestDaemon::with(|settings| {
        settings.relay = vec![url(address)];
        settings.relay_token_file = Some(file.clone());
    })
    .await;
    registered(&daemon, 0).await;

    let mut settings = bowline_daemon::config::Settings::for_state_dir(dir.path());
    settings.relay_token_file = Some(dir.path().join("none"));
    let error = Daemon::start(settings.clone(), Services::none())
        .await
        .unwrap_err();
    assert!(error.to_string().contains("0 have none"), "{error}");
    settings.relay = vec![url(address)];
    let error = Daemon::start(settings, Services::none()).await.unwrap_err();
    let text = error.to_string();
    assert!(
        text.starts_with("`relay_token_file`: ") && text.contains("none"),
        "{text}"
    );
}

#[tokio::test]
async fn the_proxy_of_the_settings_is_the_way_to_a_relay() {
    // A port on which nobody listens.
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let proxy = closed.local_addr().unwrap();
    drop(closed);
    let (_relay, address) = relay().await;
    let daemon = TestDaemon::with(|settings| {
        settings.relay = vec![url(address)];
        settings.proxy = Some(format!("http://ann:s3cret@{proxy}").parse().unwrap());
    })
    .await;
    eventually("the proxy is named", async || {
        let error = shown(&daemon, 0).last_error;
        error.is_some_and(|error| {
            error.message.contains(&format!("proxy at {proxy}"))
                && !error.message.contains("s3cret")
        })
    })
    .await;
}
