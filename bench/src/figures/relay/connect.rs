//! Time to connect to a daemon through the relay.

use std::time::Instant;

use crate::{
    Bench, Outcome,
    forwarder::{self, ABOUT},
    pin,
    pipe::{Relayed, dial},
    report::{Measured, Target, Unit},
    stats::{Samples, micros_since, timed},
};

pub(crate) async fn measure(bench: &Bench) -> Outcome<Measured> {
    let pinned = pin::to_one_core();
    let mut relay = Relayed::start().await?;
    let forwarder = forwarder::start()?;
    let (repetitions, count) = (bench.pick(11, 3), bench.pick(200, 50));
    let mut bare = Samples::warming_up();
    let (mut open, mut through) = (Samples::warming_up(), Samples::warming_up());
    for _ in 0..=repetitions {
        // An even number, so that the forwarder has no unpaired socket left.
        let dials = count.next_multiple_of(2);
        bare.repetition(timed!(dials, dial(forwarder.address, "/", &[]).await?));
        let (opens, throughs) = connects(&mut relay, count).await?;
        open.repetition(opens);
        through.repetition(throughs);
    }
    Measured::by(format!(
        "{repetitions} times {count} sockets, each of a separate session: TCP and WebSocket connect of the client; and the time until the \
         daemon was notified on its control socket, opened a data socket and received the lane; alternating with TCP and WebSocket to \
         {ABOUT}; {pinned}"
    ))
    .row("forwarder", Unit::Micros, &bare)?
    .goal("relay, a client's connect", Unit::Micros, &open, Target::AtMost(250.0))?
    .beside("a client's connect", "a bare forwarder", (&open, &bare), None)?
    .row("relay, until the daemon has its lane", Unit::Micros, &through)?
    .beside("until the daemon has its lane", "a bare forwarder's connect", (&through, &bare), None)
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
