//! `bowline agents`: the agents of one host or of all.

use bowline_runtime::{HostRecord, protocol::AgentSummary};
use clap::builder::styling::Style;

use crate::{
    client::{Client, agents_of},
    failure::{Exit, Stop},
    lines::Line,
    text,
};

pub(super) async fn agents(client: &Client<'_>, on: Option<&str>) -> Result<Exit, Stop> {
    let hosts = client.hosts(on)?;
    let settled = client.settled(&hosts, |_| false).await;
    let rows = agents_of(&hosts, &settled.snapshot);
    if client.output.mode.json {
        for (host, agent) in &rows {
            let line = Line::Agent {
                server_id: Some(&host.server_id),
                agent,
            };
            client.output.json(&line).await?;
        }
    } else {
        let several = hosts.len() > 1;
        let cells: Vec<_> = rows
            .iter()
            .map(|(host, agent)| row(host, agent, several))
            .collect();
        let table = text::table(client.output.mode.colours, &cells);
        client.output.out(table).await?;
    }
    let answered = settled.missing.len() < hosts.len();
    let mut missing = settled.missing.into_iter();
    if !answered && let Some(first) = missing.next() {
        for error in missing {
            client.output.fail(&error).await;
        }
        return Err(first.into());
    }
    // Some answered: that is what was asked for. The rest is worth a line.
    for error in missing {
        client.output.fail(&error).await;
    }
    if rows.is_empty() && !client.output.mode.json {
        let hint = "no agents yet; `bowline run` makes one";
        client.output.say(hint).await?;
    }
    Ok(Exit::Done)
}

fn row(host: &HostRecord, agent: &AgentSummary, several: bool) -> Vec<(String, Style)> {
    let (status, style) = text::status(agent.status);
    let mut row = vec![
        (agent.id.to_string(), text::dim()),
        (status.to_owned(), style),
        (text::one_line(&agent.provider), Style::new()),
    ];
    if several {
        row.push((text::one_line(&host.name), Style::new()));
    }
    row.push((text::one_line(&agent.title), text::bold()));
    row
}
