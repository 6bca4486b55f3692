//! A service's log, as changes.

use bowline_runtime::{self as runtime, LogView};

use super::{
    agent::LoadFailure,
    list::{Crossing, ListChange},
    mirror,
    patch::RowFailure,
    small,
    table::{MoreRows, TableState},
};

mirror! {
    /// An item of a log.
    #[derive(Eq)]
    JsonItem of item: &runtime::LogRow {
        /// Its place in the log; none for an item that an intent of this client is expected to add.
        index: Option<u32> = item.expected.is_none().then(|| small(item.index)),
        /// Its value as JSON; `null` with `omitted_bytes`.
        json: String = item.json().get().to_owned(),
        /// The member of its value that `Grow` appends to, which is a text; a missing one is empty.
        /// None until it has grown.
        growing: Option<String> = item.grown.as_ref().map(|grown| grown.field.to_string()),
        /// Size in bytes of a value that is too large to be sent, or is `unreadable`.
        omitted_bytes: Option<u32> = item.omitted_bytes.map(small),
        /// Whether its service cannot read what is stored of it any more.
        unreadable: bool = item.unreadable,
        /// What identifies it in its log for as long as it is shown.
        id: String = item.id(),
        /// Whether it is what an intent of this client is expected to add (LD-3).
        pending: bool = item.expected.as_ref().is_some_and(|one| one.failure.is_none()),
        /// Why the intent failed that was expected to add it, until it is dismissed.
        failure: Option<RowFailure> = item.failure().map(Into::into),
    }
}

/// The changes of a log since the listener's last update.
#[derive(Clone, Debug, PartialEq, uniffi::Record)]
pub struct LogUpdate {
    /// Revision of the items that the changes apply to; none: no items.
    pub base_rev: Option<u32>,
    /// Revision of the resulting items.
    pub rev: u32,
    /// Changes of the items, which are the newest ones, oldest first, in the order in which they
    /// apply.
    pub changes: Vec<ListChange>,
    /// The items of all insertions and replacements in `changes`, in order of use.
    pub rows: Vec<JsonItem>,
    /// What to show besides the items.
    pub state: TableState,
    /// Why the items are not current.
    pub error: Option<LoadFailure>,
    /// Items before the first one.
    pub older: MoreRows,
    /// Whether the daemon has older items than fit here; they are left out.
    pub truncated: bool,
    /// Index of the oldest item that the daemon keeps, as far as known.
    pub first: u32,
    /// Index of the next item, as far as known.
    pub next: u32,
}

/// The changes from the listener's value to the new one.
impl From<(Option<&LogView>, &LogView)> for LogUpdate {
    fn from((base, new): (Option<&LogView>, &LogView)) -> Self {
        let list = Crossing::from(new.diff(base));
        Self {
            base_rev: list.base_rev,
            rev: list.rev,
            changes: list.changes,
            rows: list.rows,
            state: new.state.into(),
            error: new.error.map(Into::into),
            older: new.older.into(),
            truncated: new.truncated,
            first: small(new.first),
            next: small(new.next),
        }
    }
}

/// The JSON of an item that has grown: `json` with `text` appended to its member `growing`. For
/// bindings whose values cannot be extended. JSON that has no such text is returned as it is.
#[uniffi::export]
pub fn grown_json(json: String, growing: String, text: String) -> String {
    let value = serde_json::from_str::<runtime::protocol::live::Json>(&json);
    let whole = value.and_then(|value| value.with_text(&growing, &text));
    whole.map_or(json, |whole| whole.get().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ld_9_text_is_appended_to_the_json_of_an_item_and_nothing_else_changes() {
        let grown = |json: &str, text: &str| {
            grown_json(json.to_owned(), "text".to_owned(), text.to_owned())
        };
        assert_eq!(
            grown(r#"{"n":1.10,"text":"a"}"#, "\n\"b\""),
            r#"{"n":1.10,"text":"a\n\"b\""}"#
        );
        assert_eq!(grown("{}", "a"), r#"{"text":"a"}"#);
        for none in [r#"{"text":7}"#, "[]", "null", "no JSON"] {
            assert_eq!(grown(none, "a"), none);
        }
    }
}
