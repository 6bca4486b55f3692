//! `bowline archive`: puts an agent away, for good.

use bowline_runtime::{
    Intent,
    protocol::{AgentStatus, methods::Empty},
};

use super::Story;
use crate::{
    client::Client,
    failure::{Exit, Stop},
    lines::Line,
    text,
};

pub(super) async fn archive(
    client: &Client<'_>,
    story: &Story,
    on: Option<&str>,
    asked: &str,
) -> Result<Exit, Stop> {
    let (host, agent) = client.agent(on, asked).await?;
    client.online(&host).await?;
    let before = agent.status == AgentStatus::Archived;
    let intent = Intent::Archive {
        agent_id: agent.id.clone(),
    };
    let submitted = client
        .runtime
        .send(&host.server_id, intent)
        .map_err(crate::failure::CliError::from)?;
    story.sent(&host);
    let Empty {} = client.outcome(&host, submitted).await?;
    story.done();
    if client.output.mode.json {
        let line = Line::Archived {
            server_id: &host.server_id,
            agent_id: &agent.id,
            title: &agent.title,
        };
        client.output.json(&line).await?;
    } else {
        let title = text::one_line(&agent.title);
        let line = if before {
            format!("`{title}` ({}) was archived already\n", agent.id)
        } else {
            format!(
                "archived `{title}` ({}) on {}\n",
                agent.id,
                text::one_line(&host.name)
            )
        };
        client.output.out(line).await?;
    }
    Ok(Exit::Done)
}
