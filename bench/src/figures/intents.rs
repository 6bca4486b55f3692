//! Durable intents: rate, and cost relative to the bare disk.

use std::time::Instant;

use bowline_protocol::{
    IntentId,
    methods::{AgentCreated, CreateAgent, name},
};
use bowline_runtime::client::ClientHandle;
use uuid::Uuid;

use super::{
    super::{
        Bench, Outcome,
        client::{Connected, paired},
        commit::{BareFile, BareStore},
        pin, process,
        report::{Measured, Target, Unit},
        stats::{Samples, calls, per_second},
    },
    rate::WINDOW,
};

pub(super) async fn measure(bench: &Bench) -> Outcome<Measured> {
    let pinned = pin::to_one_core();
    let daemon = process::daemon(bench, "intents").await?;
    let ours = Connected::open(paired(&daemon).await?).await?;
    let row = written(&ours.client).await?;
    let store = BareStore::create(daemon.state_dir(), row)?;
    let mut file = BareFile::create(daemon.state_dir(), row)?;
    let (repetitions, singles) = (bench.pick(10, 3), bench.pick(200, 50));
    let count = bench.pick(4_000, 1_000) / WINDOW * WINDOW;
    let (mut single, mut commit, mut append) =
        (Samples::default(), Samples::default(), Samples::default());
    let (mut rate, mut latency) = (Samples::default(), Samples::default());
    create_agents(&ours.client, count, WINDOW).await?;
    for _ in 0..repetitions {
        append.repetition(file.appends(singles)?);
        commit.repetition(store.commits(singles)?);
        single.repetition(create_agents(&ours.client, singles, 1).await?);
        let start = Instant::now();
        latency.repetition(create_agents(&ours.client, count, WINDOW).await?);
        rate.one(per_second(count, start.elapsed()));
    }
    Measured::by(format!(
        "{repetitions} times: {singles} appends with fdatasync, {singles} commits of one row to a bare SQLite (WAL, \
         synchronous FULL), each of the {row} bytes that an intent stores (parameters, outcome, event), {singles} intents \
         one at a time, {count} intents with {WINDOW} in flight; all in one folder; {pinned}"
    ))
    .row("append and fdatasync", Unit::Micros, &append)?
    .row("bare SQLite commit", Unit::Micros, &commit)?
    .row("one intent", Unit::Micros, &single)?
    .beside("one intent", "a bare SQLite commit", (&single, &commit), Some(Target::AtMost(3.0)))?
    .goal("intents, 64 in flight", Unit::PerSecond, &rate, Target::AtLeast(5_000.0))?
    .row("latency under this load", Unit::Micros, &latency)
}

fn request() -> CreateAgent {
    CreateAgent {
        intent_id: IntentId::from_uuid(Uuid::now_v7()),
        provider: "shell".to_owned(),
        cwd: std::env::temp_dir().to_string_lossy().into_owned(),
        title: Some("measured".to_owned()),
        prompt: None,
    }
}

/// Bytes that one intent writes to the disk: its parameters (as the agent), outcome and event.
async fn written(client: &ClientHandle) -> Outcome<usize> {
    let request = request();
    let created: AgentCreated = client.call(name::AGENTS_CREATE, &request).await?;
    let outcome = serde_json::to_vec(&created)?.len();
    Ok(serde_json::to_vec(&request)?.len() + 2 * outcome)
}

/// Creates agents without a prompt, `window` in flight. Returns the time of each in microseconds.
///
/// # Errors
/// The daemon refuses one.
pub(super) async fn create_agents(
    client: &ClientHandle,
    count: usize,
    window: usize,
) -> Outcome<Vec<f64>> {
    let client = client.clone();
    let create = move || {
        let client = client.clone();
        async move {
            let _: AgentCreated = client.call(name::AGENTS_CREATE, &request()).await?;
            Ok(())
        }
    };
    calls(count, window, create).await
}
