//! Round trip of `system.ping` against a bare echo.

use crate::{
    Bench, Outcome,
    client::{Connected, paired},
    echo::{self, Buffers, Echo, EchoProcess},
    pin, process,
    report::{Measured, Target, Unit},
    stats::Samples,
};

pub(super) async fn measure(bench: &Bench) -> Outcome<Measured> {
    let pinned = pin::to_one_core();
    let daemon = process::daemon(bench, "ping").await?;
    let ours = Connected::open(paired(&daemon).await?).await?;
    let (servers, mut echoes) = echoes().await?;
    let (repetitions, count) = (bench.pick(15, 5), bench.pick(10_000, 2_000));
    let mut sealed = Samples::warming_up();
    let mut echoed = [Samples::warming_up(), Samples::warming_up()];
    for _ in 0..=repetitions {
        for (samples, echo) in echoed.iter_mut().zip(&mut echoes) {
            samples.repetition(echo.round_trips(count).await?);
        }
        sealed.repetition(ours.pings(count, 1).await?);
    }
    drop(servers);
    let [bare, small] = &echoed;
    Measured::by(format!(
        "{repetitions} times {count} calls of the typed client API to a daemon process, alternating with a bare \
         tokio-tungstenite echo of {} bytes per message, once with the library's default buffers and once with those of the daemon; \
         {pinned}",
        echo::MESSAGE
    ))
    .row("bare echo", Unit::Micros, bare)?
    .row("bare echo, buffers as ours", Unit::Micros, small)?
    .goal("system.ping", Unit::Micros, &sealed, Target::Tail(3.0))?
    .beside("round trip", "a bare echo", (&sealed, bare), Some(Target::AtMost(1.25)))?
    .beside("round trip", "a bare echo with buffers as ours", (&sealed, small), None)
}

/// Both variants of the echo, each with a client.
async fn echoes() -> Outcome<([EchoProcess; 2], [Echo; 2])> {
    let bare = EchoProcess::start(Buffers::Default)?;
    let small = EchoProcess::start(Buffers::Small)?;
    let clients = [bare.connect().await?, small.connect().await?];
    Ok(([bare, small], clients))
}
