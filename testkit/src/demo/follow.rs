//! The demo's client: a separate process that follows one agent and reports what it receives, one
//! JSON object per line. It can be killed and restarted at its position.

use std::{io::Write, path::PathBuf};

use bowline_protocol::AgentId;
use bowline_runtime::{
    HostState, Runtime, RuntimeSettings, TimelinePosition, TimelineStream, TimelineUpdate,
    machines::Path,
};
use clap::Args;
use serde::{Deserialize, Serialize};

use crate::world::{Client, WorldError};

/// What to follow.
#[derive(Args, Debug)]
pub struct Follow {
    /// The client's state folder, with the paired host in it.
    #[arg(long)]
    state_dir: PathBuf,
    /// Create an agent with this prompt.
    #[arg(long)]
    prompt: Option<String>,
    /// Follow this agent instead.
    #[arg(long, conflicts_with = "prompt")]
    agent: Option<AgentId>,
    /// The position of an earlier client, as JSON.
    #[arg(long)]
    position: Option<String>,
}

/// A message of the client.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Told {
    /// The agent it follows.
    Agent {
        /// Its id.
        id: AgentId,
    },
    /// The host's connection changed.
    Host {
        /// State of the host machine.
        state: HostState,
        /// Kind of the active path.
        path: Option<Path>,
        /// Increases with every client.
        generation: u64,
        /// Attaches that resumed the session.
        resumed: u64,
        /// Events missing before others.
        gaps: u64,
    },
    /// A timeline item.
    Item {
        /// The item.
        item: bowline_protocol::TimelineItem,
    },
    /// More text of an item.
    Delta {
        /// Its position.
        index: u64,
        /// The appended text.
        text: String,
    },
}

fn tell(told: &Told) -> Result<(), WorldError> {
    let mut line = serde_json::to_vec(told)?;
    line.push(b'\n');
    let mut stdout = std::io::stdout().lock();
    let written = stdout.write_all(&line).and_then(|()| stdout.flush());
    written.map_err(WorldError::io("the report"))
}

/// Follows until the parent process ends.
///
/// # Errors
/// The agent cannot be created or followed.
pub async fn follow(args: Follow) -> Result<(), WorldError> {
    let mut settings = RuntimeSettings::new("bowline-demo", env!("CARGO_PKG_VERSION"));
    settings.host.probe_interval = super::story::paths::PROBE_INTERVAL;
    let client = Client::open(args.state_dir, settings)?;
    let watching = tokio::spawn(watch(client.runtime().clone()));
    let agent = match args.agent {
        Some(agent) => agent,
        None => {
            let prompt = args.prompt.as_deref();
            client.agent("shell", &std::env::temp_dir(), prompt).await?
        }
    };
    tell(&Told::Agent { id: agent.clone() })?;
    let stream = client.timeline(&agent).await?;
    let stream = match &args.position {
        None => stream.from_index(0),
        Some(position) => {
            let position: TimelinePosition = serde_json::from_str(position)?;
            stream.from_position(position)
        }
    };
    let told = pass_on(stream).await;
    watching.abort();
    told
}

async fn pass_on(mut stream: TimelineStream) -> Result<(), WorldError> {
    let unexpected = |what: String| WorldError::Unexpected(what);
    while let Some(update) = stream
        .next()
        .await
        .map_err(|error| unexpected(error.to_string()))?
    {
        tell(&match update {
            TimelineUpdate::Item(item) => Told::Item {
                item: item.as_ref().clone(),
            },
            TimelineUpdate::Delta { index, text, .. } => Told::Delta { index, text },
            TimelineUpdate::Cleared => return Err(unexpected("the timeline was replaced".into())),
        })?;
    }
    Ok(())
}

/// Reports every change of the host's connection.
async fn watch(runtime: Runtime) -> Result<(), WorldError> {
    let mut snapshots = runtime.subscribe();
    let mut last = None;
    loop {
        let host = snapshots.borrow_and_update().hosts.first().cloned();
        if let Some(host) = host {
            let counters = runtime.counters(&host.server_id).unwrap_or_default();
            let told = Told::Host {
                state: host.state,
                path: host.path,
                generation: host.generation,
                resumed: counters.resumed,
                gaps: counters.event_gaps,
            };
            if last.as_ref() != Some(&told) {
                tell(&told)?;
                last = Some(told);
            }
        }
        if snapshots.changed().await.is_err() {
            return Ok(());
        }
    }
}
