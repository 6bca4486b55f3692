//! Exactly-once intents (BX-1): neither lost nor run twice, whatever fails meanwhile. The effect is
//! measured outside of client and daemon, in a file that a process appends to.

use std::time::Duration;

use bowline_protocol::methods::{SendPrompt, name};
use bowline_runtime::{CallError, HostState, Intent};
use bowline_testkit::{random::Random, world::done};
use serde_json::Value;
use tokio::time::sleep;

use crate::{
    Outcome,
    world::{LONG, World, seed},
};

#[tokio::test]
async fn bx_1_intents_made_offline_are_done_once_when_the_path_is_back() -> Outcome {
    let world = World::new().await?;
    let agent = world.appender().await?;
    world.offline();
    world
        .client
        .until("offline", LONG, |host| host.state != HostState::Online)
        .await?;
    let mut sent = Vec::new();
    for n in 0..10 {
        sent.push(world.effect(&agent, &format!("offline {n}"))?);
    }
    let host = world
        .client
        .until("they wait", LONG, |host| host.intents.pending == 10)
        .await?;
    assert_ne!(host.state, HostState::Online);
    assert!(world.effects().is_empty());
    world.healthy();
    for intent in sent {
        done(intent, LONG).await?;
    }
    world.until_effects(10).await?;
    assert_eq!(world.client.online().await?.intents.pending, 0);
    world.done().await
}

#[tokio::test]
async fn bx_1_intents_in_flight_when_the_path_dies_are_done_once() -> Outcome {
    const ROUNDS: usize = 40;
    let world = World::new().await?;
    let agent = world.appender().await?;
    let mut random = Random::new(seed());
    world.proxies[0].delay(Duration::from_millis(10));
    let mut sent = Vec::new();
    for round in 0..ROUNDS {
        world.client.online().await?;
        sent.push(world.effect(&agent, &format!("in flight {round}"))?);
        // The cut hits the request, the transaction or the answer: a different time in each round.
        sleep(random.between(Duration::ZERO, Duration::from_millis(45))).await;
        world.proxies[0].cut();
    }
    for intent in sent {
        done(intent, LONG).await?;
    }
    world.until_effects(ROUNDS).await?;
    world.done().await
}

#[tokio::test]
async fn bx_1_intents_survive_the_app() -> Outcome {
    let mut world = World::new().await?;
    let agent = world.appender().await?;
    world.offline();
    for n in 0..20 {
        // The outcome is not awaited: the app ends first.
        drop(world.effect(&agent, &format!("kept {n}"))?);
    }
    world.client.restart().await?;
    let waiting = world
        .client
        .until("the outbox is read", LONG, |host| {
            host.intents.pending == 20
        })
        .await?;
    assert_ne!(waiting.state, HostState::Online);
    world.healthy();
    world
        .client
        .until("all are done", LONG, |host| host.intents.pending == 0)
        .await?;
    world.until_effects(20).await?;
    // Nothing is left for the next start to send.
    world.client.restart().await?;
    let host = world.client.online().await?;
    assert_eq!(host.intents.pending, 0);
    world.until_effects(20).await?;
    world.done().await
}

#[tokio::test]
async fn bx_1_agents_created_while_the_path_dies_are_there_once() -> Outcome {
    const ROUNDS: usize = 30;
    let world = World::new().await?;
    let mut random = Random::new(seed() ^ 0xa);
    world.proxies[0].delay(Duration::from_millis(10));
    let mut sent = Vec::new();
    for round in 0..ROUNDS {
        world.client.online().await?;
        sent.push(world.client.send(Intent::CreateAgent {
            provider: "append".into(),
            cwd: world.work().display().to_string(),
            title: Some(format!("agent {round}")),
            prompt: None,
        })?);
        sleep(random.between(Duration::ZERO, Duration::from_millis(45))).await;
        world.proxies[0].cut();
    }
    let mut made = Vec::new();
    for intent in sent {
        let result: Value = done(intent, LONG).await?;
        made.push(result["agent"]["id"].clone());
    }
    let host = world
        .client
        .until("the directory has them all", LONG, |host| {
            host.directory.agents.len() >= ROUNDS
        })
        .await?;
    assert_eq!(host.directory.agents.len(), ROUNDS);
    for (round, id) in made.iter().enumerate() {
        let title = format!("agent {round}");
        let row = host
            .directory
            .agents
            .iter()
            .find(|row| row.title == title)
            .unwrap();
        assert_eq!(
            id,
            row.id.as_str(),
            "the outcome names the agent that was made"
        );
    }
    world.done().await
}

#[tokio::test]
async fn bx_1_bx_4_an_outcome_is_remembered_over_a_kill_and_another_request_is_a_conflict()
-> Outcome {
    let mut world = World::new().await?;
    let agent = world.appender().await?;
    let intent = world.effect(&agent, "once")?;
    let mut params = SendPrompt {
        intent_id: intent.id,
        agent_id: agent.clone(),
        text: "once".into(),
    };
    let first = done(intent, LONG).await?;
    world.until_effects(1).await?;
    world.daemon.kill().await?;
    world.daemon.start_again().await?;
    world.client.online().await?;
    let server = world.client.server_id()?;
    let runtime = world.client.runtime();
    let again: Value = runtime.query(&server, name::AGENTS_SEND, &params).await?;
    assert_eq!(again, first, "the stored outcome");
    params.text = "something else".into();
    let other: Result<Value, _> = runtime.query(&server, name::AGENTS_SEND, &params).await;
    match other {
        Err(CallError::Rpc(error)) => {
            assert_eq!(error.reason().unwrap().as_str(), "intent_conflict");
        }
        other => panic!("another request under that id came to {other:?}"),
    }
    world.until_effects(1).await?;
    world.done().await
}
