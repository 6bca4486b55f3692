//! What a job changed in followed logs, and the events that tell it in the same transaction.
//!
//! A job notes which items are new or replaced and which text was appended. The events are made
//! when it is told: new and replaced items are read from the store then, as the job has left them.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use bowline_protocol::{
    SessionEvent,
    error::RpcError,
    limits,
    live::{Json, LiveKind, LogAppended, LogGrown, LogItem, LogReplaced},
};
use serde_json::value::RawValue;

use super::Followed;
use crate::{
    ledger::Tx,
    store::{fault, logs},
};

/// Most bytes of appended text that the jobs of one batch keep until they are told. Items that grow
/// beyond are told as stale.
const KEPT_BYTES: usize = 4 << 20;
/// Most replaced items of one log that are told one by one, and …
const MOST_REPLACED: usize = 64;
/// … most bytes of the replaced items that are told at once, so that a job fits into the queue of a
/// connection and the replay log of a session. Of a log with more, one event says that any item may
/// have changed.
const REPLACED_BYTES: usize = 512 << 10;

/// The changes of jobs since the last one that was told, and those told, as in
/// [`Changes`](super::Changes).
#[derive(Default)]
pub(super) struct LogChanges {
    list: Vec<Change>,
    at: LogMark,
}

/// A state to go back to.
#[derive(Clone, Copy, Default)]
pub(super) struct LogMark {
    /// Changes noted.
    len: usize,
    /// Those of them that are told.
    told: usize,
    /// Bytes of text.
    bytes: usize,
}

struct Change {
    /// Of the log: its name and key.
    of: (&'static str, Box<str>),
    what: What,
}

enum What {
    /// New items from this index on.
    Appended(u64),
    /// More text of an item.
    Grown {
        index: u64,
        field: &'static str,
        /// `None`: too much for an event.
        text: Option<Box<str>>,
    },
    /// An item has another value.
    Replaced(u64),
    /// Items were dropped, and nothing else.
    Dropped,
}

/// The untold changes of one log.
#[derive(Default)]
struct Folded {
    /// Index of the first new item.
    appended: Option<u64>,
    /// Older items that have changed.
    older: BTreeMap<u64, Older>,
    is_dropped: bool,
}

/// What is left of [`REPLACED_BYTES`].
struct Room(usize);

/// What has become of an item that the followers may have.
enum Older {
    /// It grew: the member, and its new text unless that is too much.
    Grown(&'static str, Option<String>),
    /// It was replaced, and may have grown before and after that: it is told whole.
    Replaced,
}

impl LogChanges {
    pub(super) const fn mark(&self) -> LogMark {
        LogMark {
            len: self.list.len(),
            ..self.at
        }
    }

    pub(super) fn roll_back(&mut self, mark: LogMark) {
        self.list.truncate(mark.len);
        self.at = mark;
    }

    pub(super) fn clear(&mut self) {
        self.list.clear();
        self.at = LogMark::default();
    }

    fn push(&mut self, log: &'static str, key: &str, what: What) {
        let of = (log, key.into());
        self.list.push(Change { of, what });
    }

    /// Notes a new item. One change is enough for those that a job adds to a log in a row, however
    /// many: they are told from the first one on. If a later part of the job fails, the change of
    /// the items before that part stays.
    fn append(&mut self, log: &'static str, key: &str, index: u64) {
        let untold = self.list.get(self.at.told..).unwrap_or_default();
        let is_noted = untold.last().is_some_and(|change| {
            let (name, of) = &change.of;
            matches!(change.what, What::Appended(_)) && *name == log && **of == *key
        });
        if !is_noted {
            self.push(log, key, What::Appended(index));
        }
    }

    /// Notes an item that has another value: once for those that a job replaces again in a row.
    fn replace(&mut self, log: &'static str, key: &str, index: u64) {
        let untold = self.list.get(self.at.told..).unwrap_or_default();
        let is_noted = untold.last().is_some_and(|change| {
            let (name, of) = &change.of;
            matches!(change.what, What::Replaced(of) if of == index) && *name == log && **of == *key
        });
        if !is_noted {
            self.push(log, key, What::Replaced(index));
        }
    }

    /// The text, if it is kept.
    fn keep(&mut self, text: &str) -> Option<Box<str>> {
        let bytes = self.at.bytes.saturating_add(text.len());
        let fits = text.len() <= limits::LIVE_EVENT_BYTES && bytes <= KEPT_BYTES;
        fits.then(|| {
            self.at.bytes = bytes;
            text.into()
        })
    }
}

impl Folded {
    fn add(&mut self, what: &What) {
        match what {
            What::Appended(index) => {
                self.appended.get_or_insert(*index);
            }
            // A new item is read as it is in the end.
            What::Grown { index, .. } | What::Replaced(index)
                if self.appended.is_some_and(|from| from <= *index) => {}
            What::Grown { index, field, text } => {
                let empty = || Older::Grown(field, Some(String::new()));
                match self.older.entry(*index).or_insert_with(empty) {
                    Older::Grown(_, whole) => match (whole.as_mut(), text) {
                        (Some(whole), Some(text)) => whole.push_str(text),
                        (None, _) | (_, None) => *whole = None,
                    },
                    Older::Replaced => {}
                }
            }
            What::Replaced(index) => {
                self.older.insert(*index, Older::Replaced);
            }
            What::Dropped => self.is_dropped = true,
        }
    }
}

impl Tx<'_> {
    /// Notes that a log has a new item. Costs a look-up where nobody follows it.
    pub(in crate::ledger) fn note_appended(&mut self, log: &'static str, key: &str, index: u64) {
        if self.is_log_followed(log, key) {
            self.staged.changes.logs.append(log, key, index);
        }
    }

    /// Notes that an item of a log has more text.
    pub(in crate::ledger) fn note_grown(
        &mut self,
        log: &'static str,
        key: &str,
        index: u64,
        field: &'static str,
        text: &str,
    ) {
        if self.is_log_followed(log, key) {
            let logs = &mut self.staged.changes.logs;
            let text = logs.keep(text);
            logs.push(log, key, What::Grown { index, field, text });
        }
    }

    /// Notes that an item of a log has another value.
    pub(in crate::ledger) fn note_replaced(&mut self, log: &'static str, key: &str, index: u64) {
        if self.is_log_followed(log, key) {
            self.staged.changes.logs.replace(log, key, index);
        }
    }

    /// Notes that items of a log were dropped.
    pub(in crate::ledger) fn note_dropped(&mut self, log: &'static str, key: &str) {
        if self.is_log_followed(log, key) {
            self.staged.changes.logs.push(log, key, What::Dropped);
        }
    }

    fn is_log_followed(&self, log: &'static str, key: &str) -> bool {
        let followed = &self.live.followed;
        followed.smallest((LiveKind::Log, log), key).is_some()
    }

    /// Tells the followers of logs what has changed since the last time: for each log its older
    /// items that have changed, then its new ones.
    pub(super) fn tell_logs(&mut self) -> Result<(), RpcError> {
        let changes = &self.staged.changes.logs;
        let untold = changes.list.get(changes.at.told..).unwrap_or_default();
        if untold.is_empty() {
            return Ok(());
        }
        let mut logs: BTreeMap<(&'static str, &str), Folded> = BTreeMap::new();
        for Change {
            of: (log, key),
            what,
        } in untold
        {
            logs.entry((log, key)).or_default().add(what);
        }
        let (mut events, mut room) = (Vec::new(), Room(REPLACED_BYTES));
        for ((log, key), folded) in logs {
            let of: Followed = (LiveKind::Log, log);
            let Some(scope) = self.live.followed.smallest(of, key) else {
                continue;
            };
            let followers = self.live.followed.followers(of, scope);
            for json in self.log_events((log, key), folded, &mut room)? {
                events.push((followers.clone(), json));
            }
        }
        let changes = &mut self.staged.changes.logs;
        changes.at.told = changes.list.len();
        for (followers, json) in events {
            self.publish(followers, json)?;
        }
        Ok(())
    }

    /// The events of one log.
    fn log_events(
        &self,
        (log, key): (&str, &str),
        folded: Folded,
        room: &mut Room,
    ) -> Result<Vec<String>, RpcError> {
        let most = self.content_bytes().min(limits::LIVE_EVENT_BYTES);
        let mut older = BTreeMap::new();
        let mut replaced = Vec::new();
        for (index, what) in folded.older {
            match what {
                Older::Grown(field, text) => {
                    older.insert(index, self.log_grown((log, key, index), field, text, most)?);
                }
                Older::Replaced => replaced.push(index),
            }
        }
        let any = match self.all_replaced((log, key), &replaced, room, most)? {
            Some(events) => {
                older.extend(events);
                None
            }
            None => Some(self.any_replaced(log, key)?),
        };
        let mut events: Vec<String> = older.into_values().chain(any).collect();
        if folded.appended.is_some() || folded.is_dropped {
            events.push(self.log_appended(log, key, folded.appended, most)?);
        }
        Ok(events)
    }

    /// The events of the items of a log that were replaced, by index; `None` if they are too much.
    fn all_replaced(
        &self,
        (log, key): (&str, &str),
        indexes: &[u64],
        room: &mut Room,
        most: usize,
    ) -> Result<Option<BTreeMap<u64, String>>, RpcError> {
        let mut events = BTreeMap::new();
        let mut left = room.0;
        if indexes.len() > MOST_REPLACED {
            return Ok(None);
        }
        for index in indexes {
            let Some(json) = self.log_replaced((log, key, *index), most)? else {
                continue;
            };
            let Some(rest) = left.checked_sub(json.len()) else {
                return Ok(None);
            };
            left = rest;
            events.insert(*index, json);
        }
        room.0 = left;
        Ok(Some(events))
    }

    /// The event that any item of a log may have another value.
    fn any_replaced(&self, log: &str, key: &str) -> Result<String, RpcError> {
        written(SessionEvent::LogReplaced(Box::new(LogReplaced {
            name: log.to_owned(),
            key: key.to_owned(),
            index: None,
            value: None,
            stale: true,
            intent_id: self.caller.intent,
        })))
    }

    /// The event of an item that grew.
    fn log_grown(
        &self,
        (log, key, index): (&str, &str, u64),
        field: &str,
        text: Option<String>,
        most: usize,
    ) -> Result<String, RpcError> {
        let mut event = LogGrown {
            name: log.to_owned(),
            key: key.to_owned(),
            index,
            field: field.to_owned(),
            stale: text.is_none(),
            text: text.unwrap_or_default(),
            intent_id: self.caller.intent,
        };
        let json = written(SessionEvent::LogGrown(Box::new(event.clone())))?;
        if json.len() <= most {
            return Ok(json);
        }
        event.text.clear();
        event.stale = true;
        written(SessionEvent::LogGrown(Box::new(event)))
    }

    /// The event of an item that was replaced; `None` if it is not kept any more.
    fn log_replaced(
        &self,
        (log, key, index): (&str, &str, u64),
        most: usize,
    ) -> Result<Option<String>, RpcError> {
        let head = logs::head(self.conn, log, key).map_err(fault)?;
        let value = head.map(|head| logs::get(self.conn, head.n, index));
        let Some(value) = value.transpose().map_err(fault)?.flatten() else {
            return Ok(None);
        };
        let mut event = LogReplaced {
            name: log.to_owned(),
            key: key.to_owned(),
            index: Some(index),
            value: None,
            stale: value.len() > most,
            intent_id: self.caller.intent,
        };
        if !event.stale {
            let value = serde_json::from_slice::<Box<RawValue>>(&value);
            let value = value.map_err(|error| RpcError::internal(error.to_string()))?;
            event.value = Some(Json::from(value));
            let json = written(SessionEvent::LogReplaced(Box::new(event.clone())))?;
            if json.len() <= most {
                return Ok(Some(json));
            }
            event.value = None;
            event.stale = true;
        }
        written(SessionEvent::LogReplaced(Box::new(event))).map(Some)
    }

    /// The event of the items from an index on.
    fn log_appended(
        &self,
        log: &str,
        key: &str,
        from: Option<u64>,
        most: usize,
    ) -> Result<String, RpcError> {
        let bounds = logs::bounds(self.conn, log, key).map_err(fault)?;
        let new = from.map_or(bounds.end, |from| from.max(bounds.start))..bounds.end;
        let mut event = LogAppended {
            name: log.to_owned(),
            key: key.to_owned(),
            items: Vec::new(),
            first: bounds.start,
            next: bounds.end,
            stale: false,
            intent_id: self.caller.intent,
        };
        if let Some(items) = self.new_items(log, key, &new, most)? {
            event.items = items;
            let json = written(SessionEvent::LogAppended(Box::new(event.clone())))?;
            if json.len() <= most {
                return Ok(json);
            }
            event.items.clear();
        }
        event.stale = true;
        written(SessionEvent::LogAppended(Box::new(event)))
    }

    /// The items of a range; `None` if they have too many bytes.
    fn new_items(
        &self,
        log: &str,
        key: &str,
        range: &std::ops::Range<u64>,
        most: usize,
    ) -> Result<Option<Vec<LogItem>>, RpcError> {
        let head = logs::head(self.conn, log, key).map_err(fault)?;
        let Some(head) = head.filter(|_| !range.is_empty()) else {
            return Ok(Some(Vec::new()));
        };
        let (mut items, mut bytes) = (Vec::new(), 0_usize);
        let mut failed = None;
        logs::scan(self.conn, head.n, range, |index, value| {
            bytes = bytes.saturating_add(value.len());
            match serde_json::from_slice::<Box<RawValue>>(value) {
                Ok(value) if bytes <= most => items.push(LogItem {
                    index,
                    value: Json::from(value),
                    omitted_bytes: None,
                    unreadable: false,
                }),
                Ok(_) => {}
                Err(error) => failed = Some(RpcError::internal(error.to_string())),
            }
            bytes <= most && failed.is_none()
        })
        .map_err(fault)?;
        match failed {
            Some(error) => Err(error),
            None => Ok((bytes <= most).then_some(items)),
        }
    }
}

fn written(event: SessionEvent) -> Result<String, RpcError> {
    serde_json::to_string(&event).map_err(|error| RpcError::internal(error.to_string()))
}
