//! Scheduled faults: a seed decides when a [`Proxy`] cuts or freezes, so that a run can be
//! repeated.

use std::time::Duration;

use tokio::{sync::watch, task::JoinHandle};

use crate::{Proxy, random::Random};

/// The next fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Every connection is reset.
    Cut,
    /// Nothing passes for this long.
    Freeze(Duration),
    /// Every connection loses its path silently, and is reset after this long.
    Blackhole(Duration),
}

/// Settings of a chaos run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Determines the whole run.
    pub seed: u64,
    /// Shortest pause between two faults, and shortest fault.
    pub least: Duration,
    /// Longest pause between two faults, and longest fault.
    pub most: Duration,
    /// Whether [`Fault::Blackhole`] is among the faults.
    pub blackholes: bool,
}

impl Plan {
    /// Random cuts and freezes every 50 to 500 ms.
    pub const fn new(seed: u64) -> Self {
        Self {
            seed,
            least: Duration::from_millis(50),
            most: Duration::from_millis(500),
            blackholes: false,
        }
    }

    /// The endless sequence of faults, each with the pause before it.
    pub const fn schedule(&self) -> Schedule {
        Schedule {
            random: Random::new(self.seed),
            least: self.least,
            most: self.most,
            kinds: if self.blackholes { 3 } else { 2 },
        }
    }
}

/// The faults of a [`Plan`], in order. Independent of any clock: the same seed gives the same
/// sequence everywhere.
#[derive(Clone, Debug)]
pub struct Schedule {
    random: Random,
    least: Duration,
    most: Duration,
    kinds: u64,
}

impl Iterator for Schedule {
    type Item = (Duration, Fault);

    fn next(&mut self) -> Option<Self::Item> {
        let pause = self.random.between(self.least, self.most);
        let length = self.random.between(self.least, self.most);
        let fault = match self.random.below(self.kinds) {
            0 => Fault::Cut,
            1 => Fault::Freeze(length),
            _ => Fault::Blackhole(length),
        };
        Some((pause, fault))
    }
}

/// Number of faults by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ChaosReport {
    /// Cuts.
    pub cuts: u64,
    /// Freezes.
    pub freezes: u64,
    /// Blackholes.
    pub blackholes: u64,
}

/// Running chaos. Dropping it ends it, possibly during a fault; [`Chaos::stop`] leaves a healthy
/// path.
#[derive(Debug)]
pub struct Chaos {
    stop: watch::Sender<bool>,
    task: Option<JoinHandle<ChaosReport>>,
}

impl Chaos {
    /// Starts breaking the path through `proxy`.
    pub fn start(proxy: Proxy, plan: &Plan) -> Self {
        let (stop, stopped) = watch::channel(false);
        let task = tokio::spawn(play(proxy, plan.schedule(), stopped));
        Self {
            stop,
            task: Some(task),
        }
    }

    /// Ends the chaos, thaws the path and returns the counts.
    pub async fn stop(mut self) -> ChaosReport {
        self.stop.send_replace(true);
        match self.task.take() {
            Some(task) => task.await.unwrap_or_default(),
            None => ChaosReport::default(),
        }
    }
}

impl Drop for Chaos {
    fn drop(&mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
        }
    }
}

async fn play(proxy: Proxy, schedule: Schedule, mut stop: watch::Receiver<bool>) -> ChaosReport {
    let mut report = ChaosReport::default();
    for (pause, fault) in schedule {
        if stopped_within(&mut stop, pause).await {
            break;
        }
        let stopped = match fault {
            Fault::Cut => {
                report.cuts += 1;
                proxy.cut();
                false
            }
            Fault::Freeze(length) => {
                report.freezes += 1;
                proxy.freeze();
                let stopped = stopped_within(&mut stop, length).await;
                proxy.thaw();
                stopped
            }
            Fault::Blackhole(length) => {
                report.blackholes += 1;
                proxy.blackhole();
                let stopped = stopped_within(&mut stop, length).await;
                proxy.cut();
                stopped
            }
        };
        if stopped {
            break;
        }
    }
    report
}

/// Waits for `time`; returns true early if the chaos is stopped.
async fn stopped_within(stop: &mut watch::Receiver<bool>, time: Duration) -> bool {
    tokio::time::timeout(time, stop.wait_for(|stop| *stop))
        .await
        .is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_one_schedule_and_another_seed_another() {
        let list = |seed| Plan::new(seed).schedule().take(50).collect::<Vec<_>>();
        assert_eq!(list(1), list(1));
        assert_ne!(list(1), list(2));
    }

    #[test]
    fn pauses_stay_in_their_bounds_and_every_fault_comes_up() {
        let mut plan = Plan::new(3);
        plan.blackholes = true;
        let (mut cuts, mut freezes, mut holes) = (0, 0, 0);
        for (pause, fault) in plan.schedule().take(300) {
            assert!((plan.least..=plan.most).contains(&pause));
            match fault {
                Fault::Cut => cuts += 1,
                Fault::Freeze(length) => {
                    assert!((plan.least..=plan.most).contains(&length));
                    freezes += 1;
                }
                Fault::Blackhole(_) => holes += 1,
            }
        }
        assert!(cuts > 50 && freezes > 50 && holes > 50);
    }
}
