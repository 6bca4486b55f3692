//! The methods of the agents service, inside their transactions.

use std::{path::Path, sync::Arc};

use bowline_protocol::{
    AgentId, AgentStatus, AgentSummary, IntentId, ItemKind, RpcReason, SessionEvent,
    error::RpcError,
    methods::{AgentCreated, CreateAgent, Empty, ListAgents, PromptSent, SendPrompt},
    model::TurnStatus,
};
use serde::Serialize;
use serde_json::value::RawValue;
use uuid::Uuid;

use super::{
    fit,
    provider::TurnEnd,
    supervisor::{self, Supervisor},
    timeline,
};
use crate::{
    ledger::{Audience, Reader, Tx},
    service::{Bounded, bad_cursor, page_rows},
    store::{self, agents::AgentRow, fault},
};

/// Largest prompt in bytes. Small enough for one argument of a process and for one page of history.
const MAX_PROMPT: usize = 64 * 1024;
/// Longest title in characters; a longer one is cut.
const MAX_TITLE: usize = 120;
/// Longest working directory in bytes.
const MAX_CWD: usize = 4_096;
/// Prompts an agent holds, the running one included; one more is answered with `overloaded`.
const MAX_QUEUED: u64 = 64;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct AgentsPage {
    agents: Vec<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_cursor: Option<String>,
    total: u64,
    seq: u64,
}

/// `agents.list`
pub(super) fn list(reader: &Reader<'_>, params: &ListAgents) -> Result<AgentsPage, RpcError> {
    let from = params.cursor.as_deref().map(cursor).transpose()?;
    let limit = page_rows(params.limit);
    // One more than the page tells whether there is another.
    let wanted = u32::try_from(limit.saturating_add(1)).unwrap_or(u32::MAX);
    let conn = reader.conn();
    let rows = if params.newest_first {
        store::agents::page_before(conn, from.unwrap_or(i64::MAX), wanted)
    } else {
        store::agents::page(conn, from.unwrap_or_default(), wanted)
    };
    let rows = rows.map_err(fault)?;
    let most = reader.content_bytes();
    let mut page = Bounded::new(limit, reader.page_bytes());
    let mut last = None;
    let mut more = false;
    for row in &rows {
        if !page.add(&*fit::agent(&row.summary, most)) {
            more = true;
            break;
        }
        last = Some(row.n);
    }
    Ok(AgentsPage {
        agents: page.finish()?,
        next_cursor: last.filter(|_| more).map(|n| n.to_string()),
        total: store::agents::count(conn).map_err(fault)?,
        seq: reader.seq(),
    })
}

/// Reads the cursor of `agents.list`.
fn cursor(text: &str) -> Result<i64, RpcError> {
    text.parse().map_err(|_| bad_cursor())
}

/// Whether an agent can work there. Touches the disk: not for the ledger's thread.
pub(super) fn check_cwd(cwd: &str) -> Result<(), RpcError> {
    if cwd.len() > MAX_CWD {
        return Err(RpcError::invalid_params(format!(
            "`cwd` is longer than {MAX_CWD} bytes"
        )));
    }
    let path = Path::new(cwd);
    if !path.is_absolute() {
        return Err(RpcError::invalid_params(format!(
            "`cwd` must be an absolute path on the daemon's machine; `{cwd}` is not"
        )));
    }
    match std::fs::metadata(path) {
        Ok(meta) if meta.is_dir() => Ok(()),
        Ok(_) => Err(RpcError::invalid_params(format!(
            "`cwd` must be a directory; `{cwd}` is not"
        ))),
        Err(error) => Err(RpcError::invalid_params(format!(
            "`cwd` cannot be used: `{cwd}`: {error}"
        ))),
    }
}

/// Whether a prompt can be given to a program.
pub(super) fn check_prompt(member: &str, text: &str) -> Result<(), RpcError> {
    if text.trim().is_empty() {
        return Err(RpcError::invalid_params(format!("`{member}` is empty")));
    }
    if text.len() > MAX_PROMPT {
        return Err(RpcError::invalid_params(format!(
            "`{member}` has {} bytes; at most {MAX_PROMPT} can be sent",
            text.len()
        )));
    }
    if text.contains('\0') {
        return Err(RpcError::invalid_params(format!(
            "`{member}` contains a NUL character, which no program takes"
        )));
    }
    Ok(())
}

/// A title for people: the one given, else the first line of the prompt, else the directory's name.
pub(super) fn title(params: &CreateAgent) -> String {
    let clean = |text: &str| -> String {
        let line = text.lines().map(str::trim).find(|line| !line.is_empty());
        line.unwrap_or_default()
            .chars()
            .filter(|c| !bowline_protocol::text::is_harmful(*c))
            .take(MAX_TITLE)
            .collect()
    };
    let name = Path::new(&params.cwd)
        .file_name()
        .map(|name| name.to_string_lossy().into_owned());
    [params.title.clone(), params.prompt.clone(), name]
        .into_iter()
        .flatten()
        .map(|text| clean(&text))
        .find(|title| !title.is_empty())
        .unwrap_or_else(|| params.provider.clone())
}

/// `agents.create`, its parameters checked.
pub(super) fn create(
    tx: &mut Tx<'_>,
    supervisor: &Arc<Supervisor>,
    params: CreateAgent,
    max_agents: u64,
) -> Result<AgentCreated, RpcError> {
    if supervisor.provider(&params.provider).is_none() {
        return Err(RpcError::new(
            RpcReason::NotFound,
            format!(
                "no provider `{}`; `providers.list` names those there are",
                params.provider
            ),
        ));
    }
    if store::agents::count(tx.conn()).map_err(fault)? >= max_agents {
        return Err(RpcError::new(
            RpcReason::Overloaded,
            format!("the daemon keeps at most {max_agents} agents"),
        ));
    }
    let summary = AgentSummary {
        id: AgentId::from_uuid(Uuid::now_v7()),
        title: title(&params),
        provider: params.provider,
        cwd: params.cwd,
        status: if params.prompt.is_some() {
            AgentStatus::Starting
        } else {
            AgentStatus::Idle
        },
        created_at: tx.now(),
        updated_at: tx.now(),
        attention: None,
        intent_id: Some(params.intent_id),
    };
    let n = store::agents::insert(tx.conn(), &summary).map_err(fault)?;
    let event = SessionEvent::AgentUpdated {
        agent: fit::agent(&summary, tx.content_bytes()).into_owned(),
    };
    tx.emit(Audience::Everyone(&summary.id), &event)?;
    let mut row = AgentRow {
        n,
        summary,
        next_index: 0,
    };
    if let Some(prompt) = params.prompt {
        queue(tx, supervisor, &mut row, params.intent_id, prompt)?;
    }
    Ok(AgentCreated {
        agent: fit::agent(&row.summary, tx.content_bytes()).into_owned(),
    })
}

/// `agents.send`, its text checked.
pub(super) fn send(
    tx: &mut Tx<'_>,
    supervisor: &Arc<Supervisor>,
    params: SendPrompt,
) -> Result<PromptSent, RpcError> {
    let mut row = timeline::find(tx.conn(), &params.agent_id)?;
    if row.summary.status == AgentStatus::Archived {
        return Err(RpcError::new(
            RpcReason::Unsupported,
            "the agent is archived and takes no more prompts",
        ));
    }
    if store::turns::count(tx.conn(), row.n).map_err(fault)? >= MAX_QUEUED {
        return Err(RpcError::new(
            RpcReason::Overloaded,
            format!("the agent has {MAX_QUEUED} prompts to work on; send it again later"),
        ));
    }
    if matches!(row.summary.status, AgentStatus::Idle | AgentStatus::Failed) {
        timeline::set_standing(tx, &mut row, AgentStatus::Starting, None)?;
    }
    let item_id = queue(tx, supervisor, &mut row, params.intent_id, params.text)?;
    Ok(PromptSent { item_id })
}

/// Puts a prompt into the timeline and into the agent's queue.
fn queue(
    tx: &mut Tx<'_>,
    supervisor: &Arc<Supervisor>,
    row: &mut AgentRow,
    intent: IntentId,
    prompt: String,
) -> Result<bowline_protocol::ItemId, RpcError> {
    if let Some(provider) = supervisor.provider(&row.summary.provider) {
        provider.check(&prompt)?;
    }
    let name = Uuid::now_v7().simple().to_string();
    store::turns::insert(tx.conn(), &name, row.n, &prompt, intent).map_err(fault)?;
    let item = timeline::append(tx, row, ItemKind::User, |item| {
        item.text = prompt;
        item.intent_id = Some(intent);
    })?;
    let (supervisor, agent) = (Arc::clone(supervisor), row.n);
    tx.after_commit(move || supervisor.kick(agent));
    Ok(item.id)
}

/// `agents.cancel`: ends the running turn; without one, the one that would run next; else nothing.
pub(super) fn cancel(
    tx: &mut Tx<'_>,
    supervisor: &Arc<Supervisor>,
    agent: &AgentId,
) -> Result<Empty, RpcError> {
    let mut row = timeline::find(tx.conn(), agent)?;
    match store::turns::first(tx.conn(), row.n).map_err(fault)? {
        Some(turn) if turn.started => {
            let (supervisor, agent) = (Arc::clone(supervisor), row.n);
            tx.after_commit(move || supervisor.cancel(agent, turn.id));
        }
        Some(turn) => {
            timeline::end_turn(tx, &mut row, turn.id, &TurnEnd::cancelled())?;
            supervisor::settle(tx, &mut row, TurnStatus::Cancelled, false)?;
        }
        None => {}
    }
    Ok(Empty {})
}

/// `agents.archive`: ends the running turn, drops the queued ones, takes no more.
pub(super) fn archive(
    tx: &mut Tx<'_>,
    supervisor: &Arc<Supervisor>,
    agent: &AgentId,
) -> Result<Empty, RpcError> {
    let mut row = timeline::find(tx.conn(), agent)?;
    for turn in store::turns::of_agent(tx.conn(), row.n).map_err(fault)? {
        if turn.started {
            let (supervisor, agent) = (Arc::clone(supervisor), row.n);
            tx.after_commit(move || supervisor.cancel(agent, turn.id));
        } else {
            timeline::end_turn(tx, &mut row, turn.id, &TurnEnd::cancelled())?;
        }
    }
    timeline::set_standing(tx, &mut row, AgentStatus::Archived, None)?;
    Ok(Empty {})
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params(title: Option<&str>, prompt: Option<&str>, cwd: &str) -> CreateAgent {
        CreateAgent {
            intent_id: IntentId::from_uuid(Uuid::nil()),
            provider: "shell".to_owned(),
            cwd: cwd.to_owned(),
            title: title.map(str::to_owned),
            prompt: prompt.map(str::to_owned),
        }
    }

    #[test]
    fn a_title_comes_from_what_is_there() {
        assert_eq!(title(&params(Some(" Mine "), Some("p"), "/x")), "Mine");
        assert_eq!(
            title(&params(None, Some("\n  first\nsecond"), "/x")),
            "first"
        );
        assert_eq!(title(&params(Some("  "), None, "/home/me/code")), "code");
        assert_eq!(title(&params(None, None, "/")), "shell");
        let long = title(&params(Some(&"é".repeat(500)), None, "/"));
        assert_eq!(long.chars().count(), MAX_TITLE);
    }

    #[test]
    fn a_working_directory_must_be_absolute_and_there() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        std::fs::write(&file, "").unwrap();
        assert!(check_cwd(dir.path().to_str().unwrap()).is_ok());
        for (cwd, says) in [
            ("relative/dir", "absolute"),
            ("", "absolute"),
            (file.to_str().unwrap(), "directory"),
            (dir.path().join("none").to_str().unwrap(), "cannot be used"),
        ] {
            let error = check_cwd(cwd).unwrap_err();
            assert_eq!(error.code, bowline_protocol::error::code::INVALID_PARAMS);
            assert!(error.message.contains(says), "{}", error.message);
        }
    }

    #[test]
    fn prompts_are_bounded_and_fit_for_a_program() {
        assert!(check_prompt("text", "echo hi").is_ok());
        assert!(check_prompt("text", " \n").is_err());
        assert!(check_prompt("text", "a\0b").is_err());
        assert!(check_prompt("text", &"x".repeat(MAX_PROMPT)).is_ok());
        assert!(check_prompt("text", &"x".repeat(MAX_PROMPT + 1)).is_err());
    }
}
