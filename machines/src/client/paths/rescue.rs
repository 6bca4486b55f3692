//! Leaving a path that may be dead while a request waits (SP-1): a candidate on another path, made
//! before the break.
//!
//! The active client suspects its path and stays connected. A candidate on another path is created
//! beside it; the first of the two to receive bytes stays. If the active client receives bytes, the
//! candidate is dropped; if the candidate connects, it is promoted as in any switch, and the silent
//! client closes at once, so that its requests in flight are sent again.

use std::time::Duration;

use super::{Effect, HostRuntimeManager, PathId, State};
use crate::{Generation, MonotonicTime};

/// Rescues in a row; after them only the heartbeat's deadline ends a silent connection.
pub(super) const RESCUES_IN_ROW: u32 = 3;
/// Time after a rescue from which the next one begins a new row: longer than the longest deadlines
/// of the failure detector, 4 s together.
pub(super) const RESCUE_LASTS: Duration = Duration::from_secs(5);

impl HostRuntimeManager {
    /// Whether the active client's peer is silent while a request waits.
    pub(super) fn is_suspected(&self) -> bool {
        let active = self.state().active().map(|(_, generation)| generation);
        active.is_some() && self.suspected == active
    }

    /// Handles the active client's report that its peer is silent, or was heard again.
    pub(super) fn suspicion(
        &mut self,
        now: MonotonicTime,
        generation: Generation,
        is_suspected: bool,
        event: &'static str,
    ) {
        if self.state().active().map(|(_, active)| active) != Some(generation) {
            return;
        }
        if is_suspected {
            self.suspected = Some(generation);
            if let Some(other) = self.working_alternative(now) {
                self.rescue_over(now, other, event);
            }
            // If the candidate's path is dead too, the first other path to prove itself replaces
            // it.
            self.begin_measuring(now);
        } else {
            self.suspected = None;
            if let Some(candidate) = self.candidate()
                && self.rescue == Some(candidate.generation)
            {
                self.drop_candidate(event);
            }
        }
    }

    /// Clears the suspicion and the known alternative when the active client changes or
    /// disconnects. Both are reported again later.
    pub(super) fn end_suspicion(&mut self) {
        self.suspected = None;
        self.rescue = None;
        self.told_alternative = None;
    }

    /// Handles a path that proved itself while the active one is suspected.
    pub(super) fn rescue_over(&mut self, now: MonotonicTime, other: PathId, event: &'static str) {
        let Some((active, _)) = self.state().active() else {
            return;
        };
        let is_allowed = self.allowed().any(|(allowed, _)| allowed == other);
        if self.is_suspected()
            && self.may_rescue(now)
            && other != active
            && is_allowed
            && self.candidate().is_none()
        {
            self.start_candidate(now, other, event);
            self.rescue = self.candidate().map(|candidate| candidate.generation);
        }
    }

    /// Counts a rescue that was promoted.
    pub(super) fn rescued(&mut self, now: MonotonicTime) {
        let is_in_row = now.since(self.rescued_at) < RESCUE_LASTS;
        self.rescues = if is_in_row {
            self.rescues.saturating_add(1)
        } else {
            1
        };
        self.rescued_at = now;
    }

    /// Whether another rescue may follow the last ones. A request that takes longer to leave this
    /// device than the detector waits looks like a silence on every path; without this bound it
    /// would start again on the other path for ever.
    fn may_rescue(&self, now: MonotonicTime) -> bool {
        self.rescues < RESCUES_IN_ROW || now.since(self.rescued_at) >= RESCUE_LASTS
    }

    /// The best other path whose recent last probe succeeded.
    pub(super) fn working_alternative(&self, now: MonotonicTime) -> Option<PathId> {
        let (active, _) = self.state().active()?;
        let fresh = self.config.quiet_probe_interval + self.config.probe_deadline;
        let results = self.probes.results();
        let known = self.allowed().filter_map(|(connection, path)| {
            let result = results.get(&connection)?;
            let works = result.error.is_none() && now.since(result.at) <= fresh;
            let works = works && !self.is_held(now, connection);
            (works && connection != active).then_some((path, result.rtt?, connection))
        });
        known.min().map(|(_, _, connection)| connection)
    }

    /// Informs the active client when the first alternative works and when none does any more. In
    /// the background none is reported: no request is urgent there, and pings cost battery.
    pub(super) fn tell_alternative(&mut self, now: MonotonicTime) {
        let State::Online { generation, .. } = *self.state() else {
            return;
        };
        let is_known =
            !self.background && self.may_rescue(now) && self.working_alternative(now).is_some();
        if is_known != (self.told_alternative == Some(generation)) {
            self.told_alternative = is_known.then_some(generation);
            self.core.push(Effect::TellAlternative {
                generation,
                is_known,
            });
        }
    }
}
