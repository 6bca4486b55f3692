//! Requests a second with 64 in flight on one connection.

use std::time::Instant;

use bowline_protocol::methods::{Empty, Pong, name};
use tokio::task::JoinSet;

use super::super::{
    Bench, Outcome,
    client::{Connected, paired},
    echo::{self, Buffers},
    pin,
    process::{self, EchoProcess},
    report::{Measured, Target, Unit},
    stats::{Samples, micros_since, per_second, ratios},
};

/// Requests in flight.
pub(super) const WINDOW: usize = 64;

pub(super) async fn measure(bench: &Bench) -> Outcome<Measured> {
    let pinned = pin::to_one_core();
    let daemon = process::daemon(bench, "rate").await?;
    let ours = Connected::open(paired(&daemon).await?).await?;
    let server = EchoProcess::start(Buffers::Small)?;
    let mut bare = server.connect().await?;
    let repetitions = bench.pick(15, 5);
    let count = bench.pick(200_000, 20_000) / WINDOW * WINDOW;
    burst(&ours, count).await?;
    bare.exchange(count, WINDOW).await?;
    let (mut sealed, mut echoed) = (Samples::default(), Samples::default());
    let mut latency = Samples::default();
    for _ in 0..repetitions {
        let start = Instant::now();
        bare.exchange(count, WINDOW).await?;
        echoed.one(per_second(count, start.elapsed()));
        let start = Instant::now();
        latency.repetition(burst(&ours, count).await?);
        sealed.one(per_second(count, start.elapsed()));
    }
    Measured::by(format!(
        "{repetitions} times {count} calls of the typed client API by {WINDOW} tasks, in turns with a bare \
         tokio-tungstenite echo of {} bytes a message, with buffers as ours and the same window; {pinned}",
        echo::MESSAGE
    ))
    .row("bare echo", Unit::PerSecond, &echoed)?
    .goal("system.ping", Unit::PerSecond, &sealed, Target::AtLeast(250_000.0))?
    .row(
        "of the bare echo's",
        Unit::Ratio,
        &ratios(&sealed, &echoed),
    )?
    .row("latency under this load", Unit::Micros, &latency)
}

pub(super) async fn burst(ours: &Connected, count: usize) -> Outcome<Vec<f64>> {
    let mut tasks = JoinSet::new();
    for _ in 0..WINDOW {
        let client = ours.client.clone();
        tasks.spawn(async move {
            let mut samples = Vec::with_capacity(count / WINDOW);
            for _ in 0..count / WINDOW {
                let start = Instant::now();
                let _: Pong = client.call(name::SYSTEM_PING, &Empty {}).await?;
                samples.push(micros_since(start));
            }
            Outcome::Ok(samples)
        });
    }
    let mut all = Vec::with_capacity(count);
    while let Some(samples) = tasks.join_next().await {
        all.extend(samples??);
    }
    Ok(all)
}
