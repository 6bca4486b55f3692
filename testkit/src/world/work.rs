//! A client's work during chaos: intents on many agents, and a streaming agent followed byte for
//! byte. Runs in a separate process, so that its memory can be measured.

use std::{path::PathBuf, time::Duration};

use bowline_protocol::AgentId;
use bowline_runtime::{Intent, Receipt};
use serde::{Deserialize, Serialize};
use tokio::time::{MissedTickBehavior, interval};

use super::{Client, Follower, WorldError, done, quick_settings, resident};

/// Longest wait for outcomes after the last intent.
const FINISH: Duration = Duration::from_secs(120);

/// Description of the work.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Work {
    /// The client's state folder; it must be paired.
    pub folder: PathBuf,
    /// Seed of the client's jitter.
    pub seed: u64,
    /// Number of intents.
    pub intents: usize,
    /// Pause between intents in milliseconds.
    pub pace_ms: u64,
    /// A streaming agent and its prompt, which is sent again whenever the stream ends early.
    pub stream: (AgentId, String),
    /// Agents that receive the intents in rotation; each prompt is its number.
    pub agents: Vec<AgentId>,
}

/// Progress reports, and the final report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Intents sent.
    pub sent: usize,
    /// Intents with an outcome.
    pub done: usize,
    /// Resident bytes of the client's process, where they can be measured.
    pub resident: Option<u64>,
    /// Lines of the stream delivered to the follower.
    pub lines: usize,
    /// Events applied.
    pub applied: u64,
    /// Events received again and not applied again.
    pub repeated: u64,
    /// Events missed: anything but zero is a defect.
    pub gaps: u64,
    /// Attaches that resumed the session.
    pub resumed: u64,
    /// Attaches that started a new epoch.
    pub reset: u64,
    /// Changes of the active path.
    pub switches: u64,
    /// Everything is done and verified.
    pub finished: bool,
}

/// Does the work and reports progress.
///
/// # Errors
/// An intent is lost or refused, or the follower's items differ from the daemon's.
pub async fn work(work: Work, mut tell: impl FnMut(Progress)) -> Result<(), WorldError> {
    let client = Client::open(&work.folder, quick_settings(work.seed))?;
    client.online().await?;
    let follower = Follower::new(&client, &work.stream.0).await?;
    let mut streaming = Streaming {
        agent: work.stream.0.clone(),
        prompt: work.stream.1.clone(),
        asked: 0,
    };
    streaming.keep_going(&client, &follower)?;
    tell(progress(&client, &follower, 0));
    let mut sent: Vec<Receipt> = Vec::with_capacity(work.intents);
    let mut ticks = interval(Duration::from_millis(work.pace_ms));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    for (n, agent) in (0..work.intents).zip(work.agents.iter().cycle()) {
        ticks.tick().await;
        sent.push(client.send(Intent::SendPrompt {
            agent_id: agent.clone(),
            text: n.to_string(),
        })?);
        if n % 50 == 49 {
            streaming.keep_going(&client, &follower)?;
            tell(progress(&client, &follower, sent.len()));
        }
    }
    for intent in sent {
        done(intent, FINISH).await?;
    }
    client
        .until("nothing pending", FINISH, |host| host.intents.pending == 0)
        .await?;
    client
        .run(Intent::Cancel {
            agent_id: streaming.agent.clone(),
        })
        .await?;
    follower.until_ended(streaming.asked).await?;
    follower.check(&client).await?;
    let counters = client.counters();
    if counters.event_gaps != 0 {
        return Err(WorldError::Unexpected(format!("{counters:?}")));
    }
    let mut end = progress(&client, &follower, work.intents);
    end.finished = true;
    tell(end);
    client.runtime().close().await;
    Ok(())
}

struct Streaming {
    agent: AgentId,
    prompt: String,
    /// Prompts sent so far.
    asked: usize,
}

impl Streaming {
    /// Sends the prompt again once the last turn has ended.
    fn keep_going(&mut self, client: &Client, follower: &Follower) -> Result<(), WorldError> {
        if follower.ended_turns() >= self.asked {
            self.asked += 1;
            // Its outcome is not awaited; the follower waits for its effect.
            drop(client.send(Intent::SendPrompt {
                agent_id: self.agent.clone(),
                text: self.prompt.clone(),
            })?);
        }
        Ok(())
    }
}

fn progress(client: &Client, follower: &Follower, sent: usize) -> Progress {
    let counters = client.counters();
    let pending = client.host().map_or(0, |host| host.intents.pending);
    Progress {
        sent,
        done: sent.saturating_sub(pending),
        resident: resident(std::process::id()),
        lines: follower.lines(),
        applied: counters.events_applied,
        repeated: counters.events_repeated,
        gaps: counters.event_gaps,
        resumed: counters.resumed,
        reset: counters.reset,
        switches: counters.switches,
        finished: false,
    }
}
