//! What idle connections of the local socket cost the daemon, beside a bare Unix-socket line echo.

use std::path::Path;

use super::super::{
    Bench, Outcome,
    line_echo::LineEcho,
    line_load::{Load, Peer},
    pin,
    process::{self, LEFT_BEHIND, SWEEP, all_gone, settled_memory},
    report::{Measured, Target, Unit},
    stats::Samples,
};

/// Bytes that a connection may take.
const MOST: f64 = 1.5 * 1024.0;

/// Idle connections.
pub(super) async fn measure(bench: &Bench) -> Outcome<Measured> {
    let count = bench.pick(5_000, 1_000);
    let per = |bytes: f64| bytes / f64::from(u32::try_from(count).unwrap_or(u32::MAX));
    pin::allow_files(count + 100)?;
    let server = LineEcho::start(&bench.dir)?;
    let (mut bare, mut ours, mut left) = <(Samples, Samples, Samples)>::default();
    let path = server.path();
    drop(crowd(path, Peer::Echo, 16)?);
    let empty = settled_memory(server.pid()).await?;
    let held = crowd(path, Peer::Echo, count)?;
    bare.one(per(settled_memory(server.pid()).await? - empty));
    drop((held, server));
    let config = format!("[limits]\nmax_local_connections = {}\n", count + 100);
    let daemon = process::configured(bench, "local-memory", &config).await?;
    let path = process::socket(&daemon);
    // What is made once is made before the first look.
    drop(crowd(&path, Peer::Daemon, 16)?);
    let mut control = process::control(&daemon)?;
    all_gone(&mut control).await?;
    let before = settled_memory(daemon.pid()).await?;
    // The second round shows that the first one's memory was given back or is used again, not added to.
    for _ in 0..2 {
        let held = crowd(&path, Peer::Daemon, count)?;
        let with = settled_memory(daemon.pid()).await?;
        drop(held);
        all_gone(&mut control).await?;
        tokio::time::sleep(SWEEP).await;
        let after = settled_memory(daemon.pid()).await?;
        ours.one(per(with - before));
        left.one((after - before) / (with - before));
    }
    Measured::by(format!(
        "VmRSS of the daemon: at rest after a few connections; with {count} more that each had one request answered; \
         six seconds after they left; the latter two twice"
    ))
    .row("bare line echo, a connection", Unit::Bytes, &bare)?
    .goal("a connection", Unit::Bytes, &ours, Target::AtMost(MOST))?
    .goal("left behind, of what it took", Unit::Ratio, &left, Target::AtMost(LEFT_BEHIND))
}

/// Connections that each had one request answered.
fn crowd(path: &Path, peer: Peer, count: usize) -> Outcome<Vec<Load>> {
    let mut crowd = Vec::with_capacity(count);
    for _ in 0..count {
        let mut load = Load::connect(path, peer)?;
        load.exchange(1, 1)?;
        crowd.push(load);
    }
    Ok(crowd)
}
