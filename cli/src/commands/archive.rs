//! `bowline archive`: archives an agent permanently.

use bowline_runtime::{
    Intent,
    protocol::{AgentStatus, methods::Empty},
};

use super::Progress;
use crate::{
    client::Client,
    failure::{Exit, Stop},
    lines::Line,
    text,
};

pub(super) async fn archive(
    client: &Client<'_>,
    progress: &Progress,
    on: Option<&str>,
    asked: &str,
) -> Result<Exit, Stop> {
    let (host, agent) = client.agent(on, asked).await?;
    client.online(&host).await?;
    let before = agent.status == AgentStatus::Archived;
    let intent = Intent::Archive {
        agent_id: agent.id.clone(),
    };
    let submitted = client.send(progress, &host, intent)?;
    let Empty {} = client.outcome(&host, submitted).await?;
    progress.done();
    let line = Line::Archived {
        server_id: &host.server_id,
        agent_id: &agent.id,
        title: &agent.title,
    };
    let told = || {
        let (title, id) = (text::one_line(&agent.title), &agent.id);
        match before {
            true => format!("`{title}` ({id}) was archived already\n"),
            false => format!(
                "archived `{title}` ({id}) on {}\n",
                text::one_line(&host.name)
            ),
        }
    };
    client.output.result(&line, told).await?;
    Ok(Exit::Done)
}
