//! The library's log: to the system's log (Apple's unified log, Android's logcat), and to callbacks
//! on every platform.
//!
//! One `tracing` subscriber serves the process. A callback sink is a bounded queue: lines beyond it
//! are dropped, and their count is delivered with the next batch. No line contains a session or a
//! key.

mod callbacks;

use std::{
    sync::{
        Arc, PoisonError, RwLock, Weak,
        atomic::{AtomicU8, Ordering},
    },
    time::SystemTime,
};

use once_cell::sync::OnceCell;
use tracing::{Level, Metadata, level_filters::LevelFilter};
#[cfg(any(target_vendor = "apple", target_os = "android"))]
use tracing::{Subscriber, subscriber::Interest};
#[cfg(any(target_vendor = "apple", target_os = "android"))]
use tracing_subscriber::{Layer, layer::Context};
use tracing_subscriber::{layer::SubscriberExt, registry};

use crate::{error::BowlineError, listeners::LogListener, slot::Slot, subscription::Subscription};
use callbacks::{Callbacks, LogSink};

pub(crate) use callbacks::quiet;

/// Least level of lines from other crates.
const FOREIGN: Level = Level::WARN;

/// Level of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, uniffi::Enum)]
pub enum LogLevel {
    /// Defects.
    Error,
    /// Problems that need attention.
    Warn,
    /// Normal events: connections, path switches, pairings.
    Info,
    /// Every transition of every machine.
    Debug,
    /// All lines.
    Trace,
}

impl LogLevel {
    const fn tracing(self) -> Level {
        match self {
            Self::Error => Level::ERROR,
            Self::Warn => Level::WARN,
            Self::Info => Level::INFO,
            Self::Debug => Level::DEBUG,
            Self::Trace => Level::TRACE,
        }
    }

    fn of(level: &Level) -> Self {
        match *level {
            Level::ERROR => Self::Error,
            Level::WARN => Self::Warn,
            Level::INFO => Self::Info,
            Level::DEBUG => Self::Debug,
            Level::TRACE => Self::Trace,
        }
    }
}

/// One line.
#[derive(Clone, Debug, PartialEq, uniffi::Record)]
pub struct LogRecord {
    /// When it was logged.
    pub at: SystemTime,
    /// The level.
    pub level: LogLevel,
    /// The module that logs it.
    pub target: String,
    /// The text with its fields.
    pub message: String,
}

/// Lines since the last call.
#[derive(Clone, Debug, Default, PartialEq, uniffi::Record)]
pub struct LogBatch {
    /// Oldest first.
    pub records: Vec<LogRecord>,
    /// Number of lines dropped before these.
    pub dropped: u32,
}

/// Sends the log of this process to the system's log from now on. Returns whether the platform has
/// one: true on Apple's systems and on Android.
#[uniffi::export]
pub fn log_to_system(level: LogLevel) -> Result<bool, BowlineError> {
    let fanout = fanout()?;
    fanout.system.store(level as u8 + 1, Ordering::Relaxed);
    tracing::callsite::rebuild_interest_cache();
    Ok(cfg!(any(target_vendor = "apple", target_os = "android")))
}

/// Sends the library's log to a listener in batches. The listener must not depend on the library.
#[uniffi::export]
pub fn subscribe_logs(
    level: LogLevel,
    listener: Box<dyn LogListener>,
) -> Result<Arc<Subscription>, BowlineError> {
    let fanout = fanout()?;
    let slot = Slot::new(LogSink(listener))?;
    let mut sinks = fanout.sinks.write().unwrap_or_else(PoisonError::into_inner);
    sinks.retain(|(_, sink)| sink.strong_count() > 0);
    sinks.push((level.tracing(), Arc::downgrade(&slot)));
    drop(sinks);
    tracing::callsite::rebuild_interest_cache();
    Ok(Subscription::new(slot))
}

/// The callback sinks and the level of the system's log.
#[derive(Default)]
struct Fanout {
    sinks: RwLock<Vec<(Level, Weak<Slot<LogBatch>>)>>,
    /// 0: off; otherwise one more than a [`LogLevel`].
    system: AtomicU8,
}

static FANOUT: OnceCell<Arc<Fanout>> = OnceCell::new();

/// The subscriber of the process; its first user installs it.
fn fanout() -> Result<&'static Arc<Fanout>, BowlineError> {
    FANOUT.get_or_try_init(|| -> Result<_, BowlineError> {
        let fanout = Arc::new(Fanout::default());
        let subscriber = registry().with(Callbacks(Arc::clone(&fanout)));
        let subscriber = subscriber.with(system(&fanout));
        tracing::subscriber::set_global_default(subscriber).map_err(|_| {
            BowlineError::internal("this process has a tracing subscriber of its own already")
        })?;
        Ok(fanout)
    })
}

#[cfg(target_vendor = "apple")]
fn system<S: Subscriber + for<'a> registry::LookupSpan<'a>>(fanout: &Arc<Fanout>) -> impl Layer<S> {
    tracing_oslog::OsLogger::new("bowline", "library").with_filter(SystemFilter(Arc::clone(fanout)))
}

#[cfg(target_os = "android")]
fn system<S: Subscriber + for<'a> registry::LookupSpan<'a>>(fanout: &Arc<Fanout>) -> impl Layer<S> {
    paranoid_android::layer("bowline").with_filter(SystemFilter(Arc::clone(fanout)))
}

#[cfg(not(any(target_vendor = "apple", target_os = "android")))]
fn system(_: &Arc<Fanout>) -> tracing_subscriber::layer::Identity {
    tracing_subscriber::layer::Identity::new()
}

/// Filter of the system's log.
#[cfg(any(target_vendor = "apple", target_os = "android"))]
struct SystemFilter(Arc<Fanout>);

#[cfg(any(target_vendor = "apple", target_os = "android"))]
impl<S> tracing_subscriber::layer::Filter<S> for SystemFilter {
    fn enabled(&self, metadata: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        self.0.system_level() >= *metadata.level() && is_of_interest(metadata)
    }

    fn callsite_enabled(&self, _: &'static Metadata<'static>) -> Interest {
        Interest::sometimes()
    }
}

fn is_of_interest(metadata: &Metadata<'_>) -> bool {
    *metadata.level() <= FOREIGN || metadata.target().starts_with("bowline")
}

impl Fanout {
    fn system_level(&self) -> LevelFilter {
        match self.system.load(Ordering::Relaxed) {
            0 => LevelFilter::OFF,
            1 => LevelFilter::ERROR,
            2 => LevelFilter::WARN,
            3 => LevelFilter::INFO,
            4 => LevelFilter::DEBUG,
            _ => LevelFilter::TRACE,
        }
    }

    fn most(&self) -> LevelFilter {
        let sinks = self.sinks.read().unwrap_or_else(PoisonError::into_inner);
        let live = sinks.iter().filter(|(_, sink)| sink.strong_count() > 0);
        let most = live.map(|(level, _)| LevelFilter::from_level(*level)).max();
        most.unwrap_or(LevelFilter::OFF).max(self.system_level())
    }
}
