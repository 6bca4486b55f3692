//! Silent failure of the active path while a caller waits, with real programs over direct path and
//! relay (SP-1).

use std::time::Duration;

use bowline_runtime::{Intent, machines::Path};
use bowline_testkit::{
    Proxy, eventually,
    world::{Follower, done},
};
use tokio::time::{Instant, sleep};

use crate::{
    Outcome,
    relay_world::{RelayPlan, RelayWorld},
    world::LONG,
};

/// The promised limit. A busy machine misses it occasionally, so it must hold in most rounds.
const PROMISED: Duration = Duration::from_secs(1);
const ROUNDS: usize = 5;

/// Frequent probes, and only silence may cause a switch: other rules are disabled.
fn plan() -> RelayPlan {
    let mut plan = RelayPlan::default();
    plan.settings.host.faster_cycles = 1_000;
    plan.settings.host.better_cycles = 1_000;
    plan
}

/// Waits until a cycle of probes has proved both paths.
async fn both_work(world: &RelayWorld) -> Outcome {
    let works = |path| {
        let probes = world.client.host().map(|host| host.probes.clone());
        let probes = probes.unwrap_or_default();
        probes
            .iter()
            .any(|probe| probe.path == path && probe.error.is_none())
    };
    eventually("both paths work", async || {
        works(Path::Direct) && works(Path::Relay)
    })
    .await;
    Ok(())
}

fn other(path: Path) -> Path {
    match path {
        Path::Relay => Path::Direct,
        Path::Direct | Path::Local => Path::Relay,
    }
}

fn most_within(gaps: &mut [Duration]) -> bool {
    gaps.sort();
    gaps.get(gaps.len() / 2).is_some_and(|gap| *gap <= PROMISED)
}

impl RelayWorld {
    fn way(&self, path: Path) -> &Proxy {
        match path {
            Path::Relay => &self.near,
            Path::Direct | Path::Local => &self.direct,
        }
    }
}

/// Only the daemon sends; the direct path freezes, then the relay's.
#[tokio::test]
async fn sp_1_a_path_that_freezes_under_a_stream_is_left_within_a_second() -> Outcome {
    let world = RelayWorld::with(plan()).await?;
    let agent = world.streamer(6_000).await?;
    let follower = Follower::new(&world.client, &agent).await?;
    let mut gaps = Vec::new();
    for _ in 0..ROUNDS {
        both_work(&world).await?;
        follower.until_lines(follower.lines() + 50).await?;
        let before = world.client.online().await?;
        let path = before.path.ok_or("online without a path")?;
        let frozen = Instant::now();
        world.way(path).freeze();
        world.on(other(path)).await?;
        follower.until_lines(follower.lines() + 1).await?;
        gaps.push(frozen.elapsed());
        world.way(path).cut();
        world.way(path).thaw();
    }
    println!("from the freeze to the next line: {gaps:?}");
    assert!(most_within(&mut gaps), "{gaps:?}");
    world.unbroken().await?;
    world.done().await
}

/// No stream; the client waits for an answer that the frozen path does not deliver.
#[tokio::test]
async fn sp_1_bx_1_an_intent_on_a_frozen_path_is_done_over_the_other_within_a_second() -> Outcome {
    let world = RelayWorld::with(plan()).await?;
    let agent = world.client.agent("append", &world.work(), None).await?;
    let mut gaps = Vec::new();
    for round in 0..ROUNDS {
        both_work(&world).await?;
        let path = world.client.online().await?.path;
        let path = path.ok_or("online without a path")?;
        world.way(path).freeze();
        let sent = Instant::now();
        let intent = Intent::SendPrompt {
            agent_id: agent.clone(),
            text: format!("line {round}"),
        };
        done(world.client.send(intent)?, LONG).await?;
        gaps.push(sent.elapsed());
        assert_eq!(world.client.online().await?.path, Some(other(path)));
        world.way(path).cut();
        world.way(path).thaw();
    }
    println!("from an intent to its outcome: {gaps:?}");
    assert!(most_within(&mut gaps), "{gaps:?}");
    eventually("each ran once", async || world.effects().len() == ROUNDS).await;
    world.unbroken().await?;
    world.done().await
}

/// In the background no caller waits: the heartbeat detects a silent stream, without earlier pings.
#[tokio::test]
async fn sp_1_in_the_background_silence_is_left_to_the_heartbeat() -> Outcome {
    let world = RelayWorld::with(plan()).await?;
    let agent = world.streamer(3_000).await?;
    let follower = Follower::new(&world.client, &agent).await?;
    follower.until_lines(50).await?;
    world.client.runtime().background();
    let before = world.client.online().await?;
    let path = before.path.ok_or("online without a path")?;
    world.way(path).freeze();
    sleep(Duration::from_secs(3)).await;
    let after = world.client.online().await?;
    assert_eq!(after.generation, before.generation);
    world.way(path).thaw();
    world.client.runtime().foreground();
    world.unbroken().await?;
    world.done().await
}
