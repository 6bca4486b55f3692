//! The task of one agent: it runs the agent's turns one after the other.

use std::{convert::Infallible, path::PathBuf, sync::Arc};

use bowline_daemon::ledger::Tx;
use bowline_program::watch::caught;
use tokio::sync::watch;

use super::{
    Supervisor,
    places::RunPermit,
    turns::{self, Asker, Claimed, Next},
};
use crate::{
    directory::AgentRow,
    grants,
    leftovers::{self, Daemons},
    provider::{Run, Turn, TurnEnd, insist},
    queue,
};

impl Supervisor {
    /// Runs an agent's turns one after the other until none is left, or the next one has to wait.
    pub(super) async fn serve(self: Arc<Self>, agent: i64, cancel: watch::Receiver<i64>) {
        loop {
            let waits_for = loop {
                let Claimed {
                    turn,
                    prompt,
                    row,
                    roots,
                } = match self.claim(agent).await {
                    Next::Turn(claimed) => *claimed,
                    Next::Waits(asker) => break Some(asker),
                    Next::Nothing => break None,
                };
                let (id, name) = (turn.id, turn.name.clone());
                let end = if turn.started {
                    // The task panicked after it started this turn, and was restarted.
                    broken_by_defect(name).await
                } else {
                    match caught(self.run((turn, prompt), row, roots, cancel.clone())).await {
                        Ok(end) => end,
                        Err(panic) => {
                            tracing::error!(
                                agent,
                                "a defect ended an agent's turn; please report it: {panic}"
                            );
                            broken_by_defect(name).await
                        }
                    }
                };
                self.record(agent, id, end).await;
            };
            let goes_on = self.change(|places| {
                let stopping = self.is_stopping();
                let goes_on = places.goes_on(agent) && !stopping;
                if !goes_on {
                    places.leave(agent, waits_for.filter(|_| !stopping));
                }
                goes_on
            });
            if !goes_on {
                break;
            }
        }
        self.ended.send_replace(());
    }

    /// Marks the agent's next turn as started, in a commit of its own. Returns the turn as it was
    /// before: a turn already marked as started must not run again.
    async fn claim(&self, agent: i64) -> Next {
        if self.is_stopping() {
            return Next::Nothing;
        }
        let mut shutdown = self.shutdown.subscribe();
        let job = || {
            let this = self.this.clone();
            let has_place = move |asker: &Asker| {
                let this = this.upgrade();
                this.is_some_and(|this| this.change(|places| places.take(agent, asker)))
            };
            let keeper = Arc::clone(&self.keeper);
            move |tx: &mut Tx<'_>| turns::claim(tx, &keeper, agent, has_place)
        };
        let stopped = shutdown.wait_for(|stopping| *stopping);
        let claimed = insist(&self.ledger, "a turn", job, stopped).await;
        claimed.unwrap_or(Next::Nothing)
    }

    async fn run(
        &self,
        (turn, prompt): (queue::Turn, String),
        row: AgentRow,
        roots: Option<Vec<String>>,
        cancel: watch::Receiver<i64>,
    ) -> TurnEnd {
        if let Some(roots) = roots
            && let Err(why) = self.check_roots(row.summary.cwd.clone(), roots).await
        {
            return TurnEnd::broken(why);
        }
        let Some(provider) = self.provider(&row.summary.provider) else {
            let text = self.no_provider(&row.summary.provider);
            return TurnEnd::broken(format!("The provider is no longer configured: {text}."));
        };
        let permit = RunPermit::new(self.this.clone(), row.book.n);
        // The previous turn may have been set aside.
        permit.resume();
        let run = Run {
            permit,
            ledger: self.ledger.clone(),
            keeper: Arc::clone(&self.keeper),
            agent: row.summary.id.clone(),
            turn: turn.id,
            tail: None,
            budget: self.max_output_bytes,
            truncated: false,
            cancel,
            shutdown: self.shutdown.subscribe(),
        };
        let turn = Turn {
            agent: row.summary.id,
            name: turn.name,
            prompt,
            cwd: PathBuf::from(row.summary.cwd),
        };
        provider.run(turn, run).await
    }

    /// Checks again that the agent's folder is one that the turn's device may use: links may have
    /// changed (TR-4).
    async fn check_roots(&self, cwd: String, roots: Vec<String>) -> Result<(), String> {
        let checked = self.folders.run(move || grants::within(&cwd, &roots)).await;
        match checked {
            Ok(verdict) => verdict.map(drop).map_err(|error| error.message),
            Err(error) => Err(format!(
                "The agent's folder could not be checked against what the device may use: {error}."
            )),
        }
    }

    /// Records the end of a turn and retries until the store takes it; the agent runs no other turn
    /// before.
    async fn record(&self, agent: i64, turn: i64, end: TurnEnd) {
        let job = || {
            let (end, keeper) = (end.clone(), Arc::clone(&self.keeper));
            move |tx: &mut Tx<'_>| turns::record(tx, &keeper, agent, turn, &end)
        };
        let never = std::future::pending::<Infallible>();
        let Ok(()) = insist(&self.ledger, "the end of a turn", job, never).await;
    }
}

/// Ends the processes of a turn whose task panicked, and returns the end of the turn.
async fn broken_by_defect(name: String) -> TurnEnd {
    leftovers::end(vec![name], Daemons::End).await;
    TurnEnd::broken(
        "A defect of the daemon ended this turn; please report it with the daemon's log. The agent takes further prompts.",
    )
}
