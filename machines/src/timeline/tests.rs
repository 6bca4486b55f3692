//! Tests of the timeline machine: every cell of its table, and what a consumer relies on.

mod model;
mod moving;

use bowline_protocol::{AgentId, ItemKind, Reason, RpcReason, SessionState, methods::HistoryPage};

use super::*;
use crate::load::{LOAD_DEADLINE, RETRY_FIRST};

pub(super) const REJECTED: LoadError = LoadError::Rejected(RpcReason::Overloaded);

pub(super) fn at(millis: u64) -> Moment {
    Moment::from_millis(millis)
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
    Input::Loaded {
        generation: it.generation,
        page,
    }
}

fn failed(it: &Timeline) -> Input {
    Input::LoadFailed {
        generation: it.generation,
        error: REJECTED,
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

/// The updates in short: `+3 text`, `3 more`, `<[1, 2]`, `=[7, 8]`, `..3`, `clear`.
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
    it.handle(at(0), Input::LoadOlder);
    quiet(it)
}

/// Holds items 8 and 9 as of event 12; the consumer has 2 alone, which may grow.
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
    it.handle(at(0), Input::LoadNewer);
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

/// Feeds the input in every state and compares the log with what the table says.
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

#[test]
fn table_open_and_close() {
    row(
        |_| Input::Open,
        [
            "open idle->catching_up",
            "",
            "",
            "",
            "",
            "open failed->catching_up",
        ],
    );
    row(
        |_| Input::Close,
        [
            "",
            "close catching_up->idle",
            "close live->idle",
            "close loading_older->idle",
            "close loading_newer->idle",
            "close failed->idle",
        ],
    );
}

#[test]
fn table_attached() {
    for session in [SessionState::New, SessionState::Reset] {
        row(
            |_| attached(session),
            [
                "",
                "attached catching_up->catching_up",
                "attached live->catching_up",
                "attached loading_older->catching_up",
                "attached loading_newer->catching_up",
                "attached failed->catching_up",
            ],
        );
    }
    row(
        |_| attached(SessionState::Resumed),
        ["", "", "", "", "", "attached failed->catching_up"],
    );
}

#[test]
fn table_disconnected() {
    row(
        |_| disconnected(),
        [
            "",
            "disconnected catching_up->failed",
            "",
            "disconnected loading_older->live",
            "disconnected loading_newer->live",
            "",
        ],
    );
    for (name, mut it) in every_state() {
        it.handle(at(1), disconnected());
        assert_eq!(it.poll_timeout(), None, "{name}: an attach tries again");
    }
}

#[test]
fn table_load_older() {
    row(
        |_| Input::LoadOlder,
        ["", "", "load_older live->loading_older", "", "", ""],
    );
    let mut it = catching_up();
    it.handle(at(0), loaded(&it, page(5, 0, &["a"], false)));
    log(&mut it);
    it.handle(at(0), Input::LoadOlder);
    assert_eq!(log(&mut it), "", "there is nothing older");
}

#[test]
fn table_loaded_and_failed() {
    row(
        |it| loaded(it, page(9, 0, &["x", "y"], false)),
        [
            "",
            "loaded catching_up->live",
            "",
            "loaded loading_older->live",
            "malformed_page loading_newer->live",
            "",
        ],
    );
    row(
        failed,
        [
            "",
            "load_failed catching_up->failed",
            "",
            "load_failed loading_older->live",
            "load_failed loading_newer->live",
            "",
        ],
    );
}

#[test]
fn table_events() {
    row(|_| delta(16, 3, "c"), [""; 6]);
    row(|_| appended(16, 4, "c"), [""; 6]);
    let expected: [&[&str]; 6] = [&[], &[], &["3 c"], &["3 c"], &[], &[]];
    for ((name, mut it), expected) in every_state().into_iter().zip(expected) {
        it.handle(at(1), delta(16, 3, "c"));
        assert_eq!(updates(&mut it), expected, "{name}");
    }
}

#[test]
fn table_timeouts() {
    let expected = [
        (None, ""),
        (Some(LOAD_DEADLINE), "load_deadline catching_up->failed"),
        (None, ""),
        (Some(LOAD_DEADLINE), "load_deadline loading_older->live"),
        (Some(LOAD_DEADLINE), "load_deadline loading_newer->live"),
        (Some(RETRY_FIRST), "retry failed->catching_up"),
    ];
    for ((name, mut it), (due, line)) in every_state().into_iter().zip(expected) {
        let due = due.map(|due| at(0) + due);
        assert_eq!(it.poll_timeout(), due, "{name}");
        it.handle_timeout(at(due.map_or(u64::MAX, |due| due.as_millis() - 1)));
        assert_eq!(log(&mut it), "", "{name}: called early");
        it.handle_timeout(due.unwrap_or(at(u64::MAX)));
        assert_eq!(log(&mut it), line, "{name}");
    }
}

#[test]
fn inv_10_a_stale_page_changes_nothing() {
    let mut it = catching_up();
    let generation = it.generation;
    it.handle(at(1), attached(SessionState::Reset));
    let page = page(9, 0, &["old"], false);
    it.handle(at(2), Input::Loaded { generation, page });
    it.handle(
        at(2),
        Input::LoadFailed {
            generation,
            error: REJECTED,
        },
    );
    assert_eq!((it.state().name(), it.stale()), ("catching_up", 2));
    assert_eq!(updates(&mut it), [""; 0]);
}

#[test]
fn inv_10_each_byte_once_whatever_page_and_events_share() {
    let mut it = catching_up();
    // All of this happened before the page was read …
    it.handle(at(0), delta(4, 2, "!"));
    it.handle(at(0), appended(5, 3, "b"));
    // … and this after.
    it.handle(at(0), delta(6, 3, "c"));
    it.handle(at(0), appended(7, 4, "d"));
    assert_eq!(updates(&mut it), [""; 0], "not before the page");
    it.handle(at(0), loaded(&it, page(5, 2, &["a!", "b"], true)));
    assert_eq!(updates(&mut it), ["+2 a!", "+3 b", "3 c", "+4 d"]);
    it.handle(at(0), appended(7, 4, "d"));
    it.handle(at(0), delta(6, 3, "c"));
    assert_eq!(updates(&mut it), [""; 0], "an event that comes twice");
}

#[test]
fn bx_2_after_a_reset_only_the_difference_is_told() {
    let mut it = live();
    it.handle(at(0), attached(SessionState::Reset));
    assert_eq!(requests(&mut it), [Request::From(2)]);
    it.handle(at(0), delta(1, 3, "?"));
    assert_eq!(updates(&mut it), [""; 0], "unknown on top of what");
    it.handle(at(0), loaded(&it, page(1, 2, &["a", "b+?", "new"], false)));
    assert_eq!(updates(&mut it), ["3 +?", "+4 new"]);
    it.handle(at(0), delta(2, 4, "er"));
    assert_eq!(updates(&mut it), ["4 er"]);
}

#[test]
fn bx_2_what_is_complete_is_not_fetched_again() {
    let kinds = [
        ItemKind::User,
        ItemKind::Message,
        ItemKind::TurnEnd,
        ItemKind::User,
    ];
    let mut it = catching_up();
    let items = (0..)
        .zip(kinds)
        .map(|(index, kind)| item(index, kind, "x"))
        .collect();
    let all = HistoryPage {
        items,
        has_more: false,
        seq: 9,
    };
    it.handle(at(0), loaded(&it, all));
    it.handle(at(0), Input::Close);
    requests(&mut it);
    it.handle(at(0), Input::Open);
    // The newest item alone: it tells whether it is the same timeline still.
    assert_eq!(requests(&mut it), [Request::From(3)]);
    let same = HistoryPage {
        items: vec![item(3, ItemKind::User, "x")],
        has_more: false,
        seq: 9,
    };
    it.handle(at(0), loaded(&it, same));
    assert_eq!(it.state().name(), "live");
}

#[test]
fn bx_2_a_long_absence_is_fetched_page_by_page() {
    let mut it = live();
    it.handle(at(0), attached(SessionState::Reset));
    requests(&mut it);
    it.handle(at(0), loaded(&it, page(1, 2, &["a", "b"], true)));
    assert_eq!(requests(&mut it), [Request::From(4)]);
    it.handle(at(0), delta(2, 3, "c"));
    assert_eq!(updates(&mut it), ["3 c"], "its page is there");
    it.handle(at(0), delta(4, 4, "!"));
    it.handle(at(0), loaded(&it, page(3, 4, &["d"], false)));
    assert_eq!(updates(&mut it), ["+4 d", "4 !"]);
}

#[test]
fn bx_2_the_end_of_a_turn_on_a_later_page_does_not_vouch_for_an_earlier_one() {
    let mut it = live();
    it.handle(at(0), attached(SessionState::Reset));
    it.handle(at(0), loaded(&it, page(1, 2, &["a", "b"], true)));
    // Event 2, not delivered yet, makes item 3 grow; then the turn ends and the next page is read.
    let end = HistoryPage {
        items: vec![item(4, ItemKind::TurnEnd, "")],
        has_more: false,
        seq: 3,
    };
    it.handle(at(0), loaded(&it, end));
    requests(&mut it);
    it.handle(at(0), attached(SessionState::Reset));
    assert_eq!(requests(&mut it), [Request::From(2)]);
}

#[test]
fn item_0_can_be_asked_for() {
    let mut it = catching_up();
    it.handle(at(0), loaded(&it, page(1, 0, &["a", "b"], false)));
    it.handle(at(0), attached(SessionState::Reset));
    requests(&mut it);
    let agent: AgentId = "agt_1".parse().unwrap();
    let asked = Request::From(0).history(agent.clone(), 100);
    assert_eq!(
        (asked.before, asked.after, asked.limit),
        (Some(1), None, Some(1))
    );
    it.handle(at(0), loaded(&it, page(1, 0, &["a1"], false)));
    assert_eq!(requests(&mut it), [Request::From(1)]);
    let asked = Request::From(1).history(agent, 100);
    assert_eq!((asked.before, asked.after), (None, Some(0)));
    updates(&mut it);
    it.handle(at(0), loaded(&it, page(1, 1, &["b1"], false)));
    assert_eq!(updates(&mut it), ["1 1"]);
    assert_eq!(it.state().name(), "live");
}

#[test]
fn a_gap_is_fetched() {
    for event in [appended(9, 6, "x"), delta(9, 4, "x")] {
        let mut it = live();
        it.handle(at(0), event);
        assert_eq!(requests(&mut it), [Request::From(2)]);
        it.handle(at(0), loaded(&it, page(9, 2, &["a", "b", "c"], false)));
        assert_eq!(updates(&mut it), ["+4 c"]);
    }
}

#[test]
fn older_items_come_before_and_still_grow() {
    let mut it = loading_older();
    it.handle(at(0), delta(6, 1, "!"));
    it.handle(at(0), delta(7, 3, "?"));
    it.handle(at(0), loaded(&it, page(5, 0, &["x", "y"], false)));
    assert_eq!(updates(&mut it), ["3 ?", "<[0, 1]", "1 !"]);
    assert!(!it.has_older());
    assert_eq!(it.item(1).unwrap().text, "y!");
}

#[test]
fn a_timeline_that_is_another_one_is_fetched_anew() {
    let mut it = live();
    it.handle(at(0), attached(SessionState::New));
    it.handle(at(0), loaded(&it, page(1, 2, &["other"], false)));
    assert_eq!(updates(&mut it), ["clear"]);
    assert_eq!(it.error(), Some(LoadError::Malformed));
    let due = it.poll_timeout().unwrap();
    requests(&mut it);
    it.handle_timeout(due);
    assert_eq!(requests(&mut it), [Request::Newest]);
    it.handle(due, loaded(&it, page(1, 0, &["one"], false)));
    assert_eq!(updates(&mut it), ["+0 one"]);
}

#[test]
fn a_page_with_holes_is_refused() {
    let holes = |items: Vec<TimelineItem>| HistoryPage {
        items,
        has_more: true,
        seq: 5,
    };
    let message = |index| item(index, ItemKind::Message, "x");
    for items in [vec![message(4), message(6)], vec![message(1)], vec![]] {
        let mut it = live();
        it.handle(at(0), attached(SessionState::Reset));
        it.handle(at(0), loaded(&it, holes(items.clone())));
        assert_eq!(it.error(), Some(LoadError::Malformed), "{items:?}");
        assert_eq!(updates(&mut it), [""; 0]);
        let mut it = loading_older();
        it.handle(at(0), loaded(&it, holes(items.clone())));
        let refused = matches!(
            it.state(),
            State::Live {
                older_error: Some(_),
                ..
            }
        );
        assert_eq!(
            refused,
            items.first().is_none_or(|item| item.index != 1),
            "{items:?}"
        );
    }
}

#[test]
fn everything_is_bounded() {
    let config = TimelineConfig {
        max_items: 10,
        max_kept: 20,
        ..TimelineConfig::default()
    };
    let mut it = Timeline::new(config);
    it.handle(at(0), Input::Open);
    for seq in 1..=21 {
        it.handle(at(0), delta(seq, 0, "x"));
    }
    assert_eq!(it.error(), Some(LoadError::Overrun));
    it.handle(at(0), Input::Open);
    it.handle(at(0), loaded(&it, page(21, 0, &["a"], false)));
    updates(&mut it);
    for index in 1..5_000 {
        it.handle(at(0), appended(21 + index, index, "b"));
    }
    assert_eq!(updates(&mut it).len(), 4_999, "a consumer misses nothing");
    assert_eq!((it.item(4_989), it.end()), (None, 5_000));
    assert_eq!(it.restart_consumer().len(), 10);
    assert!(it.has_older());

    let config = TimelineConfig {
        max_bytes: 10,
        max_kept_bytes: 10,
        ..config
    };
    let mut it = Timeline::new(config);
    it.handle(at(0), Input::Open);
    it.handle(at(0), loaded(&it, page(1, 0, &["a"], false)));
    it.handle(at(0), appended(2, 1, "123456789"));
    it.handle(at(0), delta(3, 1, "0"));
    assert!(it.item(0).is_none(), "bytes are bounded too");
    updates(&mut it);
    it.handle(at(0), delta(4, 0, "late"));
    assert_eq!(
        updates(&mut it),
        ["0 late"],
        "what left the window still grows"
    );
}

#[test]
fn ux_1_loaded_stays_loaded() {
    let mut it = live();
    for input in [disconnected(), attached(SessionState::Reset), Input::Close] {
        assert!(it.has_loaded());
        it.handle(at(0), input);
    }
    assert!(it.has_loaded() && it.has_items());
}
