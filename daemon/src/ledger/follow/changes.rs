//! What a job changed in followed tables, and the events that tell it in the same transaction. What
//! it changed in followed logs is noted beside it.

use std::collections::BTreeMap;

use bowline_protocol::{
    SessionEvent,
    error::RpcError,
    limits,
    live::{Json, LiveKind, Row, Scope, TableChanged},
};
use serde_json::value::RawValue;

use super::log_changes::{LogChanges, LogMark};
use crate::ledger::Tx;

/// Most bytes of values that the jobs of one batch keep until they are told. What changes beyond is
/// told by its keys.
const KEPT_BYTES: usize = 4 << 20;

/// The changes of jobs since the last one that was told, and those told, for a part of a job that
/// fails takes its changes back.
#[derive(Default)]
pub(in crate::ledger) struct Changes {
    list: Vec<Change>,
    at: At,
    pub(super) logs: LogChanges,
}

/// A state to go back to.
#[derive(Clone, Copy, Default)]
pub(in crate::ledger) struct ChangesMark {
    len: usize,
    at: At,
    logs: LogMark,
}

#[derive(Clone, Copy, Default)]
struct At {
    /// Changes that are told.
    told: usize,
    /// Bytes of the values.
    bytes: usize,
}

struct Change {
    table: &'static str,
    /// The smallest followed scope with the key.
    scope: Scope,
    key: Box<str>,
    row: NewRow,
}

enum NewRow {
    Is(Json),
    /// Too large for an event.
    IsLarge,
    IsGone,
}

/// What one event tells: the changes of a table for one set of followers, the last one of each key.
type Group<'a> = BTreeMap<&'a str, &'a NewRow>;

impl Changes {
    pub(in crate::ledger) const fn mark(&self) -> ChangesMark {
        ChangesMark {
            len: self.list.len(),
            at: self.at,
            logs: self.logs.mark(),
        }
    }

    pub(in crate::ledger) fn roll_back(&mut self, mark: ChangesMark) {
        self.list.truncate(mark.len);
        self.at = mark.at;
        self.logs.roll_back(mark.logs);
    }

    /// Forgets the changes of a job that is over.
    pub(in crate::ledger) fn clear(&mut self) {
        self.list.clear();
        self.at = At::default();
        self.logs.clear();
    }

    fn push(&mut self, table: &'static str, scope: Scope, key: &str, value: Option<&RawValue>) {
        let row = match value {
            None => NewRow::IsGone,
            Some(value) => {
                let bytes = self.at.bytes.saturating_add(value.get().len());
                if value.get().len() > limits::LIVE_EVENT_BYTES || bytes > KEPT_BYTES {
                    NewRow::IsLarge
                } else {
                    self.at.bytes = bytes;
                    NewRow::Is(Json::from(value.to_owned()))
                }
            }
        };
        self.list.push(Change {
            table,
            scope,
            key: key.into(),
            row,
        });
    }
}

impl Tx<'_> {
    /// Notes that a row is new, has changed, or is gone (`None`). Costs a look-up where nobody
    /// follows it. A row without a key is on no page, and so not told.
    pub(in crate::ledger) fn note_change(
        &mut self,
        table: &'static str,
        key: &str,
        value: Option<&RawValue>,
    ) {
        if !key.is_empty()
            && let Some(scope) = self.live.followed.smallest((LiveKind::Table, table), key)
        {
            let scope = scope.clone();
            self.staged.changes.push(table, scope, key, value);
        }
    }

    /// Tells the followers of tables and logs what has changed since the last time.
    pub(in crate::ledger) fn tell_changes(&mut self) -> Result<(), RpcError> {
        self.tell_tables()?;
        self.tell_logs()
    }

    /// One event for each table and set of followers.
    fn tell_tables(&mut self) -> Result<(), RpcError> {
        let changes = &self.staged.changes;
        let untold = changes.list.get(changes.at.told..).unwrap_or_default();
        if untold.is_empty() {
            return Ok(());
        }
        let mut groups: BTreeMap<(&'static str, &Scope), Group<'_>> = BTreeMap::new();
        for change in untold {
            let group = groups.entry((change.table, &change.scope)).or_default();
            group.insert(&change.key, &change.row);
        }
        let most = self.content_bytes().min(limits::LIVE_EVENT_BYTES);
        let mut events = Vec::with_capacity(groups.len());
        for ((table, scope), group) in groups {
            let followers = self
                .live
                .followed
                .followers((LiveKind::Table, table), scope);
            let event = TableChanged {
                name: table.to_owned(),
                scope: scope.clone(),
                upserts: Vec::new(),
                removed: Vec::new(),
                stale: false,
                keys: None,
                intent_id: self.caller.intent,
            };
            events.push((followers, text(event, &group, most)?));
        }
        let changes = &mut self.staged.changes;
        changes.at.told = changes.list.len();
        for (followers, json) in events {
            self.publish(followers, json)?;
        }
        Ok(())
    }
}

/// The event of a group: with its rows, with its keys only, or without them, whatever fits.
fn text(base: TableChanged, group: &Group<'_>, most: usize) -> Result<String, RpcError> {
    let values = group.values().map(|row| match row {
        NewRow::Is(json) => json.get().len(),
        NewRow::IsLarge => usize::MAX,
        NewRow::IsGone => 0,
    });
    if values.fold(0, usize::saturating_add) <= most {
        let text = written(with_rows(base.clone(), group))?;
        if text.len() <= most {
            return Ok(text);
        }
    }
    let stale = TableChanged {
        stale: true,
        ..base
    };
    if group.keys().map(|key| key.len()).sum::<usize>() <= most {
        let keys = group.keys().map(|key| (*key).to_owned()).collect();
        let text = written(TableChanged {
            keys: Some(keys),
            ..stale.clone()
        })?;
        if text.len() <= most {
            return Ok(text);
        }
    }
    written(stale)
}

fn with_rows(mut event: TableChanged, group: &Group<'_>) -> TableChanged {
    for (key, row) in group {
        let key = (*key).to_owned();
        match row {
            NewRow::Is(value) => event.upserts.push(Row {
                key,
                value: value.clone(),
                omitted_bytes: None,
                unreadable: false,
            }),
            NewRow::IsGone => event.removed.push(key),
            // The caller tells a group with one by its keys.
            NewRow::IsLarge => {}
        }
    }
    event
}

fn written(event: TableChanged) -> Result<String, RpcError> {
    let event = SessionEvent::TableChanged(Box::new(event));
    serde_json::to_string(&event).map_err(|error| RpcError::internal(error.to_string()))
}
