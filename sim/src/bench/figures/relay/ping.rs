//! Round trip of a small message through the relay and back.

use super::super::super::{
    Bench, Outcome,
    forwarder::{ABOUT, ForwarderProcess},
    pin,
    pipe::{Pipe, Relayed},
    report::{Measured, Target, Unit},
    stats::{Samples, ratios},
};

/// Bytes of the message.
const SIZE: usize = 128;

pub(in super::super) async fn measure(bench: &Bench) -> Outcome<Measured> {
    let pinned = pin::to_one_core();
    let mut relay = Relayed::start().await?;
    let forwarder = ForwarderProcess::start()?;
    let mut ours = relay.pipe().await?;
    let mut bare = Pipe::forwarded(&forwarder).await?;
    let (repetitions, count) = (bench.pick(15, 5), bench.pick(10_000, 2_000));
    let (mut relayed, mut forwarded) = (Samples::default(), Samples::default());
    // The first repetition warms up and is not counted.
    for repetition in 0..=repetitions {
        let theirs = bare.round_trips(SIZE, count).await?;
        let ours = ours.round_trips(SIZE, count).await?;
        if repetition > 0 {
            forwarded.repetition(theirs);
            relayed.repetition(ours);
        }
    }
    Measured::by(format!(
        "{repetitions} times {count} messages of {SIZE} bytes from a raw client socket through the relay process to a raw data \
         socket and back, one at a time, in turns with {ABOUT}; {pinned}"
    ))
    .row("forwarder", Unit::Micros, &forwarded)?
    .row("relay", Unit::Micros, &relayed)?
    .goal(
        "of the forwarder's",
        Unit::Ratio,
        &ratios(&relayed, &forwarded),
        Target::AtMost(1.15),
    )
}
