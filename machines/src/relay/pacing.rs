//! The pauses between registrations with one relay.
//!
//! A daemon behind a relay is reached by nobody until it is back, so it tries often at first: a relay that restarts, a network
//! that blinked. What has failed many times will fail again: then the pauses grow to minutes, which an hour without a network
//! or a relay that is gone for good costs little. A relay that refuses is asked at the slowest
//! of the eager steps and sooner with the long ones, since only a person can change that. And two daemons of one identity (a copied state folder, a cloned machine) push each other out: each
//! lets the other be for longer every time, so that clients find one of them for minutes and not both for moments.

use std::time::Duration;

use bowline_protocol::{Reason, reason::Retry};

use super::RelayConfig;
use crate::backoff::{Backoff, Pace};

/// Counts failures of one link and draws the pauses after them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pacing {
    eager: Backoff,
    patient: Backoff,
    contested: Backoff,
    /// Attempts with the eager pauses before the patient ones begin.
    patience: u32,
    /// Registrations and attempts that ended since one has lasted.
    failures: u32,
    lasting: Duration,
}

/// How eager to be after a reason, while that is eager at all.
pub(super) const fn pace(reason: Reason) -> Pace {
    match reason.retry() {
        Retry::Soon => Pace::Soon,
        Retry::Backoff => Pace::Usual,
        Retry::Never | Retry::AfterUserAction => Pace::Slowest,
    }
}

impl Pacing {
    pub(super) const fn new(config: &RelayConfig) -> Self {
        Self {
            eager: Backoff::new(config.backoff, config.jitter_seed),
            patient: Backoff::new(config.patient, config.jitter_seed ^ 1),
            contested: Backoff::new(config.contested, config.jitter_seed ^ 2),
            patience: config.patience,
            failures: 0,
            lasting: config.backoff.reset_after,
        }
    }

    /// A registration has lasted so long.
    pub(super) fn lasted(&mut self, time: Duration) {
        for backoff in [&mut self.eager, &mut self.patient, &mut self.contested] {
            backoff.succeeded_for(time);
        }
        if time >= self.lasting {
            self.failures = 0;
        }
    }

    /// Counts a failure and draws the pause after it.
    pub(super) fn fail(&mut self, reason: Reason) -> Duration {
        self.failures = self.failures.saturating_add(1);
        if reason == Reason::Replaced {
            let pause = self.contested.fail(Pace::Steady);
            // Counted twice, so that the pauses grow fourfold: both sides must soon be apart by minutes.
            self.contested.fail(Pace::Steady);
            return pause;
        }
        let patience = if reason.is_recoverable() {
            self.patience
        } else {
            self.patience / 2
        };
        if self.failures > patience {
            return self.patient.fail(Pace::Steady);
        }
        self.eager.fail(pace(reason))
    }

    /// Failures since a registration has lasted.
    pub(super) const fn failures(&self) -> u32 {
        self.failures
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pauses(reason: Reason, within: Duration) -> Vec<Duration> {
        let mut pacing = Pacing::new(&RelayConfig::new(7));
        let (mut pauses, mut sum) = (Vec::new(), Duration::ZERO);
        while sum < within {
            let pause = pacing.fail(reason);
            sum += pause;
            pauses.push(pause);
        }
        pauses
    }

    /// C52: sixteen dead relays were tried every 2 to 4 s for ever.
    #[test]
    fn case_c52_a_relay_that_is_gone_is_tried_often_at_first_and_then_every_few_minutes() {
        let config = RelayConfig::new(7);
        let tries = pauses(Reason::Unreachable, Duration::from_secs(900));
        assert!((16..=40).contains(&tries.len()), "{}", tries.len());
        assert!(
            tries
                .iter()
                .take(16)
                .all(|pause| *pause <= config.backoff.cap)
        );
        let day = pauses(Reason::Unreachable, Duration::from_secs(86_400));
        assert!(day.iter().all(|pause| *pause <= config.patient.cap));
        assert!(day.len() < 700, "{}", day.len());
    }

    /// C42: two copies of one daemon registered 42 times in four minutes.
    #[test]
    fn case_c42_two_daemons_of_one_identity_soon_leave_each_other_alone_for_minutes() {
        let fight = pauses(Reason::Replaced, Duration::from_secs(240));
        assert!(fight.len() <= 6, "{fight:?}");
        let day = pauses(Reason::Replaced, Duration::from_secs(86_400));
        assert!(day.len() <= 300, "{}", day.len());
    }

    #[test]
    fn a_registration_that_lasts_forgets_what_was_unless_it_is_contested() {
        let mut pacing = Pacing::new(&RelayConfig::new(7));
        for _ in 0..40 {
            pacing.fail(Reason::Unreachable);
            pacing.fail(Reason::Replaced);
        }
        pacing.lasted(Duration::from_secs(60));
        assert_eq!(pacing.failures(), 0);
        assert!(pacing.fail(Reason::Unreachable) <= Duration::from_secs(1));
        assert!(pacing.fail(Reason::Replaced) >= Duration::from_secs(300));
        pacing.lasted(RelayConfig::new(7).contested.reset_after);
        assert!(pacing.fail(Reason::Replaced) <= Duration::from_secs(8));
    }
}
