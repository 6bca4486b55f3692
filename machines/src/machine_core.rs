//! What every machine with logged transitions consists of besides its own data: the state with its
//! only writer, the effects, the transition records and the counters.

use bowline_protocol::Reason;

use crate::{Generation, Path, Transition, effects::EffectQueue};

/// The states of a machine, with the transitions that are in its table.
pub(crate) trait Table {
    /// Name of the machine in logs.
    const MACHINE: &'static str;

    /// Name of the state in logs, in snake_case.
    fn name(&self) -> &'static str;

    /// Whether the transition from this state to `to` is in the table; no other is made.
    fn may_become(&self, to: &Self) -> bool;
}

/// State `S` and outputs of a machine with effects `E`. Small, because a daemon keeps thousands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MachineCore<S, E> {
    state: S,
    stale: u32,
    refused: u32,
    /// The effects that the driver has not executed yet.
    pub(crate) effects: EffectQueue<E>,
    transitions: EffectQueue<Transition>,
}

impl<S: Table + Default, E> Default for MachineCore<S, E> {
    fn default() -> Self {
        Self::new(S::default())
    }
}

impl<S: Table, E> MachineCore<S, E> {
    /// A machine in its first state.
    pub(crate) fn new(state: S) -> Self {
        Self {
            state,
            stale: 0,
            refused: 0,
            effects: EffectQueue::default(),
            transitions: EffectQueue::default(),
        }
    }

    /// The current state.
    pub(crate) const fn state(&self) -> &S {
        &self.state
    }

    /// The data of the current state, for changes that are no transitions.
    pub(crate) const fn state_mut(&mut self) -> &mut S {
        &mut self.state
    }

    /// Makes a transition and records it; one outside the table is only counted.
    pub(crate) fn set(
        &mut self,
        to: S,
        event: &'static str,
        path: Option<Path>,
        generation: Option<Generation>,
        reason: Option<Reason>,
    ) {
        if !self.state.may_become(&to) {
            self.refused = self.refused.saturating_add(1);
            return;
        }
        self.transitions.push(Transition {
            machine: S::MACHINE,
            from: self.state.name(),
            to: to.name(),
            event,
            path,
            generation,
            reason,
        });
        self.state = to;
    }

    /// Adds an effect for the driver.
    pub(crate) fn push(&mut self, effect: E) {
        self.effects.push(effect);
    }

    /// Counts a stale input, which is dropped.
    pub(crate) const fn count_stale(&mut self) {
        self.stale = self.stale.saturating_add(1);
    }

    pub(crate) const fn stale(&self) -> u32 {
        self.stale
    }

    pub(crate) const fn refused(&self) -> u32 {
        self.refused
    }

    pub(crate) fn poll_transition(&mut self) -> Option<Transition> {
        self.transitions.pop()
    }
}

/// The methods that every machine has by its field `core`, a [`MachineCore`].
macro_rules! outputs {
    ($state:ty, $effect:ty) => {
        /// The next effect to execute.
        pub fn poll_effect(&mut self) -> Option<$effect> {
            self.core.effects.pop()
        }

        /// The next transition record for the log.
        pub fn poll_transition(&mut self) -> Option<$crate::Transition> {
            self.core.poll_transition()
        }

        /// The current state.
        pub const fn state(&self) -> &$state {
            self.core.state()
        }

        /// Stale inputs, which were dropped and changed nothing (INV-10).
        pub const fn stale(&self) -> u32 {
            self.core.stale()
        }

        /// Transitions outside the table, which were not made; nonzero is a defect.
        pub const fn refused(&self) -> u32 {
            self.core.refused()
        }
    };
}

pub(crate) use outputs;
