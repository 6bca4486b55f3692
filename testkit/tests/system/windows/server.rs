//! Daemon and relay on Windows, with a client on another machine.

use bowline_protocol::{AgentId, ItemKind, model::TurnStatus};
use bowline_runtime::Intent;
use bowline_testkit::{
    eventually,
    world::{Client, DaemonProcess, Follower, RelayOptions, RelayProcess, Wine, done},
};
use serde_json::Value;
use tokio::time::timeout;

use super::{exit_code, plan, wine};
use crate::{
    Outcome,
    world::{LONG, Plan, World, options},
};

/// Waits until an agent's turns have ended. A program that Wine could not run is told from an
/// intent that the daemon lost: the timeline says how each turn ended.
async fn all_completed(world: &World, agent: &AgentId, turns: usize) -> Outcome {
    let ends = eventually(format!("{turns} ended turns"), async || {
        let items = world.history(agent).await.unwrap();
        let ends = items.iter().filter(|item| item.kind == ItemKind::TurnEnd);
        match ends.clone().count() == turns {
            true => Ok(ends.cloned().collect::<Vec<_>>()),
            false => Err(items),
        }
    })
    .await;
    let bad: Vec<_> = ends
        .iter()
        .filter(|end| end.status != Some(TurnStatus::Completed))
        .collect();
    assert!(bad.is_empty(), "{bad:#?}");
    Ok(())
}

#[tokio::test]
#[ignore = "run by `cargo xtask windows`"]
async fn bx_1_bx_2_a_stream_and_intents_survive_cuts() -> Outcome {
    const CUTS: u64 = 5;
    let world = World::with(plan()).await?;
    let before = world.sessions().await?;
    let streamer = world
        .client
        .agent("stream", &world.work(), Some("300"))
        .await?;
    let follower = Follower::new(&world.client, &streamer).await?;
    let appender = world.appender().await?;
    let mut sent = Vec::new();
    for cut in 1..=CUTS {
        follower.until_lines(cut as usize * 20).await?;
        for n in 0..3 {
            sent.push(world.effect(&appender, &format!("{cut}/{n}"))?);
        }
        world.proxies[0].cut();
        world.client.until_resumed(cut).await?;
    }
    for intent in sent {
        done(intent, LONG).await?;
    }
    all_completed(&world, &appender, CUTS as usize * 3).await?;
    world.until_effects(CUTS as usize * 3).await?;
    follower.until_ended(1).await?;
    follower.check(&world.client).await?;
    assert_eq!(follower.lines(), 300);
    let after = world.sessions().await?;
    assert_eq!(after.len(), 1);
    assert_eq!(
        after[0]["epoch"], before[0]["epoch"],
        "resumed, never reset"
    );
    assert_eq!(world.client.counters().event_gaps, 0);
    world.done().await
}

#[tokio::test]
#[ignore = "run by `cargo xtask windows`"]
async fn bx_1_bx_4_a_killed_daemon_resumes_with_nothing_lost_or_repeated() -> Outcome {
    const KILLS: usize = 3;
    let mut world = World::with(plan()).await?;
    let before = world.sessions().await?;
    let streamer = world
        .client
        .agent("stream", &world.work(), Some("5000"))
        .await?;
    let follower = Follower::new(&world.client, &streamer).await?;
    let appender = world.appender().await?;
    for kill in 1..=KILLS {
        follower.until_lines(follower.lines() + 20).await?;
        let sent: Vec<_> = (0..3)
            .map(|n| world.effect(&appender, &format!("{kill}/{n}")))
            .collect::<Result<_, _>>()?;
        world.daemon.kill().await?;
        world.client.until_lost().await?;
        world.daemon.start_again().await?;
        world.client.until_resumed(kill as u64).await?;
        follower.until_ended(kill).await?;
        for intent in sent {
            done(intent, LONG).await?;
        }
        world
            .client
            .run(Intent::SendPrompt {
                agent_id: streamer.clone(),
                text: "5000".into(),
            })
            .await?;
    }
    let agent_id = streamer.clone();
    world.client.run(Intent::Cancel { agent_id }).await?;
    follower.until_ended(KILLS + 1).await?;
    follower.check(&world.client).await?;
    eventually("every prompt has ended", async || {
        let items = world.history(&appender).await.unwrap();
        let ends = items.iter().filter(|item| item.kind == ItemKind::TurnEnd);
        ends.count() >= KILLS * 3
    })
    .await;
    let items = world.history(&appender).await?;
    let prompts = items.iter().filter(|item| item.kind == ItemKind::User);
    assert_eq!(prompts.count(), KILLS * 3, "each prompt is there once");
    let interrupted = items
        .iter()
        .filter(|item| item.status == Some(TurnStatus::Interrupted))
        .count();
    let effects = world.effects();
    assert!(effects.values().all(|times| *times == 1), "{effects:?}");
    // A turn whose process was killed may or may not have had its effect; every other one has.
    assert!(
        effects.len() + interrupted >= KILLS * 3,
        "{effects:?}, {interrupted} interrupted"
    );
    assert!(
        interrupted <= KILLS,
        "at most one of its turns runs at a time"
    );
    let after = world.sessions().await?;
    assert_eq!(after.len(), 1);
    for field in ["externalSessionKey", "epoch", "createdAt"] {
        assert_eq!(after[0][field], before[0][field], "{field}");
    }
    let counters = world.client.counters();
    assert_eq!(
        (counters.event_gaps, counters.reset),
        (0, 1),
        "{counters:?}"
    );
    world.done().await
}

#[tokio::test]
#[ignore = "run by `cargo xtask windows`"]
async fn inv_2_an_orderly_stop_and_another_start_keep_the_session() -> Outcome {
    let mut world = World::with(plan()).await?;
    world.daemon.stop().await?;
    world.client.until_lost().await?;
    world.daemon.start_again().await?;
    world.client.until_resumed(1).await?;
    assert_eq!(world.sessions().await?.len(), 1);
    world.done().await
}

#[tokio::test]
#[ignore = "run by `cargo xtask windows`"]
async fn a_second_daemon_of_the_same_state_does_not_start() -> Outcome {
    let root = tempfile::tempdir()?;
    let options = options(root.path(), "", &plan())?;
    let state = Wine::path(&options.state_dir);
    let first = DaemonProcess::start(options).await?;
    let (mut second, code) = exit_code::command(&wine(), "bowline-daemon")?;
    second.args(["run", "--listen", "127.0.0.1:0", "--state-dir", &state]);
    let second = timeout(LONG, second.output()).await??;
    let said = String::from_utf8(second.stderr)?;
    assert_eq!(code.read(second.status)?, 1, "{said}");
    assert!(said.contains("another daemon"), "{said}");
    let _: Value = first.ask("status").await?;
    Ok(())
}

#[tokio::test]
#[ignore = "run by `cargo xtask windows`"]
async fn rl_1_daemon_and_relay_serve_a_client_that_knows_only_the_relay() -> Outcome {
    let root = tempfile::tempdir()?;
    std::fs::create_dir(root.path().join("work"))?;
    let mut relay = RelayProcess::start(RelayOptions {
        wine: Some(wine()),
        ..RelayOptions::new()
    })
    .await?;
    let mut options = options(root.path(), "", &plan())?;
    options.args = vec!["--relay".to_owned(), relay.url()];
    let daemon = DaemonProcess::start(options).await?;
    daemon.registered().await?;
    let settings = Plan::default().settings;
    let mut client = Client::open(root.path().join("client"), settings)?;
    client.pair_over(&daemon, &[], &[relay.address()]).await?;
    client.online().await?;
    let work = Wine::path(&root.path().join("work"));
    let agent = client.agent("stream", work.as_ref(), Some("100")).await?;
    let follower = Follower::new(&client, &agent).await?;
    follower.until_ended(1).await?;
    follower.check(&client).await?;
    assert_eq!(follower.lines(), 100);
    relay.stop().await?;
    client.until_lost().await?;
    Ok(())
}
