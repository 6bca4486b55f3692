//! The first act: a relay, a daemon and a paired client start, and one command runs.

use std::{net::SocketAddr, path::Path, process::Stdio};

use bowline_protocol::Offer;
use tokio::process::Command;

use crate::{
    Proxy,
    demo::{
        report::Report,
        screen::Screen,
        stage::{Connection, STRIDE, Stage},
    },
    world::{DaemonOptions, DaemonProcess, RelayOptions, RelayProcess, WorldError, program},
};

/// Starts everything in a folder.
pub(in crate::demo) async fn open(screen: Screen, folder: &Path) -> Result<Stage, WorldError> {
    let relay = relay(&screen).await?;
    let (daemon, proxy) = daemon(&screen, &folder.join("daemon"), &relay).await?;
    let client_dir = folder.join("client");
    pair(&screen, &daemon, &client_dir).await?;
    let report = Report {
        daemon_ready_ms: daemon.ready_after().as_millis(),
        in_order: true,
        ..Report::default()
    };
    Ok(Stage {
        screen,
        proxy,
        daemon: Some(daemon),
        relay,
        folder: folder.to_owned(),
        client_dir,
        connection: Connection::default(),
        stride: STRIDE,
        report,
    })
}

async fn relay(screen: &Screen) -> Result<RelayProcess, WorldError> {
    screen.step("A relay starts, for clients that cannot dial the daemon");
    let relay = RelayProcess::start(RelayOptions {
        log: "error".to_owned(),
        ..RelayOptions::default()
    })
    .await?;
    screen.good(&format!("listening on {}", relay.url()));
    Ok(relay)
}

/// The daemon, and the proxy in front of it.
async fn daemon(
    screen: &Screen,
    state_dir: &Path,
    relay: &RelayProcess,
) -> Result<(DaemonProcess, Proxy), WorldError> {
    screen.step("A daemon starts on this machine");
    let proxy = Proxy::start(SocketAddr::from(([127, 0, 0, 1], 1)))
        .await
        .map_err(WorldError::io("the proxy"))?;
    let daemon = DaemonProcess::start(DaemonOptions {
        advertise: vec![proxy.addr().to_string()],
        log: "error".to_owned(),
        args: vec!["--relay".to_owned(), relay.url()],
        ..DaemonOptions::new(state_dir)
    })
    .await?;
    proxy.set_target(daemon.address());
    screen.good(&format!(
        "ready after {} ms, listening on {}",
        daemon.ready_after().as_millis(),
        daemon.address()
    ));
    screen.note(&format!(
        "between it and its clients: a network on {} that we can break",
        proxy.addr()
    ));
    daemon.registered().await?;
    screen.good("it proved its identity to the relay and is registered");
    Ok((daemon, proxy))
}

/// Pairs a client.
async fn pair(
    screen: &Screen,
    daemon: &DaemonProcess,
    client_dir: &Path,
) -> Result<(), WorldError> {
    screen.step("A client pairs with it, once");
    let link = daemon.offer().await?;
    let offer: Offer = link
        .parse()
        .map_err(|error| WorldError::Unexpected(format!("{error}")))?;
    bowline(client_dir, &["pair", "--yes", &link]).await?;
    screen.good(&format!(
        "paired with {}; the link is used up now",
        offer.server_id
    ));
    screen.note(&format!(
        "two paths are known: direct {}, relay {}",
        offer.direct.join(", "),
        offer.relays.join(", ")
    ));
    Ok(())
}

impl Stage {
    /// Runs `bowline run`, as a person would.
    pub(in crate::demo) async fn first_command(&mut self) -> Result<(), WorldError> {
        self.screen
            .step("A real command runs on the daemon's machine: uname -sm");
        let output = bowline(
            &self.client_dir,
            &["run", "--provider", "shell", "uname -sm"],
        )
        .await?;
        for line in output.lines() {
            self.screen.output(line);
        }
        if output.trim().is_empty() {
            self.fail("`bowline run` printed nothing");
        }
        Ok(())
    }
}

/// Runs the terminal client and returns its output.
async fn bowline(state_dir: &Path, args: &[&str]) -> Result<String, WorldError> {
    let output = Command::new(program("bowline")?)
        .args(args)
        .arg("--state-dir")
        .arg(state_dir)
        .stdin(Stdio::null())
        .output()
        .await
        .map_err(WorldError::io("bowline"))?;
    if !output.status.success() {
        let name = args.first().copied().unwrap_or_default();
        let stderr = String::from_utf8_lossy(&output.stderr);
        return Err(WorldError::Unexpected(format!(
            "`bowline {name}` failed: {}",
            stderr.trim()
        )));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
