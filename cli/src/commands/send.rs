//! `bowline send`: gives an agent another prompt and shows its work until that turn ends.

use bowline_runtime::{
    HostRecord, Intent, TimelineError, TimelineStream,
    machines::load::LoadError,
    protocol::{AgentStatus, methods::PromptSent},
};

use super::Story;
use crate::{
    client::Client,
    failure::{CliError, Exit, Stop},
    follow::follow,
    input,
    lines::Line,
    turn::Turn,
};

pub(super) async fn send(
    client: &Client<'_>,
    story: &Story,
    on: Option<&str>,
    asked: &str,
    text: String,
) -> Result<Exit, Stop> {
    let text = input::argument(text).await?;
    let (host, agent) = client.agent(on, asked).await?;
    client.online(&host).await?;
    // The timeline first, then the prompt: nothing that follows it can be missed.
    let stream = client.runtime.timeline(&host.server_id, &agent.id).await;
    let stream = stream.map_err(CliError::from)?;
    let mut stream = at_the_end(client, &host, stream).await?;
    let intent = Intent::SendPrompt {
        agent_id: agent.id.clone(),
        text,
    };
    let submitted = client
        .runtime
        .send(&host.server_id, intent)
        .map_err(CliError::from)?;
    story.sent(&host);
    let turn = Turn::of(submitted.id);
    let PromptSent { item_id: _ } = client.outcome(&host, submitted).await?;
    story.working(&host, &agent.id);
    if client.output.mode.json {
        let line = Line::Agent {
            server_id: None,
            agent: &agent,
        };
        client.output.json(&line).await?;
    } else if is_busy(agent.status) {
        client
            .output
            .say("the agent is still at work; the prompt waits for its turn")
            .await?;
    }
    follow(client, &host, &mut stream, turn).await
}

/// Whether an agent has a prompt to work on already.
const fn is_busy(status: AgentStatus) -> bool {
    matches!(
        status,
        AgentStatus::Starting | AgentStatus::Running | AgentStatus::Waiting
    )
}

/// The stream from behind the newest item on.
async fn at_the_end(
    client: &Client<'_>,
    host: &HostRecord,
    mut stream: TimelineStream,
) -> Result<TimelineStream, CliError> {
    let loaded = async {
        loop {
            let view = stream.view();
            if view.loaded && !view.catching_up {
                return Ok(view.items.last().map_or(0, |item| item.index + 1));
            }
            if let Some(error @ LoadError::Rejected(reason)) = view.error
                && !error.is_retried_by_timer()
            {
                return Err(TimelineError::Refused(reason).into());
            }
            if !stream.changed().await {
                return Err(CliError::failed("cancelled", "the host was forgotten"));
            }
        }
    };
    let next = tokio::select! {
        next = loaded => next?,
        error = client.hopeless(host) => return Err(error),
    };
    Ok(stream.from_index(next))
}
