//! The stored side of turns: which one is next, how it is marked as started, and its end.

use std::sync::Arc;

use bowline_daemon::ledger::{Ledger, Tx};
use bowline_protocol::{AgentStatus, ItemKind, PublicKey, error::RpcError, model::TurnStatus};

use crate::{
    directory::{self, AgentRow},
    grants,
    provider::TurnEnd,
    queue::{self, Turn},
    retention::Keeper,
    timeline,
};

/// Who asked for a turn: a device, or the owner on the local socket.
pub(super) type Asker = Option<PublicKey>;

/// A turn to run.
pub(super) struct Claimed {
    pub(super) turn: Turn,
    pub(super) prompt: String,
    pub(super) row: AgentRow,
    /// The only folders that its device may use.
    pub(super) roots: Option<Vec<String>>,
}

/// What an agent's run does next.
pub(super) enum Next {
    Turn(Box<Claimed>),
    /// Its turn waits until that one has room.
    Waits(Asker),
    Nothing,
}

/// Marks the agent's next turn as started if its device may still run it and has a place.
pub(super) fn claim(
    tx: &mut Tx<'_>,
    keeper: &Arc<Keeper>,
    agent: i64,
    has_place: impl FnOnce(&Asker) -> bool,
) -> Result<Next, RpcError> {
    if tx.is_locked() {
        return Ok(Next::Nothing);
    }
    let provider = directory::numbered(tx, agent)?.summary.provider;
    let turn = loop {
        let Some(turn) = queue::first(tx, agent)? else {
            return Ok(Next::Nothing);
        };
        let grant = match &turn.device {
            Some(device) => tx.grant_of(device)?,
            None => None,
        };
        let is_void = turn.device.is_some()
            && grant
                .as_ref()
                .is_none_or(|grant| !grants::may_prompt(grant, &provider));
        if turn.started || !is_void {
            break (turn, grant.and_then(|grant| grant.roots));
        }
        drop_turn(tx, keeper, &turn)?;
    };
    let (turn, roots) = turn;
    let mut row = directory::numbered(tx, agent)?;
    if !turn.started {
        if !has_place(&turn.device) {
            return Ok(Next::Waits(turn.device));
        }
        queue::start(tx, &turn)?;
        timeline::set_standing(tx, &mut row, AgentStatus::Running, None)?;
    }
    let prompt = queue::prompt(tx, &turn)?;
    Ok(Next::Turn(Box::new(Claimed {
        turn,
        prompt,
        row,
        roots,
    })))
}

/// Ends a turn that has not begun. One that has begun or ended meanwhile is left as it is.
pub(super) fn drop_turn(
    tx: &mut Tx<'_>,
    keeper: &Arc<Keeper>,
    turn: &Turn,
) -> Result<(), RpcError> {
    let of_agent = queue::of_agent(tx, turn.agent)?;
    if !of_agent.iter().any(|now| now.id == turn.id && !now.started) {
        return Ok(());
    }
    let mut row = directory::numbered(tx, turn.agent)?;
    timeline::end_turn(tx, keeper, &mut row, turn.id, &TurnEnd::cancelled())?;
    settle(tx, &mut row, TurnStatus::Cancelled, false)
}

/// Records the end of a turn in the timeline and in the agent's row.
pub(super) fn record(
    tx: &mut Tx<'_>,
    keeper: &Arc<Keeper>,
    agent: i64,
    turn: i64,
    end: &TurnEnd,
) -> Result<(), RpcError> {
    let mut row = directory::numbered(tx, agent)?;
    if let Some(error) = &end.error {
        timeline::append(tx, &row.summary.id, ItemKind::Error, |item| {
            item.text = timeline::said(error);
        })?;
    }
    timeline::end_turn(tx, keeper, &mut row, turn, end)?;
    settle(tx, &mut row, end.status, end.broken)
}

/// The agent's status after a turn has ended.
pub(crate) fn settle(
    tx: &mut Tx<'_>,
    row: &mut AgentRow,
    last: TurnStatus,
    broken: bool,
) -> Result<(), RpcError> {
    if row.summary.status == AgentStatus::Archived {
        return Ok(());
    }
    if queue::count(tx, row.book.n)? > 0 {
        return timeline::set_standing(tx, row, AgentStatus::Starting, None);
    }
    let attention = match last {
        TurnStatus::Completed => Some("finished"),
        TurnStatus::Failed | TurnStatus::Interrupted => Some("failed"),
        TurnStatus::Cancelled => None,
    };
    let status = if broken {
        AgentStatus::Failed
    } else {
        AgentStatus::Idle
    };
    timeline::set_standing(tx, row, status, attention)
}

/// Ends the turns that ran when the daemon was killed.
pub(super) fn mark_interrupted(tx: &mut Tx<'_>, keeper: &Arc<Keeper>) -> Result<(), RpcError> {
    let end = TurnEnd::interrupted("The daemon ended unexpectedly while this turn ran.");
    for turn in queue::all(tx)? {
        if turn.started {
            record(tx, keeper, turn.agent, turn.id, &end)?;
        }
    }
    Ok(())
}

/// Records in the agent's row that its turn waits for the limit of running turns.
pub(super) async fn tell_queued(ledger: Ledger, agent: i64) {
    let told = ledger.write(move |tx| {
        let mut row = directory::numbered(tx, agent)?;
        // Otherwise the turn has started by now.
        if row.summary.status == AgentStatus::Starting {
            timeline::set_standing(tx, &mut row, AgentStatus::Starting, Some("queued"))?;
        }
        Ok(())
    });
    if let Err(error) = told.await {
        tracing::warn!(%error, "cannot record that a turn waits");
    }
}
