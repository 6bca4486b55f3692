//! The local socket: round trip and rate, beside a bare Unix-socket line echo.

use std::time::Instant;

use bowline_protocol::methods::{Empty, Pong, name};

use crate::{
    Bench, Outcome, line_echo,
    line_load::{Load, Peer},
    pin, process,
    report::{Measured, Target, Unit},
    stats::{Samples, calls, per_second},
};

/// Requests in flight.
const WINDOW: u64 = 64;

/// One request at a time.
pub(super) async fn ping(bench: &Bench) -> Outcome<Measured> {
    let pinned = pin::to_one_core();
    let daemon = process::daemon(bench, "local-ping").await?;
    let server = line_echo::start(&bench.dir)?;
    let mut ours = Load::connect(&process::socket(&daemon), Peer::Daemon)?;
    let mut bare = Load::connect(&server.address, Peer::Echo)?;
    let (repetitions, count) = (bench.pick(15, 5), bench.pick(20_000, 4_000));
    let (mut local, mut echoed) = (Samples::warming_up(), Samples::warming_up());
    for _ in 0..=repetitions {
        echoed.repetition(bare.round_trips(count)?);
        local.repetition(ours.round_trips(count)?);
    }
    Measured::by(format!(
        "{repetitions} times {count} requests, each sent after the previous answer, by a blocking loop \
         without a library, alternately to a daemon process and to a bare line echo on tokio; {pinned}"
    ))
    .row("bare line echo", Unit::Micros, &echoed)?
    .goal("system.ping", Unit::Micros, &local, Target::Tail(3.0))?
    .beside("round trip", "a bare line echo", (&local, &echoed), Some(Target::AtMost(1.4)))
}

/// Many requests in flight on one connection.
pub(super) async fn rate(bench: &Bench) -> Outcome<Measured> {
    let pinned = pin::to_one_core();
    let daemon = process::daemon(bench, "local-rate").await?;
    let server = line_echo::start(&bench.dir)?;
    let mut ours = Load::connect(&process::socket(&daemon), Peer::Daemon)?;
    let mut bare = Load::connect(&server.address, Peer::Echo)?;
    let client = process::control(&daemon).await?;
    let ping = move || {
        let client = client.clone();
        async move {
            let _: Pong = client.call(name::SYSTEM_PING, &Empty {}).await?;
            Ok(())
        }
    };
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
        calls(requests, usize::try_from(WINDOW)?, ping.clone()).await?;
        typed.one(per_second(requests, start.elapsed()));
    }
    Measured::by(format!(
        "{repetitions} times {count} requests with {WINDOW} unanswered on one connection, by a blocking loop without a \
         library, alternately to a bare line echo on tokio and to a daemon process; the same by {WINDOW} tasks with the \
         client library; {pinned}"
    ))
    .row("bare line echo", Unit::PerSecond, &echoed)?
    .goal("system.ping", Unit::PerSecond, &local, Target::AtLeast(250_000.0))?
    .beside("requests a second", "a bare line echo", (&local, &echoed), None)?
    .row("the same with the client library", Unit::PerSecond, &typed)
}
