//! The library's log: to the system's own (Apple's unified log, Android's logcat), and to a callback everywhere.
//!
//! One `tracing` subscriber serves the process. A callback sink is a bounded queue: what does not fit while the app is
//! busy is counted, and the count is handed over with what does. Nothing is logged that names a session or holds a key.

use std::{
    cell::Cell,
    fmt::{self, Write},
    sync::{
        Arc, PoisonError, RwLock, Weak,
        atomic::{AtomicU8, Ordering},
    },
    time::{SystemTime, UNIX_EPOCH},
};

use once_cell::sync::OnceCell;
use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    level_filters::LevelFilter,
    subscriber::Interest,
};
use tracing_subscriber::{
    Layer,
    layer::{Context, SubscriberExt},
    registry,
};

use crate::{
    error::BowlineError,
    listeners::{CallbackError, LogListener},
    records::{millis, small},
    slot::{Sink, Slot},
    subscription::Subscription,
};

/// Most lines that wait for a listener; of more the oldest are dropped and counted.
const WAITING: usize = 1_024;
/// Longest line, in bytes; the rest of a longer one is cut off.
const LINE: usize = 4 << 10;
/// Of other crates' log only what is at least so grave.
const FOREIGN: Level = Level::WARN;

/// How much is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, uniffi::Enum)]
pub enum LogLevel {
    /// Defects.
    Error,
    /// What someone should look at.
    Warn,
    /// What happens: connections, switches, pairings.
    Info,
    /// Every transition of every machine.
    Debug,
    /// Everything.
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
    /// When: milliseconds since 1970.
    pub at_ms: f64,
    /// How grave.
    pub level: LogLevel,
    /// The module that says so.
    pub target: String,
    /// What it says, fields included.
    pub message: String,
}

/// Lines that came since the last call.
#[derive(Clone, Debug, Default, PartialEq, uniffi::Record)]
pub struct LogBatch {
    /// Oldest first.
    pub records: Vec<LogRecord>,
    /// Lines before these that were dropped, because there were too many.
    pub dropped: u32,
}

/// Sends the library's log to the system's own, from this process on, as far as there is one: true on Apple's systems and
/// on Android.
#[uniffi::export]
pub fn log_to_system(level: LogLevel) -> Result<bool, BowlineError> {
    let fanout = fanout()?;
    fanout.system.store(level as u8 + 1, Ordering::Relaxed);
    tracing::callsite::rebuild_interest_cache();
    Ok(cfg!(any(target_vendor = "apple", target_os = "android")))
}

/// Hands the library's log to a listener, in batches. What the listener does itself must not depend on the library.
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

struct LogSink(Box<dyn LogListener>);

impl Sink<LogBatch> for LogSink {
    fn deliver(&mut self, newest: &LogBatch) -> Result<(), CallbackError> {
        self.0.on_log(newest.clone())
    }

    fn again(&self, failed: LogBatch, newer: Option<LogBatch>) -> LogBatch {
        let newer = newer.unwrap_or_default();
        let mut batch = failed;
        batch.dropped = batch.dropped.saturating_add(newer.dropped);
        for record in newer.records {
            add(&mut batch, record);
        }
        batch
    }

    fn is_log(&self) -> bool {
        true
    }
}

thread_local! {
    /// A log listener runs on this thread.
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

/// While this is held, what this thread logs goes to no listener: what the delivery of log lines causes would be delivered
/// next, and so on for ever. The system's log gets it.
pub(crate) fn quiet() -> Quiet {
    QUIET.set(true);
    Quiet
}

/// What [`quiet`] returns.
pub(crate) struct Quiet;

impl Drop for Quiet {
    fn drop(&mut self) {
        QUIET.set(false);
    }
}

/// The callback sinks, and how much the system's log gets.
#[derive(Default)]
struct Fanout {
    sinks: RwLock<Vec<(Level, Weak<Slot<LogBatch>>)>>,
    /// 0: nothing; else one more than a [`LogLevel`].
    system: AtomicU8,
}

static FANOUT: OnceCell<Arc<Fanout>> = OnceCell::new();

/// The process's subscriber, installed by its first user.
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

/// What the system's log is given.
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

/// The layer that fills the callback sinks.
struct Callbacks(Arc<Fanout>);

impl<S: Subscriber> Layer<S> for Callbacks {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        if self.0.most() >= *metadata.level() && is_of_interest(metadata) {
            Interest::sometimes()
        } else {
            Interest::never()
        }
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(self.0.most())
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if QUIET.get() {
            return;
        }
        let metadata = event.metadata();
        // The locks are held for a copy of the list only: a slot's own lock is another one.
        let sinks: Vec<_> = {
            let sinks = self.0.sinks.read().unwrap_or_else(PoisonError::into_inner);
            let wanted = sinks.iter().filter(|(level, _)| metadata.level() <= level);
            wanted.filter_map(|(_, sink)| sink.upgrade()).collect()
        };
        if sinks.is_empty() || !is_of_interest(metadata) {
            return;
        }
        let mut line = Line::default();
        event.record(&mut line);
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let record = LogRecord {
            at_ms: millis(i64::try_from(since.as_millis()).unwrap_or_default()),
            level: LogLevel::of(metadata.level()),
            target: metadata.target().to_owned(),
            message: line.finish(),
        };
        for sink in sinks {
            sink.change(|batch| add(batch.get_or_insert_default(), record.clone()));
        }
    }
}

fn add(batch: &mut LogBatch, record: LogRecord) {
    if batch.records.len() >= WAITING {
        // Half at a time, so that a flood does not move the whole list for every line.
        let old = WAITING / 2;
        batch.records.drain(..old);
        batch.dropped = batch.dropped.saturating_add(small(old));
    }
    batch.records.push(record);
}

/// The text of one event: the message, then its fields.
#[derive(Default)]
struct Line {
    message: String,
    fields: String,
}

impl Line {
    fn finish(mut self) -> String {
        self.message.push_str(&self.fields);
        if self.message.len() > LINE {
            let end = (0..=LINE)
                .rev()
                .find(|end| self.message.is_char_boundary(*end));
            self.message.truncate(end.unwrap_or(0));
        }
        self.message
    }
}

impl Visit for Line {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            self.message.push_str(value);
        } else {
            let _ = write!(self.fields, " {}={value}", field.name());
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            let _ = write!(self.message, "{value:?}");
        } else {
            let _ = write!(self.fields, " {}={value:?}", field.name());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_bounded_and_what_was_dropped_is_counted() {
        let mut batch = LogBatch::default();
        for n in 0..3 * WAITING {
            let record = LogRecord {
                at_ms: 0.0,
                level: LogLevel::Info,
                target: String::new(),
                message: n.to_string(),
            };
            add(&mut batch, record);
            assert!(batch.records.len() <= WAITING);
        }
        assert_eq!(batch.records.len() + batch.dropped as usize, 3 * WAITING);
        assert_eq!(
            batch.records.last().unwrap().message,
            (3 * WAITING - 1).to_string()
        );
    }

    #[test]
    fn a_long_line_is_cut_between_characters() {
        let line = Line {
            message: "é".repeat(LINE),
            fields: String::new(),
        };
        assert!(line.finish().len() <= LINE);
    }
}
