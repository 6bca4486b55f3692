//! `bowline send`: gives an agent another prompt and shows its work until that turn ends.

use bowline_runtime::{Intent, protocol::methods::PromptSent};

use super::{Story, history::newest};
use crate::{
    client::Client,
    failure::{CliError, Exit, Stop},
    follow::{follow, is_busy},
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
    let text = input::prompt(text).await?;
    let (host, agent) = client.agent(on, asked).await?;
    client.online(&host).await?;
    // Where the timeline ends before the prompt is in it: nothing that follows can be missed.
    let next = newest(client, &host, &agent.id)
        .await?
        .map_or(0, |index| index + 1);
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
    // Opened only now, while the turn is open: see `follow::release`.
    let stream = client.runtime.timeline(&host.server_id, &agent.id).await;
    let stream = stream.map_err(CliError::from)?.from_index(next);
    follow(client, &host, &agent.id, stream, turn).await
}
