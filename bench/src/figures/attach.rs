//! Attaching to a session, and reattaching with missed events.

use std::time::{Duration, Instant};

use bowline_protocol::{Purpose, Reason};
use bowline_runtime::client::{ClientEvent, Dialer};

use super::{
    super::{
        Bench, Outcome,
        client::{self, Connected, attach, paired, resuming},
        echo::{Buffers, EchoProcess},
        pin,
        process::{self, DEADLINE},
        report::{Measured, Target, Unit},
        stats::{Samples, micros_since, timed},
    },
    intents::create_agents,
};

/// Events missed before a reattach.
const MISSED: usize = 1_000;

pub(super) async fn measure(bench: &Bench) -> Outcome<Measured> {
    let pinned = pin::to_one_core();
    let daemon = process::daemon(bench, "attach").await?;
    let dialer = paired(&daemon).await?;
    let (link, welcome) = attach(&dialer).await?;
    link.close(Reason::ClosedLocally).await;
    let dialer = resuming(&dialer, &welcome)?;
    let server = EchoProcess::start(Buffers::Default)?;
    let (repetitions, count) = (bench.pick(10, 5), bench.pick(100, 20));
    let (mut bare, mut welcome) = (Samples::default(), Samples::default());
    let (mut first, mut caught_up) = (Samples::default(), Samples::default());
    attaches(&dialer, count).await?;
    for _ in 0..repetitions {
        bare.repetition(timed!(count, server.connect().await?));
        let (welcomes, answers) = attaches(&dialer, count).await?;
        welcome.repetition(welcomes);
        first.repetition(answers);
    }
    let behind = fall_behind(&dialer).await?;
    for _ in 0..repetitions * 3 {
        caught_up.one(catch_up(&behind).await?);
    }
    Measured::by(format!(
        "{repetitions} times {count} dials of a paired device that resumes its session, alternating with bare TCP and WebSocket connects to a \
         tokio-tungstenite echo; then {} reattaches of a client that missed {MISSED} `agent.updated`, from dialling \
         until the last one is with its owner; {pinned}",
        repetitions * 3
    ))
    .row("bare connect", Unit::Micros, &bare)?
    .goal(
        "attach, to the welcome",
        Unit::Micros,
        &welcome,
        Target::AtMost(1_000.0),
    )?
    .beside("attach, to the welcome", "a bare connect", (&welcome, &bare), None)?
    .row("attach, to a first answer", Unit::Micros, &first)?
    .goal(
        "reattach with 1,000 events",
        Unit::Micros,
        &caught_up,
        Target::AtMost(10_000.0),
    )
}

/// Times of `count` attaches, to the welcome and to the first answer.
async fn attaches(dialer: &Dialer, count: usize) -> Outcome<(Vec<f64>, Vec<f64>)> {
    let (mut welcomes, mut answers) = (Vec::new(), Vec::new());
    for _ in 0..count {
        let start = Instant::now();
        let (mut link, _) = dialer.dial(Purpose::Session).await?;
        welcomes.push(micros_since(start));
        client::ready(&mut link).await?;
        answers.push(micros_since(start));
        link.close(Reason::ClosedLocally).await;
    }
    Ok((welcomes, answers))
}

/// A dialer whose cursor is [`MISSED`] events behind.
async fn fall_behind(dialer: &Dialer) -> Outcome<Dialer> {
    // This client acknowledges nothing, so the events stay in the replay log.
    let maker = Connected::open(dialer.clone()).await?;
    create_agents(&maker.client, MISSED, 64).await?;
    maker.client.dispose(Duration::ZERO, Reason::ClosedLocally);
    resuming(dialer, &maker.accepted)
}

async fn catch_up(behind: &Dialer) -> Outcome<f64> {
    let start = Instant::now();
    let mut client = Connected::open(behind.clone()).await?;
    let mut events = 0;
    while events < MISSED {
        let event = tokio::time::timeout(DEADLINE, client.inbox.recv()).await?;
        match event.ok_or("the client ended")? {
            ClientEvent::Events(more) => events += more.len(),
            ClientEvent::Suspected(_) => {}
            ClientEvent::State { .. } => return Err("the client lost its connection".into()),
        }
    }
    let took = micros_since(start);
    if events != MISSED {
        return Err(format!("{events} events came, not {MISSED}").into());
    }
    client.client.dispose(Duration::ZERO, Reason::ClosedLocally);
    Ok(took)
}
