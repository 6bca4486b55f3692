//! All figures, in the order of measurement.

mod attach;
mod bindings;
mod events;
#[cfg(unix)]
mod frozen;
mod intents;
mod library;
mod live;
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

/// The future of one measurement.
type Measuring = Pin<Box<dyn Future<Output = Outcome<Measured>> + Send>>;

/// One figure.
pub(super) struct Figure {
    /// Name on the command line and in the JSON.
    pub(super) name: &'static str,
    /// One line for people.
    pub(super) title: &'static str,
    /// Runs the measurement.
    pub(super) measure: fn(Arc<Bench>) -> Measuring,
}

/// Whether a figure is available here; figures of a language need the output of its program.
pub(super) fn is_there(figure: &Figure, bench: &Bench) -> bool {
    let is_language = ["swift", "kotlin", "typescript"].contains(&figure.name);
    !is_language || bindings::lines(bench, figure.name).is_some_and(|path| path.exists())
}

/// The table of all figures: name, title, and the measurement given the bench.
macro_rules! figures {
    ($($(#[$only:meta])* $name:literal $title:literal |$bench:ident| $measure:expr;)*) => {
        &[$($(#[$only])* Figure {
            name: $name,
            title: $title,
            measure: |$bench| Box::pin(async move { $measure }),
        },)*]
    };
}

/// All figures.
pub(super) const FIGURES: &[Figure] = figures! {
    "ping" "round trip of `system.ping`, sealed, one at a time" |bench| ping::measure(&bench).await;
    "rate" "`system.ping` with 64 in flight on one connection, sealed" |bench| rate::measure(&bench).await;
    "attach" "attaching to a session, and coming back to one with events to catch up" |bench| attach::measure(&bench).await;
    "start" "starting a daemon, and its memory at rest" |bench| start::measure(&bench).await;
    "memory" "memory of idle connections, each of its own session and device" |bench| memory::measure(&bench).await;
    "intents" "durable intents: `agents.create` on one session" |bench| intents::measure(&bench).await;
    "events" "one event to many connections" |bench| events::measure(&bench).await;
    "views" "what a UI waits for: first snapshot, an intent's call, a timeline's next item" |bench| views::measure(&bench).await;
    "live-opening" "opening a table of 10,000 rows" |bench| live::opening::measure(&bench).await;
    "cached" "opening a table of 10,000 rows at a cold start without network" |bench| live::cached::measure(&bench).await;
    "live-changes" "changed rows through one session, and to many followers" |bench| live::changes::measure(&bench).await;
    "live-follows" "a follow while nothing changes" |bench| live::follows::measure(&bench).await;
    "live-rows" "a changed row in a view, in a short and in a long table" |bench| live::rows::measure(&bench);
    "blobs" "blobs beside the texts of the same session" |bench| live::blobs::measure(&bench).await;
    "library" "size of the native library in apps" |bench| library::measure(&bench);
    "swift" "the library as Swift sees it" |bench| bindings::measure(&bench, "swift");
    "kotlin" "the library as Kotlin sees it" |bench| bindings::measure(&bench, "kotlin");
    "typescript" "the library as TypeScript sees it, in Node" |bench| bindings::measure(&bench, "typescript");
    #[cfg(unix)]
    "local-ping" "round trip of `system.ping` on the local socket, one at a time" |bench| local::ping(&bench).await;
    #[cfg(unix)]
    "local-rate" "`system.ping` with 64 in flight on one connection of the local socket" |bench| local::rate(&bench).await;
    #[cfg(unix)]
    "local-memory" "memory of idle connections of the local socket" |bench| local_memory::measure(&bench).await;
    "relay-ping" "round trip of 128 bytes through the relay" |bench| relay::ping::measure(&bench).await;
    "relay-stream" "messages and bytes a second through the relay" |bench| relay::stream::measure(&bench).await;
    "relay-connect" "getting through to a daemon at the relay" |bench| relay::connect::measure(&bench).await;
    "relay-memory" "the relay at rest, and with idle sockets" |bench| relay::memory::measure(&bench).await;
    "relay-stall" "a receiver that stops reading for six seconds while its sender runs flat out" |bench| relay::stall::measure(&bench).await;
    "relayed" "`system.ping` end to end through the relay, sealed, beside the direct path" |bench| relay::session::measure(&bench).await;
    #[cfg(unix)]
    "frozen-path" "a direct path that freezes under a stream or a request, with a relay beside it" |bench| frozen::measure(&bench).await;
};
