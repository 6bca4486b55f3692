//! Control of the demo's client processes.

use std::{path::Path, process::Stdio, time::Duration};

use bowline_protocol::AgentId;
use bowline_runtime::TimelinePosition;
use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    process::{Child, ChildStdout, Command},
    time::timeout,
};

use super::follow::Told;
use crate::world::{WorldError, program};

/// Longest wait for an expected message.
const DEADLINE: Duration = Duration::from_secs(60);

/// A running client process.
pub(super) struct Client {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Client {
    /// Creates an agent with a prompt and follows it.
    pub(super) fn create(state_dir: &Path, prompt: &str) -> Result<Self, WorldError> {
        Self::start(state_dir, &["--prompt", prompt])
    }

    /// Follows an agent from the position of another client.
    pub(super) fn resume(
        state_dir: &Path,
        agent: &AgentId,
        position: &TimelinePosition,
    ) -> Result<Self, WorldError> {
        let position = serde_json::to_string(position)?;
        let (agent, position) = (agent.to_string(), position.as_str());
        Self::start(state_dir, &["--agent", &agent, "--position", position])
    }

    fn start(state_dir: &Path, args: &[&str]) -> Result<Self, WorldError> {
        let mut child = Command::new(program("bowline-demo")?)
            .arg("follow")
            .arg("--state-dir")
            .arg(state_dir)
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(WorldError::io("starting a client"))?;
        let stdout = child.stdout.take();
        let stdout =
            stdout.ok_or_else(|| WorldError::Unexpected("a client without stdout".to_owned()))?;
        Ok(Self {
            child,
            lines: BufReader::new(stdout).lines(),
        })
    }

    /// The client's next message.
    pub(super) async fn next(&mut self) -> Result<Told, WorldError> {
        let line = timeout(DEADLINE, self.lines.next_line())
            .await
            .map_err(|_| WorldError::Unexpected("the client sent nothing for a minute".into()))?
            .map_err(WorldError::io("reading from the client"))?
            .ok_or_else(|| WorldError::Unexpected("the client ended".to_owned()))?;
        serde_json::from_str(&line)
            .map_err(|error| WorldError::Unexpected(format!("the client sent `{line}`: {error}")))
    }

    /// Kills it without warning. Messages written before still count: the rest of its pipe is
    /// returned.
    pub(super) async fn kill(mut self) -> Result<Vec<Told>, WorldError> {
        self.child
            .kill()
            .await
            .map_err(WorldError::io("killing the client"))?;
        let mut rest = Vec::new();
        while let Ok(Some(line)) = self.lines.next_line().await {
            // A line truncated by the kill is ignored.
            if let Ok(told) = serde_json::from_str(&line) {
                rest.push(told);
            }
        }
        Ok(rest)
    }
}
