//! Round trip of `system.ping` against a bare echo.

use std::time::Instant;

use bowline_protocol::methods::{Empty, Pong, name};

use super::super::{
    Bench, Outcome,
    client::{Connected, paired},
    echo::{self, Echo},
    pin,
    process::{self, EchoProcess},
    report::{Measured, Target, Unit},
    stats::{Samples, micros_since, ratios},
};

pub(super) async fn measure(bench: &Bench) -> Outcome<Measured> {
    let pinned = pin::to_one_core();
    let daemon = process::daemon(bench, "ping").await?;
    let ours = Connected::open(paired(&daemon).await?).await?;
    let server = EchoProcess::start()?;
    let mut bare = Echo::connect(server.address).await?;
    let (repetitions, count) = (bench.pick(15, 5), bench.pick(10_000, 2_000));
    round_trips(&ours, count).await?;
    bare.round_trips(count).await?;
    let (mut sealed, mut echoed) = (Samples::default(), Samples::default());
    for _ in 0..repetitions {
        echoed.repetition(bare.round_trips(count).await?);
        sealed.repetition(round_trips(&ours, count).await?);
    }
    Measured::by(format!(
        "{repetitions} times {count} calls of the typed client API to a daemon process, in turns with a bare \
         tokio-tungstenite echo of {} bytes a message; {pinned}",
        echo::MESSAGE
    ))
    .row("bare echo", Unit::Micros, &echoed)?
    .goal("system.ping", Unit::Micros, &sealed, Target::Tail(3.0))?
    .goal(
        "ratio of medians",
        Unit::Ratio,
        &ratios(&sealed, &echoed),
        Target::AtMost(1.25),
    )
}

async fn round_trips(ours: &Connected, count: usize) -> Outcome<Vec<f64>> {
    let mut samples = Vec::with_capacity(count);
    for _ in 0..count {
        let start = Instant::now();
        let _: Pong = ours.client.call(name::SYSTEM_PING, &Empty {}).await?;
        samples.push(micros_since(start));
    }
    Ok(samples)
}
