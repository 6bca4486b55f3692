//! The pauses between registrations with one relay.
//!
//! A daemon behind a relay is unreachable until it is registered again, so after an interruption it
//! retries at least once a second, for a relay that restarts or a network that comes and goes. Only
//! attempts that fail in a row make the pauses longer: a registration proves that the relay is
//! there, even if it ends soon. After many failures the pauses grow to minutes, which costs little
//! after an hour without a network or with a relay that is gone. After a refusal the daemon uses
//! the slowest of the eager pauses and changes to the long ones sooner, since only a person can
//! change the cause. Two daemons of one identity (a copied state folder, a cloned machine) replace
//! each other: each waits longer every time, so that clients find one of them for minutes instead
//! of both for moments.

use std::time::Duration;

use bowline_protocol::{Reason, reason::Retry};

use super::RelayConfig;
use crate::backoff::{Backoff, Pace};

/// Counts failures of one registration and draws the pauses after them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pacing {
    config: RelayConfig,
    eager: Backoff,
    patient: Backoff,
    contested: Backoff,
    /// Attempts that failed since the last registration.
    misses: u32,
    /// Registrations that ended soon since the last lasting one.
    flaps: u32,
    /// Attempts and registrations that ended since the last lasting registration.
    failures: u32,
}

/// The pace after a reason, while the eager pauses are used.
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
            config: *config,
            eager: Backoff::new(config.backoff, config.jitter_seed),
            patient: Backoff::new(config.patient, config.jitter_seed ^ 1),
            contested: Backoff::new(config.contested, config.jitter_seed ^ 2),
            misses: 0,
            flaps: 0,
            failures: 0,
        }
    }

    /// Reports how long a registration lasted.
    pub(super) fn lasted(&mut self, time: Duration) {
        for backoff in [&mut self.eager, &mut self.patient, &mut self.contested] {
            backoff.succeeded_for(time);
        }
        if time >= self.config.backoff.reset_after {
            self.failures = 0;
            self.flaps = 0;
            self.misses = 0;
        } else if self.flaps < self.config.flaps {
            self.flaps += 1;
            self.misses = 0;
            // The relay is there: the next interruption begins with short pauses, as the first did.
            self.patient.reset();
        }
    }

    /// Counts a failure and draws the pause after it.
    pub(super) fn fail(&mut self, reason: Reason) -> Duration {
        self.failures = self.failures.saturating_add(1);
        if reason == Reason::Replaced {
            let pause = self.contested.fail(Pace::Steady);
            // Counted twice, so that the pauses grow fourfold: both sides must soon be minutes
            // apart.
            self.contested.fail(Pace::Steady);
            return pause;
        }
        self.misses = self.misses.saturating_add(1);
        let patience = if reason.is_recoverable() {
            self.config.patience
        } else {
            self.config.refusals
        };
        if self.misses > patience {
            return self.patient.fail(Pace::Steady);
        }
        let pace = match pace(reason) {
            Pace::Usual if self.misses <= self.config.brief => Pace::Soon,
            pace => pace,
        };
        self.eager.fail(pace)
    }

    /// Failures since the last lasting registration.
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
        assert!((48..=70).contains(&tries.len()), "{}", tries.len());
        let within = |count, most| tries.iter().take(count).all(|pause| *pause <= most);
        assert!(within(config.brief as usize, Duration::from_secs(1)));
        assert!(within(config.patience as usize, config.backoff.cap));
        let day = pauses(Reason::Unreachable, Duration::from_secs(86_400));
        assert!(day.iter().all(|pause| *pause <= config.patient.cap));
        assert!(day.len() < 700, "{}", day.len());
    }

    /// BX-2: the pauses of eighteen attempts and short registrations added up to 6.8 s without a
    /// daemon after the network was whole.
    #[test]
    fn bx_2_a_network_that_comes_and_goes_never_costs_more_than_a_second() {
        for seed in 0..100 {
            let mut pacing = Pacing::new(&RelayConfig::new(seed));
            for flap in 0..100 {
                for _ in 0..flap % 7 {
                    assert!(pacing.fail(Reason::Unreachable) <= Duration::from_secs(1));
                }
                pacing.lasted(Duration::from_millis(100));
                assert!(pacing.fail(Reason::ConnectionLost) <= Duration::from_secs(1));
            }
        }
    }

    /// C52: a registration that ends at once proves little when it happens again and again.
    #[test]
    fn case_c52_a_relay_that_drops_its_daemons_all_day_is_left_alone_for_minutes() {
        let mut pacing = Pacing::new(&RelayConfig::new(7));
        let (mut tries, mut time) = (0, Duration::ZERO);
        while time < Duration::from_secs(86_400) {
            time += pacing.fail(Reason::ConnectionLost);
            pacing.lasted(Duration::from_secs(1));
            tries += 1;
        }
        assert!(tries < 700, "{tries}");
        assert!(pacing.fail(Reason::ConnectionLost) >= Duration::from_secs(60));
        pacing.lasted(Duration::from_secs(10));
        assert!(pacing.fail(Reason::ConnectionLost) <= Duration::from_secs(1));
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
