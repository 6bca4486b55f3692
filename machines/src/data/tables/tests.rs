//! Tests of a host's tables: which rows of an event are whose, who shares a follow, and what is
//! shown. [`crate::data::collection`] and the explorer have those of the rows themselves.

mod expected;

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
