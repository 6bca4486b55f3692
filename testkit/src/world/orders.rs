//! The world behind `bowline-testkit-world`: commands for tests in other languages.
//!
//! | command | effect | answer |
//! |---|---|---|
//! | `{"do":"offer","paths":[0,2]}` | creates a pairing offer with the addresses of these paths; without `paths`, of all | `offer` |
//! | `{"do":"cut","path":0}` | resets connections on a path and refuses new ones | |
//! | `{"do":"drop","path":0}` | resets connections on a path; new ones work | |
//! | `{"do":"freeze","path":0}` | holds all data back | |
//! | `{"do":"heal","path":0}` | ends a cut and a freeze | |
//! | `{"do":"kill_daemon"}` | kills the daemon without warning | |
//! | `{"do":"start_daemon"}` | starts it with the same state and ports | |
//! | `{"do":"sessions"}` | output of `bowline-daemon sessions --json` | `count`, `sessions` |
//! | `{"do":"grant","role":"viewer"}` | changes the role of every device (`devices set`) | |
//! | `{"do":"revoke"}` | revokes every device | |
//! | `{"do":"connections"}` | output of `bowline-daemon connections --json` | `connections` |
//!
//! Paths 0 and 1 are proxies to the daemon, path 2 is one to a relay at which it is registered. Its
//! providers: `shell`, `cat` (prints the prompt), and `stream`, which prints the number of lines
//! given by the prompt, one every 20 ms.

use std::net::SocketAddr;

use bowline_protocol::Offer;
use serde::Deserialize;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};

use super::{DaemonOptions, DaemonProcess, RelayOptions, RelayProcess, WorldError, program};
use crate::Proxy;

/// Direct paths to the daemon; the next one is the relay's.
const DIRECT: usize = 2;
/// Size of the longest accepted command, in bytes.
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
    Grant { role: String },
    Revoke,
    Connections,
}

/// A daemon, running or not, and the paths to it.
pub struct World {
    daemon: DaemonProcess,
    paths: Vec<Proxy>,
    /// Keeps the relay running.
    _relay: RelayProcess,
    /// Last, so that it outlives the daemon that uses it.
    folder: TempDir,
}

fn unexpected(what: impl std::fmt::Display) -> WorldError {
    WorldError::Unexpected(what.to_string())
}

impl World {
    /// Starts the daemon and the paths.
    ///
    /// # Errors
    /// A program is not built or does not start.
    pub async fn start() -> Result<Self, WorldError> {
        let folder = tempfile::tempdir().map_err(WorldError::io("a temporary folder"))?;
        let config = folder.path().join("daemon.toml");
        let providers = providers(&program("bowline-testkit-actor")?);
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
            daemon,
            paths,
            _relay: relay,
            folder,
        })
    }

    /// Executes commands line by line until the input ends.
    ///
    /// # Errors
    /// The output has closed. A failed command is answered and not fatal.
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
        // Fails if an order has killed it.
        let _ = self.daemon.kill().await;
        Ok(())
    }

    fn addresses(&self) -> impl Iterator<Item = String> {
        self.paths.iter().map(|path| path.addr().to_string())
    }

    async fn order(&mut self, order: Order) -> Result<Value, WorldError> {
        match order {
            Order::Offer { paths } => {
                let mut offer: Offer = self.daemon.offer().await?.parse().map_err(unexpected)?;
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
            Order::KillDaemon => self.daemon.kill().await?,
            Order::StartDaemon => {
                self.daemon.start_again().await?;
                self.daemon.registered().await?;
            }
            Order::Sessions => {
                let sessions: Value = self.daemon.ask("sessions").await?;
                let sessions = sessions.get("sessions").cloned().unwrap_or_default();
                let count = sessions.as_array().map_or(0, Vec::len);
                return Ok(json!({"ok": true, "count": count, "sessions": sessions}));
            }
            Order::Grant { role } => {
                for device in self.devices().await? {
                    let args = ["devices", "set", &device, "--role", &role];
                    self.daemon.command(&args).await?;
                }
            }
            Order::Revoke => {
                for device in self.devices().await? {
                    self.daemon.command(&["devices", "revoke", &device]).await?;
                }
            }
            Order::Connections => {
                let connections: Value = self.daemon.ask("connections").await?;
                return Ok(json!({"ok": true, "connections": connections}));
            }
        }
        Ok(json!({"ok": true}))
    }

    /// The ids of the devices that are not revoked.
    async fn devices(&self) -> Result<Vec<String>, WorldError> {
        let listed: Value = self.daemon.ask("devices").await?;
        let rows = listed.get("devices").and_then(Value::as_array);
        let rows = rows.into_iter().flatten();
        let paired = rows.filter(|row| row.get("revoked") == Some(&Value::Bool(false)));
        let ids = paired.filter_map(|row| row.get("deviceId").and_then(Value::as_str));
        Ok(ids.map(str::to_owned).collect())
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

/// A basic TOML string; JSON strings are valid ones.
fn toml_string(text: &str) -> String {
    Value::from(text).to_string()
}
