//! The recurring work of one host that no input causes: the sweep over its screens, streams and
//! timelines, and the maintenance of its outbox.
//!
//! Maintenance adopts the intents of processes that have ended, and opens an outbox that could not
//! be opened. The first is rarely needed and reads files, so it runs once a minute; an unavailable
//! outbox refuses intents, so each sweep tries it again (C8).

use std::time::Duration;

use crate::{MonotonicTime, effects::EffectQueue};

/// Interval of sweeps.
pub const SWEEP: Duration = Duration::from_secs(5);
/// Interval of maintenance while the outbox is available.
pub const ADOPTION: Duration = Duration::from_secs(60);

/// Status of a host's outbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OutboxStatus {
    /// It takes intents, or is paused on request.
    Available,
    /// It could not be opened.
    Unavailable,
    /// Its last maintenance has not ended.
    InMaintenance,
}

/// Effects for the driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Effect {
    /// Report dropped screens and streams, then sweep the host's data.
    Sweep,
    /// Maintain the outbox, without waiting for it.
    MaintainOutbox,
}

/// The clocks of the recurring work.
#[derive(Clone, Debug)]
pub struct Upkeep {
    sweep_at: MonotonicTime,
    maintain_at: MonotonicTime,
    effects: EffectQueue<Effect>,
}

impl Upkeep {
    /// A sweep is due now, and maintenance at the sweep after it.
    pub fn new(now: MonotonicTime) -> Self {
        Self {
            sweep_at: now,
            maintain_at: now + SWEEP,
            effects: EffectQueue::default(),
        }
    }

    /// When to call [`Upkeep::handle_timeout`] next.
    pub const fn poll_timeout(&self) -> MonotonicTime {
        self.sweep_at
    }

    /// Call when [`Upkeep::poll_timeout`] has passed; an earlier call does nothing.
    pub fn handle_timeout(&mut self, now: MonotonicTime, outbox: OutboxStatus) {
        if now < self.sweep_at {
            return;
        }
        self.sweep_at = now + SWEEP;
        self.effects.push(Effect::Sweep);
        let is_due = match outbox {
            OutboxStatus::Available => self.maintain_at <= now,
            OutboxStatus::Unavailable => true,
            OutboxStatus::InMaintenance => false,
        };
        if is_due {
            self.maintain_at = now + ADOPTION;
            self.effects.push(Effect::MaintainOutbox);
        }
    }

    /// The next effect to execute.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fires at every timeout up to `seconds` and returns the seconds of each maintenance.
    fn maintained(seconds: u64, outbox: impl Fn(u64) -> OutboxStatus) -> Vec<u64> {
        let mut upkeep = Upkeep::new(MonotonicTime::default());
        let mut at = Vec::new();
        while upkeep.poll_timeout() <= MonotonicTime::from_millis(seconds * 1_000) {
            let now = upkeep.poll_timeout();
            let second = now.as_millis() / 1_000;
            upkeep.handle_timeout(now, outbox(second));
            assert_eq!(upkeep.poll_effect(), Some(Effect::Sweep), "{second}");
            at.extend(upkeep.poll_effect().map(|_| second));
            upkeep.handle_timeout(now, OutboxStatus::Unavailable);
            assert_eq!(upkeep.poll_effect(), None, "an early call does nothing");
        }
        at
    }

    #[test]
    fn bx_1_intents_of_ended_processes_are_adopted_within_seconds_and_then_each_minute() {
        assert_eq!(maintained(130, |_| OutboxStatus::Available), [5, 65, 125]);
    }

    #[test]
    fn case_c8_an_outbox_that_cannot_be_opened_is_tried_at_every_sweep() {
        let ill_until_20 = |second| match second {
            0..20 => OutboxStatus::Unavailable,
            20.. => OutboxStatus::Available,
        };
        assert_eq!(maintained(80, ill_until_20), [0, 5, 10, 15, 75]);
    }

    #[test]
    fn a_maintenance_that_hangs_is_not_followed_by_another() {
        let hangs = |second| match second {
            0..10 => OutboxStatus::Available,
            10..100 => OutboxStatus::InMaintenance,
            100.. => OutboxStatus::Available,
        };
        assert_eq!(maintained(120, hangs), [5, 100]);
    }
}
