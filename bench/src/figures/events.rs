//! The cost of an event that many connections receive.

use bowline_local::Client;

use super::{
    super::{
        Bench, Outcome,
        client::{Connected, Devices},
        process,
        report::{Measured, Target, Unit},
        stats::Samples,
    },
    intents::create_agents,
};

/// Connections, each with its own session.
const CONNECTIONS: usize = 64;

pub(super) async fn measure(bench: &Bench) -> Outcome<Measured> {
    let daemon = process::daemon(bench, "events").await?;
    let devices = Devices::of(&daemon)?;
    let control = process::control(&daemon).await?;
    let mut clients = Vec::with_capacity(CONNECTIONS);
    for _ in 0..CONNECTIONS {
        let dialer = devices.pair(process::offer(&control).await?).await?;
        clients.push(Connected::open(dialer).await?);
    }
    let maker = clients.first().ok_or("no clients")?;
    let repetitions = bench.pick(50, 10);
    let (mut serialised, mut pushed) = (Samples::default(), Samples::default());
    for _ in 0..repetitions {
        let before = counters(&control).await?;
        create_agents(&maker.client, 1, 1).await?;
        let after = counters(&control).await?;
        serialised.one(after[0] - before[0]);
        pushed.one(after[1] - before[1]);
    }
    Measured::by(format!(
        "the daemon's own counters before and after one `agents.create`, whose `agent.updated` goes to \
         {CONNECTIONS} connections of as many sessions; {repetitions} times"
    ))
    .goal("serialisations of the event", Unit::Count, &serialised, Target::Exactly(1.0))?
    .row("connections it went to", Unit::Count, &pushed)
}

/// Events serialised and frames pushed, from `daemon.status`.
async fn counters(control: &Client) -> Outcome<[f64; 2]> {
    let status = process::status(control).await?;
    let counter = |name: &str| {
        let value = status.get("ledger")?.get(name)?;
        value.as_f64()
    };
    let both = (counter("eventsSerialised"), counter("framesPushed"));
    let (Some(serialised), Some(pushed)) = both else {
        return Err(format!("no counters of events in {status}").into());
    };
    Ok([serialised, pushed])
}
