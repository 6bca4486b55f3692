//! Loads: requests whose answers feed a machine, under the generation that started them (INV-10).

use std::{cmp::Reverse, sync::Arc};

use bowline_machines::data::target::LiveTarget;
use bowline_machines::data::{
    collection::Request,
    load::{Held, LoadError},
};
use bowline_protocol::{
    AgentId, Reason,
    live::{After, LiveKind, LogPage, OpenLive, PageLive, TablePage},
    methods::{AgentRef, AgentsPage, HistoryPage, ListAgents, name},
};
use serde::{Serialize, de::DeserializeOwned};

use crate::{client::ClientHandle, error::CallError, settings::DIRECTORY_PAGE};

/// Loads one page of the directory.
pub(super) async fn directory(
    client: Option<ClientHandle>,
    cursor: Option<String>,
) -> Result<AgentsPage, LoadError> {
    call(
        client.as_ref(),
        name::AGENTS_LIST,
        &ListAgents {
            cursor,
            limit: Some(DIRECTORY_PAGE),
            newest_first: true,
        },
    )
    .await
}

/// Loads one page of a timeline, after subscribing to it if requested.
pub(super) async fn history(
    client: Option<ClientHandle>,
    agent_id: AgentId,
    subscribe: bool,
    params: bowline_protocol::methods::History,
) -> Result<HistoryPage, LoadError> {
    if subscribe {
        let _: serde::de::IgnoredAny = call(
            client.as_ref(),
            name::AGENTS_SUBSCRIBE,
            &AgentRef { agent_id },
        )
        .await?;
    }
    call(client.as_ref(), name::AGENTS_HISTORY, &params).await
}

/// Loads rows of a table; the first page also follows it.
pub(super) async fn table(
    client: Option<ClientHandle>,
    target: &LiveTarget,
    request: Request<Arc<str>>,
) -> Result<TablePage, LoadError> {
    let page = page_of(LiveKind::Table, target);
    let page = match request {
        Request::First { limit, held } => {
            let open = open_of(LiveKind::Table, target, wanted(limit), held);
            return call(client.as_ref(), name::LIVE_OPEN, &open).await;
        }
        Request::Page { cursor, limit } => PageLive {
            after: Some(After::Key(cursor)),
            limit: wanted(limit),
            ..page
        },
        Request::Rows(keys) => PageLive {
            keys: Some(keys.iter().map(|key| key.to_string()).collect()),
            ..page
        },
    };
    call(client.as_ref(), name::LIVE_PAGE, &page).await
}

/// Loads items of a log; the first page also follows it.
pub(super) async fn log(
    client: Option<ClientHandle>,
    target: &LiveTarget,
    request: Request<Reverse<u64>>,
) -> Result<LogPage, LoadError> {
    let page = page_of(LiveKind::Log, target);
    let page = match request {
        Request::First { limit, held } => {
            let open = open_of(LiveKind::Log, target, wanted(limit), held);
            return call(client.as_ref(), name::LIVE_OPEN, &open).await;
        }
        Request::Page { cursor, limit } => PageLive {
            // The machine made it of a number.
            before: Some(cursor.parse().map_err(|_| LoadError::Malformed)?),
            limit: wanted(limit),
            ..page
        },
        Request::Rows(indexes) => PageLive {
            indexes: Some(indexes.iter().map(|Reverse(index)| *index).collect()),
            ..page
        },
    };
    call(client.as_ref(), name::LIVE_PAGE, &page).await
}

/// Follows a topic.
pub(super) async fn topic(
    client: Option<ClientHandle>,
    target: &LiveTarget,
    held: Option<Held>,
) -> Result<TablePage, LoadError> {
    let open = open_of(LiveKind::Topic, target, None, held);
    call(client.as_ref(), name::LIVE_OPEN, &open).await
}

/// The request to follow, which continues what is held if the daemon can.
fn open_of(
    kind: LiveKind,
    target: &LiveTarget,
    limit: Option<u32>,
    held: Option<Held>,
) -> OpenLive {
    OpenLive {
        kind,
        name: target.name.clone(),
        params: target.params.clone(),
        after: None,
        before: None,
        limit,
        seq: held.map(|held| held.seq),
        follow: held.and_then(|held| held.follow),
    }
}

/// A request for a page, which says nothing yet of where it begins.
fn page_of(kind: LiveKind, target: &LiveTarget) -> PageLive {
    PageLive {
        kind,
        name: target.name.clone(),
        params: target.params.clone(),
        after: None,
        before: None,
        keys: None,
        indexes: None,
        limit: None,
    }
}

fn wanted(limit: usize) -> Option<u32> {
    Some(u32::try_from(limit).unwrap_or(u32::MAX))
}

async fn call<P: Serialize, R: DeserializeOwned>(
    client: Option<&ClientHandle>,
    method: &'static str,
    params: &P,
) -> Result<R, LoadError> {
    let Some(client) = client else {
        return Err(LoadError::Lost(Reason::ConnectionLost));
    };
    client
        .call(method, params)
        .await
        .map_err(|error| match error {
            CallError::Rpc(error) => error.into(),
            CallError::Disconnected(reason) => LoadError::Lost(reason),
            CallError::NotConnected | CallError::Closed => LoadError::Lost(Reason::ConnectionLost),
            CallError::Timeout => LoadError::TimedOut,
            CallError::Malformed(_) | CallError::TooLarge => LoadError::Malformed,
        })
}
