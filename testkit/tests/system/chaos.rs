//! Chaos on real sockets: the path is cut or frozen at random every 50 to 500 ms, in one test the
//! daemon is killed too, while a client in a separate process sends intents and follows a stream.
//!
//! The seed is printed; `BOWLINE_SEED` repeats a run.

use std::{process::Stdio, time::Duration};

use bowline_protocol::{AgentId, ItemKind, model::TurnStatus};
use bowline_testkit::{
    Chaos, Plan as ChaosPlan, eventually,
    world::{
        Client, WorldError, history, program, quick_settings, resident,
        work::{Progress, Work},
    },
};
use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    process::{Child, ChildStdout, Command},
    time::{Instant, timeout},
};

use crate::{
    Outcome,
    world::{Plan, World, seed},
};

/// Longest run on a slow machine.
const BOUND: Duration = Duration::from_secs(240);
/// Allowed memory growth of a process after the first third: the variation of allocators and page
/// caches. A leak of one socket's buffers per reconnect would be several times that.
const FLAT: u64 = 6 << 20;

/// The client's process.
struct Worker {
    child: Child,
    told: Lines<BufReader<ChildStdout>>,
}

impl Worker {
    fn start(work: &Work) -> Self {
        let mut child = Command::new(program("bowline-testkit-actor").unwrap())
            .arg("work")
            .arg(serde_json::to_string(work).unwrap())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let told = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, told }
    }

    /// The next progress report; `None` after the process has ended.
    async fn next(&mut self) -> Option<Progress> {
        let line = self.told.next_line().await.unwrap()?;
        Some(serde_json::from_str(&line).unwrap())
    }
}

/// A world, and the work of a client whose process is not started yet.
async fn prepare(paths: usize, intents: usize, pace_ms: u64) -> Result<(World, Work), WorldError> {
    let world = World::with(Plan {
        paths,
        ..Plan::default()
    })
    .await?;
    let stream = world.client.agent("stream", &world.work(), None).await?;
    let mut agents = Vec::new();
    for _ in 0..16 {
        agents.push(world.appender().await?);
    }
    world.client.runtime().close().await;
    let work = Work {
        folder: world.client.folder().to_owned(),
        seed: seed(),
        intents,
        pace_ms,
        stream: (stream, "1000000".to_owned()),
        agents,
    };
    Ok((world, work))
}

/// Memory of both sides after the first third and at the end.
#[derive(Debug, Default)]
struct Memory {
    daemon: (Option<u64>, Option<u64>),
    client: (Option<u64>, Option<u64>),
}

impl Memory {
    fn assert_flat(&self) {
        for (side, measured) in [("daemon", self.daemon), ("client", self.client)] {
            match measured {
                (Some(third), Some(end)) => {
                    println!("{side}: {third} bytes after a third, {end} at the end");
                    assert!(end < third + FLAT, "the {side} grew from {third} to {end}");
                }
                _ => println!("{side}: memory is not measured on this system"),
            }
        }
    }
}

#[tokio::test]
async fn bx_1_bx_2_chaos_two_thousand_intents_and_a_stream_over_a_breaking_path() -> Outcome {
    const INTENTS: usize = 2_000;
    println!("BOWLINE_SEED={}", seed());
    let (world, work) = prepare(1, INTENTS, 15).await?;
    let mut worker = Worker::start(&work);
    let mut last = worker.next().await.expect("the client is online");
    let chaos = Chaos::start(world.proxies[0].clone(), &ChaosPlan::new(seed()));
    let began = Instant::now();
    let pid = world.daemon.pid().unwrap();
    let mut memory = Memory::default();
    while let Some(progress) = timeout(BOUND, worker.next()).await? {
        if memory.daemon.0.is_none() && progress.done >= INTENTS / 3 {
            memory.daemon.0 = resident(pid);
            memory.client.0 = progress.resident;
        }
        last = progress;
    }
    memory.daemon.1 = resident(pid);
    memory.client.1 = last.resident;
    let report = chaos.stop().await;
    println!("{:?}: {report:?}, {last:?}", began.elapsed());
    assert!(
        worker.child.wait().await?.success() && last.finished,
        "{last:?}"
    );
    assert!(report.cuts > 20 && report.freezes > 20, "{report:?}");
    assert_eq!((last.done, last.gaps, last.reset), (INTENTS, 0, 1));
    assert!(last.resumed > 20, "{last:?}");
    assert!(
        last.lines > 1_000,
        "the stream flowed all the time: {last:?}"
    );
    world.until_effects(INTENTS).await?;
    assert_eq!(world.sessions().await?.len(), 1);
    memory.assert_flat();
    world.done().await
}

#[tokio::test]
async fn bx_1_bx_2_chaos_on_two_paths_at_once() -> Outcome {
    const INTENTS: usize = 600;
    println!("BOWLINE_SEED={}", seed());
    let (world, work) = prepare(2, INTENTS, 20).await?;
    let mut worker = Worker::start(&work);
    let mut last = worker.next().await.expect("the client is online");
    let chaos: Vec<_> = (seed()..)
        .zip(&world.proxies)
        .map(|(seed, proxy)| Chaos::start(proxy.clone(), &ChaosPlan::new(seed)))
        .collect();
    // In rotation one of them refuses new connections, so that a cut there moves the client to the
    // other.
    let mut closed = world.proxies.iter().cycle();
    while let Some(progress) = timeout(BOUND, worker.next()).await? {
        last = progress;
        world.proxies.iter().for_each(|proxy| proxy.refuse(false));
        closed.next().unwrap().refuse(true);
    }
    for chaos in chaos {
        println!("{:?}", chaos.stop().await);
    }
    println!("{last:?}");
    assert!(
        worker.child.wait().await?.success() && last.finished,
        "{last:?}"
    );
    assert_eq!((last.done, last.gaps, last.reset), (INTENTS, 0, 1));
    assert!(last.switches > 0, "{last:?}");
    world.until_effects(INTENTS).await?;
    assert_eq!(world.sessions().await?.len(), 1);
    world.done().await
}

#[tokio::test]
async fn bx_1_the_app_is_killed_and_what_it_had_sent_is_done_once() -> Outcome {
    println!("BOWLINE_SEED={}", seed());
    let (world, work) = prepare(1, 100_000, 3).await?;
    let mut least = 0;
    for kill in 1..=4 {
        let mut worker = Worker::start(&work);
        worker.next().await.expect("the client is online");
        let chaos = Chaos::start(world.proxies[0].clone(), &ChaosPlan::new(seed() + kill));
        let mut sent = 0;
        while sent < 150 {
            sent = worker.next().await.expect("the client works").sent;
        }
        least += sent;
        worker.child.kill().await?;
        chaos.stop().await;
    }
    let client = Client::open(world.client.folder(), quick_settings(seed()))?;
    client.online().await?;
    client
        .until("what was kept is done", BOUND, |host| {
            host.intents.pending == 0
        })
        .await?;
    // Each process counts from 0, so each line appears at most once per process; every accepted
    // prompt has one effect.
    let mut asked = 0;
    for agent in &work.agents {
        eventually("every turn of the agent has ended", async || {
            let (prompts, ends) = turns(&client, agent).await.unwrap();
            prompts.len() == ends.len()
        })
        .await;
        asked += turns(&client, agent).await?.0.len();
    }
    let effects: usize = world.effects().values().sum();
    assert_eq!(asked, effects, "one effect for each prompt taken");
    assert!(asked >= least, "{asked} of at least {least}");
    assert!(world.effects().values().all(|times| *times <= 4));
    client.runtime().close().await;
    world.done().await
}

#[tokio::test]
async fn bx_1_bx_4_chaos_with_a_daemon_that_is_killed_in_between() -> Outcome {
    const INTENTS: usize = 600;
    const KILLS: usize = 6;
    println!("BOWLINE_SEED={}", seed());
    let (mut world, work) = prepare(1, INTENTS, 30).await?;
    let mut worker = Worker::start(&work);
    let mut last = worker.next().await.expect("the client is online");
    let chaos = Chaos::start(world.proxies[0].clone(), &ChaosPlan::new(seed()));
    let mut kills = 0;
    while let Some(progress) = timeout(BOUND, worker.next()).await? {
        last = progress;
        if kills < KILLS {
            world.daemon.kill().await?;
            world.daemon.start_again().await?;
            kills += 1;
        }
    }
    let report = chaos.stop().await;
    println!("{kills} kills, {report:?}, {last:?}");
    assert!(
        worker.child.wait().await?.success() && last.finished,
        "{last:?}"
    );
    assert_eq!(kills, KILLS);
    assert_eq!((last.done, last.gaps, last.reset), (INTENTS, 0, 1));
    one_effect_or_told_otherwise(&world, &work).await?;
    world.done().await
}

/// An agent's prompts, and the status of its turns.
async fn turns(
    client: &Client,
    agent: &AgentId,
) -> Result<(Vec<String>, Vec<Option<TurnStatus>>), WorldError> {
    let items = history(client, agent).await?;
    let of = |kind| items.iter().filter(move |item| item.kind == kind);
    Ok((
        of(ItemKind::User).map(|item| item.text.clone()).collect(),
        of(ItemKind::TurnEnd).map(|item| item.status).collect(),
    ))
}

/// A process killed with its daemon may or may not have had its effect, and the timeline says so.
/// Every other prompt had its effect once.
async fn one_effect_or_told_otherwise(world: &World, work: &Work) -> Outcome {
    let client = Client::open(world.client.folder(), quick_settings(seed()))?;
    client.online().await?;
    let mut asked = Vec::new();
    let mut interrupted = 0;
    for agent in &work.agents {
        eventually("every turn of the agent has ended", async || {
            let (prompts, ends) = turns(&client, agent).await.unwrap();
            prompts.len() == ends.len()
        })
        .await;
        let (prompts, ends) = turns(&client, agent).await?;
        asked.extend(prompts);
        let told = |status: &&Option<TurnStatus>| **status == Some(TurnStatus::Interrupted);
        interrupted += ends.iter().filter(told).count();
    }
    assert_eq!(asked.len(), work.intents, "each prompt was taken once");
    asked.sort_unstable();
    asked.dedup();
    assert_eq!(asked.len(), work.intents);
    let effects = world.effects();
    assert!(
        effects.values().all(|times| *times == 1),
        "run twice: {effects:?}"
    );
    println!("{} effects, {interrupted} turns interrupted", effects.len());
    assert!(effects.len() + interrupted >= work.intents);
    client.runtime().close().await;
    Ok(())
}
