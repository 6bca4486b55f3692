//! What an event costs when many connections want it.

use bowline_protocol::methods::name;
use serde_json::{Value, json};

use super::{
    super::{
        Bench, Outcome,
        client::{Connected, Devices},
        control::Control,
        process,
        report::{Measured, Target, Unit},
        stats::Samples,
    },
    intents::create_agents,
};

/// Connections, each of its own session.
const CONNECTIONS: usize = 64;

pub(super) async fn measure(bench: &Bench) -> Outcome<Measured> {
    let daemon = process::daemon(bench, "events").await?;
    let devices = Devices::of(&daemon)?;
    let mut control = process::control(&daemon)?;
    let mut clients = Vec::with_capacity(CONNECTIONS);
    for _ in 0..CONNECTIONS {
        let dialer = devices.pair(process::offer(&mut control)?).await?;
        clients.push(Connected::open(dialer).await?);
    }
    let maker = clients.first().ok_or("no clients")?;
    let repetitions = bench.pick(50, 10);
    let (mut serialised, mut pushed) = (Samples::default(), Samples::default());
    for _ in 0..repetitions {
        let before = Counters::read(&mut control)?;
        create_agents(&maker.client, 1, 1).await?;
        let after = Counters::read(&mut control)?;
        serialised.one(after.serialised - before.serialised);
        pushed.one(after.pushed - before.pushed);
    }
    Measured::by(format!(
        "the daemon's own counters before and after one `agents.create`, whose `agent.updated` goes to \
         {CONNECTIONS} connections of as many sessions; {repetitions} times"
    ))
    .goal("serialisations of the event", Unit::Count, &serialised, Target::Exactly(1.0))?
    .row("connections it went to", Unit::Count, &pushed)
}

/// The counters of `daemon.status` that matter here.
struct Counters {
    serialised: f64,
    pushed: f64,
}

impl Counters {
    fn read(control: &mut Control) -> Outcome<Self> {
        let status = control.call(name::DAEMON_STATUS, &json!({}))?;
        let counter = |name: &str| {
            let counters = status.get("ledger")?;
            counters.get(name).and_then(Value::as_f64)
        };
        Ok(Self {
            serialised: counter("eventsSerialised").ok_or("no counter of serialised events")?,
            pushed: counter("framesPushed").ok_or("no counter of pushed frames")?,
        })
    }
}
