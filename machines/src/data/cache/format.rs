//! The files' content before it is encrypted: JSON, with a version. A frozen format; another one
//! needs another version, and a file of another version is dropped.

use std::sync::Arc;

use bowline_protocol::{
    Epoch, Resume,
    live::{Json, LiveKind, LogItem, LogPage, TablePage},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{MAX_BYTES, MAX_ROWS, SavedList, SavedRows};
use crate::data::{collection::Entry, target::LiveTarget, view::RowList};

const VERSION: u32 = 1;

/// Why a file is not used: it is dropped, and what it would have shown is loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damaged(pub String);

impl From<serde_json::Error> for Damaged {
    fn from(error: serde_json::Error) -> Self {
        // Without the text, which may be the user's.
        Self(format!(
            "{:?} error at byte {}",
            error.classify(),
            error.column()
        ))
    }
}

/// A table or log by its name and parameters, the latter as text, so that equal means the same
/// text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Name {
    kind: LiveKind,
    name: String,
    params: Option<String>,
}

impl Name {
    fn of(kind: LiveKind, target: &LiveTarget) -> Self {
        Self {
            kind,
            name: target.name.clone(),
            params: target.params.as_ref().map(|json| json.get().to_owned()),
        }
    }
}

/// The first line of a list.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Head {
    version: u32,
    of: Name,
    epoch: Epoch,
}

/// A list as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored<P> {
    name: Name,
    pub(super) epoch: Epoch,
    pub(super) page: P,
}

/// The page of a kept table or log.
pub trait StoredPage: DeserializeOwned {
    /// What it is a page of.
    const KIND: LiveKind;

    /// The event that it is as of.
    fn seq(&self) -> u64;

    /// Says that nothing has changed in it up to this event.
    fn set_seq(&mut self, seq: u64);
}

impl StoredPage for TablePage {
    const KIND: LiveKind = LiveKind::Table;

    fn seq(&self) -> u64 {
        self.seq
    }

    fn set_seq(&mut self, seq: u64) {
        self.seq = seq;
    }
}

impl StoredPage for LogPage {
    const KIND: LiveKind = LiveKind::Log;

    fn seq(&self) -> u64 {
        self.seq
    }

    fn set_seq(&mut self, seq: u64) {
        self.seq = seq;
    }
}

/// Reads a list, which must be of this table or log.
///
/// # Errors
/// [`Damaged`].
pub fn read_list<P: StoredPage>(bytes: &[u8], target: &LiveTarget) -> Result<Stored<P>, Damaged> {
    let end = bytes.iter().position(|byte| *byte == b'\n');
    let (head, page) = end
        .and_then(|end| bytes.split_at_checked(end))
        .ok_or_else(|| Damaged("it has no first line".to_owned()))?;
    let head: Head = versioned(head)?;
    if head.of != Name::of(P::KIND, target) {
        return Err(Damaged("it is of something else".to_owned()));
    }
    Ok(Stored {
        name: head.of,
        epoch: head.epoch,
        page: serde_json::from_slice(page)?,
    })
}

/// Reads what has a version, of which only one is known.
fn versioned<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Damaged> {
    #[derive(Deserialize)]
    struct Version {
        version: u32,
    }
    let Version { version } = serde_json::from_slice(bytes)?;
    if version != VERSION {
        return Err(Damaged(format!("it is of version {version}")));
    }
    Ok(serde_json::from_slice(bytes)?)
}

/// The position of a host's session, and the lists that are as of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Manifest {
    version: u32,
    /// The last event applied before the files were written: the next run's hello has it.
    pub position: Resume,
    lists: Vec<Current>,
}

/// A list without a change between its own event and that of the position.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Current {
    of: Name,
    seq: u64,
}

impl Manifest {
    /// Names no list yet.
    pub const fn new(position: Resume) -> Self {
        Self {
            version: VERSION,
            position,
            lists: Vec::new(),
        }
    }

    /// Names a list whose file says that it is as of `seq`.
    pub fn add(&mut self, kind: LiveKind, target: &LiveTarget, seq: u64) {
        let of = Name::of(kind, target);
        self.lists.push(Current { of, seq });
    }

    /// Whether it names no list, so that there is nothing to continue.
    pub const fn is_empty(&self) -> bool {
        self.lists.is_empty()
    }

    /// The event that a list is as of besides its own, if the list is one of those named.
    pub(super) fn current_to<P: StoredPage>(&self, list: &Stored<P>) -> Option<u64> {
        let is_it = |one: &Current| one.seq == list.page.seq() && one.of == list.name;
        let is_named = self.position.epoch == list.epoch && self.lists.iter().any(is_it);
        is_named.then_some(self.position.last_seq)
    }

    /// The file's content.
    ///
    /// # Errors
    /// [`Damaged`], never in practice.
    pub fn to_bytes(&self) -> Result<Vec<u8>, Damaged> {
        Ok(serde_json::to_vec(self)?)
    }

    /// Reads a file's content.
    ///
    /// # Errors
    /// [`Damaged`].
    pub fn read(bytes: &[u8]) -> Result<Self, Damaged> {
        versioned(bytes)
    }
}

/// A row of a table as a page has it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RowRef<'a> {
    key: &'a str,
    value: &'a Json,
    #[serde(skip_serializing_if = "Option::is_none")]
    omitted_bytes: Option<u64>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    unreadable: bool,
}

/// The rows that are kept, and whether that is all of them.
fn kept<R: Entry>(rows: &RowList<R>) -> (Vec<&Arc<R>>, bool) {
    let mut bytes = 0_usize;
    let fit = rows.iter().take(MAX_ROWS).take_while(|row| {
        let is_first = bytes == 0;
        bytes = bytes.saturating_add(row.bytes());
        is_first || bytes <= MAX_BYTES
    });
    let fit: Vec<_> = fit.collect();
    let are_all = fit.len() == rows.len();
    (fit, are_all)
}

impl SavedList {
    /// The file's content. Costs the length of the list, so call it where that delays nobody.
    ///
    /// # Errors
    /// [`Damaged`], never in practice.
    pub fn to_bytes(&self) -> Result<Vec<u8>, Damaged> {
        let head = Head {
            version: VERSION,
            of: Name::of(self.kind, &self.target),
            epoch: self.epoch.clone(),
        };
        let mut bytes = serde_json::to_vec(&head)?;
        bytes.push(b'\n');
        let (scope, seq, follow) = (self.scope.clone(), self.seq, self.follow);
        match &self.rows {
            SavedRows::Table(rows) => {
                let (rows, are_all) = kept(rows);
                let rows = rows.into_iter().map(|row| RowRef {
                    key: &row.key,
                    value: &row.value,
                    omitted_bytes: row.omitted_bytes,
                    unreadable: row.unreadable,
                });
                let page = TablePage {
                    scope,
                    rows: rows.collect(),
                    more: self.more || !are_all,
                    seq,
                    resumed: false,
                    follow,
                };
                serde_json::to_writer(&mut bytes, &page)?;
            }
            SavedRows::Log { items, first, next } => {
                let (items, are_all) = kept(items);
                let items = items.into_iter().rev().map(|row| LogItem {
                    index: row.index,
                    value: Json::clone(&row.json()),
                    omitted_bytes: row.omitted_bytes,
                    unreadable: row.unreadable,
                });
                let page = LogPage {
                    scope,
                    items: items.collect(),
                    more: self.more || !are_all,
                    first: *first,
                    next: *next,
                    seq,
                    resumed: false,
                    follow,
                };
                serde_json::to_writer(&mut bytes, &page)?;
            }
        }
        Ok(bytes)
    }
}
