//! Tests of what is kept, when, and in which form.

use std::time::Duration;

use bowline_protocol::{
    RpcReason, SessionEvent,
    live::{LogGrown, LogItem, LogPage, Row, TablePage},
};

use super::*;
use crate::{
    Generation, MonotonicTime,
    data::{
        collection::Request,
        lists,
        load::LoadError,
        logs::{self, LogView},
        replica::{Effect, Input, Replica},
        screen::Connectivity,
        tables::{self, TableState},
    },
};

const CONFIG: SaverConfig = SaverConfig {
    after: Duration::from_secs(1),
    pause: Duration::from_secs(5),
    bytes_per_second: 1_000,
    deadline: Duration::from_secs(60),
    retry: Duration::from_secs(30),
};

fn at(seconds: u64) -> MonotonicTime {
    MonotonicTime::from_millis(seconds * 1_000)
}

fn saver() -> Saver {
    let mut saver = Saver::new(CONFIG);
    saver.set_on(true);
    saver
}

#[test]
fn ld_5_changes_are_written_together_and_long_lists_less_often() {
    let mut saver = saver();
    assert!(!saver.is_due(at(10), || true), "more may follow");
    assert_eq!(saver.poll_timeout(), Some(at(11)));
    assert!(saver.is_due(at(11), || true));
    let number = saver.begun(at(11), 20_000);
    assert!(!saver.is_due(at(12), || true), "one at a time");
    saver.ended(at(12), number, true);
    assert!(!saver.is_due(at(13), || true));
    assert_eq!(saver.poll_timeout(), Some(at(32)), "20,000 bytes, 20 s");
    assert!(saver.is_due(at(32), || true));
    let number = saver.begun(at(32), 10);
    saver.ended(at(32), number, true);
    assert!(!saver.is_due(at(33), || true));
    assert_eq!(saver.poll_timeout(), Some(at(37)), "a few bytes, the pause");
    assert!(!saver.is_due(at(37), || false), "nothing is new any more");
    assert_eq!(saver.poll_timeout(), None);
}

#[test]
fn ld_5_before_the_app_ends_nothing_waits() {
    let mut saver = saver();
    let first = saver.begun(at(1), 1_000_000);
    saver.hurry();
    assert!(saver.is_due(at(2), || true), "beside the one that runs");
    let second = saver.begun(at(2), 10);
    saver.ended(at(3), first, true);
    assert!(!saver.is_due(at(3), || true), "the second one still runs");
    saver.ended(at(4), second, true);
    saver.hurry();
    assert!(!saver.is_due(at(4), || false));
}

#[test]
fn inv_12_a_write_that_fails_or_hangs_is_followed_by_another_after_a_while() {
    let mut saver = saver();
    let number = saver.begun(at(1), 10);
    saver.ended(at(2), number, false);
    assert_eq!(saver.failures(), 1);
    assert!(!saver.is_due(at(3), || true));
    assert_eq!(saver.poll_timeout(), Some(at(32)));
    assert!(saver.is_due(at(32), || true));
    saver.begun(at(32), 10);
    assert_eq!(saver.poll_timeout(), Some(at(92)));
    assert!(!saver.is_due(at(92), || true));
    assert_eq!(saver.failures(), 2);
    assert_eq!(saver.poll_timeout(), Some(at(122)));
    let off = Saver::new(CONFIG).is_due(at(1), || true);
    assert!(!off);
}

#[test]
fn ld_5_after_a_pause_the_next_write_does_not_wait_as_after_another_failure() {
    let mut saver = saver();
    let number = saver.begun(at(1), 10);
    saver.ended(at(2), number, false);
    assert!(!saver.is_due(at(3), || true));
    assert_eq!(saver.poll_timeout(), Some(at(32)));
    saver.retry();
    assert!(!saver.is_due(at(4), || true));
    assert_eq!(saver.poll_timeout(), Some(at(5)), "as after any change");
    // Without a failure the pause between two writes stays.
    let number = saver.begun(at(5), 10);
    saver.ended(at(5), number, true);
    saver.retry();
    assert!(!saver.is_due(at(6), || true));
    assert_eq!(saver.poll_timeout(), Some(at(10)));
}

fn position(seq: u64) -> Resume {
    Resume {
        epoch: Epoch::from_uuid(uuid::Uuid::from_bytes([1; 16])),
        last_seq: seq,
        stamp: None,
    }
}

fn target(name: &str) -> LiveTarget {
    LiveTarget {
        name: name.to_owned(),
        params: Some(serde_json::from_str("{\"of\":1}").unwrap()),
    }
}

fn row(key: &str, value: &str) -> Row {
    Row {
        key: key.to_owned(),
        value: serde_json::from_str(value).unwrap(),
        omitted_bytes: None,
        unreadable: false,
    }
}

fn item(index: u64, text: &str) -> LogItem {
    LogItem {
        index,
        value: serde_json::from_str(&format!("{{\"text\":{text:?}}}")).unwrap(),
        omitted_bytes: None,
        unreadable: false,
    }
}

fn table_page(rows: Vec<Row>, seq: u64) -> TablePage {
    TablePage {
        scope: Scope::all(),
        rows,
        more: false,
        seq,
        resumed: false,
        follow: Some(7),
    }
}

fn log_page(items: Vec<LogItem>, seq: u64) -> LogPage {
    LogPage {
        scope: Scope::row("a").unwrap(),
        first: 0,
        next: items.len() as u64,
        items,
        more: false,
        seq,
        resumed: false,
        follow: Some(8),
    }
}

/// Attached, with a table and a log as of event 3.
fn shown() -> Replica {
    let mut it = Replica::default();
    it.keep_lists(true);
    let session = bowline_protocol::SessionState::Reset;
    it.handle(at(0), Input::Attached { session });
    let (table, _) = it.open_table(at(0), target("rows")).unwrap();
    let (log, _) = it.open_log(at(0), target("items")).unwrap();
    while let Some(effect) = it.poll_effect() {
        match effect {
            Effect::Table(lists::Effect::Load { load, .. }) => {
                let result = Ok(table_page(vec![row("a", "1"), row("b", "2")], 3));
                let input = tables::Input::Page { load, result };
                it.handle(at(0), Input::Table { id: table, input });
            }
            Effect::Log(lists::Effect::Load { load, .. }) => {
                let result = Ok(log_page(vec![item(0, "x"), item(1, "y")], 3));
                let input = logs::Input::Page { load, result };
                it.handle(at(0), Input::Log { id: log, input });
            }
            _ => {}
        }
    }
    it
}

fn checkpoint(it: &mut Replica, seq: u64) -> Option<Checkpoint> {
    it.hurry();
    it.poll_checkpoint(at(100), seq, || Some(position(seq)))
}

#[test]
fn ld_5_only_rows_as_of_the_sessions_last_event_are_kept() {
    let mut it = shown();
    assert!(
        checkpoint(&mut it, 2).is_none(),
        "the pages are ahead of it"
    );
    let first = checkpoint(&mut it, 3).unwrap();
    assert_eq!(first.lists.len(), 2);
    it.handle(
        at(100),
        Input::Saved {
            number: first.number,
            is_written: true,
        },
    );
    assert!(checkpoint(&mut it, 3).is_none(), "nothing is new");
    let moved = checkpoint(&mut it, 9).unwrap();
    assert!(moved.lists.is_empty(), "the position alone");
    assert!(!moved.manifest.is_empty());
    it.handle(
        at(100),
        Input::Saved {
            number: moved.number,
            is_written: false,
        },
    );
    let again = checkpoint(&mut it, 9).unwrap();
    assert_eq!(again.lists.len(), 2, "what failed is written again");
    let reason = bowline_protocol::Reason::ConnectionLost;
    it.handle(at(100), Input::Lost { reason });
    let session = bowline_protocol::SessionState::Resumed;
    it.handle(at(100), Input::Attached { session });
    assert!(checkpoint(&mut it, 10).is_none(), "not while it is loaded");
}

#[test]
fn ld_5_the_file_of_a_list_that_is_refused_is_deleted() {
    let mut it = shown();
    let first = checkpoint(&mut it, 3).unwrap();
    assert!(first.refused.is_empty());
    let number = first.number;
    let is_written = true;
    it.handle(at(100), Input::Saved { number, is_written });
    let (table, _) = it.open_table(at(100), target("rows")).unwrap();
    let input = tables::Input::Refresh;
    it.handle(at(100), Input::Table { id: table, input });
    // The first refusal may be of what was to be continued.
    while let Some(effect) = it.poll_effect() {
        if let Effect::Table(lists::Effect::Load { load, .. }) = effect {
            let result = Err(LoadError::Rejected(RpcReason::NotGranted));
            let input = tables::Input::Page { load, result };
            it.handle(at(100), Input::Table { id: table, input });
        }
    }
    let refused = checkpoint(&mut it, 3).unwrap();
    assert_eq!(refused.refused.len(), 1);
    assert_eq!(refused.refused[0].1.name, "rows");
    // A deletion that failed is asked for again, and one that did not is not.
    let number = refused.number;
    it.handle(
        at(100),
        Input::Saved {
            number,
            is_written: false,
        },
    );
    assert_eq!(checkpoint(&mut it, 3).unwrap().refused.len(), 1);
}

/// What a file of the checkpoint says of a list.
fn stored<P: StoredPage>(checkpoint: &Checkpoint, name: &str) -> Stored<P> {
    let mut lists = checkpoint.lists.iter();
    let list = lists.find(|list| list.target.name == name).unwrap();
    read_list(&list.to_bytes().unwrap(), &target(name)).unwrap()
}

#[test]
fn ld_5_the_first_view_of_a_list_opened_while_attached_has_the_rows_of_the_file() {
    let mut it = shown();
    let first = checkpoint(&mut it, 3).unwrap();
    let session = bowline_protocol::SessionState::Resumed;
    let mut next = Replica::default();
    next.handle(at(1), Input::Attached { session });
    let at_3 = position(3);
    let kept = stored::<TablePage>(&first, "rows").kept(Some(&first.manifest), Some(&at_3));
    let expected = kept.page.rows.len();
    assert!(expected > 0);
    let (id, view) = next
        .open_kept_table(at(1), target("rows"), Some(kept))
        .unwrap();
    assert!(view.is_none(), "none without them");
    next.publish(Connectivity::Online, &mut 0);
    let (shown, view) = next.poll_table_view().unwrap();
    assert_eq!((shown, view.rows.len()), (id, expected));
    // Another reader gets that view at once.
    let (_, view) = next.open_kept_table(at(1), target("rows"), None).unwrap();
    assert_eq!(view.unwrap().rows.len(), expected);
}

#[test]
fn ld_5_a_list_is_continued_only_from_the_position_on() {
    let mut it = shown();
    let first = checkpoint(&mut it, 3).unwrap();
    let bytes = first.manifest.to_bytes().unwrap();
    let manifest = Manifest::read(&bytes).unwrap();
    assert_eq!(manifest, first.manifest);
    let is_unbroken = |manifest: Option<&Manifest>, at: Option<Resume>| {
        let kept = stored::<TablePage>(&first, "rows").kept(manifest, at.as_ref());
        (kept.page.seq, kept.is_unbroken)
    };
    assert_eq!(is_unbroken(Some(&manifest), Some(position(3))), (3, true));
    assert_eq!(is_unbroken(Some(&manifest), Some(position(4))), (3, false));
    assert_eq!(is_unbroken(None, None), (3, false));
    let mut other = position(3);
    other.epoch = Epoch::from_uuid(uuid::Uuid::from_bytes([2; 16]));
    assert_eq!(is_unbroken(Some(&manifest), Some(other)), (3, false));
    // Nothing happened in it until event 9.
    let moved = checkpoint(&mut it, 9).unwrap().manifest;
    assert_eq!(is_unbroken(Some(&moved), Some(position(9))), (9, true));
    assert_eq!(is_unbroken(Some(&manifest), Some(position(9))), (3, false));
}

#[test]
fn ld_2_ld_5_a_restored_log_is_continued_and_grows_once() {
    let first = checkpoint(&mut shown(), 3).unwrap();
    let at_3 = position(3);
    let kept = stored::<LogPage>(&first, "items").kept(Some(&first.manifest), Some(&at_3));
    let mut it = Replica::default();
    let (log, view) = it
        .open_kept_log(at(0), target("items"), Some(kept))
        .unwrap();
    assert!(view.is_none(), "the next publication has it");
    let mut rev = 0;
    let mut shows = |it: &mut Replica| -> LogView {
        it.publish(Connectivity::Online, &mut rev);
        let (_, view) = it.poll_log_view().unwrap();
        LogView::clone(&view)
    };
    let texts = |view: &LogView| -> Vec<String> {
        let items = view.items();
        items.map(|item| item.json().get().to_owned()).collect()
    };
    let view = shows(&mut it);
    assert_eq!(view.state, TableState::Revalidating);
    assert_eq!((view.first, view.next), (0, 2));
    assert_eq!(texts(&view), [r#"{"text":"x"}"#, r#"{"text":"y"}"#]);
    let session = bowline_protocol::SessionState::Resumed;
    it.handle(at(1), Input::Attached { session });
    let asked = std::iter::from_fn(|| it.poll_effect()).find_map(|effect| match effect {
        Effect::Log(lists::Effect::Load { load, request, .. }) => Some((load, request)),
        _ => None,
    });
    let (load, request) = asked.unwrap();
    let Request::First { held, .. } = request else {
        panic!("{request:?}");
    };
    let held = held.unwrap();
    assert_eq!((held.seq, held.follow), (3, Some(8)));
    for seq in [3, 4] {
        let event = SessionEvent::LogGrown(Box::new(LogGrown {
            name: "items".to_owned(),
            key: "a".to_owned(),
            index: 1,
            field: "text".to_owned(),
            text: "!".to_owned(),
            stale: false,
            intent_id: None,
        }));
        it.handle(at(1), Input::Event { seq, event });
    }
    let result = Ok(LogPage {
        resumed: true,
        ..log_page(Vec::new(), 4)
    });
    let input = logs::Input::Page { load, result };
    it.handle(at(1), Input::Log { id: log, input });
    let view = shows(&mut it);
    assert_eq!(view.state, TableState::Ready);
    assert_eq!(texts(&view), [r#"{"text":"x"}"#, r#"{"text":"y!"}"#]);
}

/// The load that was asked for.
fn asked(it: &mut Replica) -> Generation {
    let load = std::iter::from_fn(|| it.poll_effect()).find_map(|effect| match effect {
        Effect::Log(lists::Effect::Load { load, .. }) => Some(load),
        _ => None,
    });
    load.unwrap()
}

#[test]
fn ld_2_ld_5_a_restored_log_of_a_daemon_with_lower_indexes_shows_its_items_and_its_events() {
    let first = checkpoint(&mut shown(), 3).unwrap();
    let high = |mut kept: Kept<LogPage>| {
        kept.page.items = vec![item(500, "x"), item(501, "y")];
        (kept.page.first, kept.page.next) = (500, 502);
        kept
    };
    let stored = || stored::<LogPage>(&first, "items");
    let shows = |it: &mut Replica| {
        it.publish(Connectivity::Online, &mut 100);
        let view = std::iter::from_fn(|| it.poll_log_view()).last().unwrap().1;
        let indexes: Vec<u64> = view.items().map(|item| item.index).collect();
        (indexes, view.first, view.next)
    };
    // Opened after the session had begun anew.
    let mut it = Replica::default();
    let session = bowline_protocol::SessionState::Reset;
    it.handle(at(0), Input::Attached { session });
    let kept = high(stored().kept(Some(&first.manifest), None));
    assert!(!kept.is_unbroken);
    let (log, _) = it
        .open_kept_log(at(0), target("items"), Some(kept))
        .unwrap();
    let load = asked(&mut it);
    let result = Ok(log_page(vec![item(0, "a"), item(1, "b")], 3));
    let input = logs::Input::Page { load, result };
    it.handle(at(1), Input::Log { id: log, input });
    assert_eq!(shows(&mut it), (vec![0, 1], 0, 2));

    // Continued, at a daemon that has lost what it was as of.
    let mut it = Replica::default();
    let kept = high(stored().kept(Some(&first.manifest), Some(&position(3))));
    assert!(kept.is_unbroken);
    let (log, _) = it
        .open_kept_log(at(0), target("items"), Some(kept))
        .unwrap();
    let session = bowline_protocol::SessionState::Resumed;
    it.handle(at(1), Input::Attached { session });
    let load = asked(&mut it);
    let result = Err(LoadError::Rejected(RpcReason::NotFound));
    let input = logs::Input::Page { load, result };
    it.handle(at(1), Input::Log { id: log, input });
    let load = asked(&mut it);
    let result = Ok(log_page(vec![item(0, "a")], 1));
    let input = logs::Input::Page { load, result };
    it.handle(at(1), Input::Log { id: log, input });
    assert_eq!(shows(&mut it), (vec![0], 0, 1));
    let event = SessionEvent::LogAppended(Box::new(bowline_protocol::live::LogAppended {
        name: "items".to_owned(),
        key: "a".to_owned(),
        items: vec![item(1, "b")],
        first: 0,
        next: 2,
        stale: false,
        intent_id: None,
    }));
    it.handle(at(2), Input::Event { seq: 2, event });
    assert_eq!(shows(&mut it), (vec![0, 1], 0, 2), "the event counts");
}

#[test]
fn ld_5_of_a_long_list_the_beginning_is_kept_and_the_rest_is_known_to_follow() {
    let mut rows = RowList::default();
    for n in 0..MAX_ROWS + 5 {
        rows.insert(Arc::new(TableRow::from(row(&format!("{n:06}"), "1"))));
    }
    let list = |rows| SavedList {
        kind: LiveKind::Table,
        target: Arc::new(target("rows")),
        epoch: position(1).epoch,
        seq: 1,
        scope: Scope::all(),
        follow: None,
        more: false,
        rows: SavedRows::Table(rows),
    };
    let page = |list: SavedList| {
        let stored: Stored<TablePage> =
            read_list(&list.to_bytes().unwrap(), &target("rows")).unwrap();
        stored.kept(None, None).page
    };
    let kept = page(list(rows));
    assert_eq!((kept.rows.len(), kept.more), (MAX_ROWS, true));
    let mut rows = RowList::default();
    let large = format!("{:?}", "x".repeat(MAX_BYTES / 2));
    for key in ["a", "b", "c"] {
        rows.insert(Arc::new(TableRow::from(row(key, &large))));
    }
    let kept = page(list(rows));
    assert_eq!((kept.rows.len(), kept.more), (1, true));
}

#[test]
fn ld_5_a_file_of_another_version_or_of_something_else_is_not_read() {
    let first = checkpoint(&mut shown(), 3).unwrap();
    let list = first.lists.first().unwrap().to_bytes().unwrap();
    let rows = target("rows");
    read_list::<TablePage>(&list, &rows).unwrap();
    let other = LiveTarget {
        params: None,
        ..rows.clone()
    };
    read_list::<TablePage>(&list, &other).unwrap_err();
    read_list::<TablePage>(&list, &target("other")).unwrap_err();
    read_list::<LogPage>(&list, &rows).unwrap_err();
    for cut in [0, 10, list.len() / 2, list.len() - 1] {
        read_list::<TablePage>(&list[..cut], &rows).unwrap_err();
    }
    let text = String::from_utf8(list).unwrap();
    let newer = text.replacen("\"version\":1", "\"version\":2", 1);
    let error = read_list::<TablePage>(newer.as_bytes(), &rows).unwrap_err();
    assert_eq!(error, Damaged("it is of version 2".to_owned()));
    Manifest::read(b"{\"version\":2}").unwrap_err();
}
