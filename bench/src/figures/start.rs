//! Start time of a daemon, and its memory at rest.

use crate::{
    Bench, Outcome,
    echo::{Buffers, EchoProcess},
    process::{self, settled_memory},
    report::{Measured, Target, Unit},
    stats::{Samples, micros},
};

/// Processes whose memory is measured.
const WEIGHED: usize = 5;

pub(super) async fn measure(bench: &Bench) -> Outcome<Measured> {
    let repetitions = bench.pick(30, 7);
    let (mut bare, mut bare_size) = (Samples::default(), Samples::default());
    let (mut first, mut again, mut size) =
        (Samples::default(), Samples::default(), Samples::default());
    for n in 0..repetitions {
        let echo = EchoProcess::start(Buffers::Default)?;
        bare.one(micros(echo.process.ready_after));
        let folder = format!("start-{n}");
        let mut daemon = process::daemon(bench, &folder).await?;
        first.one(micros(daemon.ready_after()));
        daemon.stop().await?;
        daemon.start_again().await?;
        again.one(micros(daemon.ready_after()));
        if n < WEIGHED {
            bare_size.one(settled_memory(echo.process.pid()).await?);
            size.one(settled_memory(daemon.pid()).await?);
        }
        daemon.stop().await?;
    }
    let (ready, resident) = (
        Target::AtMost(60_000.0),
        Target::AtMost(f64::from(12 << 20)),
    );
    Measured::by(format!(
        "{repetitions} starts each, from spawning the process to its last `listening` line: a bare \
         tokio-tungstenite echo; a daemon with an empty state folder, in which it creates identity and store; the same \
         daemon again. VmRSS of {WEIGHED} of them after it has settled. Not pinned"
    ))
    .row("bare echo ready", Unit::Micros, &bare)?
    .goal("daemon ready, first start", Unit::Micros, &first, ready)?
    .goal("daemon ready, later start", Unit::Micros, &again, ready)?
    .beside("ready, first start", "a bare echo", (&first, &bare), None)?
    .beside("ready, later start", "a bare echo", (&again, &bare), None)?
    .row("bare echo resident", Unit::Bytes, &bare_size)?
    .goal("daemon resident", Unit::Bytes, &size, resident)?
    .beside("resident", "a bare echo", (&size, &bare_size), None)
}
