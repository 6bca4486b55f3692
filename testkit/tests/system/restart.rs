//! The daemon is killed and restarts (BX-4), or the client is offline too long (SV-2).

use std::time::Duration;

use bowline_protocol::{ItemKind, model::TurnStatus};
use bowline_runtime::{DirectoryState, HostState, Intent};
use bowline_testkit::{
    eventually,
    world::{Follower, done},
};

use crate::{
    Outcome,
    world::{LONG, Plan, World},
};

#[tokio::test]
async fn bx_4_a_killed_daemon_comes_back_with_session_subscriptions_and_cursor() -> Outcome {
    let mut world = World::new().await?;
    let before = world.sessions().await?;
    let agent = world
        .client
        .agent("stream", &world.work(), Some("2000"))
        .await?;
    let follower = Follower::new(&world.client, &agent).await?;
    for kill in 1..=3_u64 {
        follower.until_lines(follower.lines() + 20).await?;
        world.daemon.kill().await?;
        world.client.until_lost().await?;
        world.daemon.start_again().await?;
        world.client.until_resumed(kill).await?;
        assert_eq!(
            world.client.counters().reset,
            1,
            "resumed, not reset: {:?}",
            world.client.counters()
        );
        follower.until_ended(kill as usize).await?;
        // The subscription belongs to the session and survived: this prompt's output arrives
        // without another request.
        world
            .client
            .run(Intent::SendPrompt {
                agent_id: agent.clone(),
                text: "2000".into(),
            })
            .await?;
    }
    world
        .client
        .run(Intent::Cancel {
            agent_id: agent.clone(),
        })
        .await?;
    follower.until_ended(4).await?;
    follower.check(&world.client).await?;
    let ends: Vec<_> = follower
        .items()
        .into_iter()
        .filter(|item| item.kind == ItemKind::TurnEnd)
        .map(|item| item.status)
        .collect();
    let interrupted = Some(TurnStatus::Interrupted);
    assert_eq!(
        ends,
        [
            interrupted,
            interrupted,
            interrupted,
            Some(TurnStatus::Cancelled)
        ],
        "the timeline contains the end of each turn"
    );
    let after = world.sessions().await?;
    assert_eq!(after.len(), 1);
    for field in ["externalSessionKey", "epoch", "createdAt"] {
        assert_eq!(after[0][field], before[0][field], "{field}");
    }
    assert_eq!(world.client.counters().event_gaps, 0);
    world.done().await
}

#[tokio::test]
async fn bx_1_bx_4_intents_over_kills_of_the_daemon_have_one_effect_or_tell_that_they_were_interrupted()
-> Outcome {
    const ROUNDS: usize = 8;
    let mut world = World::new().await?;
    let agent = world.appender().await?;
    let mut sent = Vec::new();
    for round in 0..ROUNDS {
        for n in 0..5 {
            sent.push(world.effect(&agent, &format!("{round}/{n}"))?);
        }
        world.daemon.kill().await?;
        world.daemon.start_again().await?;
        world.client.online().await?;
    }
    for intent in sent {
        done(intent, LONG).await?;
    }
    eventually("every turn has ended", async || {
        let items = world.history(&agent).await.unwrap();
        items
            .iter()
            .filter(|item| item.kind == ItemKind::TurnEnd)
            .count()
            >= ROUNDS * 5
    })
    .await;
    let items = world.history(&agent).await?;
    let mut asked: Vec<_> = items
        .iter()
        .filter(|item| item.kind == ItemKind::User)
        .map(|item| item.text.clone())
        .collect();
    assert_eq!(
        asked.len(),
        ROUNDS * 5,
        "each prompt is in the timeline once"
    );
    asked.sort();
    asked.dedup();
    assert_eq!(asked.len(), ROUNDS * 5);
    let interrupted = items
        .iter()
        .filter(|item| item.status == Some(TurnStatus::Interrupted))
        .count();
    let effects = world.effects();
    assert!(effects.values().all(|times| *times == 1), "{effects:?}");
    // A turn whose process was killed may or may not have had its effect; every other one has.
    assert!(
        effects.len() + interrupted >= ROUNDS * 5,
        "{} effects, {interrupted} interrupted",
        effects.len()
    );
    assert!(interrupted <= ROUNDS, "at most one turn runs at a time");
    world.done().await
}

#[tokio::test]
async fn sv_2_after_the_grace_a_reset_is_explicit_and_everything_is_exact_again() -> Outcome {
    let world = World::with(Plan {
        limits: "session_grace = \"1s\"".into(),
        ..Plan::default()
    })
    .await?;
    let agent = world
        .client
        .agent("burst", &world.work(), Some("40"))
        .await?;
    let follower = Follower::new(&world.client, &agent).await?;
    follower.until_ended(1).await?;
    let epoch = world.sessions().await?[0]["epoch"].clone();
    world.offline();
    eventually("the session is over", async || {
        world.sessions().await.unwrap().is_empty()
    })
    .await;
    let other = world.other_device().await?;
    other
        .run(Intent::SendPrompt {
            agent_id: agent.clone(),
            text: "40".into(),
        })
        .await?;
    let made = other.agent("append", &world.work(), None).await?;
    world.healthy();
    world
        .client
        .until("reset", LONG, |_| world.client.counters().reset == 2)
        .await?;
    assert_eq!(world.client.counters().resumed, 0);
    world
        .client
        .until("the directory is complete", LONG, |host| {
            host.directory.state == DirectoryState::Ready
                && host.directory.agents.len() == 2
                && host.directory.agents.iter().any(|row| row.id == made)
        })
        .await?;
    follower.until_ended(2).await?;
    follower.check(&world.client).await?;
    let ours = world
        .client
        .runtime()
        .profile()
        .client_session_key(&world.client.server_id()?)
        .external();
    let sessions = world.sessions().await?;
    let session = sessions
        .iter()
        .find(|session| session["externalSessionKey"] == ours.as_str())
        .unwrap();
    assert_ne!(session["epoch"], epoch, "a new numbering");
    world.done().await
}

#[tokio::test]
async fn sv_2_more_events_than_the_replay_log_holds_reset_and_everything_is_exact_again() -> Outcome
{
    let world = World::with(Plan {
        limits: "replay_events = 64".into(),
        ..Plan::default()
    })
    .await?;
    let agent = world
        .client
        .agent("stream", &world.work(), Some("200"))
        .await?;
    let follower = Follower::new(&world.client, &agent).await?;
    // In the middle of an item that grows while the client is offline.
    follower.until_lines(20).await?;
    world.offline();
    let other = world.other_device().await?;
    let watching = Follower::new(&other, &agent).await?;
    watching.until_ended(1).await?;
    for turn in 2..4 {
        other
            .run(Intent::SendPrompt {
                agent_id: agent.clone(),
                text: "10".into(),
            })
            .await?;
        watching.until_ended(turn).await?;
    }
    watching.check(&other).await?;
    world.healthy();
    world
        .client
        .until("reset", LONG, |_| world.client.counters().reset == 2)
        .await?;
    follower.until_ended(3).await?;
    follower.check(&world.client).await?;
    let rows = other.online().await?.directory.agents.clone();
    world
        .client
        .until("the directories agree", LONG, |host| {
            host.directory.state == DirectoryState::Ready && host.directory.agents == rows
        })
        .await?;
    world.done().await
}

#[tokio::test]
async fn bx_2_a_follower_far_behind_the_window_still_gets_every_byte() -> Outcome {
    let world = World::with(Plan {
        limits: "replay_events = 64".into(),
        ..Plan::default()
    })
    .await?;
    let agent = world
        .client
        .agent("stream", &world.work(), Some("100"))
        .await?;
    let follower = Follower::new(&world.client, &agent).await?;
    follower.until_lines(10).await?;
    world.offline();
    // While it is offline the open item is completed, and more items follow than any page or window
    // holds.
    let other = world.other_device().await?;
    let watching = Follower::new(&other, &agent).await?;
    watching.until_ended(1).await?;
    for turn in 0..500 {
        let sent = other.send(Intent::SendPrompt {
            agent_id: agent.clone(),
            text: "1".into(),
        })?;
        if turn % 50 == 49 {
            done(sent, LONG).await?;
            watching.until_ended(turn + 2).await?;
        }
    }
    world.healthy();
    follower.until_ended(501).await?;
    follower.check(&world.client).await?;
    world.done().await
}

#[tokio::test]
async fn bx_2_a_follower_that_does_not_look_for_long_still_gets_every_byte() -> Outcome {
    let world = World::new().await?;
    let agent = world
        .client
        .agent("stream", &world.work(), Some("100"))
        .await?;
    let other = world.other_device().await?;
    let watching = Follower::new(&other, &agent).await?;
    let mut slow = world.client.timeline(&agent).await?.from_index(0);
    let mut notes = bowline_testkit::world::Notes::default();
    // It receives the start of an item …
    while notes.items().len() < 2 {
        notes.take(slow.next().await?.unwrap())?;
    }
    // … and reads again after the item is complete and far outside of any window.
    watching.until_ended(1).await?;
    other
        .run(Intent::SendPrompt {
            agent_id: agent.clone(),
            text: "burst 3000".into(),
        })
        .await?;
    watching.until_ended(2).await?;
    watching.check(&other).await?;
    let kept = watching.items();
    while notes.compare(&kept).is_err() {
        let next = tokio::time::timeout(LONG / 6, slow.next()).await;
        match next {
            Ok(update) => notes.take(update?.unwrap())?,
            Err(_) => notes.compare(&kept)?,
        }
    }
    world.done().await
}

#[tokio::test]
async fn ls_12_a_replay_as_large_as_the_log_is_taken_in_and_nothing_is_disposed() -> Outcome {
    let world = World::new().await?;
    let agent = world
        .client
        .agent("stream", &world.work(), Some("3"))
        .await?;
    let follower = Follower::new(&world.client, &agent).await?;
    follower.until_ended(1).await?;
    world.offline();
    world
        .client
        .until("offline", LONG, |host| host.state != HostState::Online)
        .await?;
    let other = world.other_device().await?;
    let watching = Follower::new(&other, &agent).await?;
    let appender = other.agent("append", &world.work(), None).await?;
    for n in 0..300 {
        let sent = other.send(Intent::SendPrompt {
            agent_id: appender.clone(),
            text: format!("{n}"),
        })?;
        if n % 50 == 49 {
            done(sent, LONG).await?;
        }
    }
    other
        .run(Intent::SendPrompt {
            agent_id: agent.clone(),
            text: "400".into(),
        })
        .await?;
    watching.until_ended(2).await?;
    eventually("the appender is done", async || {
        world.effects().len() == 300
    })
    .await;
    let missed = world.sessions().await?;
    let ours = world
        .client
        .runtime()
        .profile()
        .client_session_key(&world.client.server_id()?)
        .external();
    let ours = missed
        .iter()
        .find(|session| session["externalSessionKey"] == ours.as_str())
        .unwrap();
    assert!(ours["replayEvents"].as_u64().unwrap() > 500, "{ours}");
    let before = world.client.counters().events_applied;
    world.healthy();
    world.client.until_resumed(1).await?;
    assert_eq!(world.client.counters().reset, 1);
    follower.until_ended(2).await?;
    follower.check(&world.client).await?;
    world.client.online().await?;
    assert!(world.client.counters().events_applied > before + 500);
    assert_eq!(world.client.counters().event_gaps, 0);
    world.done().await
}

#[tokio::test]
async fn sv_2_a_daemon_that_is_stopped_properly_is_back_soon() -> Outcome {
    let mut plan = Plan::default();
    // Waiting for this would fail the test: "back soon" is not the usual delay.
    plan.settings.client.backoff.cap = Duration::from_secs(600);
    let mut world = World::with(plan).await?;
    world.daemon.stop().await?;
    world.client.until_lost().await?;
    world.daemon.start_again().await?;
    world.client.online().await?;
    assert_eq!(
        (
            world.client.counters().resumed,
            world.client.counters().reset
        ),
        (1, 1)
    );
    world.done().await
}
