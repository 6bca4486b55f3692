//! TR-12: one device at full speed neither locks others out nor fills the disk, and is told so.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use bowline_protocol::{
    AgentId, DeviceId, ItemKind, RpcReason, TimelineItem, error::RpcError, model::TurnStatus,
};
use bowline_runtime::{CallError, Intent, Outcome as IntentOutcome};
use bowline_testkit::{
    attack_time, eventually,
    world::{Client, done, history, resident},
};
use serde_json::{Value, json};

use crate::{
    Outcome, log,
    world::{LONG, Plan, World},
};

/// Intents that the flooding device may send in a day, and those that it tries to.
const QUOTA: u64 = 200;
const FLOOD: usize = 1_000;
/// Requests that it keeps going at once at full speed, more than may wait.
const AT_ONCE: usize = 32;
/// Requests of the other device meanwhile; they count against a quota of its own.
const BESIDE: u32 = 100;
/// By how much the daemon's files may grow meanwhile: traces of refusals are bounded.
const MORE_STORED: u64 = 16 << 20;

fn plan(limits: &str) -> Plan {
    Plan {
        limits: limits.to_owned(),
        ..Plan::default()
    }
}

fn archive(agent: &AgentId) -> Intent {
    Intent::Archive {
        agent_id: agent.clone(),
    }
}

/// The daemon's refusal of one more intent of this device, once the flood before it is over.
async fn refusal(client: &Client, agent: &AgentId) -> RpcError {
    eventually("the day's quota is what refuses", async || {
        let error = refused(client, agent).await;
        let is_of_day = error
            .quota()
            .is_some_and(|it| it.name == "intents_per_device");
        if is_of_day { Ok(error) } else { Err(error) }
    })
    .await
}

async fn refused(client: &Client, agent: &AgentId) -> RpcError {
    let params = json!({"agentId": agent, "intentId": uuid::Uuid::now_v7().to_string()});
    let server_id = client.server_id().unwrap();
    let asked = client.runtime();
    let asked = asked.query::<_, Value>(&server_id, "agents.archive", &params);
    match asked.await {
        Err(CallError::Rpc(error)) => error,
        other => panic!("{other:?}"),
    }
}

/// Lets a device do several things, each after a pause; the longest that one took.
async fn served(
    client: &Client,
    world: &World,
    times: u32,
    pause: Duration,
) -> Result<Duration, Box<dyn std::error::Error>> {
    let mut longest = Duration::ZERO;
    for _ in 0..times {
        tokio::time::sleep(pause).await;
        let began = Instant::now();
        client.agent("append", &world.work(), None).await?;
        longest = longest.max(began.elapsed());
    }
    Ok(longest)
}

/// Sends new intents at full speed until a moment, as a program that minds no refusal. Returns how
/// many were refused; each is told a quota.
async fn full_speed(client: &Client, agent: &AgentId, until: Instant) -> u64 {
    let one_after_the_other = || async {
        let mut told = 0;
        while Instant::now() < until {
            let error = refused(client, agent).await;
            assert_eq!(error.reason(), Some(RpcReason::RateLimited), "{error}");
            assert!(error.quota().is_some(), "{error}");
            told += 1;
        }
        told
    };
    let at_once = (0..AT_ONCE).map(|_| one_after_the_other());
    futures_util::future::join_all(at_once).await.iter().sum()
}

/// Bytes of the daemon's database and of the log of its changes.
fn stored(world: &World) -> u64 {
    let folder = world.daemon.state_dir();
    let sizes = ["bowline.db", "bowline.db-wal"].map(|name| std::fs::metadata(folder.join(name)));
    sizes.iter().flatten().map(std::fs::Metadata::len).sum()
}

#[tokio::test]
async fn tr_12_one_device_at_full_speed_is_told_its_quota_and_others_are_served() -> Outcome {
    let limits = format!("intents_per_device = {QUOTA}\nwaiting_per_device = 16");
    let mut world = World::with(plan(&limits)).await?;
    let quiet = world.other_device().await?;
    let agent = world.appender().await?;
    // One request of the day was its creation.
    let accepted = Arc::new(AtomicU64::new(1));
    for _ in 0..FLOOD {
        let (submitted, accepted) = (world.client.send(archive(&agent))?, Arc::clone(&accepted));
        tokio::spawn(async move {
            if let Some(IntentOutcome::Done { .. }) = submitted.outcome().await {
                accepted.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    let longest = served(&quiet, &world, 10, Duration::ZERO).await?;
    eprintln!("beside the flood one request took {longest:?} at most");
    assert!(longest < LONG);

    eventually("the quota is used up", async || {
        accepted.load(Ordering::Relaxed) == QUOTA
    })
    .await;
    eventually("its user is told", async || {
        log::take().contains("as it may within a day")
    })
    .await;
    let error = refusal(&world.client, &agent).await;
    assert_eq!(error.reason(), Some(RpcReason::RateLimited), "{error}");
    let quota = error.quota().unwrap();
    assert_eq!(
        (quota.name.as_str(), quota.limit),
        ("intents_per_device", QUOTA)
    );
    let server_id = world.client.server_id()?;
    let key = world.client.runtime().profile().device_key(&server_id);
    let device = DeviceId::of_public_key(&key.public());
    assert_eq!(quota.device_id, Some(device), "it says whose");
    assert!(error.retry_after().is_some_and(|pause| !pause.is_zero()));

    let attack = attack_time(Duration::from_secs(2));
    let before = stored(&world);
    let (told, longest) = tokio::join!(
        full_speed(&world.client, &agent, Instant::now() + attack),
        served(&quiet, &world, BESIDE, attack / BESIDE),
    );
    let (longest, after) = (longest?, stored(&world));
    eprintln!(
        "{told} refusals at full speed, beside it one request took {longest:?} at most; stored {} KiB, before {} KiB; \
         memory {:?} KiB",
        after >> 10,
        before >> 10,
        world
            .daemon
            .pid()
            .and_then(resident)
            .map(|bytes| bytes >> 10)
    );
    assert!(longest < LONG);
    assert!(
        after < before + MORE_STORED,
        "{after} bytes, before {before}"
    );

    // A restart changes nothing for either.
    world.daemon.kill().await?;
    world.daemon.start_again().await?;
    world.client.online().await?;
    quiet.online().await?;
    let error = refusal(&world.client, &agent).await;
    assert_eq!(error.quota().map(|quota| quota.limit), Some(QUOTA));
    served(&quiet, &world, 10, Duration::ZERO).await?;

    // What was refused waits in the device's outbox, for tomorrow.
    assert_eq!(accepted.load(Ordering::Relaxed), QUOTA);
    log::take();
    quiet.runtime().close().await;
    world.done().await
}

/// What the agent prints in one turn of a test of retention.
const PRINTED: usize = 60_000;

/// Runs a turn that prints [`PRINTED`] bytes, to its end.
async fn print(client: &Client, agent: &AgentId) -> Outcome {
    let before = ends(&history(client, agent).await?);
    let sent = client.send(Intent::SendPrompt {
        agent_id: agent.clone(),
        text: PRINTED.to_string(),
    })?;
    done(sent, LONG).await?;
    eventually("the turn ends", async || {
        let items = history(client, agent).await;
        items.is_ok_and(|items| ends(&items) > before)
    })
    .await;
    Ok(())
}

fn ends(items: &[TimelineItem]) -> usize {
    let ends = items.iter().filter(|item| item.kind == ItemKind::TurnEnd);
    ends.count()
}

fn marks(items: &[TimelineItem]) -> Vec<u64> {
    let marked = items.iter().filter(|item| item.dropped_bytes > 0);
    marked.map(|item| item.index).collect()
}

#[tokio::test]
async fn tr_12_old_output_is_dropped_and_every_client_shows_the_mark() -> Outcome {
    let limit = 3 * PRINTED;
    let mut world = World::with(plan(&format!("[agents]\ntimeline_bytes = {limit}"))).await?;
    let agent = world.client.agent("print", &world.work(), None).await?;
    let mut open = world.client.timeline(&agent).await?;
    for _ in 0..6 {
        print(&world.client, &agent).await?;
    }
    let stored = eventually("the timeline is within its bound", async || {
        let items = history(&world.client, &agent).await.unwrap();
        let kept: usize = items.iter().map(|item| item.text.len()).sum();
        if kept <= limit { Ok(items) } else { Err(kept) }
    })
    .await;
    let first = stored.iter().find(|item| item.kind == ItemKind::Output);
    assert!(
        first.is_some_and(|item| item.dropped_bytes > 0),
        "the oldest first"
    );
    for item in &stored {
        let is_marked = item.dropped_bytes > 0;
        assert!(!is_marked || item.kind == ItemKind::Output, "{item:?}");
        assert!(item.kind != ItemKind::User || !item.text.is_empty());
    }
    // The open screen had the texts and shows the marks; one opened later gets them as well.
    let shown = async {
        while !open.view().items.iter().map(|item| &**item).eq(&stored) {
            assert!(open.changed().await);
        }
    };
    tokio::time::timeout(LONG, shown).await?;

    world.daemon.kill().await?;
    world.daemon.start_again().await?;
    world.client.online().await?;
    assert_eq!(history(&world.client, &agent).await?, stored);
    print(&world.client, &agent).await?;
    eventually("it goes on", async || {
        let items = history(&world.client, &agent).await.unwrap();
        marks(&items).len() > marks(&stored).len()
    })
    .await;
    world.done().await
}

#[tokio::test]
async fn tr_12_a_full_store_keeps_what_it_has_and_takes_the_rest_when_there_is_room() -> Outcome {
    let limits = "storage_limit = 4194304\n[agents]\ntimeline_bytes = 0";
    let mut world = World::with(plan(limits)).await?;
    let agent = world.appender().await?;
    // Prompts are not dropped to make room, so at some time one does not fit.
    let prompt = |n: usize| Intent::SendPrompt {
        agent_id: agent.clone(),
        text: format!("{n} {}", "p".repeat(50_000)),
    };
    let mut sent = Vec::new();
    for n in 0..60 {
        sent.push(world.client.send(prompt(n))?);
    }
    eventually("the user is told", async || {
        log::take().contains("limits.storage_limit")
    })
    .await;
    // Reading continues, and what was accepted is there.
    let held = history(&world.client, &agent).await?;
    assert!(held.iter().any(|item| item.text.len() > 50_000));
    let file = world.daemon.state_dir().join("bowline.db");
    assert!(std::fs::metadata(&file)?.len() <= 4_194_304 + 524_288);

    // A turn that runs when the daemon is killed is interrupted, so none should run. The app goes
    // on trying, and one more prompt may be accepted between this look and the kill.
    eventually("what was accepted is done", async || {
        let items = history(&world.client, &agent).await.unwrap();
        let accepted = items.iter().filter(|item| item.kind == ItemKind::User);
        let (accepted, done) = (accepted.count(), world.effects().len());
        if done == accepted && ends(&items) == accepted {
            Ok(())
        } else {
            Err((accepted, done))
        }
    })
    .await;

    // With a higher limit, everything is delivered, once.
    world.daemon.kill().await?;
    let config = world.daemon_log().with_file_name("daemon.toml");
    let raised = std::fs::read_to_string(&config)?.replace("4194304", "419430400");
    std::fs::write(&config, raised)?;
    world.daemon.start_again().await?;
    for submitted in sent {
        done(submitted, LONG).await?;
    }
    let cut = eventually("all turns have ended", async || {
        let items = history(&world.client, &agent).await.unwrap();
        let cut = items.iter();
        let cut = cut.filter(|item| item.status == Some(TurnStatus::Interrupted));
        if ends(&items) == 60 {
            Ok(cut.count())
        } else {
            Err(ends(&items))
        }
    })
    .await;
    assert!(cut <= 1, "{cut} turns were interrupted");
    world.until_effects(60 - cut).await?;
    log::take();
    std::fs::remove_file(world.daemon_log())?;
    std::fs::write(world.daemon_log(), "")?;
    world.done().await
}
