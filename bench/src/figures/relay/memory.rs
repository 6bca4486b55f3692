//! Relay memory per idle socket.

use crate::{
    Bench, Outcome,
    forwarder::{self, ABOUT},
    pipe::{Pipe, Relayed},
    process::settled_memory,
    report::{Measured, Target, Unit},
    stats::Samples,
};
use bowline_testkit::world::{RelayOptions, RelayProcess};

/// Bytes that each socket carries before it is idle.
const SAID: usize = 16 << 10;
/// Pipes through the forwarder: fewer, since each takes 256 KiB.
const BARE: usize = 250;

pub(crate) async fn measure(bench: &Bench) -> Outcome<Measured> {
    let pipes = bench.pick(2_500, 250);
    let (mut at_rest, mut with) = (Samples::default(), Samples::default());
    let (mut bare_rest, mut bare) = (Samples::default(), Samples::default());
    for _ in 0..3 {
        let relay = RelayProcess::start(RelayOptions::default()).await?;
        at_rest.one(settled_memory(relay.pid()).await?);
    }
    for _ in 0..2 {
        let mut relay = Relayed::start().await?;
        let before = settled_memory(relay.process.pid()).await?;
        let mut held = Vec::with_capacity(pipes);
        for _ in 0..pipes {
            let mut pipe = relay.pipe().await?;
            pipe.round_trips(SAID, 1).await?;
            held.push(pipe);
        }
        let after = settled_memory(relay.process.pid()).await?;
        with.one(each(after - before, pipes));
    }
    let forwarder = forwarder::start()?;
    let before = settled_memory(forwarder.pid()).await?;
    bare_rest.one(before);
    let mut held = Vec::with_capacity(BARE);
    for _ in 0..BARE {
        let mut pipe = Pipe::forwarded(&forwarder).await?;
        pipe.round_trips(SAID, 1).await?;
        held.push(pipe);
    }
    bare.one(each(settled_memory(forwarder.pid()).await? - before, BARE));
    Measured::by(format!(
        "VmRSS of the relay process after it has settled: started ({} times), and with {} sockets, a client's and a daemon's of {pipes} \
         sessions, each idle after {} KiB in each direction (twice); beside {} sockets of {ABOUT}",
        3,
        2 * pipes,
        SAID >> 10,
        2 * BARE
    ))
    .row("forwarder at rest", Unit::Bytes, &bare_rest)?
    .row("forwarder, an idle socket", Unit::Bytes, &bare)?
    .goal("relay at rest", Unit::Bytes, &at_rest, Target::AtMost(f64::from(6 << 20)))?
    .goal("relay, an idle socket", Unit::Bytes, &with, Target::AtMost(7.0 * 1024.0))?
    .beside("at rest, resident", "a bare forwarder", (&at_rest, &bare_rest), None)?
    .beside("an idle socket", "a bare forwarder", (&with, &bare), None)
}

/// Bytes per socket, given the bytes of `pipes` pairs.
fn each(bytes: f64, pipes: usize) -> f64 {
    bytes / (2.0 * f64::from(u32::try_from(pipes).unwrap_or(u32::MAX)))
}
