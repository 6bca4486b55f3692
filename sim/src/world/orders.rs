//! The world behind `bowline-sim-world`: what tests in other languages may ask of it.
//!
//! | order | what it does | answer |
//! |---|---|---|
//! | `{"do":"offer","paths":[0,2]}` | makes a pairing offer whose addresses are these paths; without `paths`, all | `offer` |
//! | `{"do":"cut","path":0}` | resets what is on a path and refuses what is new | |
//! | `{"do":"drop","path":0}` | resets what is on a path; new connections work | |
//! | `{"do":"freeze","path":0}` | holds everything back | |
//! | `{"do":"heal","path":0}` | ends a cut and a freeze | |
//! | `{"do":"kill_daemon"}` | as a power cut would | |
//! | `{"do":"start_daemon"}` | the same state, the same ports | |
//! | `{"do":"sessions"}` | what `bowline-daemon sessions --json` says | `count`, `sessions` |
//! | `{"do":"connections"}` | what `bowline-daemon connections --json` says | `connections` |
//!
//! Path 0 and 1 are proxies to the daemon, path 2 is one to a relay that it is registered at. Its providers: `shell`, `cat` (says the prompt), and `stream`, which prints as
//! many numbered lines as the prompt says, one every 20 ms.

use std::net::SocketAddr;

use bowline_protocol::Offer;
use serde::Deserialize;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};

use super::{DaemonOptions, DaemonProcess, RelayOptions, RelayProcess, WorldError, program};
use crate::Proxy;

/// Direct paths to the daemon; the one after them is the relay's.
const DIRECT: usize = 2;
/// Longest order that is read, in bytes.
const MAX_ORDER: usize = 64 << 10;

/// One line of input.
#[derive(Debug, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
enum Order {
    Offer { paths: Option<Vec<usize>> },
    Cut { path: usize },
    Drop { path: usize },
    Freeze { path: usize },
    Heal { path: usize },
    KillDaemon,
    StartDaemon,
    Sessions,
    Connections,
}

/// A daemon, running or not, and the paths to it.
pub struct World {
    daemon: Option<DaemonProcess>,
    stopped: Option<DaemonOptions>,
    paths: Vec<Proxy>,
    /// Kept running.
    _relay: RelayProcess,
    /// Last, so that it outlives the daemon that works in it.
    folder: TempDir,
}

fn unexpected(what: impl std::fmt::Display) -> WorldError {
    WorldError::Unexpected(what.to_string())
}

impl World {
    /// Starts the daemon and the paths.
    ///
    /// # Errors
    /// When a program is not built or does not start.
    pub async fn start() -> Result<Self, WorldError> {
        let folder = tempfile::tempdir().map_err(WorldError::io("a temporary folder"))?;
        let config = folder.path().join("daemon.toml");
        let providers = providers(&program("bowline-sim-actor")?);
        std::fs::write(&config, providers).map_err(WorldError::io("the daemon's configuration"))?;
        let relay = RelayProcess::start(RelayOptions::default()).await?;
        let daemon = DaemonProcess::start(DaemonOptions {
            args: vec!["--relay".to_owned(), relay.url()],
            listen: vec![SocketAddr::from(([127, 0, 0, 1], 0)); DIRECT],
            config: Some(config),
            ..DaemonOptions::new(folder.path().join("daemon"))
        })
        .await?;
        daemon.registered().await?;
        let mut paths = Vec::new();
        for address in daemon.addresses().iter().copied().chain([relay.address()]) {
            let path = Proxy::start(address).await;
            paths.push(path.map_err(WorldError::io("a proxy"))?);
        }
        Ok(Self {
            daemon: Some(daemon),
            stopped: None,
            paths,
            _relay: relay,
            folder,
        })
    }

    /// Obeys line by line until the input ends.
    ///
    /// # Errors
    /// When the output is gone. An order that cannot be obeyed is answered, not fatal.
    pub async fn obey(mut self) -> Result<(), WorldError> {
        let mut out = tokio::io::stdout();
        let paths: Vec<_> = self.addresses().collect();
        let ready = json!({"event": "ready", "paths": paths, "folder": self.folder.path()});
        say(&mut out, &ready).await?;
        let mut input = BufReader::new(tokio::io::stdin());
        let mut line = String::new();
        loop {
            line.clear();
            let read = input.read_line(&mut line).await;
            if read.map_err(WorldError::io("orders"))? == 0 {
                break;
            }
            let answer = if line.len() > MAX_ORDER {
                Err(unexpected("the order is too long"))
            } else {
                match serde_json::from_str(&line) {
                    Ok(order) => self.order(order).await,
                    Err(error) => Err(unexpected(error)),
                }
            };
            let answer =
                answer.unwrap_or_else(|error| json!({"ok": false, "error": error.to_string()}));
            say(&mut out, &answer).await?;
        }
        if let Some(daemon) = self.daemon.take() {
            daemon.kill().await?;
        }
        Ok(())
    }

    fn addresses(&self) -> impl Iterator<Item = String> {
        self.paths.iter().map(|path| path.addr().to_string())
    }

    async fn order(&mut self, order: Order) -> Result<Value, WorldError> {
        match order {
            Order::Offer { paths } => {
                let mut offer: Offer = self.daemon()?.offer().await?.parse().map_err(unexpected)?;
                (offer.direct, offer.relays) = (Vec::new(), Vec::new());
                for path in paths.unwrap_or_else(|| (0..self.paths.len()).collect()) {
                    let address = self.path(path)?.addr();
                    if path < DIRECT {
                        offer.direct.push(address.to_string());
                    } else {
                        offer.relays.push(format!("ws://{address}"));
                    }
                }
                return Ok(json!({"ok": true, "offer": offer.to_string()}));
            }
            Order::Cut { path } => {
                let path = self.path(path)?;
                path.refuse(true);
                path.cut();
            }
            Order::Drop { path } => self.path(path)?.cut(),
            Order::Freeze { path } => self.path(path)?.freeze(),
            Order::Heal { path } => {
                let path = self.path(path)?;
                path.refuse(false);
                path.thaw();
            }
            Order::KillDaemon => {
                let daemon = self.daemon.take();
                let daemon = daemon.ok_or_else(|| unexpected("the daemon does not run"))?;
                self.stopped = Some(daemon.kill().await?);
            }
            Order::StartDaemon => {
                let options = self.stopped.take();
                let options = options.ok_or_else(|| unexpected("the daemon runs already"))?;
                let daemon = DaemonProcess::start(options).await?;
                daemon.registered().await?;
                self.daemon = Some(daemon);
            }
            Order::Sessions => {
                let sessions: Value = self.daemon()?.ask("sessions").await?;
                let sessions = sessions.get("sessions").cloned().unwrap_or_default();
                let count = sessions.as_array().map_or(0, Vec::len);
                return Ok(json!({"ok": true, "count": count, "sessions": sessions}));
            }
            Order::Connections => {
                let connections: Value = self.daemon()?.ask("connections").await?;
                return Ok(json!({"ok": true, "connections": connections}));
            }
        }
        Ok(json!({"ok": true}))
    }

    fn daemon(&self) -> Result<&DaemonProcess, WorldError> {
        let daemon = self.daemon.as_ref();
        daemon.ok_or_else(|| unexpected("the daemon does not run"))
    }

    fn path(&self, path: usize) -> Result<&Proxy, WorldError> {
        let found = self.paths.get(path);
        found.ok_or_else(|| unexpected(format!("there is no path {path}")))
    }
}

async fn say(out: &mut tokio::io::Stdout, what: &Value) -> Result<(), WorldError> {
    let line = format!("{what}\n");
    let written = out.write_all(line.as_bytes()).await;
    written.map_err(WorldError::io("the answer"))?;
    out.flush().await.map_err(WorldError::io("the answer"))
}

fn providers(actor: &std::path::Path) -> String {
    let actor = toml_string(&actor.to_string_lossy());
    format!(
        "[[provider]]\nname = \"shell\"\nkind = \"command\"\ncommand = [\"sh\", \"-c\"]\n\n\
         [[provider]]\nname = \"cat\"\nkind = \"command\"\ncommand = [\"echo\"]\n\n\
         [[provider]]\nname = \"stream\"\nkind = \"command\"\ncommand = [{actor}, \"stream\", \"20\"]\n"
    )
}

/// A basic string of TOML; those of JSON are.
fn toml_string(text: &str) -> String {
    Value::from(text).to_string()
}
