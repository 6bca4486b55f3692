//! The directory of agents: what clients see of each, and what only this service knows of it.
//!
//! | table | key | row |
//! |---|---|---|
//! | `agents` | the agent's id | what clients see; they may follow it |
//! | `agents.books` | the same | its number, and how much of its timeline is dropped |
//! | `agents.numbers` | its number | its id: the order of listings |
//! | `agents.counters` | [`ALL`] | the last numbers of agents and turns |
//!
//! Names, keys and rows are stored formats: a member added later needs a default.

use bowline_daemon::ledger::{Holding, Owner, Stored, Table, Tx};
use bowline_protocol::{AgentId, AgentSummary, RpcReason, error::RpcError};
use serde::{Deserialize, Serialize};

/// What clients see.
pub(super) const AGENTS: Table<AgentSummary> = Table::new("agents").apart().charged_to_creator();
const BOOKS: Table<Book> = Table::new("agents.books").apart().charged_to_creator();
const NUMBERS: Table<AgentId> = Table::new("agents.numbers").apart().charged_to_creator();
const COUNTERS: Table<Counters> = Table::new("agents.counters").apart();
/// The only key of `agents.counters`.
const ALL: &str = "all";

/// What the service knows of an agent besides its summary.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Book {
    /// Its number: agents are numbered as they are created.
    pub(super) n: i64,
    /// Index of the last end of a turn: items before it do not grow any more, and may be dropped.
    pub(super) end: u64,
    /// Outputs before this index are dropped.
    pub(super) outputs_from: u64,
    /// Texts before this index are dropped.
    pub(super) texts_from: u64,
}

/// One agent.
#[derive(Clone, Debug)]
pub(super) struct AgentRow {
    /// What clients see.
    pub(super) summary: AgentSummary,
    /// The rest.
    pub(super) book: Book,
    /// Whom it and its timeline are charged to.
    pub(super) owner: Owner,
}

#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Counters {
    /// Number of agents.
    agents: u64,
    last_agent: i64,
    last_turn: i64,
}

/// The key of a number: in the order of numbers.
pub(super) fn number(n: i64) -> String {
    format!("{n:016x}")
}

fn counters(from: &impl Stored) -> Result<Counters, RpcError> {
    Ok(COUNTERS.get(from, ALL)?.unwrap_or_default())
}

/// Number of agents.
pub(super) fn count(from: &impl Stored) -> Result<u64, RpcError> {
    counters(from).map(|counters| counters.agents)
}

/// Takes the id of a turn: ids rise and are never used twice.
pub(super) fn turn_id(tx: &mut Tx<'_>) -> Result<i64, RpcError> {
    let mut counters = counters(tx)?;
    counters.last_turn = counters.last_turn.saturating_add(1);
    COUNTERS.put(tx, ALL, &counters)?;
    Ok(counters.last_turn)
}

/// What an account has of agents.
pub(super) fn held(from: &impl Stored, owner: Owner) -> Holding {
    AGENTS.held(from, owner)
}

/// Adds an agent, charged to whoever the job runs for.
pub(super) fn insert(tx: &mut Tx<'_>, summary: AgentSummary) -> Result<AgentRow, RpcError> {
    let mut counters = counters(tx)?;
    counters.agents = counters.agents.saturating_add(1);
    counters.last_agent = counters.last_agent.saturating_add(1);
    COUNTERS.put(tx, ALL, &counters)?;
    let (id, n) = (summary.id.as_str(), counters.last_agent);
    let book = Book {
        n,
        ..Book::default()
    };
    AGENTS.put(tx, id, &summary)?;
    BOOKS.put(tx, id, &book)?;
    NUMBERS.put(tx, &number(n), &summary.id)?;
    Ok(AgentRow {
        summary,
        book,
        owner: tx.owner(),
    })
}

/// What clients see of an agent.
///
/// # Errors
/// `not_found`.
pub(super) fn summary(from: &impl Stored, id: &AgentId) -> Result<AgentSummary, RpcError> {
    AGENTS
        .get(from, id.as_str())?
        .ok_or_else(|| RpcError::new(RpcReason::NotFound, format!("no agent `{id}`")))
}

/// The agent with that id.
///
/// # Errors
/// `not_found`.
pub(super) fn find(from: &impl Stored, id: &AgentId) -> Result<AgentRow, RpcError> {
    let summary = summary(from, id)?;
    let (book, owner) = known(from, id)?;
    Ok(AgentRow {
        summary,
        book,
        owner,
    })
}

/// What the service knows of an agent that exists, and whom it is charged to.
pub(super) fn known(from: &impl Stored, id: &AgentId) -> Result<(Book, Owner), RpcError> {
    let missing = || RpcError::internal(format!("what is known of agent `{id}` is missing"));
    let book = BOOKS.get(from, id.as_str())?.ok_or_else(missing)?;
    let owner = BOOKS.owner(from, id.as_str())?.ok_or_else(missing)?;
    Ok((book, owner))
}

/// The agent with that number; a turn's agent always exists.
pub(super) fn numbered(from: &impl Stored, n: i64) -> Result<AgentRow, RpcError> {
    let id = NUMBERS.get(from, &number(n))?;
    let id = id.ok_or_else(|| RpcError::internal(format!("agent number {n} is missing")))?;
    find(from, &id)
}

/// Stores what clients see of an agent.
pub(super) fn update(tx: &mut Tx<'_>, summary: &AgentSummary) -> Result<(), RpcError> {
    AGENTS.put(tx, summary.id.as_str(), summary)
}

/// Stores what the service knows of an agent.
pub(super) fn write(tx: &mut Tx<'_>, id: &AgentId, book: &Book) -> Result<(), RpcError> {
    BOOKS.put(tx, id.as_str(), book)
}

/// Agents in the order of their numbers: at most `limit` after the cursor, with the cursor of each.
pub(super) fn page(
    from: &impl Stored,
    cursor: Option<&str>,
    newest_first: bool,
    limit: usize,
) -> Result<Vec<(String, AgentSummary)>, RpcError> {
    let page = if newest_first {
        NUMBERS.page_back(from, cursor, limit)?
    } else {
        NUMBERS.page(from, cursor.unwrap_or_default(), limit)?
    };
    page.into_iter()
        .map(|(key, id)| Ok((key, summary(from, &id)?)))
        .collect()
}

/// The ids of at most `limit` agents after this one, in the order of ids; those that are none are
/// left out. With the last key, to go on after.
pub(super) fn ids(
    from: &impl Stored,
    after: &str,
    limit: usize,
) -> Result<(Vec<AgentId>, Option<String>), RpcError> {
    let page = BOOKS.entries(from, after, limit)?;
    let last = page.last().map(|(key, _)| key.clone());
    let ids = page.into_iter().filter_map(|(key, _)| key.parse().ok());
    Ok((ids.collect(), last))
}
