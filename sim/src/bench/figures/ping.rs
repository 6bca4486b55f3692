//! Round trip of `system.ping` against a bare echo.

use std::time::Instant;

use bowline_protocol::methods::{Empty, Pong, name};

use super::super::{
    Bench, Outcome,
    client::{Connected, paired},
    echo::{self, Buffers, Echo},
    pin,
    process::{self, EchoProcess},
    report::{Measured, Target, Unit},
    stats::{Samples, micros_since, ratios},
};

pub(super) async fn measure(bench: &Bench) -> Outcome<Measured> {
    let pinned = pin::to_one_core();
    let daemon = process::daemon(bench, "ping").await?;
    let ours = Connected::open(paired(&daemon).await?).await?;
    let (servers, mut echoes) = echoes().await?;
    let (repetitions, count) = (bench.pick(15, 5), bench.pick(10_000, 2_000));
    let mut sealed = Samples::default();
    let mut echoed = [Samples::default(), Samples::default()];
    // The first repetition warms up and is not counted.
    for repetition in 0..=repetitions {
        let mut took = Vec::new();
        for echo in &mut echoes {
            took.push(echo.round_trips(count).await?);
        }
        let ours = round_trips(&ours, count).await?;
        if repetition > 0 {
            sealed.repetition(ours);
            for (samples, took) in echoed.iter_mut().zip(took) {
                samples.repetition(took);
            }
        }
    }
    drop(servers);
    let [bare, small] = &echoed;
    let (over, over_small) = (ratios(&sealed, bare), ratios(&sealed, small));
    Measured::by(format!(
        "{repetitions} times {count} calls of the typed client API to a daemon process, in turns with a bare \
         tokio-tungstenite echo of {} bytes a message, once as the library comes and once with buffers as ours; \
         {pinned}",
        echo::MESSAGE
    ))
    .row("bare echo", Unit::Micros, bare)?
    .row("bare echo, buffers as ours", Unit::Micros, small)?
    .goal("system.ping", Unit::Micros, &sealed, Target::Tail(3.0))?
    .goal("over the bare echo", Unit::Ratio, &over, Target::AtMost(1.25))?
    .row("over that with buffers as ours", Unit::Ratio, &over_small)
}

/// Both kinds of echo, each with a client.
async fn echoes() -> Outcome<([EchoProcess; 2], [Echo; 2])> {
    let bare = EchoProcess::start(Buffers::Default)?;
    let small = EchoProcess::start(Buffers::Small)?;
    let clients = [bare.connect().await?, small.connect().await?];
    Ok(([bare, small], clients))
}

pub(super) async fn round_trips(ours: &Connected, count: usize) -> Outcome<Vec<f64>> {
    let mut samples = Vec::with_capacity(count);
    for _ in 0..count {
        let start = Instant::now();
        let _: Pong = ours.client.call(name::SYSTEM_PING, &Empty {}).await?;
        samples.push(micros_since(start));
    }
    Ok(samples)
}
