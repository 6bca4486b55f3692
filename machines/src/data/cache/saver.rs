//! When a host's lists are written.

use std::time::Duration;

use crate::MonotonicTime;

/// How often a host's lists are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SaverConfig {
    /// Time between a change and the write, in which further changes join it.
    pub after: Duration,
    /// Shortest time between the end of one write and the beginning of the next.
    pub pause: Duration,
    /// Bytes that may be written in a second, on average: a long list that changes all the time is
    /// written less often.
    pub bytes_per_second: u64,
    /// Time after which a write without an end has failed (INV-12).
    pub deadline: Duration,
    /// Time between a failed write and the next one.
    pub retry: Duration,
}

impl Default for SaverConfig {
    fn default() -> Self {
        Self {
            after: Duration::from_millis(500),
            pause: Duration::from_secs(5),
            bytes_per_second: 64 << 10,
            deadline: Duration::from_secs(60),
            retry: Duration::from_secs(60),
        }
    }
}

/// Decides when to write. While one write runs no other begins, and what changed meanwhile is in
/// the next one. Off until it is switched on.
#[derive(Clone, Debug, Default)]
pub struct Saver {
    config: SaverConfig,
    is_on: bool,
    due: Option<MonotonicTime>,
    not_before: MonotonicTime,
    /// The write on its way, and its deadline.
    running: Option<(u64, MonotonicTime)>,
    /// Bytes of the write on its way.
    bytes: u64,
    number: u64,
    failures: u64,
    /// Whether the last write failed.
    has_failed: bool,
    /// Whether what is there is to be written without a pause.
    is_urgent: bool,
}

impl Saver {
    /// Off; `config` sets the rate.
    pub fn new(config: SaverConfig) -> Self {
        Self {
            config,
            ..Self::default()
        }
    }

    /// Whether anything is kept at all.
    pub const fn set_on(&mut self, is_on: bool) {
        self.is_on = is_on;
    }

    /// Whether anything is kept at all.
    pub const fn is_on(&self) -> bool {
        self.is_on
    }

    /// The app may be about to end, or a list is: what is there is written next, even while
    /// another write runs.
    pub const fn hurry(&mut self) {
        self.is_urgent = true;
    }

    /// What made writes fail may be over, as the pause of an app is: the next one does not wait for
    /// [`SaverConfig::retry`].
    pub fn retry(&mut self) {
        if std::mem::take(&mut self.has_failed) {
            (self.not_before, self.due) = (MonotonicTime::default(), None);
        }
    }

    /// Whether to write now. `is_dirty`: whether there is anything new to write.
    pub fn is_due(&mut self, now: MonotonicTime, is_dirty: impl FnOnce() -> bool) -> bool {
        if !self.is_on {
            return false;
        }
        let is_urgent = std::mem::take(&mut self.is_urgent);
        if let Some((_, deadline)) = self.running
            && !is_urgent
        {
            if now < deadline {
                return false;
            }
            self.fail(now);
        }
        if !is_dirty() {
            self.due = None;
            return false;
        }
        let due = *self
            .due
            .get_or_insert((now + self.config.after).max(self.not_before));
        is_urgent || due <= now
    }

    /// When to call [`Saver::is_due`] next.
    pub fn poll_timeout(&self) -> Option<MonotonicTime> {
        self.running.map(|(_, deadline)| deadline).or(self.due)
    }

    /// A write of about so many bytes begins. Returns its number.
    pub fn begun(&mut self, now: MonotonicTime, bytes: u64) -> u64 {
        self.number += 1;
        self.due = None;
        self.running = Some((self.number, now + self.config.deadline));
        self.bytes = bytes;
        self.number
    }

    /// A write has ended.
    pub fn ended(&mut self, now: MonotonicTime, number: u64, is_written: bool) {
        let is_newest = self.running.is_some_and(|(running, _)| running == number);
        if !is_written {
            self.fail(now);
        } else if is_newest {
            let seconds = self.bytes / self.config.bytes_per_second.max(1);
            (self.running, self.has_failed) = (None, false);
            self.not_before = now + self.config.pause.max(Duration::from_secs(seconds));
        }
    }

    /// Writes that failed. What was written before the last of them counts as not written.
    pub const fn failures(&self) -> u64 {
        self.failures
    }

    fn fail(&mut self, now: MonotonicTime) {
        (self.running, self.has_failed) = (None, true);
        self.failures += 1;
        self.not_before = now + self.config.retry;
    }
}
