//! A session through the relay, end to end: our daemon, our client, sealed, all three processes on one core.

use std::time::Instant;

use super::super::{
    super::{
        Bench, Outcome,
        client::{Connected, paired, through},
        pin, process,
        report::{Measured, Target, Unit},
        stats::{Samples, per_second, ratios},
    },
    ping::round_trips,
    rate::{WINDOW, burst},
};
use crate::world::{RelayOptions, RelayProcess};

pub(in super::super) async fn measure(bench: &Bench) -> Outcome<Measured> {
    let pinned = pin::to_one_core();
    let relay = RelayProcess::start(RelayOptions::default()).await?;
    let daemon = process::daemon_at(bench, "relayed", &relay.url()).await?;
    let near = paired(&daemon).await?;
    let far = through(&near, &relay.url());
    let near = Connected::open(near).await?;
    let far = Connected::open(far).await?;
    let repetitions = bench.pick(15, 5);
    let count = bench.pick(10_000, 2_000);
    let many = bench.pick(100_000, 20_000) / WINDOW * WINDOW;
    let (mut direct, mut relayed) = (Samples::default(), Samples::default());
    let (mut direct_rate, mut rate) = (Samples::default(), Samples::default());
    // The first repetition warms up and is not counted.
    for repetition in 0..=repetitions {
        let theirs = round_trips(&near, count).await?;
        let ours = round_trips(&far, count).await?;
        let mut rates = [0.0; 2];
        for (client, rate) in [&near, &far].into_iter().zip(&mut rates) {
            let start = Instant::now();
            burst(client, many).await?;
            *rate = per_second(many, start.elapsed());
        }
        if repetition > 0 {
            direct.repetition(theirs);
            relayed.repetition(ours);
            let [near, far] = rates;
            direct_rate.one(near);
            rate.one(far);
        }
    }
    Measured::by(format!(
        "{repetitions} times {count} calls of the typed client API one at a time and {many} by {WINDOW} tasks, through the relay \
         process to a daemon process, in turns with the same session's direct path; relay, {pinned}"
    ))
    .row("direct path", Unit::Micros, &direct)?
    .row("through the relay", Unit::Micros, &relayed)?
    .goal("of the direct path's", Unit::Ratio, &ratios(&relayed, &direct), Target::AtMost(2.1))?
    .row("direct path, 64 in flight", Unit::PerSecond, &direct_rate)?
    .goal("through the relay, 64 in flight", Unit::PerSecond, &rate, Target::AtLeast(120_000.0))
}
