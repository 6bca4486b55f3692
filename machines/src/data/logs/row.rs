//! Items of a log as entries of a collection, newest first, and pages of the wire as pages of them.

use std::{
    cmp::{Ordering, Reverse},
    sync::Arc,
};

use bowline_protocol::live::{Json, LogItem, LogPage};

use super::text::GrownText;
use crate::data::{
    collection::{Entry, Page},
    load::LoadError,
    view::Placed,
};

/// Approximate bytes of an item besides its value.
const ITEM_BYTES: usize = 160;

/// An item of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogRow {
    /// Its place in the log.
    pub index: u64,
    /// Its value as it was fetched; `null` with `omitted_bytes`.
    pub value: Arc<Json>,
    /// The text that it has got since.
    pub grown: Option<Grown>,
    /// Size in bytes of a value that is too large to be sent, or is `unreadable`.
    pub omitted_bytes: Option<u64>,
    /// Whether the value is left out because the service can no longer read what it stored.
    pub unreadable: bool,
}

/// The text that an item has got. Copies share it, and more of it costs about what is added.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grown {
    /// The member of the item's value that it belongs to, which is a text.
    pub field: Arc<str>,
    /// The text.
    pub text: GrownText,
}

/// Text appended to an item by one event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogGrowth {
    /// The member of the item's value that it belongs to, which is a text.
    pub field: Arc<str>,
    /// The text.
    pub text: String,
}

impl LogRow {
    /// Its whole value: as it was fetched, or with the appended text. Costs the length of the value
    /// in the second case. A value that has no such text stays as it was.
    pub fn json(&self) -> Arc<Json> {
        let Some(Grown { field, text }) = &self.grown else {
            return Arc::clone(&self.value);
        };
        let whole = self.value.with_text(field, &text.to_string());
        whole.map_or_else(|_| Arc::clone(&self.value), Arc::new)
    }

    /// Appends to the text of an item that has grown before.
    pub fn append(&mut self, text: &str) {
        if let Some(grown) = &mut self.grown {
            grown.text.push_str(text);
        }
    }
}

impl From<LogItem> for LogRow {
    fn from(item: LogItem) -> Self {
        Self {
            index: item.index,
            value: Arc::new(item.value),
            grown: None,
            omitted_bytes: item.omitted_bytes,
            unreadable: item.unreadable,
        }
    }
}

/// The newest item comes first, as a window begins with what is always held.
impl Placed for LogRow {
    type Place = Reverse<u64>;

    fn place(&self) -> Reverse<u64> {
        Reverse(self.index)
    }

    fn compare(&self, place: &Reverse<u64>) -> Ordering {
        self.place().cmp(place)
    }

    fn compare_rows(&self, other: &Self) -> Ordering {
        self.place().cmp(&other.place())
    }

    /// Not for the first growth: whoever gets only text must have its member's name.
    fn growth_since(&self, old: &Self) -> Option<String> {
        let (new, before) = (self.grown.as_ref()?, old.grown.as_ref()?);
        let is_same = Arc::ptr_eq(&self.value, &old.value)
            && self.omitted_bytes == old.omitted_bytes
            && new.field == before.field;
        is_same.then(|| new.text.after(&before.text)).flatten()
    }
}

impl Entry for LogRow {
    type Key = Reverse<u64>;

    const IS_WINDOW: bool = true;
    const FOLLOWS: bool = true;

    type Growth = LogGrowth;

    fn key(&self) -> Reverse<u64> {
        self.place()
    }

    fn bytes(&self) -> usize {
        let grown = self.grown.as_ref().map_or(0, |grown| grown.text.len());
        self.value.get().len() + grown + ITEM_BYTES
    }

    /// A value that was not sent stays so.
    fn grown(&self, growth: &LogGrowth) -> Self {
        let mut row = self.clone();
        let new = || Grown {
            field: Arc::clone(&growth.field),
            text: growth.text.as_str().into(),
        };
        match &mut row.grown {
            _ if self.omitted_bytes.is_some() => {}
            Some(grown) if grown.field == growth.field => grown.text.push_str(&growth.text),
            Some(_) => {
                row.value = self.json();
                row.grown = Some(new());
            }
            None => row.grown = Some(new()),
        }
        row
    }

    fn growth_bytes(growth: &LogGrowth) -> usize {
        growth.text.len() + ITEM_BYTES
    }
}

/// A page of the wire as one of a collection, whose next page is that before its oldest item.
///
/// # Errors
/// [`LoadError::Malformed`] for a page without items that is not the last one.
pub(super) fn page(page: LogPage) -> Result<Page<LogRow>, LoadError> {
    let oldest = page.items.iter().map(|item| item.index).min();
    if page.more && oldest.is_none() {
        return Err(LoadError::Malformed);
    }
    let items = page.items.into_iter().rev();
    Ok(Page {
        rows: items.map(LogRow::from).collect(),
        next: oldest.filter(|_| page.more).map(|index| index.to_string()),
        total: None,
        seq: page.seq,
        resumed: page.resumed,
        follow: page.follow,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(value: &str) -> LogRow {
        LogRow {
            index: 7,
            value: Arc::new(serde_json::from_str(value).unwrap()),
            grown: None,
            omitted_bytes: None,
            unreadable: false,
        }
    }

    fn growth(field: &str, text: &str) -> LogGrowth {
        LogGrowth {
            field: field.into(),
            text: text.to_owned(),
        }
    }

    #[test]
    fn ld_9_the_value_of_an_item_has_all_its_text_and_its_numbers_as_they_came() {
        let row = row(r#"{"n":1.10,"text":"a\"b"}"#);
        let grown = row.grown(&growth("text", "\n")).grown(&growth("text", "é"));
        assert_eq!(grown.json().get(), r#"{"n":1.10,"text":"a\"b\né"}"#);
        let other = grown.grown(&growth("more", "x"));
        assert_eq!(
            other.json().get(),
            r#"{"more":"x","n":1.10,"text":"a\"b\né"}"#
        );
        let text = growth("n", "x");
        assert_eq!(row.grown(&text).json(), row.value, "no text at all");
        let omitted = LogRow {
            omitted_bytes: Some(300_000),
            ..row
        };
        assert_eq!(omitted.grown(&text), omitted);
    }

    #[test]
    fn ld_4_only_what_was_appended_is_a_growth() {
        let row = row("{}");
        let one = row.grown(&growth("text", "one"));
        let two = one.grown(&growth("text", " two"));
        assert_eq!(two.growth_since(&one).as_deref(), Some(" two"));
        assert_eq!(one.growth_since(&row), None, "it has no member yet");
        assert_eq!(one.growth_since(&two), None);
        let fetched = LogRow {
            value: Arc::new(serde_json::from_str("{}").unwrap()),
            ..two.clone()
        };
        assert_eq!(fetched.growth_since(&one), None);
    }
}
