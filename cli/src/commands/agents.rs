//! `bowline agents`: the agents of one host or of all hosts.

use bowline_program::{
    short_ids,
    table::{Cell, table},
};
use bowline_runtime::{
    HostRecord, Snapshot,
    protocol::{AgentStatus, AgentSummary},
};
use clap::builder::styling::Style;

use crate::{
    client::{Client, agents_of},
    failure::{Exit, Stop},
    lines::Line,
    text,
    waiting::view,
};

/// Lists the agents; with `all`, archived ones too.
pub(super) async fn agents(client: &Client<'_>, on: Option<&str>, all: bool) -> Result<Exit, Stop> {
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
        // Computed over all agents, so that a short id is unique everywhere.
        let length = short_ids::short_length(rows.iter().map(|(_, agent)| agent.id.as_str()));
        let several = hosts.len() > 1;
        let cells: Vec<_> = rows
            .iter()
            .filter(|(_, agent)| all || is_shown(agent))
            .map(|(host, agent)| row(host, agent, length, several))
            .collect();
        let mut head = vec!["AGENT", "STATUS", "LAST TURN", "CHANGED", "PROVIDER"];
        if several {
            head.push("HOST");
        }
        head.push("TITLE");
        let table = table(&head, &cells, client.output.mode.colours);
        if !cells.is_empty() {
            client.output.out(table).await?;
        }
    }
    let mut missing = settled.missing;
    let first = (missing.len() == hosts.len()).then(|| missing.remove(0));
    // The hosts that did not answer are reported on a line each; the command fails if none did.
    for error in missing {
        client.output.fail(&error).await;
    }
    if let Some(first) = first {
        return Err(first.into());
    }
    if client.output.mode.json {
        return Ok(Exit::Done);
    }
    let left_out = left_out(&hosts, &settled.snapshot);
    if left_out > 0 {
        let line = format!(
            "and {left_out} more, older ones, not listed: `send` and `history` accept their ids"
        );
        client.output.say(line).await?;
    }
    let hidden = rows.iter().filter(|(_, agent)| !is_shown(agent)).count();
    if rows.is_empty() {
        let line = "no agents yet; `bowline run PROMPT` makes one";
        client.output.say(line).await?;
    } else if hidden > 0 && !all {
        let line = format!("{hidden} archived not shown; list them with `bowline agents --all`");
        client.output.say(line).await?;
    }
    Ok(Exit::Done)
}

/// Number of agents of these hosts that the directory does not hold.
fn left_out(hosts: &[&HostRecord], snapshot: &Snapshot) -> u64 {
    let views = hosts
        .iter()
        .filter_map(|host| view(snapshot, &host.server_id));
    views.map(|host| host.directory.left_out).sum()
}

/// Whether an agent is listed without `--all`.
pub(super) fn is_shown(agent: &AgentSummary) -> bool {
    agent.status != AgentStatus::Archived
}

fn row(host: &HostRecord, agent: &AgentSummary, length: usize, several: bool) -> Vec<Cell> {
    let (status, style) = text::status(agent.status);
    let mut row = vec![
        text::cell(short_ids::end(agent.id.as_str(), length), text::dim()),
        text::cell(status, style),
        text::last_turn(agent),
        text::cell(text::ago(agent.updated_at), Style::new()),
        text::plain(&agent.provider),
    ];
    if several {
        row.push(text::plain(&host.name));
    }
    row.push(text::cell(text::one_line(&agent.title), text::bold()));
    row
}
