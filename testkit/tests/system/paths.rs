//! Several direct paths to one daemon: probes, hysteresis, switches without a gap (BX-2, INV-11,
//! HR-2).

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use bowline_runtime::{HostSnapshot, HostState, Intent, machines::Path, transport::Address};
use bowline_testkit::{
    Proxy, eventually,
    world::{Follower, done},
};
use tokio::task::JoinHandle;

use crate::{
    Outcome,
    world::{LONG, Plan, World},
};

fn two_paths() -> Plan {
    let mut plan = Plan {
        paths: 2,
        ..Plan::default()
    };
    plan.settings.host.probe_interval = Duration::from_millis(100);
    plan
}

fn at(host: &HostSnapshot, proxy: &Proxy) -> bool {
    host.address.as_deref() == Some(&proxy.addr().to_string())
}

/// The active path and the other one.
fn sides(world: &World) -> (Proxy, Proxy) {
    let active = world.active().unwrap().clone();
    let other = world
        .proxies
        .iter()
        .find(|proxy| proxy.addr() != active.addr())
        .unwrap()
        .clone();
    (active, other)
}

/// Every later snapshot of the host.
type Seen = Arc<Mutex<Vec<Arc<HostSnapshot>>>>;

fn record(world: &World) -> (JoinHandle<()>, Seen) {
    let mut snapshots = world.client.runtime().subscribe();
    let seen = Seen::default();
    let notes = Arc::clone(&seen);
    let task = tokio::spawn(async move {
        loop {
            let host = snapshots.borrow_and_update().hosts.first().cloned();
            if let Some(host) = host {
                notes.lock().unwrap().push(host);
            }
            if snapshots.changed().await.is_err() {
                return;
            }
        }
    });
    (task, seen)
}

#[tokio::test]
async fn bx_2_hr_2_the_active_path_dies_again_and_again_and_no_event_is_lost_or_repeated() -> Outcome
{
    let world = World::with(two_paths()).await?;
    let agent = world
        .client
        .agent("stream", &world.work(), Some("600"))
        .await?;
    let follower = Follower::new(&world.client, &agent).await?;
    let mut generation = world.client.online().await?.generation;
    for round in 1..=6 {
        follower.until_lines(round * 50).await?;
        let (dying, other) = sides(&world);
        dying.refuse(true);
        dying.cut();
        let host = world
            .client
            .until("online on the other path", LONG, |host| {
                host.state == HostState::Online && at(host, &other)
            })
            .await?;
        assert!(host.generation > generation, "a switch is a new generation");
        generation = host.generation;
        dying.refuse(false);
    }
    follower.until_ended(1).await?;
    follower.check(&world.client).await?;
    assert_eq!(follower.lines(), 600);
    world.client.online().await?;
    assert_eq!(world.client.counters().event_gaps, 0);
    assert_eq!(
        world.client.counters().reset,
        1,
        "only the first attach was fresh"
    );
    assert!(
        world.client.counters().switches >= 6,
        "{:?}",
        world.client.counters()
    );
    world.done().await
}

#[tokio::test]
async fn inv_11_hr_2_a_faster_path_is_made_before_the_slow_one_is_broken() -> Outcome {
    let world = World::with(two_paths()).await?;
    let agent = world
        .client
        .agent("stream", &world.work(), Some("500"))
        .await?;
    let follower = Follower::new(&world.client, &agent).await?;
    follower.until_lines(10).await?;
    let before = world.client.online().await?;
    let (slow, fast) = sides(&world);
    let (recording, seen) = record(&world);
    slow.delay(Duration::from_millis(60));
    let after = world
        .client
        .until("on the faster path", LONG, |host| at(host, &fast))
        .await?;
    assert_eq!(
        after.generation,
        before.generation + 1,
        "promoted in one step"
    );
    follower.until_ended(1).await?;
    follower.check(&world.client).await?;
    recording.abort();
    let seen = seen.lock().unwrap().clone();
    let states: Vec<_> = seen.iter().map(|host| host.state).collect();
    assert!(
        states.iter().all(|state| *state == HostState::Online),
        "never anything but online: {states:?}"
    );
    assert!(
        seen.windows(2).all(|pair| {
            (pair[0].generation == pair[1].generation) == (pair[0].address == pair[1].address)
        }),
        "path and generation change in one snapshot"
    );
    world.client.online().await?;
    assert_eq!(
        (
            world.client.counters().event_gaps,
            world.client.counters().reset
        ),
        (0, 1)
    );
    eventually("the slow connection is disposed of", async || {
        world.attached().await.unwrap().len() == 1
    })
    .await;
    world.done().await
}

#[tokio::test]
async fn hr_2_a_little_faster_is_no_reason_to_switch() -> Outcome {
    let world = World::with(two_paths()).await?;
    let before = world.client.online().await?;
    let (active, other) = sides(&world);
    // 16 ms per round trip: below the rule's 40 ms.
    active.delay(Duration::from_millis(8));
    let start = other.counters().accepted;
    eventually("twenty cycles of probes", async || {
        other.counters().accepted > start + 20
    })
    .await;
    let after = world.client.online().await?;
    assert_eq!(after.generation, before.generation);
    assert_eq!(after.address, before.address);
    assert_eq!(world.client.counters().switches, 0);
    let mut rtts: Vec<_> = after
        .probes
        .iter()
        .filter_map(|probe| probe.rtt_ms)
        .collect();
    rtts.sort_by(f64::total_cmp);
    assert!(
        rtts.len() == 2 && rtts[1] > 15.0,
        "both paths are shown: {:?}",
        after.probes
    );
    world.done().await
}

#[tokio::test]
async fn hr_2_one_lost_probe_is_no_reason_to_switch() -> Outcome {
    let world = World::with(two_paths()).await?;
    let before = world.client.online().await?;
    let (active, other) = sides(&world);
    // New connections fail on the active path, and thus its probes; the connection itself survives.
    active.refuse(true);
    world
        .client
        .until("the failed probe shows", LONG, |host| {
            host.probes
                .iter()
                .any(|probe| probe.address == active.addr().to_string() && probe.error.is_some())
        })
        .await?;
    active.refuse(false);
    let start = other.counters().accepted;
    eventually("five more cycles", async || {
        other.counters().accepted > start + 5
    })
    .await;
    let after = world.client.online().await?;
    assert_eq!(after.generation, before.generation);
    world.done().await
}

#[tokio::test]
async fn hr_2_the_user_chooses_a_path() -> Outcome {
    let world = World::with(two_paths()).await?;
    let server = world.client.server_id()?;
    for _ in 0..3 {
        let (_, wanted) = sides(&world);
        let address = Address {
            path: Path::Direct,
            address: wanted.addr().to_string(),
        };
        world.client.runtime().select_path(&server, Some(address));
        world
            .client
            .until("on the chosen path", LONG, |host| {
                host.state == HostState::Online && at(host, &wanted)
            })
            .await?;
    }
    world.client.online().await?;
    assert_eq!(
        (
            world.client.counters().event_gaps,
            world.client.counters().reset
        ),
        (0, 1)
    );
    // The choice holds while the path works, however slow …
    let (chosen, other) = sides(&world);
    chosen.delay(Duration::from_millis(100));
    let start = other.counters().accepted;
    eventually("eight cycles of probes", async || {
        other.counters().accepted > start + 8
    })
    .await;
    let host = world.client.online().await?;
    assert!(at(&host, &chosen));
    // … and `auto` takes the faster one again.
    world.client.runtime().select_path(&server, None);
    world
        .client
        .until("the faster path", LONG, |host| at(host, &other))
        .await?;
    world.done().await
}

#[tokio::test]
async fn inv_11_what_is_in_flight_on_the_old_path_finishes_there() -> Outcome {
    let world = World::with(two_paths()).await?;
    let agent = world.appender().await?;
    let server = world.client.server_id()?;
    let mut sent = Vec::new();
    for round in 0..20 {
        let (_, wanted) = sides(&world);
        for n in 0..5 {
            sent.push(world.client.send(Intent::SendPrompt {
                agent_id: agent.clone(),
                text: format!("{round}/{n}"),
            })?);
        }
        let address = Address {
            path: Path::Direct,
            address: wanted.addr().to_string(),
        };
        world.client.runtime().select_path(&server, Some(address));
        world
            .client
            .until("switched", LONG, |host| {
                host.state == HostState::Online && at(host, &wanted)
            })
            .await?;
    }
    for intent in sent {
        done(intent, LONG).await?;
    }
    world.until_effects(100).await?;
    world.client.online().await?;
    assert_eq!(world.client.counters().event_gaps, 0);
    assert_eq!(world.client.counters().switches, 20);
    world.done().await
}
