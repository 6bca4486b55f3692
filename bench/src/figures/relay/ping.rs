//! Round trip of a small message through the relay and back.

use crate::{
    Bench, Outcome,
    forwarder::{self, ABOUT},
    pin,
    pipe::{Pipe, Relayed},
    report::{Measured, Target, Unit},
    stats::Samples,
};

/// Bytes of the message.
const SIZE: usize = 128;

pub(crate) async fn measure(bench: &Bench) -> Outcome<Measured> {
    let pinned = pin::to_one_core();
    let mut relay = Relayed::start().await?;
    let forwarder = forwarder::start()?;
    let mut ours = relay.pipe().await?;
    let mut bare = Pipe::forwarded(&forwarder).await?;
    let (repetitions, count) = (bench.pick(15, 5), bench.pick(10_000, 2_000));
    let (mut relayed, mut forwarded) = (Samples::warming_up(), Samples::warming_up());
    for _ in 0..=repetitions {
        forwarded.repetition(bare.round_trips(SIZE, count).await?);
        relayed.repetition(ours.round_trips(SIZE, count).await?);
    }
    Measured::by(format!(
        "{repetitions} times {count} messages of {SIZE} bytes from a raw client socket through the relay process to a raw data \
         socket and back, one at a time, alternating with {ABOUT}; {pinned}"
    ))
    .row("forwarder", Unit::Micros, &forwarded)?
    .row("relay", Unit::Micros, &relayed)?
    .beside("round trip", "a bare forwarder", (&relayed, &forwarded), Some(Target::AtMost(1.15)))
}
