//! Log sinks that call a listener, and the layer that fills them.

use std::{
    cell::Cell,
    fmt::{self, Write},
    sync::{Arc, PoisonError},
    time::SystemTime,
};

use tracing::{
    Event, Metadata, Subscriber,
    field::{Field, Visit},
    level_filters::LevelFilter,
    subscriber::Interest,
};
use tracing_subscriber::{Layer, layer::Context};

use super::{Fanout, LogBatch, LogLevel, LogRecord, is_of_interest};
use crate::{
    listeners::{CallbackError, LogListener},
    records::small,
    slot::Sink,
};

/// Buffered lines per listener; beyond it the oldest are dropped and counted.
const WAITING: usize = 1_024;
/// Longest line in bytes; a longer one is cut off.
const LINE: usize = 4 << 10;

/// Passes batches to a listener.
pub(super) struct LogSink(pub(super) Box<dyn LogListener>);

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

/// While this guard lives, log lines of this thread go only to the system's log. Lines caused by
/// the delivery of log lines would otherwise be delivered next, endlessly.
pub(crate) fn quiet() -> Quiet {
    QUIET.set(true);
    Quiet
}

/// The guard of [`quiet`].
pub(crate) struct Quiet;

impl Drop for Quiet {
    fn drop(&mut self) {
        QUIET.set(false);
    }
}

/// The layer that fills the callback sinks.
pub(super) struct Callbacks(pub(super) Arc<Fanout>);

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
        // The locks are held only while the list is copied, because a slot has a lock of its own.
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
        let record = LogRecord {
            at: SystemTime::now(),
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
        // Half is dropped at a time, so that a flood does not move the whole list for every line.
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
                at: SystemTime::UNIX_EPOCH,
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
