//! Relays behind TLS, and authorities of one's own (`relay_root`).

use std::path::Path;

use bowline_daemon::{config::RelayUrl, daemon::Daemon, daemon::StartError, service::Services};
use bowline_protocol::Reason;
use bowline_relay::config::TlsFiles;

use crate::support::{
    TestDaemon,
    relay::{registered, relay_with, shown},
    until,
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
    until("the certificate is refused", || {
        let error = shown(&doubting, 0).last_error;
        error.is_some_and(|error| error.reason == Reason::TlsFailed)
    })
    .await;
    assert_eq!(shown(&doubting, 0).registrations, 0);
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
        assert!(matches!(error, StartError::RelayTls(_)), "{error}");
        assert!(
            error.to_string().contains(root.to_str().unwrap()),
            "{error}"
        );
    }
}
