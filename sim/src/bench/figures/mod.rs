//! Every figure, in the order in which it is measured.

mod attach;
mod events;
mod intents;
mod memory;
mod ping;
mod rate;
mod start;

use std::{future::Future, pin::Pin};

use super::{Bench, Outcome, report::Measured};

/// What a figure's measuring is.
type Measuring<'a> = Pin<Box<dyn Future<Output = Outcome<Measured>> + 'a>>;

/// One figure.
pub(super) struct Figure {
    /// For the command line and the JSON.
    pub(super) name: &'static str,
    /// What is measured, in one line.
    pub(super) title: &'static str,
    /// Measures it.
    pub(super) measure: fn(&Bench) -> Measuring<'_>,
}

/// All of them.
pub(super) const FIGURES: &[Figure] = &[
    Figure {
        name: "ping",
        title: "round trip of `system.ping`, sealed, one at a time",
        measure: |bench| Box::pin(ping::measure(bench)),
    },
    Figure {
        name: "rate",
        title: "`system.ping` with 64 in flight on one connection, sealed",
        measure: |bench| Box::pin(rate::measure(bench)),
    },
    Figure {
        name: "attach",
        title: "attaching to a session, and coming back to one with events to catch up",
        measure: |bench| Box::pin(attach::measure(bench)),
    },
    Figure {
        name: "start",
        title: "starting a daemon, and its memory at rest",
        measure: |bench| Box::pin(start::measure(bench)),
    },
    Figure {
        name: "memory",
        title: "memory of idle connections, each of its own session and device",
        measure: |bench| Box::pin(memory::measure(bench)),
    },
    Figure {
        name: "intents",
        title: "durable intents: `agents.create` on one session",
        measure: |bench| Box::pin(intents::measure(bench)),
    },
    Figure {
        name: "events",
        title: "one event to many connections",
        measure: |bench| Box::pin(events::measure(bench)),
    },
];
