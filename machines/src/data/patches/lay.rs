//! Patches laid over one row.

use std::{collections::BTreeMap, fmt, sync::Arc};

use bowline_protocol::live::Json;
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{MapAccess, Visitor},
};
use serde_json::value::{RawValue, to_raw_value};

use super::{PatchChange, RowFailure};
use crate::data::tables::TableRow;

/// A patch of a row.
#[derive(Clone, Copy, Debug)]
pub(in crate::data) struct Layer<'a> {
    pub(in crate::data) change: &'a PatchChange,
    /// The failure of its intent: the row says why, and is not changed. A row that is not there is
    /// shown as it would have been, or there would be nothing to say it.
    pub(in crate::data) failure: Option<&'a Arc<RowFailure>>,
}

/// The row with the patches of its key, in order; `None` if nothing is shown.
pub(in crate::data) fn lay<'a>(
    key: &str,
    base: Option<&TableRow>,
    layers: impl IntoIterator<Item = Layer<'a>>,
) -> Option<TableRow> {
    let mut row = base.cloned();
    // Of an intent that failed.
    let mut ghost: Option<TableRow> = None;
    let mut failure: Option<&Arc<RowFailure>> = None;
    let mut is_pending = false;
    for layer in layers {
        if let Some(reason) = layer.failure {
            failure = Some(reason);
            if let PatchChange::Upsert(value) = layer.change {
                ghost = Some(made(key, value));
            }
            continue;
        }
        match layer.change {
            PatchChange::Upsert(value) => {
                row = Some(made(key, value));
                is_pending = true;
            }
            PatchChange::Merge(fields) => {
                if let Some(row) = &mut row
                    && let Some(value) = merged(&row.value, fields)
                {
                    row.value = value;
                    is_pending = true;
                }
            }
            PatchChange::Remove => {
                (row, ghost) = (None, None);
                is_pending = false;
            }
            // Of a log.
            PatchChange::Append(_) => {}
        }
    }
    let mut shown = row.or(ghost)?;
    shown.pending = is_pending;
    shown.failure = failure.cloned();
    Some(shown)
}

fn made(key: &str, value: &Json) -> TableRow {
    TableRow {
        key: key.into(),
        value: value.clone(),
        omitted_bytes: None,
        unreadable: false,
        pending: false,
        failure: None,
    }
}

/// The members of an object with others on top, each as it was written and where it was, new ones
/// at the end; `None` if one of the two is no object.
fn merged(value: &Json, fields: &Json) -> Option<Json> {
    let mut members: Members = serde_json::from_str(value.get()).ok()?;
    let mut others: BTreeMap<String, Box<RawValue>> = serde_json::from_str(fields.get()).ok()?;
    for (name, value) in &mut members.0 {
        if let Some(other) = others.remove(name) {
            *value = other;
        }
    }
    members.0.extend(others);
    to_raw_value(&members).ok().map(Json::from)
}

/// The members of an object, in order.
struct Members(Vec<(String, Box<RawValue>)>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;

        impl<'de> Visitor<'de> for Object {
            type Value = Members;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(Object)
    }
}

impl Serialize for Members {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}
