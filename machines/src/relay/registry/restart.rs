//! When the peers of a relay that restarts come back: spread, so that they do not all reconnect at
//! once, and daemons before clients, which otherwise find no daemon.

use std::time::Duration;

use bowline_protocol::{
    Reason,
    relay::{
        CloseText,
        limits::{DAEMON_RESTART_SPREAD, RESTART_SPREAD},
    },
};

use crate::prng::SplitMix64;

/// Share of each client in the span over which they reconnect: a relay of a few devices need not
/// keep them waiting as long as one of thousands.
const GAP: Duration = Duration::from_millis(2);

/// The close texts of one restart.
#[derive(Clone, Debug)]
pub(super) struct Restart {
    prng: SplitMix64,
    /// When the last client is back.
    last: Duration,
}

impl Restart {
    /// Of a relay with so many client sockets.
    pub(super) fn new(clients: usize, seed: u64) -> Self {
        let clients = u32::try_from(clients).unwrap_or(u32::MAX);
        let last = DAEMON_RESTART_SPREAD + GAP.saturating_mul(clients);
        Self {
            prng: SplitMix64::new(seed),
            last: last.min(RESTART_SPREAD),
        }
    }

    /// The text for the next control socket.
    pub(super) fn daemon(&mut self) -> CloseText {
        self.back_within(Duration::ZERO, DAEMON_RESTART_SPREAD)
    }

    /// The text for the next session.
    pub(super) fn session(&mut self) -> CloseText {
        self.back_within(DAEMON_RESTART_SPREAD, self.last)
    }

    fn back_within(&mut self, least: Duration, most: Duration) -> CloseText {
        CloseText {
            reason: Reason::ServerRestarting,
            retry_after: Some(self.prng.between(least, most)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The earliest and the latest of many returns.
    fn span(mut text: impl FnMut() -> CloseText) -> (Duration, Duration) {
        let texts: Vec<_> = (0..2_000).map(|_| text()).collect();
        assert!(
            texts
                .iter()
                .all(|text| text.reason == Reason::ServerRestarting)
        );
        let pauses = || texts.iter().filter_map(|text| text.retry_after);
        (pauses().min().unwrap(), pauses().max().unwrap())
    }

    #[test]
    fn rl_2_after_a_restart_daemons_return_before_clients_and_both_spread() {
        let ms = Duration::from_millis;
        for (clients, last) in [
            (0, DAEMON_RESTART_SPREAD),
            (50, DAEMON_RESTART_SPREAD + ms(100)),
            (10_000, RESTART_SPREAD),
        ] {
            let mut restart = Restart::new(clients, 7);
            let (first, latest) = span(|| restart.daemon());
            assert!(first < ms(50) && latest <= DAEMON_RESTART_SPREAD);
            assert!(latest > DAEMON_RESTART_SPREAD - ms(50));
            let (first, latest) = span(|| restart.session());
            assert!(first >= DAEMON_RESTART_SPREAD && latest <= last);
            assert!(latest + ms(50) > last, "{clients} clients: {latest:?}");
        }
    }
}
