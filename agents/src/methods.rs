//! The methods of the agents service that read or change agents, inside their transactions.

use std::{path::Path, sync::Arc, time::Duration};

use bowline_daemon::{
    ledger::{Audience, Owner, Reader, Tx},
    rpc::{Bounded, bad_cursor, page_rows},
};
use bowline_protocol::{
    AgentId, AgentStatus, AgentSummary, IntentId, ItemKind, RpcReason, SessionEvent,
    error::RpcError,
    methods::{AgentCreated, AgentIntent, CreateAgent, Empty, ListAgents, PromptSent, SendPrompt},
    model::TurnStatus,
};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::value::RawValue;
use uuid::Uuid;

use super::{
    Agents, aging,
    directory::{self, AgentRow, number},
    fit, grants,
    provider::TurnEnd,
    queue, supervisor,
    timeline::{self, TIMELINE},
};

/// Largest prompt in bytes. It fits into one argument of a process and one page of history.
const MAX_PROMPT: usize = 64 * 1024;
/// Longest title in characters; a longer one is truncated.
const MAX_TITLE: usize = 120;
/// Longest working directory in bytes.
const MAX_CWD: usize = 4_096;
/// Prompts queued per agent, including the running one; over it the answer is `overloaded`.
const MAX_QUEUED: u64 = 64;
/// Time after which a prompt is sent again that is refused while old output is dropped.
const DROPPING: Duration = Duration::from_secs(10);

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct AgentsPage {
    #[schemars(with = "Vec<AgentSummary>")]
    agents: Vec<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_cursor: Option<String>,
    total: u64,
    seq: u64,
}

impl Agents {
    /// `agents.list`
    pub(super) fn list(
        &self,
        reader: &Reader<'_>,
        params: ListAgents,
    ) -> Result<AgentsPage, RpcError> {
        let from = params.cursor.as_deref().map(cursor).transpose()?;
        let limit = page_rows(params.limit);
        // One row more than the page shows whether there is a next page.
        let wanted = limit.saturating_add(1);
        let rows = directory::page(reader, from.as_deref(), params.newest_first, wanted)?;
        let most = reader.content_bytes();
        let mut page = Bounded::new(limit, reader.page_bytes());
        let mut last = None;
        let mut more = false;
        for (key, summary) in &rows {
            if !page.add(&*fit::agent(summary, most)) {
                more = true;
                break;
            }
            last = i64::from_str_radix(key, 16).ok();
        }
        Ok(AgentsPage {
            agents: page.finish()?,
            next_cursor: last.filter(|_| more).map(|n| n.to_string()),
            total: directory::count(reader)?,
            seq: reader.seq(),
        })
    }

    /// `agents.create`, with checked parameters.
    pub(super) fn create_checked(
        &self,
        tx: &mut Tx<'_>,
        params: CreateAgent,
    ) -> Result<AgentCreated, RpcError> {
        grants::check_provider(tx.grant(), &params.provider)?;
        if self.supervisor.provider(&params.provider).is_none() {
            return Err(RpcError::new(
                RpcReason::NotFound,
                self.supervisor.no_provider(&params.provider),
            ));
        }
        if directory::count(tx)? >= self.max_agents {
            return Err(RpcError::new(
                RpcReason::Overloaded,
                format!("the daemon keeps at most {} agents", self.max_agents),
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
        self.check_agents(tx)?;
        let event = SessionEvent::AgentUpdated {
            agent: fit::agent(&summary, tx.content_bytes()).into_owned(),
        };
        let row = directory::insert(tx, summary)?;
        TIMELINE.begin(tx, row.summary.id.as_str())?;
        tx.emit(Audience::Everyone(row.summary.id.as_str()), &event)?;
        if let Some(prompt) = params.prompt {
            self.queue(tx, &row, params.intent_id, prompt)?;
        }
        Ok(AgentCreated {
            agent: fit::agent(&row.summary, tx.content_bytes()).into_owned(),
        })
    }

    /// Refuses another agent of a device that has as many as it may.
    fn check_agents(&self, tx: &Tx<'_>) -> Result<(), RpcError> {
        let (owner, limit) = (tx.owner(), self.agents_per_device);
        if limit == 0 || directory::held(tx, owner).rows < limit {
            return Ok(());
        }
        let what = "has as many agents as it may, archived ones included: the daemon's owner can raise the limit";
        let quota = ("agents_per_device", limit);
        let refused = tx.over_quota(RpcReason::QuotaExceeded, (owner, ""), quota, what);
        refused.map_or(Ok(()), Err)
    }

    /// Refuses a prompt while the timelines of the caller's agents, or those of the device that
    /// created the agent, are far over their quota: they are shortened meanwhile. Whoever has no
    /// turn there is not refused for what the turns of others hold.
    fn check_timelines(&self, tx: &Tx<'_>, owner: Owner) -> Result<(), RpcError> {
        let limit = self.supervisor.keeper().bounds().timeline_bytes_per_device;
        let what =
            "has agents whose timelines take more than they may; old output is being dropped";
        for owner in [tx.owner(), owner] {
            if !holds_too_much(tx, owner, limit)? {
                continue;
            }
            let whose = (owner, "the device that created the agent");
            let quota = ("timeline_bytes_per_device", limit);
            if let Some(refused) = tx.over_quota(RpcReason::RateLimited, whose, quota, what) {
                return Err(refused.after(DROPPING));
            }
        }
        Ok(())
    }

    /// `agents.send`
    pub(super) fn send(&self, tx: &mut Tx<'_>, params: SendPrompt) -> Result<PromptSent, RpcError> {
        check_prompt("text", &params.text)?;
        let mut row = directory::find(tx, &params.agent_id)?;
        grants::check(tx.grant(), &row.summary)?;
        if row.summary.status == AgentStatus::Archived {
            return Err(RpcError::new(
                RpcReason::Unsupported,
                "the agent is archived and takes no more prompts",
            ));
        }
        if queue::count(tx, row.book.n)? >= MAX_QUEUED {
            return Err(RpcError::new(
                RpcReason::Overloaded,
                format!("the agent has {MAX_QUEUED} queued prompts; send it again later"),
            ));
        }
        if matches!(row.summary.status, AgentStatus::Idle | AgentStatus::Failed) {
            timeline::set_standing(tx, &mut row, AgentStatus::Starting, None)?;
        }
        let item_id = self.queue(tx, &row, params.intent_id, params.text)?;
        Ok(PromptSent { item_id })
    }

    /// Adds a prompt to the timeline and to the agent's queue.
    fn queue(
        &self,
        tx: &mut Tx<'_>,
        row: &AgentRow,
        intent: IntentId,
        prompt: String,
    ) -> Result<bowline_protocol::ItemId, RpcError> {
        if let Some(provider) = self.supervisor.provider(&row.summary.provider) {
            provider.check(&prompt)?;
        }
        self.check_timelines(tx, row.owner)?;
        let name = Uuid::now_v7().simple().to_string();
        queue::insert(tx, row, name, &prompt, intent)?;
        let item = timeline::append(tx, &row.summary.id, ItemKind::User, |item| {
            item.text = prompt;
            item.intent_id = Some(intent);
        })?;
        let (supervisor, n) = (Arc::clone(&self.supervisor), row.book.n);
        supervisor.keeper().grows(tx, &row.summary.id);
        tx.after_commit(move || supervisor.kick(n));
        Ok(item.id)
    }

    /// `agents.cancel`: ends the running turn; without one, removes the next queued turn, if any.
    pub(super) fn cancel(&self, tx: &mut Tx<'_>, params: AgentIntent) -> Result<Empty, RpcError> {
        let mut row = directory::find(tx, &params.agent_id)?;
        grants::check(tx.grant(), &row.summary)?;
        match queue::first(tx, row.book.n)? {
            Some(turn) if turn.started => {
                let (supervisor, agent) = (Arc::clone(&self.supervisor), row.book.n);
                tx.after_commit(move || supervisor.cancel(agent, turn.id));
            }
            Some(turn) => {
                timeline::end_turn(
                    tx,
                    self.supervisor.keeper(),
                    &mut row,
                    turn.id,
                    &TurnEnd::cancelled(),
                )?;
                supervisor::settle(tx, &mut row, TurnStatus::Cancelled, false)?;
                // The next one may be another device's, which has room.
                let (supervisor, agent) = (Arc::clone(&self.supervisor), row.book.n);
                tx.after_commit(move || supervisor.kick(agent));
            }
            None => {}
        }
        Ok(Empty {})
    }

    /// `agents.archive`: ends the running turn, drops the queued turns, and refuses further
    /// prompts.
    pub(super) fn archive(&self, tx: &mut Tx<'_>, params: AgentIntent) -> Result<Empty, RpcError> {
        let mut row = directory::find(tx, &params.agent_id)?;
        grants::check(tx.grant(), &row.summary)?;
        for turn in queue::of_agent(tx, row.book.n)? {
            if turn.started {
                let (supervisor, agent) = (Arc::clone(&self.supervisor), row.book.n);
                tx.after_commit(move || supervisor.cancel(agent, turn.id));
            } else {
                timeline::end_turn(
                    tx,
                    self.supervisor.keeper(),
                    &mut row,
                    turn.id,
                    &TurnEnd::cancelled(),
                )?;
            }
        }
        timeline::set_standing(tx, &mut row, AgentStatus::Archived, None)?;
        Ok(Empty {})
    }
}

/// The key of the number that a cursor of `agents.list` is.
fn cursor(text: &str) -> Result<String, RpcError> {
    text.parse().map(number).map_err(|_| bad_cursor())
}

/// Whether the timelines of an account's agents are far over its quota, and not only for the turns
/// of others than the caller.
fn holds_too_much(tx: &Tx<'_>, owner: Owner, quota: u64) -> Result<bool, RpcError> {
    let most = quota.saturating_add(quota / 8);
    if quota == 0 || !owner.has_quota() || aging::bytes_of(tx, owner) <= most {
        return Ok(false);
    }
    let turns = queue::unended(tx, owner, tx.device().as_ref())?;
    Ok(turns.own || !turns.any)
}

/// Checks that an agent can work in the folder, if `allowed` agrees. Accesses the file system: not
/// for the ledger's thread.
pub(super) fn check_cwd(
    cwd: &str,
    allowed: impl FnOnce(&Path) -> Result<(), RpcError>,
) -> Result<(), RpcError> {
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
    // First, so that nothing is told about what is outside.
    allowed(path)?;
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

/// Checks that a prompt can be passed to a program.
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
            "`{member}` contains a NUL character, which no program accepts"
        )));
    }
    Ok(())
}

/// The title: the one given, else the first line of the prompt, else the directory's name.
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
        let everywhere = |_: &Path| Ok(());
        assert!(check_cwd(dir.path().to_str().unwrap(), everywhere).is_ok());
        for (cwd, says) in [
            ("relative/dir", "absolute"),
            ("", "absolute"),
            (file.to_str().unwrap(), "directory"),
            (dir.path().join("none").to_str().unwrap(), "cannot be used"),
        ] {
            let error = check_cwd(cwd, everywhere).unwrap_err();
            assert_eq!(error.code, bowline_protocol::error::code::INVALID_PARAMS);
            assert!(error.message.contains(says), "{}", error.message);
        }
    }

    #[test]
    fn case_c22_prompts_are_bounded_and_fit_for_a_program() {
        assert!(check_prompt("text", "echo hi").is_ok());
        assert!(check_prompt("text", " \n").is_err());
        assert!(check_prompt("text", "a\0b").is_err());
        assert!(check_prompt("text", &"x".repeat(MAX_PROMPT)).is_ok());
        let refused = check_prompt("text", &"x".repeat(MAX_PROMPT + 1)).unwrap_err();
        assert!(refused.message.contains("65536"), "{}", refused.message);
    }
}
