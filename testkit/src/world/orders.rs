//! The world behind `bowline-testkit-world`: commands for tests in other languages.
//!
//! | command | effect | answer |
//! |---|---|---|
//! | `{"do":"offer","paths":[0,2],"ask":true}` | creates a pairing offer with the addresses of these paths; without `paths`, of all. With `ask` its device waits for `approve` or `refuse` | `offer` |
//! | `{"do":"approve","code":"123456"}` | says yes to the device that shows this code | |
//! | `{"do":"refuse","code":"123456"}` | says no to it | |
//! | `{"do":"cut","path":0}` | resets connections on a path and refuses new ones | |
//! | `{"do":"drop","path":0}` | resets connections on a path; new ones work | |
//! | `{"do":"freeze","path":0}` | holds all data back | |
//! | `{"do":"heal","path":0}` | ends a cut, a freeze and a diversion | |
//! | `{"do":"divert","path":0,"stolen":true}` | leads a path to an impostor, which claims to be the daemon. With `stolen` it has the daemon's transport key, and only its identity gives it away | |
//! | `{"do":"forge"}` | creates a link that names the daemon, under the impostor's key and address | `offer` |
//! | `{"do":"heard"}` | what clients have told the impostor | `connections`, `hellos`, `messages` |
//! | `{"do":"kill_daemon"}` | kills the daemon without warning | |
//! | `{"do":"start_daemon"}` | starts it with the same state and ports | |
//! | `{"do":"sessions"}` | output of `bowline-daemon sessions --json` | `count`, `sessions` |
//! | `{"do":"grant","role":"viewer"}`, `{"do":"grant","expires":"1s"}` | changes the role of every device, or when its pairing ends (`devices set`) | |
//! | `{"do":"revoke"}` | revokes every device | |
//! | `{"do":"lock"}`, `{"do":"unlock"}` | locks the daemon, and unlocks it | |
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

use super::{
    DaemonOptions, DaemonProcess, Heard, Impostor, RelayOptions, RelayProcess, WorldError,
    daemon::PROGRAM, owner::Owner, program,
};
use crate::Proxy;

/// Direct paths to the daemon; the next one is the relay's.
const DIRECT: usize = 2;
/// Size of the longest accepted command, in bytes.
const MAX_ORDER: usize = 64 << 10;

/// One line of input.
#[derive(Debug, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
enum Order {
    Offer {
        paths: Option<Vec<usize>>,
        #[serde(default)]
        ask: bool,
    },
    Approve {
        code: String,
    },
    Refuse {
        code: String,
    },
    Cut {
        path: usize,
    },
    Drop {
        path: usize,
    },
    Freeze {
        path: usize,
    },
    Heal {
        path: usize,
    },
    Divert {
        path: usize,
        #[serde(default)]
        stolen: bool,
    },
    Forge,
    Heard,
    KillDaemon,
    StartDaemon,
    Sessions,
    Grant {
        role: Option<String>,
        expires: Option<String>,
    },
    Revoke,
    Lock,
    Unlock,
    Connections,
}

/// A daemon, running or not, and the paths to it.
pub struct World {
    daemon: DaemonProcess,
    /// With the address that each leads to.
    paths: Vec<(Proxy, SocketAddr)>,
    impostor: Impostor,
    /// Keeps the relay running.
    _relay: RelayProcess,
    /// Last, so that it outlives the daemon that uses it.
    folder: TempDir,
}

fn unexpected(what: impl std::fmt::Display) -> WorldError {
    WorldError::Unexpected(what.to_string())
}

impl World {
    /// Starts the daemon and the paths. `daemon`: its program ([`DaemonOptions::program`]).
    ///
    /// # Errors
    /// A program is not built or does not start.
    pub async fn start(daemon: &'static str) -> Result<Self, WorldError> {
        let folder = tempfile::tempdir().map_err(WorldError::io("a temporary folder"))?;
        let config = folder.path().join("daemon.toml");
        // Programs of others have no agents.
        let providers = match daemon {
            PROGRAM => providers(&program("bowline-testkit-actor")?),
            _ => String::new(),
        };
        std::fs::write(&config, providers).map_err(WorldError::io("the daemon's configuration"))?;
        let relay = RelayProcess::start(RelayOptions::default()).await?;
        let daemon = DaemonProcess::start(DaemonOptions {
            program: daemon,
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
            paths.push((path.map_err(WorldError::io("a proxy"))?, address));
        }
        Ok(Self {
            impostor: Impostor::start(daemon.state_dir()).await?,
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
        self.paths.iter().map(|(path, _)| path.addr().to_string())
    }

    async fn order(&mut self, order: Order) -> Result<Value, WorldError> {
        match order {
            Order::Offer { paths, ask } => {
                let flags: &[&str] = if ask { &["--ask"] } else { &[] };
                let offer = self.daemon.offer_with(flags).await?;
                let mut offer: Offer = offer.parse().map_err(unexpected)?;
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
                let (path, target) = self.path_to(path)?;
                path.set_target(*target);
                path.refuse(false);
                path.thaw();
            }
            Order::Divert { path, stolen } => {
                let path = self.path(path)?;
                self.impostor.has_stolen(stolen);
                path.set_target(self.impostor.address());
                path.cut();
            }
            Order::Forge => {
                let offer = self.daemon.offer().await?.parse().map_err(unexpected)?;
                return Ok(json!({"ok": true, "offer": self.impostor.forge(offer).to_string()}));
            }
            Order::Heard => {
                let Heard {
                    connections,
                    hellos,
                    messages,
                } = self.impostor.heard();
                return Ok(json!({
                    "ok": true,
                    "connections": connections,
                    "hellos": hellos,
                    "messages": messages,
                }));
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
            Order::Approve { code } => self.owner().approve(&code).await?,
            Order::Refuse { code } => self.owner().refuse(&code).await?,
            Order::Grant { role, expires } => {
                let owner = self.owner();
                owner.grant(role.as_deref(), expires.as_deref()).await?;
            }
            Order::Revoke => self.owner().revoke().await?,
            Order::Lock => self.owner().run(&["lock"]).await?,
            Order::Unlock => self.owner().run(&["unlock"]).await?,
            Order::Connections => {
                let connections: Value = self.daemon.ask("connections").await?;
                return Ok(json!({"ok": true, "connections": connections}));
            }
        }
        Ok(json!({"ok": true}))
    }

    const fn owner(&self) -> Owner<'_> {
        Owner(&self.daemon)
    }

    fn path(&self, path: usize) -> Result<&Proxy, WorldError> {
        self.path_to(path).map(|(path, _)| path)
    }

    fn path_to(&self, path: usize) -> Result<&(Proxy, SocketAddr), WorldError> {
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
