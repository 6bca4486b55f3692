//! `bowline history`: the history of an agent, oldest first, page by page.

use bowline_runtime::{
    HostRecord,
    protocol::{
        AgentId,
        methods::{History, HistoryPage, name},
    },
};

use crate::{
    client::Client,
    failure::{CliError, Exit, Stop},
    follow::Printer,
};

/// Items per page; the daemon bounds a page in bytes as well.
const PAGE: u32 = 200;

pub(super) async fn history(
    client: &Client<'_>,
    on: Option<&str>,
    asked: &str,
    limit: Option<u64>,
) -> Result<Exit, Stop> {
    let limit = limit.or(client.settings.limit);
    let (host, agent) = client.agent(on, asked).await?;
    // Ends at the current end of the timeline, even if the agent continues to work.
    let Some(last) = newest(client, &host, &agent.id).await? else {
        return Ok(Exit::Done);
    };
    let total = last + 1;
    let mut next = total.saturating_sub(limit.unwrap_or(total));
    let printer = Printer::new(client.output);
    while next <= last {
        // The first page is requested backwards from item 1, because no cursor precedes item 0.
        let page = match next.checked_sub(1) {
            Some(after) => page(client, &host, &agent.id, None, Some(after), PAGE).await?,
            None => page(client, &host, &agent.id, Some(1), None, 1).await?,
        };
        let before = next;
        for item in page.items.iter().filter(|item| item.index <= last) {
            printer.past(item).await?;
            next = item.index + 1;
        }
        if next == before {
            break;
        }
    }
    Ok(Exit::Done)
}

/// Index of the newest item.
pub(super) async fn newest(
    client: &Client<'_>,
    host: &HostRecord,
    agent: &AgentId,
) -> Result<Option<u64>, CliError> {
    let page = page(client, host, agent, None, None, 1).await?;
    Ok(page.items.last().map(|item| item.index))
}

async fn page(
    client: &Client<'_>,
    host: &HostRecord,
    agent: &AgentId,
    before: Option<u64>,
    after: Option<u64>,
    limit: u32,
) -> Result<HistoryPage, CliError> {
    let params = History {
        agent_id: agent.clone(),
        before,
        after,
        limit: Some(limit),
    };
    client.query(host, name::AGENTS_HISTORY, &params).await
}
