//! A direct path that freezes while a caller waits, with a relay as the alternative: the time
//! without data (SP-1).

use std::time::{Duration, Instant};

use bowline_protocol::AgentId;
use bowline_runtime::{HostState, Intent, RuntimeSettings, machines::Path};
use bowline_testkit::{
    Proxy,
    world::{Client, Follower, RelayOptions, RelayProcess, done},
};

use super::super::{
    Bench, Outcome, process,
    report::{Measured, Target, Unit},
    stats::{Samples, micros_since},
};

/// The promised limit, in microseconds.
const PROMISED: f64 = 1e6;
/// Longest wait for any step.
const DEADLINE: Duration = Duration::from_secs(60);
/// Prints a line every 25 ms, for longer than the measurement.
const COMMAND: &str = "i=0; while [ $i -lt 8000 ]; do i=$((i+1)); echo $i; sleep 0.025; done";
/// Lines after which a stream counts as running.
const FLOWING: usize = 40;

/// The client, the proxy and the relay in front of the daemon.
struct Stage {
    client: Client,
    direct: Proxy,
}

impl Stage {
    async fn on(&self, path: Path) -> Outcome<()> {
        let is_there = |host: &bowline_runtime::HostSnapshot| {
            let works = |path| {
                let mut probes = host.probes.iter();
                probes.any(|probe| probe.path == path && probe.error.is_none())
            };
            let is_probed = works(Path::Direct) && works(Path::Relay);
            host.state == HostState::Online
                && host.path == Some(path)
                && (is_probed || path == Path::Relay)
        };
        self.client.until("the path", DEADLINE, is_there).await?;
        Ok(())
    }

    fn freeze(&self) -> Instant {
        self.direct.freeze();
        Instant::now()
    }

    /// Returns to the direct path with new connections.
    async fn restore(&self) -> Outcome<()> {
        self.direct.cut();
        self.direct.thaw();
        self.on(Path::Direct).await
    }

    async fn stream_gap(&self, follower: &Follower) -> Outcome<f64> {
        follower.until_lines(follower.lines() + FLOWING).await?;
        let frozen = self.freeze();
        self.on(Path::Relay).await?;
        follower.until_lines(follower.lines() + 1).await?;
        let gap = micros_since(frozen);
        self.restore().await?;
        Ok(gap)
    }

    async fn intent_gap(&self, agent: &AgentId) -> Outcome<f64> {
        let frozen = self.freeze();
        let agent_id = agent.clone();
        let text = "true".to_owned();
        let intent = Intent::SendPrompt { agent_id, text };
        done(self.client.send(intent)?, DEADLINE).await?;
        let gap = micros_since(frozen);
        self.restore().await?;
        Ok(gap)
    }
}

pub(super) async fn measure(bench: &Bench) -> Outcome<Measured> {
    let relay = RelayProcess::start(RelayOptions::default()).await?;
    let daemon = process::daemon_at(bench, "frozen", &relay.url()).await?;
    let direct = Proxy::start(daemon.address()).await?;
    let mut settings = RuntimeSettings::new("bowline-bench", env!("CARGO_PKG_VERSION"));
    settings.host.probe_interval = Duration::from_millis(200);
    let mut client = Client::open(bench.dir.join("frozen-client"), settings)?;
    client
        .pair_over(&daemon, &[direct.addr()], &[relay.address()])
        .await?;
    let stage = Stage { client, direct };
    stage.on(Path::Direct).await?;
    let repetitions = bench.pick(9, 3);
    let (mut stream, mut intent) = (Samples::default(), Samples::default());
    let idle = stage.client.agent("shell", &bench.dir, None).await?;
    for _ in 0..repetitions {
        intent.one(stage.intent_gap(&idle).await?);
    }
    let busy = stage
        .client
        .agent("shell", &bench.dir, Some(COMMAND))
        .await?;
    let follower = Follower::new(&stage.client, &busy).await?;
    for _ in 0..repetitions {
        stream.one(stage.stream_gap(&follower).await?);
    }
    let counters = stage.client.counters();
    if counters.event_gaps > 0 {
        return Err(format!("events were lost: {counters:?}").into());
    }
    Measured::by(format!(
        "{repetitions} times each: a proxy holds back all bytes between client and daemon without closing connections, \
         while a relay process works; from the freeze to the next line of a command that prints one every 25 ms, and to the outcome of an intent \
         sent right after the freeze. Heartbeats alone took 8.0 s. Not pinned"
    ))
    .goal("gap of a stream", Unit::Micros, &stream, Target::AtMost(PROMISED))?
    .goal("outcome of an intent", Unit::Micros, &intent, Target::AtMost(PROMISED))
}
