//! Tests of what the directory's tests and the explorer do not reach: windows, bounds, and rows
//! fetched by key.

use std::cmp::Ordering;

use bowline_protocol::RpcReason;

use super::*;
use crate::data::load::LOAD_DEADLINE;

/// A row of this many bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Row(u32, usize);

impl Placed for Row {
    type Place = u32;

    fn place(&self) -> u32 {
        self.0
    }

    fn compare(&self, place: &u32) -> Ordering {
        self.0.cmp(place)
    }

    fn compare_rows(&self, other: &Self) -> Ordering {
        self.0.cmp(&other.0)
    }
}

impl Entry for Row {
    type Key = u32;

    const IS_WINDOW: bool = true;
    const FOLLOWS: bool = true;

    /// Bytes.
    type Growth = usize;

    fn grown(&self, growth: &usize) -> Self {
        Self(self.0, self.1 + growth)
    }

    fn growth_bytes(growth: &usize) -> usize {
        *growth
    }

    fn key(&self) -> u32 {
        self.0
    }

    fn bytes(&self) -> usize {
        self.1
    }
}

type Table = Collection<Row>;

const CONFIG: CollectionConfig = CollectionConfig {
    page: 2,
    max_rows: 5,
    max_bytes: 1_000,
};

fn at(millis: u64) -> MonotonicTime {
    MonotonicTime::from_millis(millis)
}

fn page(seq: u64, keys: &[u32], next: Option<&str>) -> Page<Row> {
    Page {
        rows: keys.iter().map(|key| Row(*key, 1)).collect(),
        next: next.map(str::to_owned),
        total: None,
        seq,
        resumed: false,
        follow: None,
    }
}

fn answer(it: &mut Table, page: Page<Row>) {
    let load = it.generation();
    let result = Ok(page);
    it.handle(at(0), Input::Page { load, result });
}

fn put(it: &mut Table, seq: u64, key: u32, bytes: usize) {
    let changes = vec![RowChange::Put(Row(key, bytes))];
    it.handle(at(0), Input::Changed { seq, changes });
}

fn remove(it: &mut Table, seq: u64, key: u32) {
    let changes = vec![RowChange::Remove(key)];
    it.handle(at(0), Input::Changed { seq, changes });
}

fn keys(it: &Table) -> Vec<u32> {
    it.rows().iter().map(|row| row.0).collect()
}

fn asked(it: &mut Table) -> Vec<Request<u32>> {
    std::iter::from_fn(|| it.poll_effect())
        .map(|Effect::Load { request, .. }| request)
        .collect()
}

/// A window of 10 and 20, with more after them.
fn window() -> Table {
    let mut it = Table::new(CONFIG);
    let session = SessionState::New;
    it.handle(at(0), Input::Attached { session });
    let limit = 2;
    assert_eq!(asked(&mut it), [Request::First { limit, held: None }]);
    answer(&mut it, page(5, &[10, 20], Some("20")));
    assert_eq!((keys(&it), it.beyond()), (vec![10, 20], Beyond::More));
    it
}

fn load_more(it: &mut Table, limit: usize, cursor: &str) {
    it.handle(at(0), Input::LoadMore);
    assert_eq!(it.beyond(), Beyond::Loading);
    let cursor = cursor.to_owned();
    assert_eq!(asked(it), [Request::Page { cursor, limit }]);
}

#[test]
fn ld_2_a_window_has_no_gap() {
    let mut it = window();
    put(&mut it, 6, 30, 1);
    assert_eq!(keys(&it), [10, 20], "rows may be missing before it");
    put(&mut it, 7, 15, 1);
    remove(&mut it, 8, 20);
    put(&mut it, 9, 17, 1);
    assert_eq!(keys(&it), [10, 15, 17]);
    put(&mut it, 10, 20, 1);
    assert_eq!(
        keys(&it),
        [10, 15, 17, 20],
        "the window ends where its page did"
    );

    // One more row fits.
    load_more(&mut it, 1, "20");
    put(&mut it, 11, 40, 1);
    remove(&mut it, 12, 30);
    answer(&mut it, page(10, &[30], None));
    assert_eq!(keys(&it), [10, 15, 17, 20, 40], "later changes are on top");
    assert_eq!((it.state().name(), it.beyond()), ("ready", Beyond::None));
}

#[test]
fn ld_2_an_event_behind_a_page_brings_nothing_back() {
    let mut it = window();
    load_more(&mut it, 2, "20");
    // Event 6 put 25, and event 7 removed it, before the page was read.
    answer(&mut it, page(7, &[30], None));
    put(&mut it, 6, 25, 1);
    assert_eq!(keys(&it), [10, 20, 30]);
    remove(&mut it, 7, 25);
    put(&mut it, 8, 25, 1);
    assert_eq!(keys(&it), [10, 20, 25, 30]);
}

#[test]
fn ux_4_a_page_of_more_rows_that_fails_leaves_the_rows_current() {
    let mut it = window();
    for error in [
        LoadError::TimedOut,
        LoadError::Rejected(RpcReason::Overloaded),
        LoadError::Malformed,
        LoadError::Lost(Reason::ConnectionLost),
    ] {
        load_more(&mut it, 2, "20");
        let load = it.generation();
        match error {
            LoadError::TimedOut => it.handle_timeout(at(0) + LOAD_DEADLINE),
            // A page that does not move the end would be requested for ever.
            LoadError::Malformed => answer(&mut it, page(6, &[20], Some("20"))),
            LoadError::Lost(reason) => it.handle(at(0), Input::Disconnected { reason }),
            _ => it.handle(
                at(0),
                Input::Page {
                    load,
                    result: Err(error),
                },
            ),
        }
        assert_eq!(it.beyond(), Beyond::Failed(error));
        assert_eq!((it.state().name(), keys(&it)), ("ready", vec![10, 20]));
    }
    // One that was lost goes on by itself.
    let session = SessionState::Resumed;
    it.handle(at(1), Input::Attached { session });
    let held = Some(Held {
        seq: 5,
        follow: None,
    });
    assert_eq!(asked(&mut it), [Request::First { limit: 4, held }]);
    let stands = Page {
        resumed: true,
        ..page(9, &[], None)
    };
    answer(&mut it, stands);
    assert_eq!(it.beyond(), Beyond::Loading);
}

#[test]
fn ld_2_rows_stand_only_if_the_collection_asked_whether_they_do() {
    let mut it = Table::new(CONFIG);
    let session = SessionState::Resumed;
    it.handle(at(0), Input::Attached { session });
    let stands = Page {
        resumed: true,
        ..page(9, &[], None)
    };
    answer(&mut it, stands);
    assert_eq!(it.error(), Some(LoadError::Malformed));
}

#[test]
fn ld_2_rows_that_the_daemon_cannot_continue_are_loaded_anew() {
    let mut it = window();
    let session = SessionState::Resumed;
    it.handle(at(0), Input::Attached { session });
    let limit = 2;
    let held = Some(Held {
        seq: 5,
        follow: None,
    });
    assert_eq!(asked(&mut it), [Request::First { limit, held }]);
    let refused = LoadError::Rejected(RpcReason::Unsupported);
    for expected in ["revalidating", "error_after_ready"] {
        let load = it.generation();
        let result = Err(refused);
        it.handle(at(0), Input::Page { load, result });
        assert_eq!(it.state().name(), expected);
    }
    assert_eq!(asked(&mut it), [Request::First { limit, held: None }]);
}

#[test]
fn ld_2_rows_are_continued_in_the_follow_that_they_are_of() {
    let mut it = window();
    let of = |follow, page| Page { follow, ..page };
    it.handle(at(0), Input::Refresh);
    asked(&mut it);
    answer(&mut it, of(Some(1), page(5, &[10, 20], Some("20"))));
    let session = SessionState::Resumed;
    let held = |seq, follow| Some(Held { seq, follow });
    let limit = 2;
    for (answered, expected) in [
        // A load that fails leaves the rows as they were.
        (of(Some(2), page(7, &[10], Some("10"))), held(5, Some(1))),
        (of(Some(3), page(7, &[10, 20], None)), held(5, Some(1))),
        (of(None, page(8, &[10, 20], None)), held(7, Some(3))),
    ] {
        it.handle(at(0), Input::Attached { session });
        let first = Request::First {
            limit,
            held: expected,
        };
        assert_eq!(asked(&mut it), [first]);
        answer(&mut it, answered);
        let reason = Reason::ConnectionLost;
        it.handle(at(0), Input::Disconnected { reason });
        asked(&mut it);
    }
}

#[test]
fn ld_2_a_refresh_fetches_rows_that_would_stand() {
    let mut it = window();
    it.handle(at(0), Input::Refresh);
    let limit = 2;
    assert_eq!(asked(&mut it), [Request::First { limit, held: None }]);
}

#[test]
fn ld_2_a_large_change_is_fetched_by_key() {
    let mut it = window();
    let keys_changed = Some(vec![10, 15, 20]);
    it.handle(
        at(0),
        Input::Stale {
            seq: 6,
            keys: keys_changed,
        },
    );
    assert_eq!(it.state().name(), "revalidating");
    assert_eq!(asked(&mut it), [Request::Rows(vec![10, 15, 20])]);
    remove(&mut it, 8, 20);
    // There was no room for 20, and the change of 10 is later than the answer.
    let mut part = page(7, &[10, 15], Some("15"));
    part.rows.iter_mut().for_each(|row| row.1 = 100);
    put(&mut it, 9, 10, 7);
    answer(&mut it, part);
    assert_eq!(keys(&it), [10, 15]);
    assert_eq!((it.get(&10).unwrap().1, it.get(&15).unwrap().1), (7, 100));
    assert_eq!((it.state().name(), asked(&mut it).len()), ("ready", 0));
    it.handle(
        at(0),
        Input::Stale {
            seq: 10,
            keys: Some(vec![15]),
        },
    );
    answer(&mut it, page(10, &[], None));
    assert_eq!(keys(&it), [10], "a row that is not found is gone");
    put(&mut it, 10, 15, 1);
    assert_eq!(keys(&it), [10]);
}

#[test]
fn ld_2_what_was_fetched_by_key_is_remembered_until_its_events_have_come() {
    let mut it = window();
    for key in 11..20 {
        // Each answer is as of a later event, which is of another table.
        let seq = u64::from(key) * 10;
        let keys = Some(vec![key]);
        it.handle(at(0), Input::Stale { seq, keys });
        answer(&mut it, page(seq + 5, &[key], None));
        assert_eq!(it.floors.rows.len(), 1, "{key}");
    }
}

#[test]
fn ld_2_rows_that_can_all_have_changed_are_loaded_again() {
    let mut it = window();
    it.handle(at(0), Input::Stale { seq: 6, keys: None });
    let first = Request::First {
        limit: 2,
        held: None,
    };
    assert_eq!(asked(&mut it), std::slice::from_ref(&first));
    it.handle(at(0), Input::Stale { seq: 8, keys: None });
    assert_eq!(asked(&mut it), [], "the running load may contain it");
    answer(&mut it, page(7, &[10, 20], Some("20")));
    assert_eq!(asked(&mut it), [first], "it did not");
    answer(&mut it, page(8, &[10, 20], Some("20")));
    assert_eq!((it.state().name(), asked(&mut it).len()), ("ready", 0));
}

#[test]
fn a_collection_is_bounded_in_rows_and_bytes() {
    let mut it = window();
    for (seq, key) in (6..).zip([1, 2, 3, 4, 5, 6]) {
        put(&mut it, seq, key, 1);
    }
    assert_eq!(keys(&it), [1, 2, 3, 4, 5]);
    assert!(it.has_more() && it.is_full());
    assert_eq!(it.beyond(), Beyond::None, "they do not fit");
    it.handle(at(0), Input::LoadMore);
    assert_eq!(asked(&mut it), []);
    // Where the dropped rows were is loaded anew.
    remove(&mut it, 12, 5);
    assert_eq!(it.beyond(), Beyond::More);
    it.handle(at(0), Input::LoadMore);
    let first = Request::First {
        limit: 5,
        held: None,
    };
    assert_eq!(asked(&mut it), [first]);
    answer(&mut it, page(12, &[1, 2, 3, 4, 6], Some("6")));
    assert_eq!(keys(&it), [1, 2, 3, 4, 6]);

    it.set_max_bytes(3);
    assert_eq!((keys(&it), it.bytes()), (vec![1, 2, 3], 3));
    put(&mut it, 13, 1, 2);
    assert_eq!((keys(&it), it.bytes()), (vec![1, 2], 3));

    // Not even one of these fits beside another, and nothing is requested for ever.
    put(&mut it, 14, 1, 9);
    assert_eq!((keys(&it), it.beyond()), (vec![1], Beyond::None));
    assert_eq!(asked(&mut it).len(), 0);

    let mut it = window();
    it.handle(at(0), Input::Refresh);
    put(&mut it, 6, 90, 1_001);
    assert_eq!(it.error(), Some(LoadError::Overrun));
}

#[test]
fn a_window_is_not_empty_while_there_are_rows() {
    let mut it = window();
    remove(&mut it, 6, 10);
    remove(&mut it, 7, 20);
    let (cursor, limit) = ("20".to_owned(), 2);
    assert_eq!(asked(&mut it), [Request::Page { cursor, limit }]);
}

#[test]
fn ld_2_rows_of_another_scope_are_discarded_before_they_are_shown() {
    let mut it = Table::new(CONFIG);
    let session = SessionState::New;
    it.handle(at(0), Input::Attached { session });
    put(&mut it, 6, 5, 1);
    put(&mut it, 7, 15, 1);
    it.discard(|key| *key >= 10);
    answer(&mut it, page(5, &[10], None));
    assert_eq!(keys(&it), [10, 15]);
}

#[test]
fn ld_5_restored_rows_are_bounded_continue_after_the_last_one_and_must_be_in_order() {
    let it = Table::restored(CONFIG, page(3, &[1, 2, 4], Some("4")), true);
    assert_eq!(*it.state(), State::Restored);
    assert_eq!(
        (keys(&it), it.bytes(), it.end()),
        (vec![1, 2, 4], 3, Some(&4))
    );
    assert!(it.has_applied(3) && !it.is_current() && !it.is_as_of(3));
    let long = Table::restored(CONFIG, page(3, &[1, 2, 3, 4, 5, 6, 7], None), true);
    assert_eq!(keys(&long), [1, 2, 3, 4, 5]);
    assert!(long.has_more());
    for malformed in [
        page(3, &[2, 1], None),
        page(3, &[1, 1], None),
        page(3, &[], Some("1")),
    ] {
        let it = Table::restored(CONFIG, malformed, true);
        assert_eq!((it.state(), keys(&it).len()), (&State::Idle, 0));
    }
}
