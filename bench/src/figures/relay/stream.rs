//! Messages and bytes per second through the relay, in both directions.

use std::time::Instant;

use crate::{
    Bench, Outcome,
    forwarder::{self, ABOUT},
    pin,
    pipe::{Pipe, Relayed, Way},
    report::{Measured, Target, Unit},
    stats::{Samples, per_second},
};

/// Bytes of a message, messages per repetition, and messages per quick repetition.
const SMALL: (usize, usize, usize) = (1 << 10, 20_000, 5_000);
/// The largest Noise message, close to 64 KiB.
const LARGE: (usize, usize, usize) = (65_535, 2_000, 500);

pub(crate) async fn measure(bench: &Bench) -> Outcome<Measured> {
    let pinned = pin::to_one_core();
    let mut relay = Relayed::start().await?;
    let forwarder = forwarder::start()?;
    // Many short alternating repetitions, so that other load on the machine affects both alike.
    let repetitions = bench.pick(51, 9);
    let mut measured = Measured::by(format!(
        "{repetitions} times {} messages of {} bytes and {} of {} bytes, the sender flushing each, from a raw data socket \
         through the relay process to a raw client socket (down) and in the other direction (up), alternating with {ABOUT}; {pinned}",
        bench.pick(SMALL.1, SMALL.2),
        SMALL.0,
        bench.pick(LARGE.1, LARGE.2),
        LARGE.0,
    ));
    for (unit, (size, full, quick)) in [(Unit::PerSecond, SMALL), (Unit::BytesPerSecond, LARGE)] {
        for (way, name) in [(Way::Down, "down"), (Way::Up, "up")] {
            let mut ours = relay.pipe().await?;
            let mut bare = Pipe::forwarded(&forwarder).await?;
            let count = bench.pick(full, quick);
            let amount = match unit {
                Unit::BytesPerSecond => count * size,
                _ => count,
            };
            let (mut relayed, mut forwarded) = (Samples::warming_up(), Samples::warming_up());
            for _ in 0..=repetitions {
                for (pipe, samples) in [(&mut bare, &mut forwarded), (&mut ours, &mut relayed)] {
                    let start = Instant::now();
                    pipe.stream(way, size, count).await?;
                    samples.one(per_second(amount, start.elapsed()));
                }
            }
            let kib = size.div_ceil(1024);
            measured = measured
                .row(&format!("forwarder, {kib} KiB {name}"), unit, &forwarded)?
                .row(&format!("relay, {kib} KiB {name}"), unit, &relayed)?
                .beside(
                    &format!("messages of {kib} KiB a second, {name}"),
                    "a bare forwarder",
                    (&relayed, &forwarded),
                    Some(Target::AtLeast(0.9)),
                )?;
        }
    }
    Ok(measured)
}
