//! Requests a second with 64 in flight on one connection.

use std::time::Instant;

use crate::{
    Bench, Outcome,
    client::{Connected, paired},
    echo::{self, Buffers, EchoProcess},
    pin, process,
    report::{Measured, Target, Unit},
    stats::{Samples, per_second},
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
    ours.pings(count, WINDOW).await?;
    bare.exchange(count, WINDOW).await?;
    let (mut sealed, mut echoed) = (Samples::default(), Samples::default());
    let mut latency = Samples::default();
    for _ in 0..repetitions {
        let start = Instant::now();
        bare.exchange(count, WINDOW).await?;
        echoed.one(per_second(count, start.elapsed()));
        sealed.one(ours.ping_rate(count, WINDOW).await?);
        latency.repetition(ours.pings(count / 10, WINDOW).await?);
    }
    Measured::by(format!(
        "{repetitions} times {count} calls of the typed client API by {WINDOW} tasks, alternating with a bare \
         tokio-tungstenite echo of {} bytes per message, with the daemon's buffers and the same window; latency by a tenth as many calls apart; {pinned}",
        echo::MESSAGE
    ))
    .row("bare echo", Unit::PerSecond, &echoed)?
    .goal("system.ping", Unit::PerSecond, &sealed, Target::AtLeast(250_000.0))?
    .beside("requests a second", "a bare echo with buffers as ours", (&sealed, &echoed), Some(Target::AtLeast(0.32)))?
    .row("latency under this load", Unit::Micros, &latency)
}
