//! A session through a relay, and moves between relay and direct path (BX-2, INV-8, INV-11, RL-1 to
//! RL-3).

use std::time::Duration;

use bowline_protocol::Reason;
use bowline_runtime::{HostSnapshot, HostState, Intent, machines::Path};
use bowline_testkit::{
    eventually,
    world::{Follower, done},
};
use tokio::time::{Instant, sleep};

use crate::{
    Outcome,
    relay_world::{RelayPlan, RelayWorld},
    world::LONG,
};

#[tokio::test]
async fn rl_1_a_command_streams_through_a_relay() -> Outcome {
    let world = RelayWorld::with(RelayPlan::relay_only()).await?;
    let agent = world.streamer(400).await?;
    let follower = Follower::new(&world.client, &agent).await?;
    follower.until_ended(1).await?;
    follower.check(&world.client).await?;
    assert_eq!(follower.lines(), 400);
    let attached = world.attached().await?;
    assert!(
        attached.iter().all(|row| row["path"] == "relay"),
        "{attached:?}"
    );
    world.unbroken().await?;
    world.done().await
}

#[tokio::test]
async fn bx_2_inv_11_a_stream_moves_between_direct_and_relay_and_back_without_a_gap() -> Outcome {
    let world = RelayWorld::with(RelayPlan::default()).await?;
    let agent = world.streamer(900).await?;
    let follower = Follower::new(&world.client, &agent).await?;
    let mut generation = world.client.online().await?.generation;
    for round in 1..=4 {
        follower.until_lines(round * 100).await?;
        world.cut_direct();
        let host = world.on(Path::Relay).await?;
        assert!(host.generation > generation, "a switch is a new generation");
        generation = host.generation;
        // The better kind of path is taken again once it has proved stable.
        world.direct.refuse(false);
        let host = world.on(Path::Direct).await?;
        assert!(host.generation > generation);
        generation = host.generation;
    }
    follower.until_ended(1).await?;
    follower.check(&world.client).await?;
    assert_eq!(follower.lines(), 900);
    world.unbroken().await?;
    world.done().await
}

#[tokio::test]
async fn bx_2_a_candidate_that_is_long_on_its_way_resumes_where_its_hello_said() -> Outcome {
    let world = RelayWorld::with(RelayPlan::default()).await?;
    let server = world.client.server_id()?;
    let agent = world.streamer(1_200).await?;
    let follower = Follower::new(&world.client, &agent).await?;
    follower.until_lines(50).await?;
    // Between its hello and its attach pass several times the events that the active client
    // acknowledges at once.
    world.near.delay(Duration::from_millis(200));
    let before = follower.lines();
    world
        .client
        .runtime()
        .select_path(&server, Some(world.address(Path::Relay)));
    world.on(Path::Relay).await?;
    assert!(
        follower.lines() > before + 64,
        "the active client went on meanwhile"
    );
    follower.until_ended(1).await?;
    follower.check(&world.client).await?;
    world.unbroken().await?;
    world.done().await
}

#[tokio::test]
async fn inv_11_bx_1_the_user_moves_between_the_paths_with_intents_in_flight() -> Outcome {
    let world = RelayWorld::with(RelayPlan::default()).await?;
    let agent = world.client.agent("append", &world.work(), None).await?;
    let server = world.client.server_id()?;
    let mut sent = Vec::new();
    for round in 0..8 {
        for n in 0..4 {
            sent.push(world.client.send(Intent::SendPrompt {
                agent_id: agent.clone(),
                text: format!("{round}/{n}"),
            })?);
        }
        let path = [Path::Relay, Path::Direct][round % 2];
        let wanted = Some(world.address(path));
        world.client.runtime().select_path(&server, wanted);
        world.on(path).await?;
    }
    for intent in sent {
        done(intent, LONG).await?;
    }
    once_each(&world, 32).await?;
    world.unbroken().await?;
    world.done().await
}

/// Every line exists once.
async fn once_each(world: &RelayWorld, wanted: usize) -> Outcome {
    eventually("all effects", async || world.effects().len() >= wanted).await;
    let mut effects = world.effects();
    assert_eq!(effects.len(), wanted);
    effects.sort();
    effects.dedup();
    assert_eq!(effects.len(), wanted, "none twice");
    Ok(())
}

#[tokio::test]
async fn bx_1_intents_in_flight_on_a_dying_path_are_offered_again_on_the_next() -> Outcome {
    let world = RelayWorld::with(RelayPlan::default()).await?;
    let agent = world.client.agent("append", &world.work(), None).await?;
    let mut sent = Vec::new();
    for round in 0..6 {
        // Held back, so that they are in transit when the path fails.
        world.direct.freeze();
        for n in 0..5 {
            sent.push(world.client.send(Intent::SendPrompt {
                agent_id: agent.clone(),
                text: format!("{round}/{n}"),
            })?);
        }
        sleep(Duration::from_millis(20)).await;
        world.cut_direct();
        world.direct.thaw();
        world.on(Path::Relay).await?;
        world.direct.refuse(false);
        world.on(Path::Direct).await?;
    }
    for intent in sent {
        done(intent, LONG).await?;
    }
    once_each(&world, 30).await?;
    world.unbroken().await?;
    world.done().await
}

#[tokio::test]
async fn inv_8_probes_at_full_rate_change_neither_connection_nor_session_nor_sequence() -> Outcome {
    let mut plan = RelayPlan::default();
    plan.settings.host.probe_interval = Duration::from_millis(5);
    let world = RelayWorld::with(plan).await?;
    let server = world.client.server_id()?;
    // No switches: the user has selected a path.
    let chosen = Some(world.address(Path::Relay));
    world.client.runtime().select_path(&server, chosen);
    world.on(Path::Relay).await?;
    eventually("one connection", async || {
        world.attached().await.is_ok_and(|rows| rows.len() == 1)
    })
    .await;
    let before = world.client.online().await?;
    let switches = world.client.counters().switches;
    let session = world.sessions().await?;
    let connection = world.attached().await?[0]["id"].clone();
    let probes = || world.direct.counters().accepted + world.near.counters().accepted;
    let start = probes();
    eventually("three hundred probes", async || probes() > start + 300).await;
    let after = world.client.online().await?;
    assert_eq!(after.generation, before.generation);
    assert_eq!(after.address, before.address);
    assert_eq!(world.client.counters().switches, switches);
    assert_eq!(world.attached().await?[0]["id"], connection);
    let now = world.sessions().await?;
    for member in ["epoch", "nextSeq", "connections", "subscriptions"] {
        assert_eq!(now[0][member], session[0][member], "{member}");
    }
    assert_eq!(now.len(), 1);
    world.done().await
}

#[tokio::test]
async fn bx_2_after_a_hard_cut_the_first_event_arrives_on_the_other_path_at_once() -> Outcome {
    let world = RelayWorld::with(RelayPlan::default()).await?;
    let agent = world.streamer(3_000).await?;
    let follower = Follower::new(&world.client, &agent).await?;
    let mut gaps = Vec::new();
    for round in 1..=5 {
        follower.until_lines(round * 60).await?;
        let lines = follower.lines();
        let cut = Instant::now();
        world.cut_direct();
        // Data read before the cut may still be applied, so the first line on the other path
        // counts.
        world.on(Path::Relay).await?;
        let seen = follower.lines().max(lines);
        follower.until_lines(seen + 1).await?;
        gaps.push(cut.elapsed());
        world.direct.refuse(false);
        world.on(Path::Direct).await?;
    }
    println!("from the cut to the first event: {gaps:?}");
    // The requirement is 300 ms and a round trip. A busy machine misses it occasionally, not
    // always.
    gaps.sort();
    assert!(gaps[2] < Duration::from_millis(300), "{gaps:?}");
    world.unbroken().await?;
    world.done().await
}

/// Waits until the client of that generation is reported lost.
async fn found(world: &RelayWorld, generation: u64) -> Outcome {
    let is_lost =
        |host: &HostSnapshot| host.state != HostState::Online || host.generation > generation;
    world.client.until("the loss shows", LONG, is_lost).await?;
    Ok(())
}

#[tokio::test]
async fn ls_3_silent_death_of_the_direct_way_is_found_and_the_relay_takes_over() -> Outcome {
    let mut plan = RelayPlan::default();
    // Only silence reveals the failure.
    plan.settings.host.faster_cycles = 1_000;
    let world = RelayWorld::with(plan).await?;
    let agent = world.streamer(3_000).await?;
    let follower = Follower::new(&world.client, &agent).await?;
    follower.until_lines(50).await?;
    let generation = world.client.online().await?.generation;
    let began = Instant::now();
    world.direct.freeze();
    found(&world, generation).await?;
    let silent = began.elapsed();
    world.on(Path::Relay).await?;
    let seen = follower.lines();
    follower.until_lines(seen + 1).await?;
    let whole = began.elapsed();
    println!("from the silence to its detection: {silent:?}, to the first event: {whole:?}");
    assert!(silent < Duration::from_secs(10), "{silent:?}");
    assert!(whole < Duration::from_secs(13), "{whole:?}");
    world.unbroken().await?;
    world.done().await
}

#[tokio::test]
async fn ls_3_after_a_network_change_silent_death_is_found_within_seconds() -> Outcome {
    let mut plan = RelayPlan::default();
    plan.settings.client.liveness.misses = 1_000;
    plan.settings.host.faster_cycles = 1_000;
    let world = RelayWorld::with(plan).await?;
    let agent = world.streamer(3_000).await?;
    let follower = Follower::new(&world.client, &agent).await?;
    follower.until_lines(50).await?;
    for (round, event) in ["network", "foreground"].into_iter().enumerate() {
        let generation = world.client.online().await?.generation;
        let began = Instant::now();
        world.direct.freeze();
        match event {
            "network" => world.client.runtime().network_changed(),
            _ => {
                world.client.runtime().background();
                world.client.runtime().foreground();
            }
        }
        found(&world, generation).await?;
        let silent = began.elapsed();
        world.on(Path::Relay).await?;
        let seen = follower.lines();
        follower.until_lines(seen + 1).await?;
        let whole = began.elapsed();
        println!("{event}: found after {silent:?}, the first event after {whole:?}");
        assert!(silent < Duration::from_secs(3), "{event}: {silent:?}");
        assert!(whole < Duration::from_secs(6), "{event}: {whole:?}");
        world.direct.cut();
        world.direct.thaw();
        if round == 0 {
            world.on(Path::Direct).await?;
        }
    }
    world.unbroken().await?;
    world.done().await
}

/// The direct path is lost, the relay is dialled over the same failing network, and only then does
/// the system report the next network.
#[tokio::test]
async fn ls_3_a_candidate_dialled_before_a_network_change_is_not_waited_for() -> Outcome {
    let world = RelayWorld::with(RelayPlan::default()).await?;
    let generation = world.client.online().await?.generation;
    world.near.freeze();
    world.cut_direct();
    found(&world, generation).await?;
    eventually("a candidate and a probe in the void", async || {
        world.near.counters().open >= 2
    })
    .await;
    // Those never succeed, later ones do.
    world.near.blackhole();
    world.near.thaw();
    let began = Instant::now();
    world.client.runtime().network_changed();
    world.on(Path::Relay).await?;
    let took = began.elapsed();
    println!("from the network change to the relay: {took:?}");
    assert!(took < Duration::from_secs(3), "{took:?}");
    world.done().await
}

#[tokio::test]
async fn a_relay_that_is_killed_or_restarted_is_come_back_to_by_itself() -> Outcome {
    let mut world = RelayWorld::with(RelayPlan::relay_only()).await?;
    let agent = world.streamer(2_000).await?;
    let follower = Follower::new(&world.client, &agent).await?;
    for round in 1..=4 {
        follower.until_lines(round * 50).await?;
        if round % 2 == 0 {
            world.relay.kill().await?;
        } else {
            world.relay.stop().await?;
        }
        world.client.until_lost().await?;
        world.relay.start_again().await?;
        world.on(Path::Relay).await?;
        let seen = follower.lines();
        follower.until_lines(seen + 1).await?;
    }
    follower.until_ended(1).await?;
    follower.check(&world.client).await?;
    world.unbroken().await?;
    world.done().await
}

#[tokio::test]
async fn ls_3_a_relay_cut_off_from_the_daemon_is_registered_with_again() -> Outcome {
    let world = RelayWorld::with(RelayPlan::relay_only()).await?;
    let agent = world.streamer(3_000).await?;
    let follower = Follower::new(&world.client, &agent).await?;
    follower.until_lines(50).await?;
    // Half-open: silent, while new connections work. Both control and data socket must be detected.
    world.far.blackhole();
    let seen = follower.lines() + 40;
    follower.until_lines(seen).await?;
    // A temporary partition: sockets stay, bytes wait.
    world.far.freeze();
    eventually("the silence shows", async || {
        let link = world.link().await.unwrap_or_default();
        link["lastError"]["reason"] == Reason::HeartbeatTimeout.as_str()
            && link["state"] != "registered"
    })
    .await;
    world.far.thaw();
    let seen = follower.lines() + 40;
    follower.until_lines(seen).await?;
    // A partition that resets everything.
    world.far.refuse(true);
    world.far.cut();
    world.client.until_lost().await?;
    world.far.refuse(false);
    let seen = follower.lines() + 40;
    follower.until_lines(seen).await?;
    follower.until_ended(1).await?;
    follower.check(&world.client).await?;
    world.unbroken().await?;
    world.done().await
}

#[tokio::test]
async fn inv_2_bx_4_a_daemon_behind_a_relay_is_killed_and_restarted() -> Outcome {
    let mut world = RelayWorld::with(RelayPlan::relay_only()).await?;
    let agent = world.client.agent("append", &world.work(), None).await?;
    let epoch = world.sessions().await?[0]["epoch"].clone();
    for round in 0..4 {
        if round % 2 == 0 {
            world.daemon.kill().await?;
        } else {
            world.daemon.stop().await?;
        }
        let sent = world.client.send(Intent::SendPrompt {
            agent_id: agent.clone(),
            text: format!("round {round}"),
        })?;
        world.daemon.start_again().await?;
        done(sent, LONG).await?;
        // A turn that runs when the daemon is killed is interrupted, so this one finishes first.
        once_each(&world, round + 1).await?;
    }
    assert_eq!(world.sessions().await?[0]["epoch"], epoch, "one session");
    world.unbroken().await?;
    world.done().await
}
