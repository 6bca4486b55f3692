//! One session's replay log in memory: the events a client may still request, in order, without
//! gaps.

use std::{collections::VecDeque, sync::Arc};

use crate::outbound::Frame;

/// The body of an event, shared by all logs that contain it.
#[derive(Debug)]
pub(super) struct Body {
    /// Its id in the store; zero if not stored.
    pub(super) event: i64,
    /// `{"type":…}`.
    pub(super) json: Box<str>,
}

/// A log bounded in bytes and events. Reports dropped bodies that no other log contains, so that
/// they are removed from the store.
#[derive(Debug)]
pub(super) struct ReplayLog {
    entries: VecDeque<Arc<Body>>,
    /// Number of the first entry, or of the next event in an empty log.
    first: u64,
    /// Id of the event before the first entry; zero if there was none.
    before: i64,
    bytes: usize,
}

impl ReplayLog {
    /// An empty log at the beginning of a numbering.
    pub(super) fn new() -> Self {
        Self::after(1, 0)
    }

    /// An empty log whose next event has this number and follows the event with id `before`.
    pub(super) const fn after(next: u64, before: i64) -> Self {
        Self {
            entries: VecDeque::new(),
            first: next,
            before,
            bytes: 0,
        }
    }

    /// Number of the first event with id `event` or higher, as far as the log can tell: of the
    /// dropped events it keeps only the last id.
    pub(super) fn first_of(&self, event: i64) -> u64 {
        if self.before >= event {
            return self.first.saturating_sub(1);
        }
        let older = self.entries.partition_point(|body| body.event < event);
        self.first.saturating_add(older as u64)
    }

    pub(super) const fn first_seq(&self) -> u64 {
        self.first
    }

    pub(super) fn next_seq(&self) -> u64 {
        self.first.saturating_add(self.entries.len() as u64)
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Appends the next event.
    pub(super) fn push(&mut self, body: Arc<Body>) {
        self.bytes = self.bytes.saturating_add(body.json.len());
        self.entries.push_back(body);
    }

    /// Drops the oldest events over the bounds. Returns whether any were dropped.
    pub(super) fn trim_to(&mut self, bytes: usize, events: usize, dead: &mut Vec<i64>) -> bool {
        let before = self.first;
        while self.bytes > bytes || self.entries.len() > events {
            if !self.pop(dead) {
                break;
            }
        }
        self.first != before
    }

    /// Drops acknowledged events. Returns whether any were dropped.
    pub(super) fn acknowledge(&mut self, seq: u64, dead: &mut Vec<i64>) -> bool {
        let before = self.first;
        while self.first <= seq && self.pop(dead) {}
        if self.entries.capacity() > 64 && self.entries.len() * 4 < self.entries.capacity() {
            self.entries.shrink_to_fit();
        }
        self.first != before
    }

    /// Drops everything.
    pub(super) fn clear(&mut self, dead: &mut Vec<i64>) {
        while self.pop(dead) {}
        self.entries = VecDeque::new();
    }

    fn pop(&mut self, dead: &mut Vec<i64>) -> bool {
        let Some(body) = self.entries.pop_front() else {
            return false;
        };
        self.first = self.first.saturating_add(1);
        self.before = body.event;
        self.bytes = self.bytes.saturating_sub(body.json.len());
        if let Some(body) = Arc::into_inner(body) {
            dead.push(body.event);
        }
        true
    }

    /// The frames of the events after `seq`.
    pub(super) fn frames_after(&self, seq: u64) -> Vec<Frame> {
        let skip = usize::try_from(seq.saturating_add(1).saturating_sub(self.first));
        let skip = skip.unwrap_or(usize::MAX);
        self.entries
            .iter()
            .enumerate()
            .skip(skip)
            .map(|(n, body)| frame(self.first.saturating_add(n as u64), &body.json))
            .collect()
    }
}

/// Builds the notification of one event by concatenation: the body is serialised once for all
/// sessions.
pub(super) fn frame(seq: u64, body: &str) -> Frame {
    const HEAD: &str = r#"{"jsonrpc":"2.0","method":"session.event","params":{"seq":"#;
    const MIDDLE: &str = r#","event":"#;
    let number = seq.to_string();
    let mut text = Vec::with_capacity(HEAD.len() + number.len() + MIDDLE.len() + body.len() + 2);
    for part in [HEAD, &number, MIDDLE, body, "}}"] {
        text.extend_from_slice(part.as_bytes());
    }
    text.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(event: i64, len: usize) -> Arc<Body> {
        Arc::new(Body {
            event,
            json: "x".repeat(len).into(),
        })
    }

    #[test]
    fn a_frame_is_a_json_rpc_notification() {
        let frame = frame(7, r#"{"type":"agent.removed","agentId":"agt_1"}"#);
        let value: serde_json::Value = serde_json::from_slice(&frame).unwrap();
        assert_eq!(value["jsonrpc"], "2.0");
        assert_eq!(value["method"], "session.event");
        assert_eq!(value["params"]["seq"], 7);
        assert_eq!(value["params"]["event"]["agentId"], "agt_1");
    }

    #[test]
    fn the_log_is_bounded_in_bytes_and_in_events() {
        let mut log = ReplayLog::new();
        let mut dead = Vec::new();
        for n in 1..=10 {
            log.push(body(n, 10));
        }
        assert!(log.trim_to(1_000, 8, &mut dead));
        assert_eq!((log.first_seq(), log.next_seq()), (3, 11));
        assert!(log.trim_to(35, 8, &mut dead));
        assert_eq!((log.len(), log.bytes()), (3, 30));
        assert_eq!(dead, [1, 2, 3, 4, 5, 6, 7]);
        assert!(!log.trim_to(35, 8, &mut dead));
    }

    #[test]
    fn a_body_dies_with_the_last_log_that_holds_it() {
        let shared = body(1, 10);
        let (mut one, mut other) = (ReplayLog::new(), ReplayLog::after(5, 0));
        one.push(Arc::clone(&shared));
        other.push(shared);
        let mut dead = Vec::new();
        one.acknowledge(1, &mut dead);
        assert!(dead.is_empty());
        other.clear(&mut dead);
        assert_eq!(dead, [1]);
        assert_eq!(other.next_seq(), 6);
    }

    #[test]
    fn replay_begins_after_the_cursor() {
        let mut log = ReplayLog::after(4, 0);
        for n in 4..=6 {
            log.push(body(n, 1));
        }
        assert_eq!(log.frames_after(3).len(), 3);
        assert_eq!(log.frames_after(5), [frame(6, "x")]);
        assert!(log.frames_after(6).is_empty());
        assert!(log.frames_after(u64::MAX).is_empty());
    }

    #[test]
    fn acknowledging_the_future_empties_the_log_and_keeps_the_numbering() {
        let mut log = ReplayLog::new();
        log.push(body(1, 1));
        log.acknowledge(99, &mut Vec::new());
        assert_eq!((log.first_seq(), log.next_seq(), log.bytes()), (2, 2, 0));
    }
}
