//! Daemon memory per idle connection of the local socket, beside a bare Unix-socket line echo.

use std::path::Path;

use bowline_testkit::world::DaemonOptions;

use crate::{
    Bench, Outcome, line_echo,
    line_load::{Load, Peer},
    process::{self, LEFT_BEHIND, SWEEP, all_gone, settled_memory},
    report::{Measured, Target, Unit},
    stats::Samples,
};

/// Limit in bytes per connection.
const MOST: f64 = 1.5 * 1024.0;

/// Idle connections.
pub(super) async fn measure(bench: &Bench) -> Outcome<Measured> {
    let count = bench.pick(5_000, 1_000);
    let per = |bytes: f64| bytes / f64::from(u32::try_from(count).unwrap_or(u32::MAX));
    let server = line_echo::start(&bench.dir)?;
    let (mut bare, mut ours, mut left) = <(Samples, Samples, Samples)>::default();
    let path = &server.address;
    drop(crowd(path, Peer::Echo, 16)?);
    let empty = settled_memory(server.pid()).await?;
    let held = crowd(path, Peer::Echo, count)?;
    bare.one(per(settled_memory(server.pid()).await? - empty));
    drop((held, server));
    let limits = bench.dir.join("local-memory.toml");
    std::fs::write(
        &limits,
        format!("[limits]\nmax_local_connections = {}\n", count + 100),
    )?;
    let config = |options: &mut DaemonOptions| options.config = Some(limits);
    let daemon = process::daemon_with(bench, "local-memory", config).await?;
    let path = process::socket(&daemon);
    // One-time allocations happen before the first measurement.
    drop(crowd(&path, Peer::Daemon, 16)?);
    let control = process::control(&daemon).await?;
    all_gone(&control).await?;
    let before = settled_memory(daemon.pid()).await?;
    // The second round shows that memory of the first is returned or reused.
    for _ in 0..2 {
        let held = crowd(&path, Peer::Daemon, count)?;
        let with = settled_memory(daemon.pid()).await?;
        drop(held);
        all_gone(&control).await?;
        tokio::time::sleep(SWEEP).await;
        let after = settled_memory(daemon.pid()).await?;
        ours.one(per(with - before));
        left.one((after - before) / (with - before));
    }
    Measured::by(format!(
        "VmRSS of the daemon: at rest after a few connections; with {count} more and one request answered on each; \
         six seconds after they closed; the last two measured twice"
    ))
    .row("bare line echo, a connection", Unit::Bytes, &bare)?
    .goal("a connection", Unit::Bytes, &ours, Target::AtMost(MOST))?
    .beside("an idle connection", "a bare line echo", (&ours, &bare), None)?
    .goal("left behind, of what it took", Unit::Ratio, &left, Target::AtMost(LEFT_BEHIND))
}

/// Opens connections and has one request answered on each.
fn crowd(path: &Path, peer: Peer, count: usize) -> Outcome<Vec<Load>> {
    let mut crowd = Vec::with_capacity(count);
    for _ in 0..count {
        let mut load = Load::connect(path, peer)?;
        load.exchange(1, 1)?;
        crowd.push(load);
    }
    Ok(crowd)
}
