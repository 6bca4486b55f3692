//! The events that a reader of a topic has not taken: in order, in batches, and bounded.

use std::{collections::VecDeque, sync::Arc};

use bowline_protocol::live::TopicEvent;

use super::TopicStatus;

/// Approximate bytes of an event besides its name, key and body.
const EVENT_BYTES: usize = 160;

/// Bounds of a [`Backlog`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BacklogConfig {
    /// Most events. With more, the oldest are dropped and [`TopicBatch::missed`] is set.
    pub events: usize,
    /// Most bytes of events, of which one always fits. At the bound as with `events`.
    pub bytes: usize,
    /// Most events of a batch.
    pub batch_events: usize,
    /// Most bytes of a batch, of which one event always fits.
    pub batch_bytes: usize,
}

impl Default for BacklogConfig {
    fn default() -> Self {
        Self {
            events: 4_096,
            bytes: 8 << 20,
            batch_events: 256,
            batch_bytes: 1 << 20,
        }
    }
}

/// Events of a topic, in order, and how the topic is doing. Batches are to be read one after the
/// other; none replaces another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TopicBatch {
    /// Events may be missing between those of the batch before and those of this one. Every other
    /// event of the topic since its first [`TopicState::Following`](super::TopicState::Following)
    /// is in a batch, once.
    pub missed: bool,
    /// The events. None if only `missed` or `status` is told.
    pub events: Vec<Arc<TopicEvent>>,
    /// How the topic is doing when the batch is read.
    pub status: TopicStatus,
}

/// Approximate bytes of memory.
pub(super) fn bytes_of(event: &TopicEvent) -> usize {
    event.name.len() + event.key.len() + event.body.get().len() + EVENT_BYTES
}

/// Events that were not taken yet. Only whoever takes batches makes room, so a reader that is slow
/// gets larger batches, and one that is too slow loses the oldest events and is told.
#[derive(Clone, Debug, Default)]
pub struct Backlog {
    config: BacklogConfig,
    /// Each event, and whether some may be missing before it.
    events: VecDeque<(bool, Arc<TopicEvent>)>,
    bytes: usize,
    /// Whether events may be missing after the last one.
    missed: bool,
    status: TopicStatus,
    /// Whether the status was not taken yet.
    is_news: bool,
}

impl Backlog {
    /// Nothing to take; `config` sets the bounds.
    pub fn new(config: BacklogConfig) -> Self {
        Self {
            config,
            ..Self::default()
        }
    }

    /// Adds an event.
    pub fn push(&mut self, event: Arc<TopicEvent>) {
        self.bytes = self.bytes.saturating_add(bytes_of(&event));
        let missed = std::mem::take(&mut self.missed);
        self.events.push_back((missed, event));
        self.trim();
    }

    /// Marks that events may be missing here.
    pub const fn miss(&mut self) {
        self.missed = true;
    }

    /// Sets the status; a repetition has no effect.
    pub fn set_status(&mut self, status: TopicStatus) {
        self.is_news |= self.status != status;
        self.status = status;
    }

    /// Adds a batch that was taken from another backlog.
    pub fn append(&mut self, batch: &TopicBatch) {
        self.missed |= batch.missed;
        for event in &batch.events {
            self.push(Arc::clone(event));
        }
        self.status = batch.status;
        self.is_news = true;
    }

    /// Adds a batch again that was taken last and could not be delivered.
    pub fn put_back(&mut self, batch: TopicBatch) {
        let mut missed = batch.missed;
        if batch.events.is_empty() {
            match self.events.front_mut() {
                Some((before, _)) => *before |= missed,
                None => self.missed |= missed,
            }
        }
        for (at, event) in batch.events.into_iter().enumerate() {
            self.bytes = self.bytes.saturating_add(bytes_of(&event));
            self.events.insert(at, (std::mem::take(&mut missed), event));
        }
        self.is_news = true;
        self.trim();
    }

    /// Drops the oldest events over the bounds.
    fn trim(&mut self) {
        let mut dropped = false;
        while self.events.len() > 1
            && (self.events.len() > self.config.events || self.bytes > self.config.bytes)
        {
            dropped |= self.pop().is_some();
        }
        if let Some((missed, _)) = self.events.front_mut() {
            *missed |= dropped;
        }
    }

    fn pop(&mut self) -> Option<(bool, Arc<TopicEvent>)> {
        let (missed, event) = self.events.pop_front()?;
        self.bytes = self.bytes.saturating_sub(bytes_of(&event));
        Some((missed, event))
    }

    /// Takes the next batch; `None` if there is nothing to say.
    pub fn take(&mut self) -> Option<TopicBatch> {
        let mut batch = TopicBatch::default();
        let mut bytes = 0_usize;
        if let Some((missed, event)) = self.pop() {
            batch.missed = missed;
            bytes = bytes_of(&event);
            batch.events.push(event);
        } else if self.missed || self.is_news {
            batch.missed = std::mem::take(&mut self.missed);
        } else {
            return None;
        }
        while let Some((false, next)) = self.events.front()
            && batch.events.len() < self.config.batch_events
            && bytes.saturating_add(bytes_of(next)) <= self.config.batch_bytes
        {
            bytes = bytes.saturating_add(bytes_of(next));
            batch.events.extend(self.pop().map(|(_, event)| event));
        }
        self.is_news = false;
        batch.status = self.status;
        Some(batch)
    }

    /// Drops all events, without a mark.
    pub(super) fn clear(&mut self) {
        self.events.clear();
        self.bytes = 0;
        self.missed = false;
        self.is_news = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::topics::{TopicState, tests::event};

    fn backlog() -> Backlog {
        Backlog::new(BacklogConfig {
            events: 5,
            bytes: 10_000,
            batch_events: 3,
            batch_bytes: 5_000,
        })
    }

    /// Each batch as its bodies, after an asterisk if some may be missing.
    fn taken(backlog: &mut Backlog) -> Vec<String> {
        let batches = std::iter::from_fn(|| backlog.take());
        batches.map(|batch| text(&batch)).collect()
    }

    fn text(batch: &TopicBatch) -> String {
        let bodies = batch.events.iter().map(|event| event.body.get());
        let mark = if batch.missed { "*" } else { "" };
        format!("{mark}{}", bodies.collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn ld_10_batches_have_every_event_in_order_and_end_before_a_mark() {
        type Step = fn(&mut Backlog);
        let cases: [(&[Step], &[&str]); 6] = [
            (&[], &[]),
            (&[|log| push(log, 1..=2)], &["1 2"]),
            (&[|log| push(log, 1..=5)], &["1 2 3", "4 5"]),
            (
                &[
                    |log| push(log, 1..=2),
                    Backlog::miss,
                    |log| push(log, 3..=4),
                ],
                &["1 2", "*3 4"],
            ),
            (&[|log| push(log, 1..=1), Backlog::miss], &["1", "*"]),
            (&[Backlog::miss, Backlog::miss], &["*"]),
        ];
        for (steps, expected) in cases {
            let mut log = backlog();
            steps.iter().for_each(|step| step(&mut log));
            assert_eq!(taken(&mut log), expected);
            assert_eq!((log.take(), log.bytes), (None, 0));
        }
    }

    fn push(log: &mut Backlog, bodies: std::ops::RangeInclusive<u32>) {
        bodies.for_each(|n| log.push(event("a", &n.to_string())));
    }

    #[test]
    fn ld_10_at_the_bound_the_oldest_events_are_dropped_and_that_is_marked() {
        let mut log = backlog();
        push(&mut log, 1..=7);
        assert_eq!(taken(&mut log), ["*3 4 5", "6 7"]);
        let large = format!("\"{}\"", "x".repeat(4_000));
        for _ in 0..4 {
            log.push(event("a", &large));
            assert!(log.bytes <= 10_000);
        }
        let batches: Vec<_> = std::iter::from_fn(|| log.take()).collect();
        let sizes = batches.iter().map(|one| (one.missed, one.events.len()));
        let sizes: Vec<_> = sizes.collect();
        assert_eq!(sizes, [(true, 1), (false, 1)], "two would exceed a batch");
        log.push(event("a", &format!("\"{}\"", "x".repeat(20_000))));
        assert_eq!(log.take().unwrap().events.len(), 1, "one always fits");
    }

    #[test]
    fn ld_10_a_batch_that_was_put_back_comes_first_and_as_it_was() {
        for before in [false, true] {
            let mut log = backlog();
            if before {
                log.miss();
            }
            push(&mut log, 1..=2);
            let batch = log.take().unwrap();
            push(&mut log, 3..=4);
            log.put_back(batch);
            let mark = if before { "*" } else { "" };
            assert_eq!(taken(&mut log), [format!("{mark}1 2 3"), "4".to_owned()]);
        }
        let mut log = backlog();
        log.miss();
        let mark = log.take().unwrap();
        log.put_back(mark.clone());
        assert_eq!(taken(&mut log), ["*"]);
        push(&mut log, 1..=1);
        log.put_back(mark);
        assert_eq!(taken(&mut log), ["*1"]);
    }

    #[test]
    fn a_status_is_told_once_and_with_the_next_events() {
        let mut log = backlog();
        let status = TopicStatus::of(TopicState::Following);
        log.set_status(status);
        assert_eq!(log.take().map(|batch| batch.status), Some(status));
        log.set_status(status);
        assert_eq!(log.take(), None);
        push(&mut log, 1..=1);
        assert_eq!(log.take().map(|batch| batch.status), Some(status));
    }
}
