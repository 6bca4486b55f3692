//! The places of running turns, and the order of the agents that wait for one.
//!
//! ```text
//!        kick        room                 last turn ended
//!  idle ──────► ? ─────────► runs ───────────────────────► idle
//!               │             │ ▲
//!               │ no room     │ │ room: the first in order
//!               └───► waits ◄─┘ │
//!                       └───────┘
//! ```

use std::{
    collections::{HashMap, VecDeque},
    sync::Weak,
};

use tokio::sync::watch;

use super::{Supervisor, turns::Asker};

/// Turns blocked on entering a folder or starting a program that do not count as running.
const SET_ASIDE: usize = 96;

/// Which agents run, and which wait because `max_runs` turns run, or as many of a device as may.
pub(super) struct Places {
    max_runs: usize,
    /// By agent number.
    runs: HashMap<i64, AgentRun>,
    waiting: VecDeque<Waiting>,
    next_ticket: u64,
    changes: VecDeque<Change>,
}

/// What follows from a change of the places.
#[derive(Debug)]
pub(super) enum Change {
    /// The agent runs: its task is started, and told the turn to cancel here (zero for none).
    Runs(i64, watch::Receiver<i64>),
    /// The agent waits.
    Waits(i64),
}

struct Waiting {
    agent: i64,
    /// Its place in the order of those that wait.
    ticket: u64,
    /// Who has to have room first; unknown until the agent's next turn was looked at.
    for_whom: Option<Asker>,
}

struct AgentRun {
    /// The turn to cancel; zero for none.
    cancel: watch::Sender<i64>,
    /// Whether turns may have been queued since the run last checked.
    again: bool,
    /// Whether its turn blocks before its program runs, and therefore does not count as running.
    aside: bool,
    /// Whose turn it runs; unknown until that has a place.
    asker: Option<Asker>,
    /// Its place in the order if its turn has to wait.
    ticket: u64,
}

impl Places {
    /// Places for so many turns at a time, at least one.
    pub(super) fn new(max_runs: usize) -> Self {
        Self {
            max_runs: max_runs.max(1),
            runs: HashMap::new(),
            waiting: VecDeque::new(),
            next_ticket: 0,
            changes: VecDeque::new(),
        }
    }

    /// What follows from the changes so far, in order.
    pub(super) fn poll_change(&mut self) -> Option<Change> {
        self.changes.pop_front()
    }

    /// Whether no agent runs.
    pub(super) fn is_idle(&self) -> bool {
        self.runs.is_empty()
    }

    /// Turns of this agent may have been queued.
    pub(super) fn kick(&mut self, agent: i64) {
        if let Some(run) = self.runs.get_mut(&agent) {
            run.again = true;
        } else if let Some(waiting) = self.waiting.iter_mut().find(|it| it.agent == agent) {
            // Its next turn may be another one than before.
            waiting.for_whom = None;
            self.fill();
        } else {
            let ticket = self.ticket();
            if self.has_capacity() {
                self.begin(agent, ticket, None);
            } else {
                self.wait(agent, ticket, None);
            }
        }
    }

    /// Gives the agent's run a place for a turn of that device, if it may have one more.
    pub(super) fn take(&mut self, agent: i64, asker: &Asker) -> bool {
        let has_place = self.has_place(agent, asker);
        // Its next turn waits behind those that wait by then.
        let next = has_place.then(|| self.ticket());
        if let Some(run) = self.runs.get_mut(&agent) {
            run.asker = has_place.then_some(*asker);
            run.ticket = next.unwrap_or(run.ticket);
        }
        // The run may have been another device's before.
        self.fill();
        has_place
    }

    /// Says whether the agent's turn blocks before its program runs. A turn that goes on counts
    /// again even if that exceeds the limit.
    pub(super) fn set_aside(&mut self, agent: i64, aside: bool) {
        if let Some(run) = self.runs.get_mut(&agent) {
            run.aside = aside;
        }
        self.fill();
    }

    /// Tells the agent's run to end this turn.
    pub(super) fn cancel(&self, agent: i64, turn: i64) {
        if let Some(run) = self.runs.get(&agent) {
            run.cancel.send_replace(turn);
        }
    }

    /// Whether the agent's run has to look for turns again before it ends.
    pub(super) fn goes_on(&mut self, agent: i64) -> bool {
        let run = self.runs.get_mut(&agent);
        run.is_some_and(|run| std::mem::take(&mut run.again))
    }

    /// Ends the agent's run; with a device, its next turn waits for room for that.
    pub(super) fn leave(&mut self, agent: i64, waits_for: Option<Asker>) {
        let ended = self.runs.remove(&agent);
        if waits_for.is_some() {
            let ticket = ended.map_or(0, |run| run.ticket);
            self.wait(agent, ticket, waits_for);
        }
        self.fill();
    }

    /// Forgets the agents that wait.
    pub(super) fn clear_waiting(&mut self) {
        self.waiting.clear();
    }

    fn ticket(&mut self) -> u64 {
        self.next_ticket = self.next_ticket.saturating_add(1);
        self.next_ticket
    }

    /// Whether another turn may start.
    fn has_capacity(&self) -> bool {
        let aside = self.runs.values().filter(|run| run.aside).count();
        self.runs.len().saturating_sub(aside.min(SET_ASIDE)) < self.max_runs
    }

    /// Whether another turn of a device may run beside those of other agents: one device holds at
    /// most three quarters of the places, so that the others find some (TR-12).
    fn has_place(&self, agent: i64, asker: &Asker) -> bool {
        let runs = self.runs.iter();
        let held = runs.filter(|(other, run)| {
            **other != agent && !run.aside && run.asker.as_ref() == Some(asker)
        });
        let share = (self.max_runs - self.max_runs / 4).min(self.max_runs.saturating_sub(1));
        held.count() < share.max(1)
    }

    fn begin(&mut self, agent: i64, ticket: u64, asker: Option<Asker>) {
        let cancel = watch::Sender::new(0);
        self.changes
            .push_back(Change::Runs(agent, cancel.subscribe()));
        let run = AgentRun {
            cancel,
            again: false,
            aside: false,
            asker,
            ticket,
        };
        self.runs.insert(agent, run);
    }

    fn wait(&mut self, agent: i64, ticket: u64, for_whom: Option<Asker>) {
        let at = self.waiting.partition_point(|it| it.ticket < ticket);
        let waiting = Waiting {
            agent,
            ticket,
            for_whom,
        };
        self.waiting.insert(at, waiting);
        self.changes.push_back(Change::Waits(agent));
    }

    /// Starts waiting agents up to the limits, in the order they came.
    fn fill(&mut self) {
        while self.has_capacity() {
            let next = self.waiting.iter().position(|waiting| {
                let asker = waiting.for_whom.as_ref();
                asker.is_none_or(|asker| self.has_place(waiting.agent, asker))
            });
            let Some(next) = next.and_then(|next| self.waiting.remove(next)) else {
                return;
            };
            // The place is its own from now on.
            self.begin(next.agent, next.ticket, next.for_whom);
        }
    }
}

/// A run's share of the limit of running turns.
#[derive(Clone)]
pub(crate) struct RunPermit {
    supervisor: Weak<Supervisor>,
    agent: i64,
}

impl RunPermit {
    pub(super) const fn new(supervisor: Weak<Supervisor>, agent: i64) -> Self {
        Self { supervisor, agent }
    }

    /// Stops counting the turn, which blocks before its program runs: another turn may start.
    pub(crate) fn suspend(&self) {
        self.set_aside(true);
    }

    /// Counts the turn again, even if that exceeds the limit.
    pub(crate) fn resume(&self) {
        self.set_aside(false);
    }

    fn set_aside(&self, aside: bool) {
        if let Some(supervisor) = self.supervisor.upgrade() {
            supervisor.change(|places| places.set_aside(self.agent, aside));
        }
    }
}

#[cfg(test)]
mod tests {
    use bowline_protocol::PublicKey;

    use super::*;

    const ONE: Asker = Some(PublicKey::from_bytes([1; 32]));
    const OTHER: Asker = Some(PublicKey::from_bytes([2; 32]));

    /// The agents that began to run, and those that began to wait, since the last call.
    fn changed(places: &mut Places) -> (Vec<i64>, Vec<i64>) {
        let (mut run, mut wait) = (Vec::new(), Vec::new());
        while let Some(change) = places.poll_change() {
            match change {
                Change::Runs(agent, _) => run.push(agent),
                Change::Waits(agent) => wait.push(agent),
            }
        }
        (run, wait)
    }

    #[test]
    fn agents_without_a_place_run_in_the_order_they_came() {
        let mut places = Places::new(2);
        for agent in 1..=4 {
            places.kick(agent);
        }
        assert_eq!(changed(&mut places), (vec![1, 2], vec![3, 4]));
        places.leave(2, None);
        places.leave(1, None);
        assert_eq!(changed(&mut places), (vec![3, 4], vec![]));
        places.kick(3);
        assert!(places.goes_on(3) && !places.goes_on(3));
    }

    #[test]
    fn tr_12_a_device_leaves_a_place_to_others_and_keeps_its_turn_in_the_order() {
        let mut places = Places::new(2);
        places.kick(1);
        assert!(places.take(1, &ONE));
        places.kick(2);
        assert!(!places.take(2, &ONE), "the last place is for others");
        places.leave(2, Some(ONE));
        places.kick(3);
        assert!(places.take(3, &OTHER));
        assert_eq!(changed(&mut places), (vec![1, 2, 3], vec![2]));
        places.kick(4);
        places.leave(1, None);
        assert_eq!(changed(&mut places), (vec![2], vec![4]), "2 came before 4");
    }

    #[test]
    fn a_turn_set_aside_makes_room_and_exceeds_the_limit_when_it_goes_on() {
        let mut places = Places::new(1);
        places.kick(1);
        places.kick(2);
        places.kick(3);
        places.set_aside(1, true);
        assert_eq!(changed(&mut places), (vec![1, 2], vec![2, 3]));
        places.set_aside(1, false);
        places.leave(2, None);
        assert_eq!(changed(&mut places), (vec![], vec![]), "1 has the place");
        places.leave(1, None);
        assert_eq!(changed(&mut places), (vec![3], vec![]));
        assert!(!places.is_idle());
    }
}
