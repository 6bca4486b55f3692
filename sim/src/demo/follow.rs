//! The demo's client: a process of its own that follows one agent and tells what it is given, one JSON object
//! a line. It can be killed and started again where it was.

use std::{io::Write, path::PathBuf, str::FromStr, time::Duration};

use bowline_protocol::{AgentId, ServerId, methods::AgentCreated};
use bowline_runtime::{
    Intent, Outcome, Runtime, RuntimeSettings, TimelinePosition, TimelineStream, TimelineUpdate,
};
use clap::Args;
use serde::{Deserialize, Serialize};

/// How long the client waits for its host at all.
const DEADLINE: Duration = Duration::from_secs(60);

/// What to follow.
#[derive(Args, Debug)]
pub struct Follow {
    /// The client's state folder, with the paired host in it.
    #[arg(long)]
    state_dir: PathBuf,
    /// The host.
    #[arg(long)]
    host: String,
    /// Create an agent with this prompt first.
    #[arg(long)]
    prompt: Option<String>,
    /// Follow this agent.
    #[arg(long, conflicts_with = "prompt")]
    agent: Option<String>,
    /// What an earlier client was given already, as JSON.
    #[arg(long)]
    position: Option<String>,
}

/// What the client tells.
#[derive(Clone, Debug, Serialize, Deserialize)]
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
        state: String,
        /// Kind of the active path.
        path: Option<String>,
        /// Grows with every client.
        generation: u64,
        /// Attaches that went on where the session was.
        resumed: u64,
        /// Attaches after which everything was fetched again.
        reset: u64,
        /// Events received a second time and not applied again.
        repeated: u64,
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
        /// What to append.
        text: String,
    },
}

fn tell(told: &Told) -> Result<(), String> {
    let mut line = serde_json::to_vec(told).map_err(|error| error.to_string())?;
    line.push(b'\n');
    let mut stdout = std::io::stdout().lock();
    stdout
        .write_all(&line)
        .and_then(|()| stdout.flush())
        .map_err(|error| error.to_string())
}

/// Follows until the parent goes away.
///
/// # Errors
/// For people.
pub async fn follow(args: Follow) -> Result<(), String> {
    let mut settings = RuntimeSettings::new("bowline-demo", env!("CARGO_PKG_VERSION"));
    settings.host.probe_interval = super::paths::PROBE_INTERVAL;
    let runtime = Runtime::open(&args.state_dir, settings).map_err(|error| error.to_string())?;
    let host = ServerId::from_str(&args.host).map_err(|error| error.to_string())?;
    let watching = tokio::spawn(watch(runtime.clone()));
    let agent = match (&args.agent, &args.prompt) {
        (Some(agent), _) => AgentId::from_str(agent).map_err(|error| error.to_string())?,
        (None, Some(prompt)) => create(&runtime, &host, prompt).await?,
        (None, None) => return Err("give --agent or --prompt".to_owned()),
    };
    tell(&Told::Agent { id: agent.clone() })?;
    let stream = runtime
        .timeline(&host, &agent)
        .await
        .map_err(|error| error.to_string())?;
    let stream = match &args.position {
        None => stream.from_index(0),
        Some(position) => {
            let position: TimelinePosition =
                serde_json::from_str(position).map_err(|error| error.to_string())?;
            stream.from_position(position)
        }
    };
    let told = pass_on(stream).await;
    watching.abort();
    told
}

async fn create(runtime: &Runtime, host: &ServerId, prompt: &str) -> Result<AgentId, String> {
    let intent = Intent::CreateAgent {
        provider: "shell".to_owned(),
        cwd: std::env::temp_dir().to_string_lossy().into_owned(),
        title: None,
        prompt: Some(prompt.to_owned()),
    };
    let submitted = runtime
        .send(host, intent)
        .map_err(|error| error.to_string())?;
    match tokio::time::timeout(DEADLINE, submitted.outcome()).await {
        Ok(Some(Outcome::Done { result })) => {
            let created: AgentCreated =
                serde_json::from_str(&result).map_err(|error| error.to_string())?;
            Ok(created.agent.id)
        }
        other => Err(format!("the agent was not created: {other:?}")),
    }
}

async fn pass_on(mut stream: TimelineStream) -> Result<(), String> {
    while let Some(update) = stream.next().await.map_err(|error| error.to_string())? {
        tell(&match update {
            TimelineUpdate::Item(item) => Told::Item {
                item: item.as_ref().clone(),
            },
            TimelineUpdate::Delta { index, text, .. } => Told::Delta { index, text },
            TimelineUpdate::Cleared => return Err("the timeline is another one now".to_owned()),
        })?;
    }
    Ok(())
}

/// Tells every change of the host's connection.
async fn watch(runtime: Runtime) -> Result<(), String> {
    let mut snapshots = runtime.subscribe();
    let mut last = None;
    loop {
        let host = snapshots.borrow_and_update().hosts.first().cloned();
        if let Some(host) = host {
            let counters = runtime.counters(&host.server_id).unwrap_or_default();
            let shown = (
                host.state,
                host.path,
                host.generation,
                counters.resumed,
                counters.reset,
            );
            if last.replace(shown) != Some(shown) {
                tell(&Told::Host {
                    state: host.state.to_owned(),
                    path: host.path.map(|path| path.as_str().to_owned()),
                    generation: host.generation,
                    resumed: counters.resumed,
                    reset: counters.reset,
                    repeated: counters.events_repeated,
                    gaps: counters.event_gaps,
                })?;
            }
        }
        if snapshots.changed().await.is_err() {
            return Ok(());
        }
    }
}
