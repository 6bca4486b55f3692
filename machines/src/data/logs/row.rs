//! Items of a log as entries of a collection, newest first, and pages of the wire as pages of them.

use std::{
    cmp::{Ordering, Reverse},
    sync::Arc,
};

use bowline_protocol::{
    IntentId,
    live::{Json, LogItem, LogPage},
};

use super::text::GrownText;
use crate::data::{
    collection::{Entry, Page},
    load::LoadError,
    patches::{PatchId, RowFailure},
    view::Placed,
};

/// Approximate bytes of an item besides its value.
const ITEM_BYTES: usize = 160;

/// An item of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogRow {
    /// Its place in the log. An expected item has none yet, and this is `u64::MAX`.
    pub index: u64,
    /// Its value as it was fetched; `null` with `omitted_bytes`.
    pub value: Arc<Json>,
    /// The text that it has got since.
    pub grown: Option<Grown>,
    /// Size in bytes of a value that is too large to be sent, or is `unreadable`.
    pub omitted_bytes: Option<u64>,
    /// Whether the value is left out because the service can no longer read what it stored.
    pub unreadable: bool,
    /// For an item that an intent of this client is expected to add, and that is not in the log yet
    /// (LD-3).
    pub expected: Option<Arc<Expected>>,
}

/// What is known of an item that an intent is expected to add. It lies after all others, several in
/// the order in which their intents were submitted, and leaves in the step that brings the item of
/// the daemon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expected {
    /// The intent.
    pub intent_id: IntentId,
    /// Which of the items that the intent is expected to add.
    pub number: usize,
    /// Why the intent failed, until that is dismissed.
    pub failure: Option<Arc<RowFailure>>,
    /// When the intent was submitted.
    at: i64,
}

impl Expected {
    pub(super) fn new(
        ((at, intent_id), number): PatchId,
        failure: Option<&Arc<RowFailure>>,
    ) -> Self {
        Self {
            intent_id,
            number,
            failure: failure.cloned(),
            at,
        }
    }

    pub(super) const fn place(&self) -> Reverse<LogPlace> {
        Reverse(LogPlace {
            index: u64::MAX,
            expected: Some(((self.at, self.intent_id), self.number)),
        })
    }
}

/// The place of an item: by index, and after all of these the expected ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LogPlace {
    index: u64,
    expected: Option<PatchId>,
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
    /// An item that is expected to have this value.
    pub(super) fn expected(expected: Expected, value: &Json) -> Self {
        Self {
            index: u64::MAX,
            value: Arc::new(value.clone()),
            grown: None,
            omitted_bytes: None,
            unreadable: false,
            expected: Some(Arc::new(expected)),
        }
    }

    /// What identifies it in its log for as long as it is shown: its index, or of an expected item
    /// a text that begins with its intent.
    pub fn id(&self) -> String {
        match &self.expected {
            Some(expected) => format!("{}/{}", expected.intent_id, expected.number),
            None => self.index.to_string(),
        }
    }

    /// Why the intent failed that was expected to add it.
    pub fn failure(&self) -> Option<&RowFailure> {
        self.expected.as_ref()?.failure.as_deref()
    }

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
            expected: None,
        }
    }
}

/// The newest item comes first, as a window begins with what is always held.
impl Placed for LogRow {
    type Place = Reverse<LogPlace>;

    fn place(&self) -> Reverse<LogPlace> {
        let (index, expected) = (self.index, None);
        let own = self.expected.as_ref().map(|expected| expected.place());
        own.unwrap_or(Reverse(LogPlace { index, expected }))
    }

    fn compare(&self, place: &Reverse<LogPlace>) -> Ordering {
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
        Reverse(self.index)
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
            expected: None,
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
