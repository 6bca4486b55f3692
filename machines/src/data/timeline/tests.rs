//! Timelines in each state: how the tests drive the timeline machine.

mod bounds;
mod complete;
mod model;
mod moving;
mod table;

use super::*;
use crate::data::load::{LOAD_DEADLINE, RETRY_FIRST};
use bowline_protocol::{AgentId, ItemKind, Reason, RpcReason, SessionState, methods::HistoryPage};

pub(super) const REJECTED: LoadError = LoadError::Rejected(RpcReason::Overloaded);

pub(super) fn at(millis: u64) -> MonotonicTime {
    MonotonicTime::from_millis(millis)
}

pub(super) fn item(index: u64, kind: ItemKind, text: &str) -> TimelineItem {
    let id = format!("itm_{index}").parse().unwrap();
    TimelineItem {
        text: text.to_owned(),
        ..TimelineItem::new(id, index, kind, 0)
    }
}

/// A message at each index, with its text.
fn page(seq: u64, first: u64, texts: &[&str], has_more: bool) -> HistoryPage {
    HistoryPage {
        items: (first..)
            .zip(texts)
            .map(|(index, text)| item(index, ItemKind::Message, text))
            .collect(),
        has_more,
        seq,
    }
}

fn appended(seq: u64, index: u64, text: &str) -> Input {
    Input::Event {
        seq,
        happened: Happened::Appended(item(index, ItemKind::Message, text)),
    }
}

fn delta(seq: u64, index: u64, text: &str) -> Input {
    Input::Event {
        seq,
        happened: Happened::Delta {
            item_id: item(index, ItemKind::Message, "").id,
            index,
            text: text.to_owned(),
        },
    }
}

fn attached(session: SessionState) -> Input {
    Input::Attached { session }
}

const fn disconnected() -> Input {
    Input::Disconnected {
        reason: Reason::ConnectionLost,
    }
}

fn loaded(it: &Timeline, page: HistoryPage) -> Input {
    Input::Page {
        load: it.generation,
        result: Ok(page),
    }
}

fn failed(it: &Timeline) -> Input {
    Input::Page {
        load: it.generation,
        result: Err(REJECTED),
    }
}

fn requests(it: &mut Timeline) -> Vec<Request> {
    std::iter::from_fn(|| it.poll_effect())
        .filter_map(|effect| match effect {
            Effect::Load { request, .. } => Some(request),
            Effect::Unsubscribe => None,
        })
        .collect()
}

fn log(it: &mut Timeline) -> String {
    let lines: Vec<_> = std::iter::from_fn(|| it.poll_transition())
        .map(|t| format!("{} {}->{}", t.event, t.from, t.to))
        .collect();
    lines.join(" | ")
}

/// The updates in short form: `+3 text`, `3 more`, `!3 -9` (9 bytes dropped), `<[1, 2]`, `=[7, 8]`,
/// `..3`, `clear`.
fn updates(it: &mut Timeline) -> Vec<String> {
    std::iter::from_fn(|| it.poll_update())
        .map(|update| match update {
            Update::Appended(item) => format!("+{} {}", item.index, item.text),
            Update::Grown { index, text, .. } => format!("{index} {text}"),
            Update::Prepended(items) => {
                let indices: Vec<_> = items.iter().map(|item| item.index).collect();
                format!("<{indices:?}")
            }
            Update::Restarted(items) => {
                let indices: Vec<_> = items.iter().map(|item| item.index).collect();
                format!("={indices:?}")
            }
            Update::Replaced(item) => format!("!{} -{}", item.index, item.dropped_bytes),
            Update::Dropped { from } => format!("..{from}"),
            Update::Cleared => "clear".to_owned(),
        })
        .collect()
}

fn quiet(mut it: Timeline) -> Timeline {
    log(&mut it);
    requests(&mut it);
    updates(&mut it);
    it
}

fn idle() -> Timeline {
    Timeline::new(TimelineConfig::default())
}

fn catching_up() -> Timeline {
    let mut it = idle();
    it.handle(at(0), Input::Open);
    quiet(it)
}

/// Holds items 2 and 3 as of event 5; 0 and 1 are older.
fn live() -> Timeline {
    let mut it = catching_up();
    it.handle(at(0), loaded(&it, page(5, 2, &["a", "b"], true)));
    quiet(it)
}

fn loading_older() -> Timeline {
    let mut it = live();
    it.handle(at(0), Input::LoadMore(End::Older));
    quiet(it)
}

/// Holds items 8 and 9 as of event 12; the consumer has only 2, which may grow.
fn detached() -> Timeline {
    let config = TimelineConfig {
        max_items: 2,
        page: 3,
        ..TimelineConfig::default()
    };
    let mut it = Timeline::new(config);
    it.handle(at(0), Input::Open);
    it.handle(at(0), loaded(&it, page(5, 2, &["a", "b"], true)));
    it.consumer_dropped_from(3);
    for index in 4..10 {
        it.handle(at(0), appended(index + 3, index, "x"));
    }
    quiet(it)
}

fn loading_newer() -> Timeline {
    let mut it = detached();
    it.handle(at(0), Input::LoadMore(End::Newer));
    quiet(it)
}

fn failed_load() -> Timeline {
    let mut it = catching_up();
    it.handle(at(0), failed(&it));
    quiet(it)
}

fn every_state() -> [(&'static str, Timeline); 6] {
    [
        ("idle", idle()),
        ("catching_up", catching_up()),
        ("live", live()),
        ("loading_older", loading_older()),
        ("loading_newer", loading_newer()),
        ("failed", failed_load()),
    ]
}

/// Feeds the input in every state and compares the log with the table.
fn row(input: impl Fn(&Timeline) -> Input, expected: [&str; 6]) {
    for ((name, mut it), expected) in every_state().into_iter().zip(expected) {
        assert_eq!(it.state().name(), name);
        let input = input(&it);
        it.handle(at(1), input.clone());
        assert_eq!(log(&mut it), expected, "{input:?} in {name}");
        let begins_load = ["catching_up", "_older", "->loading_newer"];
        let begins_load = begins_load.iter().any(|end| expected.ends_with(end));
        assert_eq!(
            requests(&mut it).len(),
            usize::from(begins_load),
            "{input:?} in {name}"
        );
        assert_eq!(it.refused(), 0);
    }
}
