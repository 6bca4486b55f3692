//! Daemon memory per idle connection, and its release after they close.

use crate::{
    Bench, Outcome,
    client::{Devices, attach},
    echo::{Buffers, EchoProcess},
    process::{self, LEFT_BEHIND, SWEEP, all_gone, settled_memory},
    report::{Measured, Target, Unit},
    stats::Samples,
};

pub(super) async fn measure(bench: &Bench) -> Outcome<Measured> {
    let count = bench.pick(2_000, 200);
    let per = |bytes: f64| bytes / f64::from(u32::try_from(count).unwrap_or(u32::MAX));
    let daemon = process::daemon(bench, "memory").await?;
    let devices = Devices::of(&daemon)?;
    let empty = settled_memory(daemon.pid()).await?;
    let control = process::control(&daemon).await?;
    let mut dialers = Vec::with_capacity(count);
    for _ in 0..count {
        dialers.push(devices.pair(process::offer(&control).await?).await?);
    }
    let round = async || {
        let mut links = Vec::with_capacity(count);
        for dialer in &dialers {
            links.push(attach(dialer).await?.0);
        }
        let held = settled_memory(daemon.pid()).await?;
        drop(links);
        all_gone(&control).await?;
        tokio::time::sleep(SWEEP).await;
        Outcome::Ok((held, settled_memory(daemon.pid()).await?))
    };
    let (mut with, mut whole, mut left) = Default::default();
    let (mut bare, mut small) = Default::default();
    // A session's replay log holds the pairing of every later device until its first attach.
    let (_, before) = round().await?;
    // The second round shows that memory of the first is returned or reused.
    for _ in 0..2 {
        let (held, after) = round().await?;
        Samples::one(&mut with, per(held - before));
        Samples::one(&mut whole, per(held - empty));
        Samples::one(&mut left, (after - before) / (held - before));
    }
    Samples::one(&mut bare, per(echoes(count, Buffers::Default).await?));
    Samples::one(&mut small, per(echoes(count, Buffers::Small).await?));
    Measured::by(format!(
        "VmRSS of the daemon: empty; with {count} devices paired and their sessions, each attached once, detached; with {count} \
         connections attached and one request answered on each; six seconds after they closed; the last two measured twice"
    ))
    .row("bare echo, a connection", Unit::Bytes, &bare)?
    .row("the same with buffers as ours", Unit::Bytes, &small)?
    .goal("a connection", Unit::Bytes, &with, Target::AtMost(10.0 * 1024.0))?
    .beside("an idle connection", "a bare echo", (&with, &bare), None)?
    .beside("an idle connection", "a bare echo with buffers as ours", (&with, &small), None)?
    .row("a connection with its session", Unit::Bytes, &whole)?
    .goal("left behind, of what it took", Unit::Ratio, &left, Target::AtMost(LEFT_BEHIND))
}

/// Bytes per idle connection of the bare echo.
async fn echoes(count: usize, buffers: Buffers) -> Outcome<f64> {
    let server = EchoProcess::start(buffers)?;
    let before = settled_memory(server.process.pid()).await?;
    let mut links = Vec::with_capacity(count);
    for _ in 0..count {
        let mut echo = server.connect().await?;
        echo.exchange(1, 1).await?;
        links.push(echo);
    }
    Ok(settled_memory(server.process.pid()).await? - before)
}
