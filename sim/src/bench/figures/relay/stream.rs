//! Messages a second and bytes a second through the relay, both ways.

use std::time::Instant;

use super::super::super::{
    Bench, Outcome,
    forwarder::{ABOUT, ForwarderProcess},
    pin,
    pipe::{Pipe, Relayed, Way},
    report::{Measured, Target, Unit},
    stats::{Samples, per_second, ratios},
};

/// Bytes of a message, how many in a repetition, in a quick one.
const SMALL: (usize, usize, usize) = (1 << 10, 20_000, 5_000);
/// 64 KiB, as near as Noise's largest message comes to them.
const LARGE: (usize, usize, usize) = (65_535, 2_000, 500);

pub(in super::super) async fn measure(bench: &Bench) -> Outcome<Measured> {
    let pinned = pin::to_one_core();
    let mut relay = Relayed::start().await?;
    let forwarder = ForwarderProcess::start()?;
    // Many short ones by turns: what else the machine does then falls on both alike.
    let repetitions = bench.pick(51, 9);
    let mut rows = Vec::new();
    for (unit, (size, full, quick)) in [(Unit::PerSecond, SMALL), (Unit::BytesPerSecond, LARGE)] {
        for way in [Way::Down, Way::Up] {
            let mut ours = relay.pipe().await?;
            let mut bare = Pipe::forwarded(&forwarder).await?;
            let count = bench.pick(full, quick);
            let amount = match unit {
                Unit::BytesPerSecond => count * size,
                _ => count,
            };
            let (mut relayed, mut forwarded) = (Samples::default(), Samples::default());
            // The first repetition warms up and is not counted.
            for repetition in 0..=repetitions {
                for (pipe, samples) in [(&mut bare, &mut forwarded), (&mut ours, &mut relayed)] {
                    let start = Instant::now();
                    pipe.stream(way, size, count).await?;
                    if repetition > 0 {
                        samples.one(per_second(amount, start.elapsed()));
                    }
                }
            }
            rows.push((size, way, unit, forwarded, relayed));
        }
    }
    let mut measured = Measured::by(format!(
        "{repetitions} times {} messages of {} bytes and {} of {} bytes, the sender flushing each, from a raw data socket \
         through the relay process to a raw client socket (down) and the other way (up), in turns with {ABOUT}; {pinned}",
        bench.pick(SMALL.1, SMALL.2),
        SMALL.0,
        bench.pick(LARGE.1, LARGE.2),
        LARGE.0,
    ));
    for (size, way, unit, forwarded, relayed) in &rows {
        let (kib, way) = (
            size.div_ceil(1024),
            match way {
                Way::Down => "down",
                Way::Up => "up",
            },
        );
        measured = measured
            .row(&format!("forwarder, {kib} KiB {way}"), *unit, forwarded)?
            .row(&format!("relay, {kib} KiB {way}"), *unit, relayed)?
            .goal(
                "of the forwarder's",
                Unit::Ratio,
                &ratios(relayed, forwarded),
                Target::AtLeast(0.9),
            )?;
    }
    Ok(measured)
}
