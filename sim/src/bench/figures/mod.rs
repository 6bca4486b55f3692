//! Every figure, in the order in which it is measured.

mod attach;
mod bindings;
mod events;
mod intents;
mod library;
#[cfg(unix)]
mod local;
#[cfg(unix)]
mod local_memory;
mod memory;
mod ping;
mod rate;
mod relay;
mod start;
mod views;

use std::{future::Future, pin::Pin, sync::Arc};

use super::{Bench, Outcome, report::Measured};

/// What a figure's measuring is.
type Measuring = Pin<Box<dyn Future<Output = Outcome<Measured>> + Send>>;

/// One figure.
pub(super) struct Figure {
    /// For the command line and the JSON.
    pub(super) name: &'static str,
    /// What is measured, in one line.
    pub(super) title: &'static str,
    /// Measures it.
    pub(super) measure: fn(Arc<Bench>) -> Measuring,
}

/// Whether a figure can be had at all here: what a language measures only where its program has run.
pub(super) fn is_there(figure: &Figure, bench: &Bench) -> bool {
    let is_language = ["swift", "kotlin", "typescript"].contains(&figure.name);
    !is_language || bindings::lines(bench, figure.name).is_some_and(|path| path.exists())
}

/// All of them.
pub(super) const FIGURES: &[Figure] = &[
    Figure {
        name: "ping",
        title: "round trip of `system.ping`, sealed, one at a time",
        measure: |bench| Box::pin(async move { ping::measure(&bench).await }),
    },
    Figure {
        name: "rate",
        title: "`system.ping` with 64 in flight on one connection, sealed",
        measure: |bench| Box::pin(async move { rate::measure(&bench).await }),
    },
    Figure {
        name: "attach",
        title: "attaching to a session, and coming back to one with events to catch up",
        measure: |bench| Box::pin(async move { attach::measure(&bench).await }),
    },
    Figure {
        name: "start",
        title: "starting a daemon, and its memory at rest",
        measure: |bench| Box::pin(async move { start::measure(&bench).await }),
    },
    Figure {
        name: "memory",
        title: "memory of idle connections, each of its own session and device",
        measure: |bench| Box::pin(async move { memory::measure(&bench).await }),
    },
    Figure {
        name: "intents",
        title: "durable intents: `agents.create` on one session",
        measure: |bench| Box::pin(async move { intents::measure(&bench).await }),
    },
    Figure {
        name: "events",
        title: "one event to many connections",
        measure: |bench| Box::pin(async move { events::measure(&bench).await }),
    },
    Figure {
        name: "views",
        title: "what a UI waits for: first snapshot, an intent's call, a timeline's next item",
        measure: |bench| Box::pin(async move { views::measure(&bench).await }),
    },
    Figure {
        name: "library",
        title: "size of the native library in apps",
        measure: |bench| Box::pin(async move { library::measure(&bench) }),
    },
    Figure {
        name: "swift",
        title: "the library as Swift sees it",
        measure: |bench| Box::pin(async move { bindings::measure(&bench, "swift") }),
    },
    Figure {
        name: "kotlin",
        title: "the library as Kotlin sees it",
        measure: |bench| Box::pin(async move { bindings::measure(&bench, "kotlin") }),
    },
    Figure {
        name: "typescript",
        title: "the library as TypeScript sees it, in Node",
        measure: |bench| Box::pin(async move { bindings::measure(&bench, "typescript") }),
    },
    #[cfg(unix)]
    Figure {
        name: "local-ping",
        title: "round trip of `system.ping` on the local socket, one at a time",
        measure: |bench| Box::pin(async move { local::ping(&bench).await }),
    },
    #[cfg(unix)]
    Figure {
        name: "local-rate",
        title: "`system.ping` with 64 in flight on one connection of the local socket",
        measure: |bench| Box::pin(async move { local::rate(&bench).await }),
    },
    #[cfg(unix)]
    Figure {
        name: "local-memory",
        title: "memory of idle connections of the local socket",
        measure: |bench| Box::pin(async move { local_memory::measure(&bench).await }),
    },
    Figure {
        name: "relay-ping",
        title: "round trip of 128 bytes through the relay",
        measure: |bench| Box::pin(async move { relay::ping::measure(&bench).await }),
    },
    Figure {
        name: "relay-stream",
        title: "messages and bytes a second through the relay",
        measure: |bench| Box::pin(async move { relay::stream::measure(&bench).await }),
    },
    Figure {
        name: "relay-connect",
        title: "getting through to a daemon at the relay",
        measure: |bench| Box::pin(async move { relay::connect::measure(&bench).await }),
    },
    Figure {
        name: "relay-memory",
        title: "the relay at rest, and with idle sockets",
        measure: |bench| Box::pin(async move { relay::memory::measure(&bench).await }),
    },
    Figure {
        name: "relay-stall",
        title: "a receiver that stops reading for six seconds while its sender runs flat out",
        measure: |bench| Box::pin(async move { relay::stall::measure(&bench).await }),
    },
    Figure {
        name: "relayed",
        title: "`system.ping` end to end through the relay, sealed, beside the direct path",
        measure: |bench| Box::pin(async move { relay::session::measure(&bench).await }),
    },
];
