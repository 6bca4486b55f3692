//! SP-1 with controlled time: a silently failed active path is left within a second while a caller
//! waits, and a path with jitter, loss and stalls is never left.

use std::{sync::Arc, time::Duration};

use bowline_protocol::AgentId;
use bowline_runtime::{Counters, HostSnapshot, HostState, Intent, Runtime, RuntimeSettings};
use bowline_testkit::{random::Random, world::Follower};
use tokio::time::{Instant, sleep, timeout};

use super::{
    daemon::{Daemon, offer, server_id},
    network::{LinkConditions, Network},
    scenario::{open, profile},
    storage::MemoryStorage,
};

/// The two paths; the first is the active one.
const PATHS: [&str; 2] = ["one:1", "two:1"];
/// Interval between lines of the stream.
const LINE: Duration = Duration::from_millis(100);
/// Lines of one turn.
const TURN: usize = 20;
/// Duration of the stall in each minute of a bad hour.
const STALL: Duration = Duration::from_secs(2);
/// Promised time to leave a silent path.
const PROMISED: Duration = Duration::from_secs(1);

/// An app that follows an agent over two paths.
struct Stage {
    random: Random,
    network: Arc<Network>,
    daemon: Arc<Daemon>,
    runtime: Runtime,
    agent: AgentId,
    _follower: Follower,
}

/// Runs a scene with its own clock.
fn play<F: Future<Output = ()>>(scene: F) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(scene);
}

impl Stage {
    async fn new(seed: u64, conditions: LinkConditions) -> Self {
        let mut random = Random::new(seed);
        let daemon = Arc::new(Daemon::new(4_096));
        daemon.calm();
        let network = Arc::new(Network::new(random.next_u64(), &PATHS, Arc::clone(&daemon)));
        network.change_all(|now| *now = conditions);
        let storage = MemoryStorage::default();
        profile(&storage, seed);
        let mut settings = RuntimeSettings::new("simulation", "0");
        settings.seed = Some(seed);
        let runtime = open(&storage, &network, &settings).unwrap();
        runtime.pair(&offer(&PATHS)).await.unwrap();
        let agent = daemon.model(|model| model.create("the only one".into()).id);
        let stream = runtime.timeline(&server_id(), &agent).await.unwrap();
        let follower = Follower::of(stream, &agent);
        let stage = Self {
            random,
            network,
            daemon,
            runtime,
            agent,
            _follower: follower,
        };
        // Both paths have been probed by then.
        sleep(Duration::from_secs(45)).await;
        assert_eq!(stage.host().state, HostState::Online);
        stage
    }

    fn host(&self) -> Arc<HostSnapshot> {
        let snapshot = self.runtime.subscribe().borrow().clone();
        Arc::clone(&snapshot.hosts[0])
    }

    fn counters(&self) -> Counters {
        self.runtime.counters(&server_id()).unwrap()
    }

    /// The active path.
    fn active(&self) -> &'static str {
        let address = self.host().address.clone();
        PATHS
            .into_iter()
            .find(|path| address.as_deref() == Some(*path))
            .unwrap()
    }

    /// The agent prints another line, in a new turn if needed.
    fn line(&self) {
        self.daemon.model(|model| {
            if !model.is_working() {
                model.prompt(0, &"x".repeat(TURN), None);
            }
            model.work();
        });
    }

    /// The stream runs for `time`, with a periodic request of the user.
    async fn use_for(&self, time: Duration, requests_every: Option<Duration>) {
        let end = Instant::now() + time;
        let mut ask_at = requests_every.map(|_| Instant::now());
        while Instant::now() < end {
            if let (Some(at), Some(every)) = (ask_at, requests_every)
                && at <= Instant::now()
            {
                ask_at = Some(at + every);
                self.prompt();
            }
            sleep(LINE).await;
            self.line();
        }
    }

    /// Time until the next event while the stream runs.
    async fn gap(&self) -> Duration {
        let (began, before) = (Instant::now(), self.counters().events_applied);
        while self.counters().events_applied == before {
            if began.elapsed().as_millis() % LINE.as_millis() == 0 {
                self.line();
            }
            sleep(Duration::from_millis(10)).await;
            assert!(began.elapsed() < Duration::from_secs(60), "no event ever");
        }
        began.elapsed()
    }

    fn prompt(&self) -> bowline_runtime::Receipt {
        let intent = Intent::SendPrompt {
            agent_id: self.agent.clone(),
            text: "x".into(),
        };
        self.runtime.send(&server_id(), intent).unwrap()
    }
}

#[test]
fn sp_1_a_path_that_freezes_under_a_stream_is_left_within_a_second() {
    for seed in 1..=20 {
        play(async {
            let stage = Stage::new(seed, LinkConditions::FINE).await;
            stage.use_for(Duration::from_secs(5), None).await;
            let (path, before) = (stage.active(), stage.counters());
            stage.network.change(path, |now| now.frozen = true);
            // Earlier data does not prove that the path works.
            sleep(Duration::from_millis(1)).await;
            let gap = stage.gap().await;
            assert!(gap <= PROMISED, "seed {seed}: {gap:?}");
            assert_ne!(stage.active(), path, "seed {seed}");
            let after = stage.counters();
            assert_eq!(after.switches, before.switches + 1, "seed {seed}");
            assert_eq!(
                (after.event_gaps, after.reset),
                (0, before.reset),
                "seed {seed}"
            );
        });
    }
}

/// The stream belongs to the session: the new path freezes before its first event.
#[test]
fn sp_1_a_path_that_freezes_right_after_a_switch_is_left_within_a_second_as_well() {
    for seed in 1..=20 {
        play(async {
            let stage = Stage::new(seed, LinkConditions::FINE).await;
            stage.use_for(Duration::from_secs(5), None).await;
            let path = stage.active();
            stage.network.change(path, |now| now.frozen = true);
            while stage.active() == path {
                sleep(Duration::from_millis(1)).await;
            }
            stage.network.change(path, |now| now.frozen = false);
            let (next, frozen) = (stage.active(), Instant::now());
            stage.network.change(next, |now| now.frozen = true);
            while stage.active() == next {
                stage.line();
                sleep(LINE).await;
            }
            let gap = frozen.elapsed();
            assert!(gap <= PROMISED, "seed {seed}: {gap:?}");
        });
    }
}

#[test]
fn sp_1_a_path_that_freezes_under_a_request_is_left_and_the_request_is_done_within_a_second() {
    for seed in 1..=20 {
        play(async {
            let stage = Stage::new(seed, LinkConditions::FINE).await;
            let path = stage.active();
            stage.network.change(path, |now| now.frozen = true);
            let sent = Instant::now();
            let outcome = timeout(PROMISED, stage.prompt().outcome()).await;
            assert!(
                outcome.is_ok(),
                "seed {seed}: no outcome after {:?}",
                sent.elapsed()
            );
            assert_ne!(stage.active(), path, "seed {seed}");
            let runs = stage.daemon.model(|model| model.runs.clone());
            assert!(runs.values().all(|times| *times == 1), "BX-1: {runs:?}");
        });
    }
}

/// No caller waits: the heartbeat detects the failure at its own pace, without earlier pings.
#[test]
fn sp_1_a_quiet_session_is_left_to_its_heartbeat() {
    play(async {
        let stage = Stage::new(3, LinkConditions::FINE).await;
        let path = stage.active();
        stage.network.change(path, |now| now.frozen = true);
        sleep(Duration::from_secs(3)).await;
        assert_eq!(stage.active(), path);
        sleep(Duration::from_secs(7)).await;
        assert_ne!(stage.active(), path);
    });
}

/// An hour of a bad network: round trips of 300 ms ± 200 ms, 5 % of messages lost and
/// retransmitted, and once a minute a stall of two seconds on the active path.
async fn bad_hour(seed: u64, requests_every: Option<Duration>) {
    let bad = LinkConditions {
        latency: (50, 250),
        lost_percent: 5,
        again_after: 400,
        ..LinkConditions::FINE
    };
    let mut stage = Stage::new(seed, bad).await;
    let (path, before) = (stage.active(), stage.counters());
    for minute in 0..60 {
        let first = Duration::from_millis(stage.random.below(57_000));
        let rest = Duration::from_secs(58).saturating_sub(first);
        stage.use_for(first, requests_every).await;
        stage.network.change(path, |now| now.frozen = true);
        stage.use_for(STALL, requests_every).await;
        stage.network.change(path, |now| now.frozen = false);
        stage.use_for(rest, requests_every).await;
        assert_eq!(stage.active(), path, "seed {seed}, minute {minute}");
    }
    let after = stage.counters();
    assert_eq!(after.switches, before.switches, "seed {seed}");
    assert_eq!(after.resumed, before.resumed, "seed {seed}: never lost");
    assert_eq!(after.event_gaps, 0);
    assert!(after.events_applied - before.events_applied > 30_000);
}

/// One seed, or the number in `BOWLINE_SEEDS`.
fn seeds() -> u64 {
    let seeds = std::env::var("BOWLINE_SEEDS").ok();
    seeds.and_then(|seeds| seeds.parse().ok()).unwrap_or(1)
}

#[test]
fn sp_1_an_hour_of_jitter_loss_and_stalls_under_a_stream_switches_nothing() {
    for seed in 1..=seeds() {
        play(bad_hour(seed, None));
    }
}

#[test]
fn sp_1_an_hour_of_jitter_loss_and_stalls_under_requests_switches_nothing() {
    for seed in 1..=seeds() {
        play(bad_hour(seed, Some(Duration::from_secs(2))));
    }
}
