//! Tests of a host's tables: which rows of an event are whose, who shares a follow, and what is
//! shown. [`crate::data::collection`] and the explorer have those of the rows themselves.

use bowline_protocol::{
    RpcReason,
    live::{Json, Row},
};

use super::*;
use crate::data::{collection::Request, follows::Close, load::Held, view::Beyond};

const NOW: MonotonicTime = MonotonicTime::from_millis(1_000);

fn json(text: &str) -> Json {
    serde_json::from_str(text).unwrap()
}

fn target(project: &str) -> LiveTarget {
    LiveTarget {
        name: "voxel.layers".to_owned(),
        params: Some(json(&format!("{{\"project\":\"{project}\"}}"))),
    }
}

fn scope(text: &str) -> Scope {
    Scope::try_from(text.to_owned()).unwrap()
}

fn row(key: &str, value: u32) -> Row {
    Row {
        key: key.to_owned(),
        value: json(&value.to_string()),
        omitted_bytes: None,
        unreadable: false,
    }
}

fn page(of: &str, seq: u64, keys: &[&str], more: bool) -> TablePage {
    TablePage {
        scope: scope(of),
        rows: keys.iter().map(|key| row(key, 0)).collect(),
        more,
        seq,
        resumed: false,
        follow: None,
    }
}

fn event(upserts: &[(&str, u32)], removed: &[&str]) -> TableChanged {
    TableChanged {
        name: "voxel.layers".to_owned(),
        scope: Scope::all(),
        upserts: upserts
            .iter()
            .map(|(key, value)| row(key, *value))
            .collect(),
        removed: removed.iter().map(|key| (*key).to_owned()).collect(),
        stale: false,
        keys: None,
        intent_id: None,
    }
}

fn stale(of: &str, keys: Option<&[&str]>) -> TableChanged {
    TableChanged {
        scope: scope(of),
        stale: true,
        keys: keys.map(|keys| keys.iter().map(|key| (*key).to_owned()).collect()),
        ..event(&[], &[])
    }
}

fn closed(name: String, scope: Scope, follow: Option<u64>) -> Effect {
    Effect::Close(Close {
        name,
        scope,
        follow,
    })
}

/// The tables of a host, with what its app shows.
#[derive(Clone)]
struct Host {
    tables: Tables,
    rev: u64,
}

impl Host {
    fn attached() -> Self {
        let mut host = Self {
            tables: Tables::default(),
            rev: 0,
        };
        host.tables.attached(NOW, SessionState::New);
        host
    }

    fn open(&mut self, project: &str) -> OpenId {
        self.tables.open(NOW, target(project)).unwrap().0
    }

    fn effects(&mut self) -> Vec<Effect> {
        std::iter::from_fn(|| self.tables.poll_effect()).collect()
    }

    /// Answers the running load of a table.
    fn answer(&mut self, id: OpenId, result: Result<TablePage, LoadError>) {
        let load = self.tables.lists.open.get(id).unwrap().rows.generation();
        self.effects();
        self.tables.handle(NOW, id, Input::Page { load, result });
    }

    fn changed(&mut self, seq: u64, event: &TableChanged) {
        self.tables.changed(NOW, seq, event);
    }

    fn view(&mut self, id: OpenId) -> Arc<TableView> {
        self.view_while(id, Connectivity::Online)
    }

    fn view_while(&mut self, id: OpenId, host: Connectivity) -> Arc<TableView> {
        self.tables.publish(host, &mut self.rev);
        while self.tables.poll_view().is_some() {}
        Arc::clone(&self.tables.lists.open.get(id).unwrap().view)
    }

    fn rows(&mut self, id: OpenId) -> Vec<String> {
        let view = self.view(id);
        let rows = view.rows.iter();
        rows.map(|row| format!("{}={}", row.key, row.value.get()))
            .collect()
    }
}

#[test]
fn ld_2_a_table_takes_the_rows_that_its_scope_covers() {
    let mut host = Host::attached();
    let (castle, tower) = (host.open("castle"), host.open("tower"));
    // Before the first page, nobody knows whose rows these are.
    host.changed(6, &event(&[("castle/a", 6), ("tower/a", 6)], &[]));
    host.answer(castle, Ok(page("castle/*", 5, &["castle/a"], false)));
    host.answer(tower, Ok(page("tower/*", 5, &[], false)));
    assert_eq!(host.rows(castle), ["castle/a=6"]);
    assert_eq!(host.rows(tower), ["tower/a=6"]);

    host.changed(7, &event(&[("castle/b", 7)], &["tower/a", "castle/a"]));
    assert_eq!(host.rows(castle), ["castle/b=7"]);
    assert_eq!(host.view(tower).state, TableState::Empty);

    let mut other = event(&[("castle/c", 8)], &[]);
    other.name = "voxel.projects".to_owned();
    host.changed(8, &other);
    assert_eq!(host.rows(castle), ["castle/b=7"], "of another table");
}

#[test]
fn ld_2_a_stale_change_is_fetched_by_the_tables_that_it_concerns() {
    let mut host = Host::attached();
    let (castle, tower) = (host.open("castle"), host.open("tower"));
    host.answer(castle, Ok(page("castle/*", 5, &["castle/a"], false)));
    host.answer(tower, Ok(page("tower/*", 5, &["tower/a"], false)));
    let asked = |host: &mut Host| -> Vec<(OpenId, Request<Arc<str>>)> {
        let effects = host.effects().into_iter();
        let loads = effects.map(|effect| match effect {
            Effect::Load { id, request, .. } => (id, request),
            Effect::Close(_) | Effect::Forget(_) => panic!("nothing but loads"),
        });
        loads.collect()
    };
    host.changed(6, &stale("*", Some(&["castle/a", "hut/a"])));
    let keys = Request::Rows(vec!["castle/a".into()]);
    assert_eq!(asked(&mut host), [(castle, keys)]);
    assert_eq!(host.view(castle).state, TableState::Revalidating);
    host.answer(castle, Ok(page("castle/*", 6, &["castle/a"], false)));
    assert_eq!(host.view(castle).state, TableState::Ready);

    host.changed(7, &stale("tower/*", None));
    let (limit, held) = (Overlay::CONFIG.page, None);
    assert_eq!(asked(&mut host), [(tower, Request::First { limit, held })]);
}

#[test]
fn ld_2_readers_of_one_target_share_a_follow_that_the_last_one_ends() {
    let mut host = Host::attached();
    let castle = host.open("castle");
    assert_eq!(host.open("castle"), castle);
    assert_eq!(host.effects().len(), 1);
    host.tables.left(castle);
    host.tables.sweep();
    assert_eq!(host.effects(), [], "the answer will say what to close");
    host.answer(castle, Ok(page("castle/*", 5, &[], false)));
    // A reader that comes before the sweep finds it as it was.
    assert_eq!(host.open("castle"), castle);
    host.tables.sweep();
    assert_eq!(host.effects(), []);
    // The service has one scope for both.
    let same = host.open("Castle");
    host.answer(same, Ok(page("castle/*", 5, &[], false)));
    host.tables.left(castle);
    host.tables.sweep();
    assert_eq!(host.effects(), [], "it is followed for the other");
    host.tables.left(same);
    host.tables.sweep();
    let (name, scope) = ("voxel.layers".to_owned(), scope("castle/*"));
    assert_eq!(host.effects(), [closed(name, scope, None)]);
    assert_ne!(host.open("castle"), castle, "an id is not used twice");
}

#[test]
fn ld_2_a_close_names_the_newest_follow_of_its_scope_whoever_opened_it() {
    let of = |follow| TablePage {
        follow: Some(follow),
        ..page("castle/*", 5, &["castle/a"], false)
    };
    let mut host = Host::attached();
    let (one, same) = (host.open("castle"), host.open("Castle"));
    // Whichever answer comes first.
    host.answer(same, Ok(of(8)));
    host.answer(one, Ok(of(7)));
    host.tables.left(same);
    host.tables.sweep();
    let mut left = host.clone();
    left.tables.left(one);
    left.tables.sweep();
    let (name, castle) = ("voxel.layers".to_owned(), scope("castle/*"));
    assert_eq!(left.effects().pop(), Some(closed(name, castle, Some(8))));
    host.tables.attached(NOW, SessionState::Resumed);
    let resumed = TablePage {
        resumed: true,
        rows: Vec::new(),
        ..of(3)
    };
    // A daemon that was restarted may number from a smaller one on.
    host.answer(one, Ok(resumed));
    // A page of it is no follow.
    host.changed(6, &stale("*", Some(&["castle/a"])));
    let fetched = TablePage {
        follow: None,
        seq: 6,
        ..of(0)
    };
    host.answer(one, Ok(fetched));
    host.tables.left(one);
    host.tables.sweep();
    let (name, scope) = ("voxel.layers".to_owned(), scope("castle/*"));
    assert_eq!(host.effects(), [closed(name, scope, Some(3))]);
}

#[test]
fn ld_2_a_follow_that_an_answer_on_its_way_may_share_is_not_closed() {
    let mut host = Host::attached();
    let castle = host.open("castle");
    host.answer(castle, Ok(page("castle/*", 5, &[], false)));
    // The daemon has answered, and the answer is on its way: the close would end its follow.
    let same = host.open("Castle");
    host.effects();
    host.tables.left(castle);
    host.tables.sweep();
    assert_eq!(host.effects(), []);
    host.answer(same, Ok(page("castle/*", 6, &[], false)));
    host.tables.sweep();
    assert_eq!(host.effects(), [], "it is followed for the other");
    assert_eq!(host.tables.lists.open.len(), 1);
}

#[test]
fn ld_2_a_table_that_gets_another_scope_is_loaded_with_it_and_ends_the_former_one() {
    let first = |limit, held| Request::First { limit, held };
    let asked = |host: &mut Host| match host.effects().pop() {
        Some(Effect::Load { request, .. }) => request,
        other => panic!("{other:?} instead of a load"),
    };
    let mut host = Host::attached();
    host.tables.lists.config.page = 1;
    let id = host.open("mine");
    host.answer(id, Ok(page("castle/*", 5, &["castle/a"], true)));
    host.tables.handle(NOW, id, Input::LoadMore);
    let (cursor, limit) = ("castle/a".to_owned(), 1);
    assert_eq!(asked(&mut host), Request::Page { cursor, limit });
    // Nobody follows the tower yet.
    host.answer(id, Ok(page("tower/*", 6, &["tower/b"], false)));
    assert_eq!(host.rows(id), ["castle/a=0"]);
    assert_eq!(asked(&mut host), first(2, None));
    host.answer(id, Ok(page("tower/*", 7, &["tower/a", "tower/b"], false)));
    assert_eq!(host.rows(id), ["tower/a=0", "tower/b=0"]);
    host.tables.sweep();
    let former = closed("voxel.layers".to_owned(), scope("castle/*"), None);
    assert_eq!(host.effects(), [former]);

    // Another table follows the hut, so the daemon resumes that, and it has other rows.
    host.tables.attached(NOW, SessionState::Resumed);
    assert_eq!(
        asked(&mut host),
        first(
            2,
            Some(Held {
                seq: 7,
                follow: None
            })
        )
    );
    let resumed = TablePage {
        resumed: true,
        ..page("hut/*", 9, &[], false)
    };
    host.answer(id, Ok(resumed));
    assert_eq!(asked(&mut host), first(2, None));
    host.answer(id, Ok(page("hut/*", 9, &["hut/a"], false)));
    assert_eq!(host.rows(id), ["hut/a=0"]);
}

#[test]
fn ds_1_what_is_shown_of_a_table_tells_apart_what_a_user_can_do() {
    let mut host = Host::attached();
    host.tables.lists.config.page = 1;
    let id = host.open("castle");
    assert_eq!(host.view(id).state, TableState::Loading);
    let busy = LoadError::Rejected(RpcReason::Overloaded);
    host.answer(id, Err(busy));
    let view = host.view(id);
    assert_eq!((view.state, view.error), (TableState::Failed, Some(busy)));
    let due = host.tables.poll_timeout().unwrap();
    host.tables.handle_timeout(due);
    host.answer(id, Ok(page("castle/*", 5, &["castle/a"], true)));
    let view = host.view(id);
    assert_eq!((view.state, view.beyond), (TableState::Ready, Beyond::More));

    assert_eq!(
        host.view_while(id, Connectivity::Connecting).state,
        TableState::Stale
    );
    host.tables.disconnected(NOW, Reason::ConnectionLost);
    host.tables.attached(NOW, SessionState::Resumed);
    assert_eq!(host.view(id).state, TableState::Revalidating);
    host.answer(id, Err(busy));
    let view = host.view(id);
    assert_eq!((view.state, view.error), (TableState::Stale, Some(busy)));
    assert_eq!(view.rows.len(), 1, "rows survive errors (UX-4)");

    let refused = LoadError::Rejected(RpcReason::NotGranted);
    host.tables.handle(NOW, id, Input::Refresh);
    host.answer(id, Err(refused));
    let view = host.view(id);
    assert_eq!(
        (view.state, view.error),
        (TableState::Refused, Some(refused))
    );
    assert_eq!(host.tables.poll_timeout(), None, "not tried again");
    host.open("castle");
    assert_eq!(
        host.view(id).state,
        TableState::Revalidating,
        "a new reader does"
    );
}

#[test]
fn ds_1_a_table_opened_without_a_connection_says_so_and_loads_at_the_attach() {
    let mut host = Host::attached();
    host.tables.disconnected(NOW, Reason::ConnectionLost);
    let id = host.open("castle");
    let view = host.view_while(id, Connectivity::Connecting);
    let lost = LoadError::Lost(Reason::ConnectionLost);
    assert_eq!((view.state, view.error), (TableState::Failed, Some(lost)));
    assert_eq!(host.effects(), []);
    host.tables.attached(NOW, SessionState::Resumed);
    assert_eq!(host.effects().len(), 1);
}

#[test]
fn ld_4_a_view_is_published_once_and_its_diff_has_what_changed() {
    let mut host = Host::attached();
    let id = host.open("castle");
    host.answer(
        id,
        Ok(page("castle/*", 5, &["castle/a", "castle/c"], false)),
    );
    let before = host.view(id);
    host.changed(6, &event(&[("castle/b", 6)], &[]));
    host.tables.publish(Connectivity::Online, &mut host.rev);
    let (_, after) = host.tables.poll_view().unwrap();
    let diff = after.diff(Some(&before));
    assert_eq!((diff.base_rev, diff.changes.len()), (Some(before.rev), 1));
    host.tables.publish(Connectivity::Online, &mut host.rev);
    assert_eq!(host.tables.poll_view(), None);
}

#[test]
fn tables_are_bounded_in_number_and_share_their_bytes() {
    let mut host = Host::attached();
    host.tables.lists.open.most = 2;
    let (first, second) = (host.open("a"), host.open("b"));
    let refused = host.tables.open(NOW, target("c"));
    assert_eq!(refused, Err(TooMany { most: 2 }));
    assert_eq!(host.open("a"), first);
    host.tables.left(second);
    host.answer(first, Ok(page("a/*", 5, &[], false)));
    host.answer(second, Ok(page("b/*", 5, &[], false)));
    host.open("c");
    assert_eq!(
        host.tables.lists.open.len(),
        2,
        "what nobody reads makes room"
    );

    let mut host = Host::attached();
    host.tables.lists.config.bytes = 1_000;
    let first = host.open("a");
    let keys = ["a/1", "a/2", "a/3", "a/4"];
    host.answer(first, Ok(page("a/*", 5, &keys, false)));
    assert!(!host.view(first).truncated);
    host.open("b");
    let view = host.view(first);
    assert_eq!((view.rows.len(), view.truncated), (3, true));
}

fn queued(n: u8, of: &str, key: &str, value: u32) -> patches::Input {
    let value = json(&value.to_string());
    patches::Input::Queued {
        intent_id: intent(n),
        at: i64::from(n),
        patches: vec![patches::Patch {
            table: "voxel.layers".to_owned(),
            params: target(of).params,
            key: key.to_owned(),
            change: patches::PatchChange::Upsert(value),
        }],
    }
}

fn intent(n: u8) -> IntentId {
    IntentId::from_uuid(uuid::Uuid::from_bytes([n; 16]))
}

fn done(n: u8, seq: u64) -> patches::Input {
    patches::Input::Concluded {
        intent_id: intent(n),
        conclusion: patches::Conclusion::Done { seq },
    }
}

/// Keys of the rows that are pending.
fn pending(host: &mut Host, id: OpenId) -> Vec<String> {
    let view = host.view(id);
    let pending = view.rows.iter().filter(|row| row.pending);
    pending.map(|row| row.key.to_string()).collect()
}

#[test]
fn ld_3_every_table_that_covers_the_key_shows_a_patch_and_lets_it_go_by_itself() {
    let mut host = Host::attached();
    let (castle, walls) = (host.open("castle"), host.open("walls"));
    host.tables
        .patch(NOW, queued(1, "castle", "castle/walls", 9));
    assert_eq!(
        pending(&mut host, castle),
        ["castle/walls"],
        "by its target"
    );
    assert_eq!(pending(&mut host, walls), [""; 0], "nobody knows yet");
    host.answer(castle, Ok(page("castle/*", 5, &[], false)));
    host.answer(walls, Ok(page("castle/walls", 5, &[], false)));
    assert_eq!(pending(&mut host, walls), ["castle/walls"]);
    assert_eq!(host.view(walls).state, TableState::Ready, "not empty");

    // One of them is fetched anew while the change comes by its key only.
    host.tables.handle(NOW, walls, Input::Refresh);
    let mut large = stale("castle/*", Some(&["castle/walls"]));
    large.intent_id = Some(intent(1));
    host.changed(6, &large);
    host.tables.patch(NOW, done(1, 6));
    let mut fetched = page("castle/*", 6, &["castle/walls"], false);
    fetched.rows[0] = row("castle/walls", 10);
    host.answer(castle, Ok(fetched.clone()));
    assert_eq!(host.rows(castle), ["castle/walls=10"]);
    assert_eq!(pending(&mut host, castle), [""; 0]);
    assert_eq!(host.rows(walls), ["castle/walls=9"], "still on its way");
    fetched.scope = scope("castle/walls");
    host.answer(walls, Ok(fetched));
    assert_eq!(host.rows(walls), ["castle/walls=10"]);
    // Nothing of it is left for a table that is opened later.
    let later = host.open("castle2");
    assert_eq!(pending(&mut host, later), [""; 0]);
    assert!(host.tables.lists.patches.is_empty());
}

#[test]
fn ld_3_a_patch_waits_for_the_event_of_the_answer_and_no_longer() {
    let mut host = Host::attached();
    let castle = host.open("castle");
    host.answer(castle, Ok(page("castle/*", 5, &[], false)));
    host.tables.patch(NOW, queued(1, "castle", "castle/a", 9));
    host.tables.patch(NOW, done(1, 7));
    host.tables.passed(6);
    assert_eq!(pending(&mut host, castle), ["castle/a"]);
    host.tables.passed(7);
    assert_eq!(host.rows(castle), [""; 0]);

    // One whose number is of an earlier epoch leaves with the rows that are loaded.
    host.tables.patch(NOW, queued(2, "castle", "castle/a", 9));
    host.tables.patch(NOW, done(2, 900));
    host.tables.attached(NOW, SessionState::Reset);
    assert_eq!(pending(&mut host, castle), ["castle/a"]);
    host.answer(castle, Ok(page("castle/*", 1, &[], false)));
    assert_eq!(host.rows(castle), [""; 0]);

    // A table that is refused tells no more, and one that nobody has open waits for nothing.
    host.tables.patch(NOW, queued(3, "castle", "castle/a", 9));
    host.tables.patch(NOW, done(3, 900));
    host.tables.handle(NOW, castle, Input::Refresh);
    host.answer(castle, Err(LoadError::Rejected(RpcReason::Forbidden)));
    assert_eq!(host.rows(castle), [""; 0]);
    host.tables.patch(NOW, queued(4, "castle", "castle/a", 9));
    host.tables.left(castle);
    host.tables.sweep();
    host.tables.patch(NOW, done(4, 900));
    assert!(host.tables.lists.patches.is_empty());
}

/// A patch that changes a row or removes it, if there is one.
fn changing(n: u8, key: &str, change: patches::PatchChange) -> patches::Input {
    patches::Input::Queued {
        intent_id: intent(n),
        at: i64::from(n),
        patches: vec![patches::Patch {
            table: "voxel.layers".to_owned(),
            params: target("castle").params,
            key: key.to_owned(),
            change,
        }],
    }
}

fn failed(n: u8) -> patches::Input {
    patches::Input::Concluded {
        intent_id: intent(n),
        conclusion: patches::Conclusion::Failed(crate::data::optimistic::IntentFailure::Expired),
    }
}

#[test]
fn ld_3_a_failure_that_no_row_says_is_dropped_and_concerns_no_later_row() {
    use patches::PatchChange::{Merge, Remove};
    let mut host = Host::attached();
    let castle = host.open("castle");
    for (n, change) in [(1, Merge(json("{}"))), (2, Remove)] {
        host.tables.patch(NOW, changing(n, "castle/a", change));
    }
    // Nobody knows yet whether there is a row.
    assert!(host.tables.is_patched_by(intent(1)));
    host.tables.patch(NOW, failed(1));
    host.effects();
    host.answer(castle, Ok(page("castle/*", 5, &["castle/b"], false)));
    assert_eq!(host.effects(), [Effect::Forget(intent(1))]);
    // Now it is known.
    assert!(!host.tables.is_patched_by(intent(2)), "not to be kept");
    host.tables.patch(NOW, failed(2));
    host.effects();
    host.changed(6, &event(&[("castle/a", 6)], &[]));
    let failure = |host: &mut Host, key: &str| {
        let view = host.view(castle);
        let row = view.rows.iter().find(|row| &*row.key == key).cloned();
        row.unwrap().failure.as_ref().map(|why| why.intent_id)
    };
    assert_eq!(failure(&mut host, "castle/a"), None);
    assert!(host.tables.lists.patches.is_empty());

    // A row says it, until it is gone.
    host.tables.patch(NOW, changing(3, "castle/a", Remove));
    assert!(host.tables.is_patched_by(intent(3)));
    host.tables.patch(NOW, failed(3));
    assert_eq!(failure(&mut host, "castle/a"), Some(intent(3)));
    assert_eq!(host.effects(), []);
    host.changed(7, &event(&[], &["castle/a"]));
    assert_eq!(host.effects(), [Effect::Forget(intent(3))]);
    // A row that is only expected says it as well.
    host.tables.patch(NOW, queued(4, "castle", "castle/c", 9));
    host.tables.patch(NOW, changing(5, "castle/c", Remove));
    host.tables.patch(NOW, failed(5));
    assert_eq!(failure(&mut host, "castle/c"), Some(intent(5)));
    assert_eq!(host.effects(), []);
}

/// The answer was lost and the app gave up, but the daemon had done it.
#[test]
fn ld_3_a_failure_goes_when_the_effect_is_told_after_all() {
    let mut host = Host::attached();
    let castle = host.open("castle");
    host.answer(castle, Ok(page("castle/*", 5, &[], false)));
    host.tables.patch(NOW, queued(1, "castle", "castle/a", 9));
    host.tables.patch(NOW, failed(1));
    let failure = |host: &mut Host| {
        let view = host.view(castle);
        view.rows.iter().any(|row| row.failure.is_some())
    };
    assert!(failure(&mut host));
    host.effects();
    let mut told = event(&[("castle/a", 9)], &[]);
    told.intent_id = Some(intent(1));
    host.changed(6, &told);
    assert_eq!(host.effects(), [Effect::Forget(intent(1))]);
    assert!(!failure(&mut host));
    assert_eq!(host.rows(castle).len(), 1);
    assert!(host.tables.lists.patches.is_empty());
}

#[test]
fn ld_3_an_answer_without_a_number_loads_a_table_once_however_many_rows_it_changed() {
    let mut host = Host::attached();
    let castle = host.open("castle");
    host.answer(castle, Ok(page("castle/*", 5, &[], false)));
    host.effects();
    let patches::Input::Queued {
        patches: mut both, ..
    } = queued(1, "castle", "castle/a", 9)
    else {
        panic!("an intent is queued");
    };
    both.extend(both.clone());
    both[1].key = "castle/b".to_owned();
    let (intent_id, at) = (intent(1), 1);
    let queued = patches::Input::Queued {
        intent_id,
        at,
        patches: both,
    };
    host.tables.patch(NOW, queued);
    host.tables.patch(NOW, done(1, 0));
    assert_eq!(host.effects().len(), 1, "one load");
}

#[test]
fn ld_3_an_answer_of_before_a_reset_leaves_its_patch_until_rows_of_after_it_are_there() {
    let mut host = Host::attached();
    let castle = host.open("castle");
    host.answer(castle, Ok(page("castle/*", 5, &[], false)));
    host.tables.patch(NOW, queued(1, "castle", "castle/a", 9));
    host.tables.attached(NOW, SessionState::Reset);
    // The daemon read these rows, then the connection of before the reset did the intent.
    let early = page("castle/*", 1, &[], false);
    host.effects();
    let load = host
        .tables
        .lists
        .open
        .get(castle)
        .unwrap()
        .rows
        .generation();
    host.tables.patch(NOW, done(1, 0));
    let result = Ok(early);
    host.tables
        .handle(NOW, castle, Input::Page { load, result });
    assert_eq!(pending(&mut host, castle), ["castle/a"]);
    let mut late = page("castle/*", 2, &["castle/a"], false);
    late.rows[0] = row("castle/a", 10);
    host.answer(castle, Ok(late));
    assert_eq!(host.rows(castle), ["castle/a=10"]);
    assert_eq!(pending(&mut host, castle), [""; 0]);

    // Rows that were current are not, as to this.
    host.tables.patch(NOW, queued(2, "castle", "castle/b", 9));
    host.tables.patch(NOW, done(2, 0));
    assert_eq!(pending(&mut host, castle), ["castle/b"]);
    let mut told = event(&[("castle/b", 11)], &[]);
    told.intent_id = Some(intent(2));
    host.changed(3, &told);
    assert_eq!(host.rows(castle), ["castle/a=10", "castle/b=11"]);
}

#[test]
fn ld_3_a_row_after_the_last_loaded_one_stays_left_out() {
    let config = ListsConfig {
        page: 1,
        ..Overlay::CONFIG
    };
    let mut host = Host {
        tables: Tables::new(config),
        rev: 0,
    };
    host.tables.attached(NOW, SessionState::New);
    let castle = host.open("castle");
    host.answer(castle, Ok(page("castle/*", 5, &["castle/b"], true)));
    host.tables.patch(NOW, queued(1, "castle", "castle/a", 9));
    host.tables.patch(NOW, queued(2, "castle", "castle/c", 9));
    assert_eq!(host.rows(castle), ["castle/a=9", "castle/b=0"]);
    host.tables.handle(NOW, castle, Input::LoadMore);
    host.answer(castle, Ok(page("castle/*", 5, &["castle/d"], false)));
    let all = ["castle/a=9", "castle/b=0", "castle/c=9", "castle/d=0"];
    assert_eq!(host.rows(castle), all);
}

#[test]
fn ld_3_ld_4_a_patch_costs_what_it_changes_and_nothing_while_nothing_happens() {
    let mut host = Host::attached();
    let castle = host.open("castle");
    let keys: Vec<_> = (0..10_000).map(|n| format!("castle/{n:05}")).collect();
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    host.answer(castle, Ok(page("castle/*", 5, &keys, false)));
    let before = host.view(castle);
    host.tables
        .patch(NOW, queued(1, "castle", "castle/05000", 9));
    host.tables
        .patch(NOW, queued(2, "castle", "castle/05000x", 9));
    let with = host.view(castle);
    assert_eq!(with.diff(Some(&before)).changes.len(), 2);
    let tower = host.open("tower");
    host.view(tower);
    assert!(Arc::ptr_eq(&with, &host.view(castle)), "the same value");
    // A change elsewhere leaves the patched rows as they are.
    host.changed(6, &event(&[("castle/00001", 1)], &[]));
    let after = host.view(castle);
    assert_eq!(after.diff(Some(&with)).changes.len(), 1);
}

#[test]
fn ld_3_what_is_shown_is_what_laying_all_patches_anew_would_show() {
    let mut host = Host::attached();
    let castle = host.open("castle");
    host.answer(
        castle,
        Ok(page("castle/*", 1, &["castle/0", "castle/3"], false)),
    );
    let mut random = 7_u64;
    let mut below = |bound: u64| {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (random >> 33) % bound
    };
    let (mut seq, mut last) = (1, 0_u8);
    for step in 0..4_000 {
        let key = format!("castle/{}", below(5));
        // One of the last few intents; most are known.
        let some = last.saturating_sub(u8::try_from(below(6)).unwrap());
        let fail = patches::Conclusion::Failed(crate::data::optimistic::IntentFailure::Expired);
        match below(8) {
            0..=2 if last < 250 => {
                last += 1;
                host.tables.patch(NOW, queued(last, "castle", &key, step));
            }
            3 => host.tables.patch(NOW, done(some, seq + below(3))),
            4 => host.tables.patch(
                NOW,
                patches::Input::Concluded {
                    intent_id: intent(some),
                    conclusion: fail,
                },
            ),
            5 => host.tables.patch(
                NOW,
                patches::Input::Dismissed {
                    intent_id: intent(some),
                },
            ),
            6 => {
                seq += 1;
                let mut changed = event(&[(&key, step)], &[]);
                changed.intent_id = (below(2) == 0).then(|| intent(some));
                host.changed(seq, &changed);
            }
            _ => {
                seq += 1;
                host.changed(seq, &event(&[], &[&key]));
            }
        }
        // Intents begin anew, or the test would run out of ids.
        if last == 250 {
            (1..=last).for_each(|n| {
                let conclusion = patches::Conclusion::Dropped;
                let intent_id = intent(n);
                host.tables.patch(
                    NOW,
                    patches::Input::Concluded {
                        intent_id,
                        conclusion,
                    },
                );
            });
            last = 0;
        }
        let shown = host.view(castle).rows.clone();
        let one = host.tables.lists.open.get(castle).unwrap();
        let mut anew = one.own.clone().forgotten();
        let scope = one.scope.as_ref();
        let over = (&host.tables.lists.patches, &mut one.left.clone());
        let anew = anew.lay(over, &one.rows, &one.target, scope);
        assert!(shown.iter().eq(anew.iter()), "step {step}");
    }
}
