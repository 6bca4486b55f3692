//! Turns that have not ended. A turn starts once: it is marked and committed before it runs.
//!
//! Their rows are in `agents.turns`, the prompts under the same keys in `agents.prompts`. The key
//! of a turn begins with the number of its agent, then comes its own: an agent's turns are one run
//! of the table, in the order in which they were asked for.

use bowline_daemon::ledger::{ByteTable, Owner, Stored, Table, Tx};
use bowline_protocol::{DeviceId, IntentId, PublicKey, error::RpcError};
use serde::{Deserialize, Serialize};

use super::directory::{self, AgentRow, number};

const TURNS: Table<Turn> = Table::new("agents.turns").apart();
const PROMPTS: ByteTable = ByteTable::new("agents.prompts").apart();
/// Rows read at once, where more than one may be wanted: more than an agent can have.
const PAGE: usize = 65;

/// One turn.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Turn {
    pub(super) id: i64,
    /// The name in the environment of its processes.
    pub(super) name: String,
    /// Number of its agent.
    pub(super) agent: i64,
    /// Whom the agent is charged to.
    owner: String,
    pub(super) started: bool,
    /// What asked for it.
    intent: IntentId,
    /// The device that asked for it; `None` for the owner on the local socket, and for a turn that
    /// outlives its device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) device: Option<PublicKey>,
}

impl Turn {
    fn key(&self) -> String {
        key(self.agent, self.id)
    }
}

fn key(agent: i64, id: i64) -> String {
    format!("{}/{}", number(agent), number(id))
}

/// The beginning of the keys of an agent's turns.
fn prefix(agent: i64) -> String {
    format!("{}/", number(agent))
}

/// Queues the turn of an intent.
pub(super) fn insert(
    tx: &mut Tx<'_>,
    row: &AgentRow,
    name: String,
    prompt: &str,
    intent: IntentId,
) -> Result<(), RpcError> {
    let turn = Turn {
        id: directory::turn_id(tx)?,
        name,
        agent: row.book.n,
        owner: row.owner.to_string(),
        started: false,
        intent,
        device: tx.device(),
    };
    PROMPTS.put(tx, &turn.key(), prompt.as_bytes())?;
    TURNS.put(tx, &turn.key(), &turn)
}

/// Passes the turns whose keys have this beginning to `each`, in order, until it returns `false`.
fn walk(
    from: &impl Stored,
    prefix: &str,
    limit: usize,
    mut each: impl FnMut(Turn) -> bool,
) -> Result<(), RpcError> {
    let mut after = prefix.to_owned();
    loop {
        let page = TURNS.entries(from, &after, limit)?;
        let Some((last, _)) = page.last() else {
            return Ok(());
        };
        after.clone_from(last);
        for (key, turn) in page {
            if !key.starts_with(prefix) {
                return Ok(());
            }
            match turn {
                Ok(turn) => {
                    if !each(turn) {
                        return Ok(());
                    }
                }
                // It must not keep the others from their end.
                Err(error) => tracing::error!(key, %error, "a turn is damaged and left as it is"),
            }
        }
    }
}

fn all_of(
    from: &impl Stored,
    prefix: &str,
    is_wanted: impl Fn(&Turn) -> bool,
) -> Result<Vec<Turn>, RpcError> {
    let mut turns = Vec::new();
    walk(from, prefix, PAGE, |turn| {
        if is_wanted(&turn) {
            turns.push(turn);
        }
        true
    })?;
    turns.sort_by_key(|turn| turn.id);
    Ok(turns)
}

/// Every turn that has not ended, oldest first; for the start and for changes of the lock.
pub(super) fn all(from: &impl Stored) -> Result<Vec<Turn>, RpcError> {
    all_of(from, "", |_| true)
}

/// Turns that a device asked for, oldest first.
pub(super) fn of_device(from: &impl Stored, device: &PublicKey) -> Result<Vec<Turn>, RpcError> {
    all_of(from, "", |turn| turn.device.as_ref() == Some(device))
}

/// The agent's turns, oldest first.
pub(super) fn of_agent(from: &impl Stored, agent: i64) -> Result<Vec<Turn>, RpcError> {
    all_of(from, &prefix(agent), |_| true)
}

/// The agent's oldest turn.
pub(super) fn first(from: &impl Stored, agent: i64) -> Result<Option<Turn>, RpcError> {
    let mut first = None;
    walk(from, &prefix(agent), 1, |turn| {
        first = Some(turn);
        false
    })?;
    Ok(first)
}

/// Number of the agent's turns that have not ended.
pub(super) fn count(from: &impl Stored, agent: i64) -> Result<u64, RpcError> {
    let mut count = 0;
    walk(from, &prefix(agent), PAGE, |_| {
        count += 1;
        true
    })?;
    Ok(count)
}

/// The prompt of a turn.
pub(super) fn prompt(from: &impl Stored, turn: &Turn) -> Result<String, RpcError> {
    let prompt = PROMPTS.get(from, &turn.key())?.map(String::from_utf8);
    match prompt {
        Some(Ok(prompt)) => Ok(prompt),
        Some(Err(_)) | None => Err(RpcError::internal(format!(
            "the prompt of turn {} is missing",
            turn.id
        ))),
    }
}

/// Marks a turn as started.
pub(super) fn start(tx: &mut Tx<'_>, turn: &Turn) -> Result<(), RpcError> {
    let started = Turn {
        started: true,
        ..turn.clone()
    };
    TURNS.put(tx, &turn.key(), &started)
}

/// Ends a turn and returns the intent that requested it.
pub(super) fn end(tx: &mut Tx<'_>, agent: i64, id: i64) -> Result<Option<IntentId>, RpcError> {
    let key = key(agent, id);
    let turn = TURNS.get(tx, &key)?;
    TURNS.remove(tx, &key)?;
    PROMPTS.remove(tx, &key)?;
    Ok(turn.map(|turn| turn.intent))
}

/// Lets the turns of a device go on without it; returns how many.
pub(super) fn disown(tx: &mut Tx<'_>, device: &DeviceId) -> Result<u64, RpcError> {
    let is_theirs = |turn: &Turn| {
        let of = turn.device.as_ref().map(DeviceId::of_public_key);
        of.as_ref() == Some(device)
    };
    let mut turns = all_of(tx, "", is_theirs)?;
    for turn in &mut turns {
        turn.device = None;
        TURNS.put(tx, &turn.key(), turn)?;
    }
    Ok(turns.len() as u64)
}

/// Whose turns on the agents of an account have not ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Unended {
    /// Whether anyone has one.
    pub(super) any: bool,
    /// Whether that device has one; `None` is the owner on the local socket.
    pub(super) own: bool,
}

/// The turns on the agents of an account that have not ended. Looks at all turns.
pub(super) fn unended(
    from: &impl Stored,
    owner: Owner,
    device: Option<&PublicKey>,
) -> Result<Unended, RpcError> {
    let (owner, mut unended) = (owner.to_string(), Unended::default());
    walk(from, "", PAGE, |turn| {
        if turn.owner == owner {
            unended.any = true;
            unended.own |= turn.device.as_ref() == device;
        }
        !unended.own
    })?;
    Ok(unended)
}

/// The numbers of agents with turns that wait, each once.
pub(super) fn waiting(turns: &[Turn]) -> Vec<i64> {
    let waiting = turns.iter().filter(|turn| !turn.started);
    let mut agents: Vec<i64> = waiting.map(|turn| turn.agent).collect();
    agents.sort_unstable();
    agents.dedup();
    agents
}
