//! The local socket: round trip and rate, beside a bare Unix-socket line echo.

use std::time::Instant;

use bowline_local::{Client, Endpoint};
use bowline_protocol::methods::{Empty, Pong, name};
use tokio::task::JoinSet;

use super::super::{
    Bench, Outcome,
    line_echo::LineEcho,
    line_load::{Load, Peer},
    pin, process,
    report::{Measured, Target, Unit},
    stats::{Samples, per_second, ratios},
};
/// Requests in flight.
const WINDOW: u64 = 64;

/// One request at a time.
pub(super) async fn ping(bench: &Bench) -> Outcome<Measured> {
    let pinned = pin::to_one_core();
    let daemon = process::daemon(bench, "local-ping").await?;
    let server = LineEcho::start(&bench.dir)?;
    let mut ours = Load::connect(&process::socket(&daemon), Peer::Daemon)?;
    let mut bare = Load::connect(server.path(), Peer::Echo)?;
    let (repetitions, count) = (bench.pick(15, 5), bench.pick(20_000, 4_000));
    let (mut local, mut echoed) = (Samples::default(), Samples::default());
    // The first repetition warms up and is not counted.
    for repetition in 0..=repetitions {
        let theirs = bare.round_trips(count)?;
        let took = ours.round_trips(count)?;
        if repetition > 0 {
            echoed.repetition(theirs);
            local.repetition(took);
        }
    }
    let over = ratios(&local, &echoed);
    Measured::by(format!(
        "{repetitions} times {count} requests, each written when the one before was answered, by a blocking loop \
         without a library, in turns to a daemon process and to a bare line echo on tokio; {pinned}"
    ))
    .row("bare line echo", Unit::Micros, &echoed)?
    .goal("system.ping", Unit::Micros, &local, Target::Tail(3.0))?
    .goal("over the bare echo", Unit::Ratio, &over, Target::AtMost(1.4))
}

/// Many requests in flight on one connection.
pub(super) async fn rate(bench: &Bench) -> Outcome<Measured> {
    let pinned = pin::to_one_core();
    let daemon = process::daemon(bench, "local-rate").await?;
    let server = LineEcho::start(&bench.dir)?;
    let mut ours = Load::connect(&process::socket(&daemon), Peer::Daemon)?;
    let mut bare = Load::connect(server.path(), Peer::Echo)?;
    let endpoint = Endpoint::new(process::socket(&daemon))?;
    let client = Client::connect(&endpoint).await?;
    let repetitions = bench.pick(15, 5);
    let count = u64::try_from(bench.pick(200_000, 20_000))? / WINDOW * WINDOW;
    let requests = usize::try_from(count)?;
    bare.exchange(count, WINDOW)?;
    ours.exchange(count, WINDOW)?;
    let (mut local, mut echoed) = (Samples::default(), Samples::default());
    let mut typed = Samples::default();
    for _ in 0..repetitions {
        let start = Instant::now();
        bare.exchange(count, WINDOW)?;
        echoed.one(per_second(requests, start.elapsed()));
        let start = Instant::now();
        ours.exchange(count, WINDOW)?;
        local.one(per_second(requests, start.elapsed()));
        let start = Instant::now();
        burst(&client, count).await?;
        typed.one(per_second(requests, start.elapsed()));
    }
    Measured::by(format!(
        "{repetitions} times {count} requests with {WINDOW} unanswered on one connection, by a blocking loop without a \
         library, in turns to a bare line echo on tokio and to a daemon process; the same by {WINDOW} tasks with the \
         client library; {pinned}"
    ))
    .row("bare line echo", Unit::PerSecond, &echoed)?
    .goal("system.ping", Unit::PerSecond, &local, Target::AtLeast(250_000.0))?
    .row("the same with the client library", Unit::PerSecond, &typed)
}

/// So many calls by as many tasks as may be in flight.
async fn burst(client: &Client, count: u64) -> Outcome<()> {
    let mut tasks = JoinSet::new();
    for _ in 0..WINDOW {
        let client = client.clone();
        tasks.spawn(async move {
            for _ in 0..count / WINDOW {
                let _: Pong = client.call(name::SYSTEM_PING, &Empty {}).await?;
            }
            Outcome::Ok(())
        });
    }
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    Ok(())
}
