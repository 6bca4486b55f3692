//! How long it takes to get through to a daemon.

use std::time::Instant;

use super::super::super::{
    Bench, Outcome,
    forwarder::{ABOUT, ForwarderProcess},
    pin,
    pipe::{Relayed, dial},
    report::{Measured, Target, Unit},
    stats::{Samples, micros_since},
};

pub(in super::super) async fn measure(bench: &Bench) -> Outcome<Measured> {
    let pinned = pin::to_one_core();
    let mut relay = Relayed::start().await?;
    let forwarder = ForwarderProcess::start()?;
    let (repetitions, count) = (bench.pick(11, 3), bench.pick(200, 50));
    let mut bare = Samples::default();
    let (mut open, mut through) = (Samples::default(), Samples::default());
    // The first repetition warms up and is not counted.
    for repetition in 0..=repetitions {
        let theirs = bare_connects(&forwarder, count).await?;
        let (opens, throughs) = connects(&mut relay, count).await?;
        if repetition > 0 {
            bare.repetition(theirs);
            open.repetition(opens);
            through.repetition(throughs);
        }
    }
    Measured::by(format!(
        "{repetitions} times {count} sockets, each of a session of its own: TCP and WebSocket of the client; and that until the \
         daemon has heard of it on its control socket, opened a data socket and got the lane; in turns with TCP and WebSocket to \
         {ABOUT}; {pinned}"
    ))
    .row("forwarder", Unit::Micros, &bare)?
    .goal("relay, a client's connect", Unit::Micros, &open, Target::AtMost(250.0))?
    .row("relay, until the daemon has its lane", Unit::Micros, &through)
}

async fn bare_connects(forwarder: &ForwarderProcess, count: usize) -> Outcome<Vec<f64>> {
    let mut samples = Vec::with_capacity(count);
    // An even number, so that the forwarder is left with nobody waiting.
    for _ in 0..count.next_multiple_of(2) {
        let start = Instant::now();
        let socket = dial(forwarder.address(), "/", &[]).await?;
        samples.push(micros_since(start));
        drop(socket);
    }
    Ok(samples)
}

async fn connects(relay: &mut Relayed, count: usize) -> Outcome<(Vec<f64>, Vec<f64>)> {
    let (mut opens, mut throughs) = (Vec::new(), Vec::new());
    for _ in 0..count {
        let route = relay.route()?;
        let start = Instant::now();
        let client = relay.client(&route).await?;
        opens.push(micros_since(start));
        let joined = relay.answer(&route).await?;
        throughs.push(micros_since(start));
        drop((client, joined));
    }
    Ok((opens, throughs))
}
