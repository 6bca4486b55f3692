//! The sweep for idle and stalled connections, and the checks that come with it.

use std::{sync::Arc, time::Duration};

use bowline_machines::liveness::time_lost;

use crate::{connection::Acceptor, relay::RelayStatus};

/// Number of closed connections after which freed memory is returned to the system.
const BURST: u64 = 64;
/// Longest interval between two sweeps for idle connections.
const SWEEP: Duration = Duration::from_secs(5);

/// Milliseconds by which the wall clock has to run ahead of the monotonic clock for the machine to
/// count as having slept.
const WOKEN: i64 = 10_000;

/// Sweeps for idle and stalled connections; one timer serves all of them.
pub(super) async fn sweep(acceptor: Arc<Acceptor>, relays: RelayStatus) {
    let (clock, registry) = (&acceptor.clock, &acceptor.registry);
    let silence = acceptor.limits.heartbeat_timeout;
    let stall = acceptor.limits.write_timeout;
    let idle = acceptor.limits.idle_timeout;
    let shortest = [silence, idle]
        .into_iter()
        .flatten()
        .fold(stall, Duration::min);
    let pause = (shortest / 4).clamp(Duration::from_millis(50), SWEEP);
    let mut last = clock.now();
    let mut last_wall = clock.unix_millis();
    let mut given_back = 0;
    loop {
        tokio::time::sleep(pause).await;
        let now = clock.now();
        // The interval is at most half of the idle limit, so a live peer's pings arrive in time.
        let lost = time_lost(now, last + pause, pause);
        if let Some(lost) = lost {
            registry.extend_deadlines(now, lost);
        }
        // The monotonic clock may stop during sleep; the wall clock then shows it, and relays are
        // retried at once.
        let wall = clock.unix_millis();
        let went_on = i64::try_from(now.since(last).as_millis()).unwrap_or(i64::MAX);
        if lost.is_some() || (wall - last_wall).saturating_sub(went_on) > WOKEN {
            relays.hurry();
        }
        (last, last_wall) = (now, wall);
        registry.sweep(now, silence, stall);
        let (open, ever) = registry.counts();
        let left = ever.saturating_sub(open as u64);
        if left.saturating_sub(given_back) >= BURST {
            given_back = left;
            let returned = bowline_heap::trim();
            tracing::debug!(open, returned, "many connections were closed");
        }
    }
}
