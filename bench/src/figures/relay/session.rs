//! A sealed session through the relay, end to end: daemon, client and relay on one core.

use std::time::Instant;

use super::super::{
    super::{
        Bench, Outcome,
        client::{Connected, paired, through},
        echo::{self, Buffers, Echo, EchoProcess, MESSAGE},
        forwarder::{self, ABOUT},
        pin, process,
        report::{Measured, Target, Unit},
        stats::{Samples, per_second},
    },
    rate::WINDOW,
};
use bowline_testkit::world::{RelayOptions, RelayProcess};

/// The same as on the direct path.
const AIM: Target = Target::AtLeast(0.32);

pub(crate) async fn measure(bench: &Bench) -> Outcome<Measured> {
    let pinned = pin::to_one_core();
    let relay = RelayProcess::start(RelayOptions::default()).await?;
    let daemon = process::daemon_at(bench, "relayed", &relay.url()).await?;
    let near = paired(&daemon).await?;
    let far = through(&near, &relay.url());
    let forwarder = forwarder::start()?;
    echo::behind(forwarder.address, Buffers::Small).await?;
    let mut bare = Echo::connect(forwarder.address, Buffers::Small).await?;
    let server = EchoProcess::start(Buffers::Small)?;
    let mut echo = server.connect().await?;
    let near = Connected::open(near).await?;
    let far = Connected::open(far).await?;
    let repetitions = bench.pick(15, 5);
    let count = bench.pick(10_000, 2_000);
    let many = bench.pick(100_000, 20_000) / WINDOW * WINDOW;
    let clients = [near, far];
    let mut trips = [Samples::warming_up(), Samples::warming_up()];
    let mut rates = [Samples::warming_up(), Samples::warming_up()];
    let (mut forwarded, mut echoed) = (Samples::warming_up(), Samples::warming_up());
    for _ in 0..=repetitions {
        for (client, trips) in clients.iter().zip(&mut trips) {
            trips.repetition(client.pings(count, 1).await?);
        }
        for (client, rate) in clients.iter().zip(&mut rates) {
            rate.one(client.ping_rate(many, WINDOW).await?);
        }
        let start = Instant::now();
        bare.exchange(many, WINDOW).await?;
        forwarded.one(per_second(many, start.elapsed()));
        let start = Instant::now();
        echo.exchange(many, WINDOW).await?;
        echoed.one(per_second(many, start.elapsed()));
    }
    let ([direct, relayed], [direct_rate, rate]) = (trips, rates);
    Measured::by(format!(
        "{repetitions} times {count} calls of the typed client API one at a time and {many} by {WINDOW} tasks, through the relay \
         process to a daemon process, alternating with the same session's direct path and with a bare echo of {MESSAGE} bytes, \
         directly with the daemon's buffers, and through {ABOUT}; relay, {pinned}"
    ))
    .row("direct path", Unit::Micros, &direct)?
    .row("through the relay", Unit::Micros, &relayed)?
    .beside("round trip", "the direct path", (&relayed, &direct), Some(Target::AtMost(2.1)))?
    .row("direct path, 64 in flight", Unit::PerSecond, &direct_rate)?
    .goal("through the relay, 64 in flight", Unit::PerSecond, &rate, Target::AtLeast(120_000.0))?
    .beside("requests a second", "the direct path", (&rate, &direct_rate), None)?
    .row("bare echo, without a relay", Unit::PerSecond, &echoed)?
    .beside("requests a second", "a bare echo without a relay", (&rate, &echoed), Some(AIM))?
    .row("bare echo through a bare forwarder", Unit::PerSecond, &forwarded)?
    .beside(
        "requests a second",
        "a bare echo through a bare forwarder",
        (&rate, &forwarded),
        None,
    )
}
