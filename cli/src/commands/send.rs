//! `bowline send`: gives an agent another prompt and shows its work until that turn ends.

use bowline_runtime::{Intent, protocol::methods::PromptSent};

use super::{Progress, history::newest};
use crate::{
    client::Client,
    failure::{Exit, Stop},
    follow::{follow, is_busy},
    input,
    lines::Line,
    turn::Turn,
};

pub(super) async fn send(
    client: &Client<'_>,
    progress: &Progress,
    on: Option<&str>,
    asked: &str,
    text: String,
) -> Result<Exit, Stop> {
    let text = input::prompt(text).await?;
    let (host, agent) = client.agent(on, asked).await?;
    client.online(&host).await?;
    // The end of the timeline before the prompt is added, so that no later item is missed.
    let next = newest(client, &host, &agent.id)
        .await?
        .map_or(0, |index| index + 1);
    let intent = Intent::SendPrompt {
        agent_id: agent.id.clone(),
        text,
    };
    let submitted = client.send(progress, &host, intent)?;
    let turn = Turn::of(submitted.id);
    let PromptSent { item_id: _ } = client.outcome(&host, submitted).await?;
    progress.working(&host, &agent.id);
    if client.output.mode.json {
        let line = Line::Agent {
            server_id: None,
            agent: &agent,
        };
        client.output.json(&line).await?;
    } else if is_busy(agent.status) {
        client
            .output
            .say("the agent is still working; the prompt is queued")
            .await?;
    }
    // Opened only now, while the turn is open: see `follow::release`.
    follow(client, &host, &agent.id, next, turn).await
}
