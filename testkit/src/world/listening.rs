//! A started program of the world whose listening addresses are known.

use std::{fs::File, net::SocketAddr, path::Path, process::Stdio, time::Duration};

use serde::Deserialize;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, ChildStdout, Command},
    time::timeout,
};

use super::{Wine, WorldError, ending::end};

/// Longest time for a program to listen on a slow machine.
const START_DEADLINE: Duration = Duration::from_secs(30);

/// A listening program.
#[derive(Debug)]
pub(super) struct Listening {
    pub(super) child: Child,
    /// Its name in errors.
    who: &'static str,
    /// Kept open, because the program writes to it.
    _stdout: BufReader<ChildStdout>,
}

/// The line that a program prints for each of its listeners.
#[derive(Deserialize)]
struct Said {
    event: String,
    kind: String,
    address: String,
}

impl Listening {
    /// Starts a program, its log in `log` if there is one, and waits for a number of listeners of
    /// one kind and, if `last` names a kind, for one of that too. Returns the addresses of the
    /// former.
    ///
    /// # Errors
    /// It does not listen in time. `who` names it in the error.
    pub(super) async fn start(
        mut command: Command,
        log: Option<&Path>,
        who: &'static str,
        kind: &str,
        count: usize,
        last: Option<&str>,
    ) -> Result<(Self, Vec<SocketAddr>), WorldError> {
        let unexpected = |what: &str| WorldError::Unexpected(format!("the {who} {what}"));
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true);
        if let Some(path) = log {
            let log = File::options().create(true).append(true).open(path);
            let log = log.map_err(WorldError::io(format!("the {who}'s log file")))?;
            command.args(["--log-format", "json"]).stderr(log);
        }
        let spawned = command.spawn();
        let mut child = spawned.map_err(WorldError::io(format!("starting the {who}")))?;
        let stdout = child.stdout.take();
        let mut stdout = BufReader::new(stdout.ok_or_else(|| unexpected("has no stdout"))?);
        let listening = async {
            let mut addresses = Vec::new();
            let mut last = last;
            let mut line = String::new();
            while addresses.len() < count || last.is_some() {
                line.clear();
                let read = stdout.read_line(&mut line).await;
                if read.map_err(WorldError::io(format!("the {who}'s stdout")))? == 0 {
                    return Err(unexpected("ended before it listened"));
                }
                match serde_json::from_str::<Said>(&line) {
                    Ok(said) if said.event != "listening" => {}
                    Ok(said) if said.kind == kind => {
                        let address = said.address.parse();
                        addresses.push(address.map_err(|_| unexpected("listens at no address"))?);
                    }
                    Ok(said) if last == Some(said.kind.as_str()) => last = None,
                    Ok(_) | Err(_) => {}
                }
            }
            Ok(addresses)
        };
        let addresses = timeout(START_DEADLINE, listening).await;
        let addresses = addresses.map_err(|_| unexpected("did not listen in time"))??;
        let _stdout = stdout;
        Ok((
            Self {
                child,
                who,
                _stdout,
            },
            addresses,
        ))
    }

    /// Kills it without warning.
    ///
    /// # Errors
    /// The system refuses.
    pub(super) async fn kill(&mut self) -> Result<(), WorldError> {
        let killed = self.child.kill().await;
        killed.map_err(WorldError::io(format!("killing the {}", self.who)))
    }

    /// Requests an orderly end (SIGTERM, or Ctrl-C under Wine) and waits for it; on other systems
    /// kills it.
    ///
    /// # Errors
    /// It does not end.
    pub(super) async fn stop(&mut self, wine: Option<&Wine>) -> Result<(), WorldError> {
        end(&mut self.child, self.who, wine).await
    }
}
