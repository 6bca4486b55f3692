//! Per-process state: the tokio runtime, the dispatcher, and whether a defect has broken them.

use std::sync::{LazyLock, Once};

use once_cell::sync::OnceCell;
use tokio::{
    runtime::{Builder, Runtime as Tokio},
    sync::watch,
};

use crate::{
    dispatcher::{self, Dispatcher},
    error::BowlineError,
};

/// Threads that serve sockets. A client has little work; the second thread keeps the cryptography
/// of one host from delaying another.
const WORKERS: usize = 2;
/// Name of the library's threads; a panic on one of them is a defect of the library.
pub(crate) const THREADS: &str = "bowline";

/// The threads of the library.
pub(crate) struct Engine {
    pub(crate) tokio: Tokio,
    pub(crate) dispatcher: Dispatcher,
}

static ENGINE: OnceCell<Engine> = OnceCell::new();
/// The first defect, if any.
static BROKEN: LazyLock<watch::Sender<Option<String>>> = LazyLock::new(watch::Sender::default);
static HOOK: Once = Once::new();

/// The engine. The first caller starts it, and it lives as long as the process.
///
/// # Errors
/// [`BowlineError::Internal`] if the system cannot start threads; [`BowlineError::Broken`] after a
/// defect.
pub(crate) fn engine() -> Result<&'static Engine, BowlineError> {
    let engine = ENGINE.get_or_try_init(|| -> Result<_, BowlineError> {
        HOOK.call_once(hook);
        let tokio = Builder::new_multi_thread()
            .worker_threads(WORKERS)
            .thread_name(THREADS)
            .enable_all()
            .build()
            .map_err(|error| BowlineError::internal(format!("no threads: {error}")))?;
        let dispatcher = dispatcher::start()
            .map_err(|error| BowlineError::internal(format!("no thread: {error}")))?;
        Ok(Engine { tokio, dispatcher })
    })?;
    match &*BROKEN.borrow() {
        Some(what) => Err(BowlineError::broken(what)),
        None => Ok(engine),
    }
}

/// The running engine, also after a defect, so that cleanup stays possible.
pub(crate) fn running() -> Option<&'static Engine> {
    ENGINE.get()
}

/// Completes when a defect has broken part of the library.
pub(crate) async fn broken() {
    // The sender is never dropped.
    let _ = BROKEN.subscribe().wait_for(Option::is_some).await;
}

/// Logs panics and records those of the library's own threads. From then on every call except
/// cleanup fails with `Broken`, and every subscription ends with that reason instead of silently
/// going stale.
fn hook() {
    let previous = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        let thread = std::thread::current();
        let message = info.payload_as_str().unwrap_or("no message");
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        if thread.name().is_some_and(|name| name.starts_with(THREADS)) {
            note_broken(&format!("{message} ({place})"));
        }
        tracing::error!(message, place, "panic");
        previous(info);
    }));
}

fn note_broken(what: &str) {
    BROKEN.send_if_modified(|broken| {
        let is_first = broken.is_none();
        broken.get_or_insert_with(|| what.to_owned());
        is_first
    });
}

/// The version of uniffi, which defines the memory layout of the surface's values.
const UNIFFI: &str = "0.31.2";
const _: () = assert!(uniffi::check_compatible_version(UNIFFI));

/// Fingerprint of the version, the exported surface and the calling convention of this library.
/// Bindings compare it with their own before any other call.
#[uniffi::export]
pub fn abi_id() -> String {
    let surface = fnv(FNV, include_bytes!("../api.txt"));
    let hash = fnv(surface, UNIFFI.as_bytes());
    format!("bowline-ffi {} {hash:016x}", env!("CARGO_PKG_VERSION"))
}

/// FNV-1a of the empty text.
const FNV: u64 = 0xcbf2_9ce4_8422_2325;

/// One step of FNV-1a. It detects accidental mismatches, not deliberate ones.
const fn fnv(mut hash: u64, bytes: &[u8]) -> u64 {
    let mut rest = bytes;
    while let Some((byte, tail)) = rest.split_first() {
        hash = (hash ^ *byte as u64).wrapping_mul(0x0100_0000_01b3);
        rest = tail;
    }
    hash
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_abi_names_version_and_surface() {
        assert!(abi_id().starts_with("bowline-ffi 0."), "{}", abi_id());
        // The published values of FNV-1a.
        assert_eq!(fnv(FNV, b"a"), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(fnv(FNV, b"foobar"), 0x8594_4171_f739_67e8);
        assert_eq!(fnv(fnv(FNV, b"foo"), b"bar"), fnv(FNV, b"foobar"));
    }
}
