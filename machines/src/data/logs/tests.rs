//! Tests of a host's logs: which events are whose, pages in both directions, retention, and what a
//! reader is told. The explorer has every short history of rows that grow; longer ones are here.

mod expected;
mod growth;

use std::sync::Arc;

use bowline_protocol::{
    Reason, SessionState,
    live::{Json, LogItem, Scope},
};

use super::*;
use crate::data::{
    collection::Request,
    follows::Close,
    lists::{Kind, ListsConfig},
    load::Held,
    open::OpenId,
    tables::TableState,
    target::LiveTarget,
    view::Beyond,
};

const NOW: MonotonicTime = MonotonicTime::from_millis(1_000);
/// Items of a page.
const LIMIT: usize = 3;

fn json(text: &str) -> Json {
    serde_json::from_str(text).unwrap()
}

fn target(project: &str) -> LiveTarget {
    LiveTarget {
        name: "voxel.edits".to_owned(),
        params: Some(json(&format!("{{\"project\":\"{project}\"}}"))),
    }
}

fn scope(key: &str) -> Scope {
    Scope::row(key).unwrap()
}

fn item(index: u64) -> LogItem {
    LogItem {
        index,
        value: json(&format!("{{\"text\":\"{index}\"}}")),
        omitted_bytes: None,
        unreadable: false,
    }
}

/// A page of a log of 100 items.
fn page(key: &str, seq: u64, indexes: std::ops::Range<u64>, more: bool) -> LogPage {
    LogPage {
        scope: scope(key),
        items: indexes.map(item).collect(),
        more,
        first: 0,
        next: 100,
        seq,
        resumed: false,
        follow: Some(1),
    }
}

fn appended(key: &str, indexes: std::ops::Range<u64>) -> LogAppended {
    LogAppended {
        name: "voxel.edits".to_owned(),
        key: key.to_owned(),
        first: 0,
        next: indexes.end,
        items: indexes.map(item).collect(),
        stale: false,
        intent_id: None,
    }
}

fn grown(key: &str, index: u64, text: &str) -> LogEvent {
    LogEvent::Grown(LogGrown {
        name: "voxel.edits".to_owned(),
        key: key.to_owned(),
        index,
        field: "text".to_owned(),
        stale: text.is_empty(),
        text: text.to_owned(),
        intent_id: None,
    })
}

/// Item with another text; `None`: too large for the event.
fn replaced(key: &str, index: u64, text: Option<&str>) -> LogEvent {
    LogEvent::Replaced(LogReplaced {
        name: "voxel.edits".to_owned(),
        key: key.to_owned(),
        index: Some(index),
        value: text.map(|text| json(&format!("{{\"text\":\"{text}\"}}"))),
        stale: text.is_none(),
        intent_id: None,
    })
}

/// The logs of a host, with what its app shows.
struct Host {
    logs: Logs,
    rev: u64,
}

impl Host {
    fn attached() -> Self {
        Self::with(ListsConfig {
            page: LIMIT,
            ..Window::CONFIG
        })
    }

    fn with(config: ListsConfig) -> Self {
        let mut logs = Logs::new(config);
        logs.attached(NOW, SessionState::New);
        Self { logs, rev: 0 }
    }

    fn open(&mut self, project: &str) -> OpenId {
        self.logs.open(NOW, target(project)).unwrap().0
    }

    /// The requests that were made since the last call.
    fn asked(&mut self) -> Vec<Request<Reverse<u64>>> {
        let effects = std::iter::from_fn(|| self.logs.poll_effect());
        let asked = effects.map(|effect| match effect {
            Effect::Load { request, .. } => request,
            Effect::Close(_) | Effect::Forget(_) => panic!("nothing but loads"),
        });
        asked.collect()
    }

    /// Answers the running load of a log.
    fn answer(&mut self, id: OpenId, page: LogPage) {
        let load = self.logs.open.get(id).unwrap().rows.generation();
        let result = Ok(page);
        self.logs.handle(NOW, id, Input::Page { load, result });
    }

    fn appended(&mut self, seq: u64, event: LogAppended) {
        self.logs.changed(NOW, seq, &LogEvent::Appended(event));
    }

    fn view(&mut self, id: OpenId) -> Arc<LogView> {
        self.logs.publish(Connectivity::Online, &mut self.rev);
        while self.logs.poll_view().is_some() {}
        Arc::clone(&self.logs.open.get(id).unwrap().view)
    }

    fn indexes(&mut self, id: OpenId) -> Vec<u64> {
        self.view(id).items().map(|row| row.index).collect()
    }

    /// The text of an item.
    fn text(&mut self, id: OpenId, index: u64) -> String {
        let view = self.view(id);
        let row = view.items().find(|row| row.index == index);
        let value: serde_json::Value = serde_json::from_str(row.unwrap().json().get()).unwrap();
        value["text"].as_str().unwrap().to_owned()
    }
}

#[test]
fn ld_2_a_log_takes_the_events_of_its_key_also_those_before_its_first_page() {
    let mut host = Host::attached();
    let (castle, tower) = (host.open("castle"), host.open("tower"));
    assert_eq!(host.view(castle).state, TableState::Loading);
    // Nobody knows yet whose these are.
    host.appended(4, appended("castle", 99..100));
    host.appended(6, appended("castle", 100..101));
    host.logs.changed(NOW, 7, &grown("castle", 100, "!"));
    host.appended(8, appended("tower", 100..101));
    host.answer(castle, page("castle", 5, 97..100, true));
    host.answer(tower, page("tower", 5, 98..100, false));
    assert_eq!(host.indexes(castle), [97, 98, 99, 100]);
    assert_eq!(host.text(castle, 100), "100!");
    assert_eq!(host.indexes(tower), [98, 99, 100]);
    assert_eq!(host.text(tower, 100), "100");

    host.appended(9, appended("castle", 101..103));
    host.logs.changed(NOW, 10, &grown("castle", 101, "?"));
    host.logs.changed(NOW, 10, &grown("castle", 101, "again"));
    host.logs.changed(NOW, 11, &grown("castle", 50, "not here"));
    assert_eq!(host.text(castle, 101), "101?");
    let view = host.view(castle);
    assert_eq!((view.first, view.next, view.len()), (0, 103, 6));
    assert_eq!((view.state, view.older), (TableState::Ready, Beyond::More));
    assert_eq!(host.view(tower).next, 101);
    let empty = host.open("hut");
    host.answer(
        empty,
        LogPage {
            first: 7,
            next: 7,
            ..page("hut", 11, 0..0, false)
        },
    );
    assert_eq!(host.view(empty).state, TableState::Empty);
}

#[test]
fn ld_2_events_that_do_not_fit_before_the_first_page_are_loaded_again() {
    let mut host = Host::attached();
    let castle = host.open("castle");
    host.asked();
    let large = "x".repeat(60_000);
    for seq in 0..20 {
        host.logs
            .changed(NOW, 6 + seq, &grown("castle", 99, &large));
    }
    host.answer(castle, page("castle", 5, 97..100, true));
    let limit = LIMIT;
    let asked = host.asked();
    assert_eq!(asked, [Request::First { limit, held: None }]);
    host.answer(castle, page("castle", 26, 97..100, true));
    assert_eq!(host.text(castle, 99), "99");
}

#[test]
fn ld_9_older_items_come_page_by_page_up_to_what_fits() {
    let config = ListsConfig {
        page: 3,
        max_rows: 8,
        ..Window::CONFIG
    };
    let mut host = Host::with(config);
    let castle = host.open("castle");
    host.asked();
    host.answer(castle, page("castle", 5, 97..100, true));
    host.logs.handle(NOW, castle, Input::LoadMore);
    let cursor = "97".to_owned();
    assert_eq!(host.asked(), [Request::Page { cursor, limit: 3 }]);
    assert_eq!(host.view(castle).older, Beyond::Loading);
    // New items and text come meanwhile.
    host.appended(6, appended("castle", 100..101));
    host.logs.changed(NOW, 8, &grown("castle", 95, " late"));
    host.answer(castle, page("castle", 7, 94..97, true));
    assert_eq!(host.indexes(castle), [94, 95, 96, 97, 98, 99, 100]);
    assert_eq!(host.text(castle, 95), "95 late");
    assert_eq!(host.view(castle).older, Beyond::More);

    // The window moves on with its newest items.
    host.appended(9, appended("castle", 101..104));
    assert_eq!(host.indexes(castle), (96..104).collect::<Vec<_>>());
    let view = host.view(castle);
    assert_eq!((view.older, view.truncated), (Beyond::None, true));
    host.logs.handle(NOW, castle, Input::LoadMore);
    assert_eq!(host.asked(), []);
}

#[test]
fn ld_9_what_was_too_large_for_an_event_is_fetched_by_index() {
    let mut host = Host::attached();
    let castle = host.open("castle");
    host.asked();
    host.answer(castle, page("castle", 5, 97..100, true));
    let stale = LogAppended {
        items: Vec::new(),
        next: 102,
        stale: true,
        ..appended("castle", 0..0)
    };
    host.appended(6, stale);
    assert_eq!(
        host.asked(),
        [Request::Rows(vec![Reverse(101), Reverse(100)])]
    );
    assert_eq!(host.indexes(castle), [97, 98, 99], "these stay meanwhile");
    // One of them grows before the answer, which has that already, and once more after it.
    host.logs.changed(NOW, 7, &grown("castle", 100, "+"));
    host.logs.changed(NOW, 8, &grown("castle", 101, "+"));
    host.answer(castle, page("castle", 7, 100..102, false));
    assert_eq!(host.indexes(castle), [97, 98, 99, 100, 101]);
    assert_eq!(host.text(castle, 100), "100");
    assert_eq!(host.text(castle, 101), "101+");

    host.logs.changed(NOW, 9, &grown("castle", 50, ""));
    host.logs.changed(NOW, 10, &grown("castle", 99, ""));
    assert_eq!(
        host.asked(),
        [Request::Rows(vec![Reverse(99)])],
        "50 is not shown"
    );
    host.logs.changed(NOW, 11, &grown("castle", 99, "later"));
    assert_eq!(host.text(castle, 99), "99", "no text with a hole");
    host.answer(castle, page("castle", 10, 99..100, false));
    assert_eq!(host.text(castle, 99), "99later");

    // So many that the newest page is asked for.
    let far = LogAppended {
        items: Vec::new(),
        next: u64::MAX,
        stale: true,
        ..appended("castle", 0..0)
    };
    host.appended(12, far);
    let limit = LIMIT;
    assert_eq!(host.asked(), [Request::First { limit, held: None }]);
}

#[test]
fn ld_9_what_the_daemon_dropped_is_dropped_here() {
    let config = ListsConfig {
        page: 3,
        ..Window::CONFIG
    };
    let mut host = Host::with(config);
    let castle = host.open("castle");
    host.asked();
    host.answer(castle, page("castle", 5, 97..100, true));
    host.logs.handle(NOW, castle, Input::LoadMore);
    let event = LogAppended {
        first: 98,
        ..appended("castle", 100..101)
    };
    host.appended(6, event);
    assert_eq!(host.indexes(castle), [98, 99, 100]);
    assert_eq!(host.view(castle).older, Beyond::None);
    // The page on its way is as of an event before.
    host.answer(castle, page("castle", 5, 94..97, true));
    assert_eq!(host.indexes(castle), [98, 99, 100]);
    // Removed, and begun anew.
    let anew = LogAppended {
        first: 200,
        ..appended("castle", 200..201)
    };
    host.appended(7, anew);
    assert_eq!(host.indexes(castle), [200]);
    let removed = LogAppended {
        first: 201,
        ..appended("castle", 201..201)
    };
    host.appended(8, removed);
    let view = host.view(castle);
    assert_eq!(
        (view.state, view.first, view.next),
        (TableState::Empty, 201, 201)
    );

    // A page of before brings nothing back.
    host.logs.handle(NOW, castle, Input::Refresh);
    host.answer(castle, page("castle", 7, 97..100, true));
    assert!(host.view(castle).is_empty());
}

#[test]
fn ld_2_after_a_reset_the_items_are_the_daemons_whatever_they_were() {
    let mut host = Host::attached();
    let castle = host.open("castle");
    host.asked();
    host.answer(castle, page("castle", 5, 97..100, true));
    let reason = Reason::ConnectionLost;
    host.logs.disconnected(NOW, reason);
    host.logs.attached(NOW, SessionState::Resumed);
    let (limit, held) = (
        LIMIT,
        Some(Held {
            seq: 5,
            follow: Some(1),
        }),
    );
    assert_eq!(host.asked(), [Request::First { limit, held }]);
    let stands = LogPage {
        resumed: true,
        ..page("castle", 8, 0..0, false)
    };
    host.answer(castle, stands);
    assert_eq!(host.indexes(castle), [97, 98, 99]);

    host.logs.attached(NOW, SessionState::Reset);
    assert_eq!(host.asked(), [Request::First { limit, held: None }]);
    // Of the new numbering, for items that may have missed something.
    host.logs.changed(NOW, 1, &grown("castle", 99, "new"));
    assert_eq!(host.text(castle, 99), "99", "no text with a hole");
    assert_eq!(host.view(castle).state, TableState::Revalidating);
    // The daemon was restored from a backup.
    let before = LogPage {
        first: 2,
        next: 5,
        ..page("castle", 0, 2..5, false)
    };
    host.answer(castle, before);
    assert_eq!(host.indexes(castle), [2, 3, 4]);
    assert_eq!(host.view(castle).next, 5);
}

#[test]
fn ld_2_a_log_that_the_service_calls_by_another_key_is_loaded_anew() {
    let mut host = Host::attached();
    let castle = host.open("castle");
    host.asked();
    host.answer(castle, page("castle", 5, 97..100, true));
    host.logs.handle(NOW, castle, Input::Refresh);
    host.appended(6, appended("keep", 100..101));
    host.asked();
    host.answer(castle, page("keep", 5, 10..13, true));
    // Its events were not kept, so that one answer is not enough.
    let limit = LIMIT;
    assert_eq!(host.asked(), [Request::First { limit, held: None }]);
    host.answer(castle, page("keep", 6, 98..101, true));
    assert_eq!(host.indexes(castle), [98, 99, 100]);
    host.logs.sweep();
    let (name, scope) = ("voxel.edits".to_owned(), scope("castle"));
    let follow = Some(1);
    let close = Effect::Close(Close {
        name,
        scope,
        follow,
    });
    assert_eq!(host.logs.poll_effect(), Some(close));
}

#[test]
fn ld_4_a_reader_is_told_what_changed_whatever_the_length_of_the_log() {
    let config = ListsConfig {
        page: 1_000,
        ..Window::CONFIG
    };
    let mut host = Host::with(config);
    let castle = host.open("castle");
    host.answer(
        castle,
        LogPage {
            next: 900,
            ..page("castle", 5, 0..900, false)
        },
    );
    let mut shown = Vec::new();
    let mut base: Option<Arc<LogView>> = None;
    let mut random = 7_u64;
    let mut next = |below: u64| {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (random >> 33) % below
    };
    let (mut end, mut first) = (900, 0);
    for seq in 6..600 {
        match next(7) {
            0 | 1 => {
                let more = 1 + next(3);
                let event = LogAppended {
                    first,
                    ..appended("castle", end..end + more)
                };
                host.appended(seq, event);
                end += more;
            }
            2 => {
                first = (first + next(4)).min(end - 1);
                let event = LogAppended {
                    first,
                    ..appended("castle", end..end)
                };
                host.appended(seq, event);
            }
            3 => {
                let text = seq.to_string();
                let at = end - 1 - next(300);
                host.logs
                    .changed(NOW, seq, &replaced("castle", at, Some(&text)));
            }
            _ => host
                .logs
                .changed(NOW, seq, &grown("castle", end - 1 - next(8), "+")),
        }
        if next(3) > 0 {
            continue;
        }
        let view = host.view(castle);
        let diff = view.diff(base.as_deref());
        assert_eq!(diff.is_reset(), base.is_none());
        let changed = diff.changes.len();
        assert!(base.is_none() || changed < 30, "{changed}");
        assert!(diff.apply(&mut shown, LogRow::append), "{seq}");
        assert!(shown.iter().eq(view.items()), "{seq}");
        base = Some(view);
    }
    // An item that grows again costs its new text alone.
    host.logs.changed(NOW, 600, &grown("castle", end - 1, "a"));
    let view = host.view(castle);
    host.logs.changed(NOW, 601, &grown("castle", end - 1, "b"));
    let grown = view::LogView::diff(&host.view(castle), Some(&view)).changes;
    let at = view.len() - 1;
    let text = "b".to_owned();
    assert_eq!(grown, [crate::data::view::ListChange::Grow { at, text }]);
    // One that is replaced is one update, wherever it is.
    let view = host.view(castle);
    host.logs
        .changed(NOW, 602, &replaced("castle", end - 400, Some("done")));
    let changes = host.view(castle).diff(Some(&view)).changes;
    assert!(
        matches!(&changes[..], [crate::data::view::ListChange::Update { at, .. }] if *at == view.len() - 400),
        "{changes:?}"
    );
}
