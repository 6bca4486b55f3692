//! Tests of the directory machine: every cell of its table, and what the rows promise.

use std::collections::BTreeMap as Map;

use bowline_protocol::{AgentStatus, RpcReason};
use proptest::prelude::*;

use super::*;
use crate::load::{LOAD_DEADLINE, RETRY_FIRST};

const REJECTED: LoadError = LoadError::Rejected(RpcReason::Overloaded);

fn at(millis: u64) -> Moment {
    Moment::from_millis(millis)
}

fn agent(id: u64, title: &str) -> AgentSummary {
    AgentSummary {
        id: format!("agt_{id}").parse().unwrap(),
        title: title.to_owned(),
        provider: "shell".to_owned(),
        cwd: "/".to_owned(),
        status: AgentStatus::Idle,
        // Older ids are younger, so that order by age is not order by id.
        created_at: 1_000 - i64::try_from(id).unwrap(),
        updated_at: 0,
        attention: None,
        intent_id: None,
    }
}

fn page(seq: u64, agents: &[(u64, &str)], next: Option<&str>) -> AgentsPage {
    AgentsPage {
        agents: agents.iter().map(|(id, title)| agent(*id, title)).collect(),
        next_cursor: next.map(str::to_owned),
        total: agents.len() as u64,
        seq,
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

fn updated(seq: u64, id: u64, title: &str) -> Input {
    Input::AgentUpdated {
        seq,
        agent: agent(id, title),
    }
}

fn removed(seq: u64, id: u64) -> Input {
    Input::AgentRemoved {
        seq,
        agent_id: agent(id, "").id,
    }
}

fn loaded(it: &Directory, page: AgentsPage) -> Input {
    Input::Loaded {
        generation: it.generation,
        page,
    }
}

fn failed(it: &Directory, error: LoadError) -> Input {
    Input::LoadFailed {
        generation: it.generation,
        error,
    }
}

fn titles(it: &mut Directory) -> Vec<String> {
    let agents = it.snapshot().agents;
    agents.iter().map(|agent| agent.title.clone()).collect()
}

fn loads(it: &mut Directory) -> Vec<Option<String>> {
    std::iter::from_fn(|| it.poll_effect())
        .map(|Effect::Load { cursor, .. }| cursor)
        .collect()
}

fn log(it: &mut Directory) -> String {
    let lines: Vec<_> = std::iter::from_fn(|| it.poll_transition())
        .map(|t| format!("{} {}->{}", t.event, t.from, t.to))
        .collect();
    lines.join(" | ")
}

fn quiet(mut it: Directory) -> Directory {
    log(&mut it);
    loads(&mut it);
    it
}

fn initial_loading() -> Directory {
    let mut it = Directory::new();
    it.handle(at(0), attached(SessionState::New));
    quiet(it)
}

fn ready() -> Directory {
    let mut it = initial_loading();
    it.handle(at(0), loaded(&it, page(5, &[(1, "one"), (2, "two")], None)));
    quiet(it)
}

fn revalidating() -> Directory {
    let mut it = ready();
    it.handle(at(0), Input::Refresh);
    quiet(it)
}

fn error_before() -> Directory {
    let mut it = initial_loading();
    it.handle(at(0), failed(&it, REJECTED));
    quiet(it)
}

fn error_after() -> Directory {
    let mut it = revalidating();
    it.handle(at(0), failed(&it, REJECTED));
    quiet(it)
}

fn every_state() -> [(&'static str, Directory); 6] {
    [
        ("idle", Directory::new()),
        ("initial_loading", initial_loading()),
        ("ready", ready()),
        ("revalidating", revalidating()),
        ("error_before_first_success", error_before()),
        ("error_after_ready", error_after()),
    ]
}

/// Feeds the input in every state and compares log and loads with what the table says.
fn row(input: impl Fn(&Directory) -> Input, expected: [&str; 6]) {
    for ((name, mut it), expected) in every_state().into_iter().zip(expected) {
        assert_eq!(it.state().name(), name);
        let rows = titles(&mut it);
        let input = input(&it);
        it.handle(at(1), input.clone());
        assert_eq!(log(&mut it), expected, "{input:?} in {name}");
        let begins_load = ["attached", "refresh"]
            .iter()
            .any(|event| expected.starts_with(event));
        let loads = loads(&mut it).len();
        assert_eq!(loads, usize::from(begins_load), "{input:?} in {name}");
        assert_eq!(it.refused(), 0);
        if !matches!(
            input,
            Input::Loaded { .. } | Input::AgentUpdated { .. } | Input::AgentRemoved { .. }
        ) {
            assert_eq!(titles(&mut it), rows, "rows survive {input:?} in {name}");
        }
    }
}

#[test]
fn table_attached_new_or_reset() {
    for session in [SessionState::New, SessionState::Reset] {
        row(
            |_| attached(session),
            [
                "attached idle->initial_loading",
                "attached initial_loading->initial_loading",
                "attached ready->revalidating",
                "attached revalidating->revalidating",
                "attached error_before_first_success->initial_loading",
                "attached error_after_ready->revalidating",
            ],
        );
    }
}

#[test]
fn table_attached_resumed() {
    row(
        |_| attached(SessionState::Resumed),
        [
            "attached idle->initial_loading",
            "",
            "",
            "",
            "attached error_before_first_success->initial_loading",
            "attached error_after_ready->revalidating",
        ],
    );
}

#[test]
fn table_disconnected() {
    row(
        |_| disconnected(),
        [
            "disconnected idle->error_before_first_success",
            "disconnected initial_loading->error_before_first_success",
            "",
            "disconnected revalidating->error_after_ready",
            "",
            "",
        ],
    );
    for (name, mut it) in every_state() {
        it.handle(at(1), disconnected());
        assert_eq!(it.poll_timeout(), None, "{name}: an attach tries again");
    }
}

#[test]
fn table_refresh() {
    row(
        |_| Input::Refresh,
        [
            "refresh idle->initial_loading",
            "",
            "refresh ready->revalidating",
            "",
            "refresh error_before_first_success->initial_loading",
            "refresh error_after_ready->revalidating",
        ],
    );
}

#[test]
fn table_loaded() {
    row(
        |it| loaded(it, page(6, &[(3, "three")], None)),
        [
            "",
            "loaded initial_loading->ready",
            "",
            "loaded revalidating->ready",
            "",
            "",
        ],
    );
}

#[test]
fn table_load_failed() {
    row(
        |it| failed(it, REJECTED),
        [
            "",
            "load_failed initial_loading->error_before_first_success",
            "",
            "load_failed revalidating->error_after_ready",
            "",
            "",
        ],
    );
}

#[test]
fn table_events() {
    for (name, mut it) in every_state() {
        let shown = it.has_succeeded();
        it.handle(at(1), updated(6, 1, "uno"));
        it.handle(at(1), removed(7, 2));
        assert_eq!(log(&mut it), "", "{name}");
        let expected: &[&str] = if shown { &["uno"] } else { &[] };
        assert_eq!(titles(&mut it), expected, "{name}");
    }
}

#[test]
fn table_timeouts() {
    let expected = [
        ("", None),
        (
            "load_deadline initial_loading->error_before_first_success",
            Some(LOAD_DEADLINE),
        ),
        ("", None),
        (
            "load_deadline revalidating->error_after_ready",
            Some(LOAD_DEADLINE),
        ),
        (
            "retry error_before_first_success->initial_loading",
            Some(RETRY_FIRST),
        ),
        ("retry error_after_ready->revalidating", Some(RETRY_FIRST)),
    ];
    for ((name, mut it), (line, due)) in every_state().into_iter().zip(expected) {
        let due = due.map(|due| at(0) + due);
        assert_eq!(it.poll_timeout(), due, "{name}");
        it.handle_timeout(at(due.map_or(u64::MAX, |due| due.as_millis() - 1)));
        assert_eq!(log(&mut it), "", "{name}: called early");
        it.handle_timeout(due.unwrap_or(at(u64::MAX)));
        assert_eq!(log(&mut it), line, "{name}");
    }
}

#[test]
fn inv_10_a_stale_result_changes_nothing() {
    let mut it = initial_loading();
    let old = it.generation;
    it.handle(at(1), attached(SessionState::Reset));
    let before = (*it.state(), it.rev());
    it.handle(
        at(2),
        Input::Loaded {
            generation: old,
            page: page(9, &[(9, "old")], None),
        },
    );
    it.handle(
        at(2),
        Input::LoadFailed {
            generation: old,
            error: REJECTED,
        },
    );
    assert_eq!((*it.state(), it.rev()), before);
    assert_eq!(it.stale(), 2);
}

#[test]
fn ds_rows_are_ordered_by_age() {
    assert_eq!(titles(&mut ready()), ["two", "one"]);
}

#[test]
fn ds_pages_are_one_load() {
    let mut it = initial_loading();
    it.handle(at(0), loaded(&it, page(5, &[(1, "one")], Some("next"))));
    assert_eq!(loads(&mut it), [Some("next".to_owned())]);
    assert_eq!(log(&mut it), "");
    assert_eq!(titles(&mut it), [""; 0], "half a list is not shown");
    // Since the first page: 1 was removed, 3 was made, 2 changed before the second page was read.
    it.handle(at(0), removed(6, 1));
    it.handle(at(0), updated(7, 2, "two at 7"));
    it.handle(at(0), loaded(&it, page(8, &[(2, "two at 8")], None)));
    it.handle(at(0), updated(9, 3, "three"));
    assert_eq!(titles(&mut it), ["three", "two at 8"]);
}

#[test]
fn ds_events_apply_on_top_of_the_list() {
    let mut it = ready();
    it.handle(at(0), updated(5, 1, "contained"));
    assert_eq!(titles(&mut it), ["two", "one"], "the list was as of 5");
    it.handle(at(0), updated(6, 1, "uno"));
    it.handle(at(0), updated(6, 1, "again"));
    assert_eq!(titles(&mut it), ["two", "uno"], "each event once");
    it.handle(at(0), Input::Refresh);
    it.handle(at(0), updated(8, 2, "dos"));
    assert_eq!(titles(&mut it), ["dos", "uno"], "shown while loading");
    it.handle(
        at(0),
        loaded(&it, page(7, &[(1, "eins"), (2, "zwei")], None)),
    );
    assert_eq!(titles(&mut it), ["dos", "eins"]);
}

#[test]
fn ds_a_new_numbering_starts_at_one() {
    let mut it = ready();
    it.handle(at(0), attached(SessionState::Reset));
    it.handle(at(0), updated(1, 1, "uno"));
    assert_eq!(titles(&mut it), ["two", "uno"]);
    it.handle(at(0), loaded(&it, page(0, &[(1, "one"), (2, "two")], None)));
    assert_eq!(titles(&mut it), ["two", "uno"]);
    it.handle(at(0), updated(2, 2, "dos"));
    assert_eq!(titles(&mut it), ["dos", "uno"]);
}

#[test]
fn ds_an_empty_list_is_a_list() {
    let mut it = initial_loading();
    it.handle(at(0), updated(3, 1, "contained and gone"));
    it.handle(at(0), loaded(&it, page(5, &[], None)));
    assert_eq!(titles(&mut it), [""; 0]);
    it.handle(at(0), updated(5, 1, "contained"));
    assert_eq!(titles(&mut it), [""; 0]);
}

#[test]
fn ds_an_unchanged_reload_changes_no_snapshot() {
    let mut it = ready();
    let before = it.snapshot();
    it.handle(at(0), Input::Refresh);
    it.handle(at(0), loaded(&it, page(9, &[(1, "one"), (2, "two")], None)));
    let after = it.snapshot();
    assert_eq!(before.rev, after.rev);
    assert!(Arc::ptr_eq(&before.agents, &after.agents));
    it.handle(at(0), updated(10, 1, "uno"));
    let changed = it.snapshot();
    assert_eq!(changed.rev, after.rev + 1);
    assert!(
        Arc::ptr_eq(&changed.agents[0], &after.agents[0]),
        "the other row is shared"
    );
}

#[test]
fn ux_4_errors_after_success_never_take_rows_away() {
    let mut it = error_after();
    for _ in 0..5 {
        let due = it.poll_timeout().unwrap();
        it.handle_timeout(due);
        it.handle(due, failed(&it, REJECTED));
        assert_eq!(it.state().name(), "error_after_ready");
        assert_eq!(titles(&mut it), ["two", "one"]);
    }
}

#[test]
fn ds_a_disconnect_under_a_reload_is_made_good_by_any_attach() {
    let mut it = ready();
    it.handle(at(0), attached(SessionState::Reset));
    it.handle(at(1), disconnected());
    assert_eq!(it.error(), Some(LoadError::Lost(Reason::ConnectionLost)));
    quiet_attach(&mut it);
    it.handle(at(3), loaded(&it, page(2, &[(4, "four")], None)));
    assert_eq!(titles(&mut it), ["four"]);
}

fn quiet_attach(it: &mut Directory) {
    loads(it);
    it.handle(at(2), attached(SessionState::Resumed));
    assert_eq!(
        loads(it),
        [None],
        "what the reset asked for was never fetched"
    );
}

#[test]
fn everything_is_bounded() {
    let mut it = initial_loading();
    let many: Vec<_> = (0..500).collect();
    for (number, _) in many.iter().enumerate() {
        let agents: Vec<_> = (0..25)
            .map(|n| (u64::try_from(number).unwrap() * 25 + n, "x"))
            .collect();
        it.handle(at(0), loaded(&it, page(1, &agents, Some("more"))));
    }
    assert_eq!(
        it.state().name(),
        "ready",
        "the rest of a longer list is left out"
    );
    assert!(it.is_truncated());
    assert_eq!(it.snapshot().agents.len(), MAX_AGENTS);

    let mut it = initial_loading();
    for _ in 0..MAX_PAGES {
        it.handle(at(0), loaded(&it, page(1, &[], Some("for ever"))));
    }
    assert_eq!(it.error(), Some(LoadError::Malformed), "a list without end");

    let mut it = initial_loading();
    for n in 0..u64::from(MAX_PAGES) {
        let next = loaded(&it, page(1, &[(n, "one to a page")], Some("more")));
        it.handle(at(0), next);
    }
    assert_eq!((it.state().name(), it.is_truncated()), ("ready", true));
}

/// An agent that is so old.
fn aged(id: u64, created_at: i64) -> AgentSummary {
    AgentSummary {
        created_at,
        ..agent(id, "aged")
    }
}

#[test]
fn case_c49_of_too_many_agents_the_newest_are_held_and_the_rest_is_counted() {
    const TOTAL: u64 = 10_003;
    let mut it = initial_loading();
    // As the daemon lists them: the newest first.
    let newest_first: Vec<_> = (0..TOTAL).rev().map(|n| aged(n, n.cast_signed())).collect();
    for rows in newest_first.chunks(500) {
        if it.state().name() == "ready" {
            break;
        }
        let page = AgentsPage {
            agents: rows.to_vec(),
            next_cursor: Some("more".to_owned()),
            total: TOTAL,
            seq: 1,
        };
        it.handle(at(0), loaded(&it, page));
    }
    let ids = |it: &mut Directory| -> Vec<i64> {
        let shown = it.snapshot().agents;
        shown.iter().map(|agent| agent.created_at).collect()
    };
    assert_eq!(it.left_out(), 3);
    assert_eq!(ids(&mut it), (3..10_003).collect::<Vec<_>>());

    // A new one is held, the oldest goes.
    let agent = aged(TOTAL, TOTAL.cast_signed());
    it.handle(at(1), Input::AgentUpdated { seq: 2, agent });
    assert_eq!((it.left_out(), ids(&mut it)[0]), (4, 4));
    assert_eq!(ids(&mut it).last(), Some(&10_003));

    // One that was left out and that something happens to is held as well.
    let agent = aged(1, 1);
    it.handle(at(2), Input::AgentUpdated { seq: 3, agent });
    assert_eq!((it.left_out(), ids(&mut it)[0]), (4, 1));
    assert_eq!(ids(&mut it).len(), MAX_AGENTS);

    // Those that are removed are counted, held or not.
    it.handle(at(3), removed(4, 2));
    assert_eq!((it.left_out(), ids(&mut it).len()), (3, MAX_AGENTS));
    it.handle(at(4), removed(5, 1));
    assert_eq!((it.left_out(), ids(&mut it).len()), (3, MAX_AGENTS - 1));
}

/// What a run of the daemon's directory is made of.
#[derive(Clone, Debug)]
enum Step {
    Update(u64),
    Remove(u64),
    /// Ask for a page of the running load; answered later.
    Answer,
    /// Hand over so many of the daemon's events.
    Deliver(usize),
    Refresh,
    Reset,
    Reconnect,
    Fail,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0_u64..6).prop_map(Step::Update),
        2 => (0_u64..6).prop_map(Step::Remove),
        4 => Just(Step::Answer),
        4 => (1_usize..4).prop_map(Step::Deliver),
        1 => Just(Step::Refresh),
        1 => Just(Step::Reset),
        1 => Just(Step::Reconnect),
        1 => Just(Step::Fail),
    ];
    prop::collection::vec(step, 1..60)
}

/// A daemon that pages two agents at a time and numbers its events.
#[derive(Default)]
struct Daemon {
    agents: Map<u64, String>,
    seq: u64,
    undelivered: Vec<(u64, u64, Option<String>)>,
    waiting: Option<(Generation, Option<String>)>,
}

impl Daemon {
    fn change(&mut self, id: u64, title: Option<String>) {
        self.seq += 1;
        match &title {
            Some(title) => self.agents.insert(id, title.clone()),
            None => self.agents.remove(&id),
        };
        self.undelivered.push((self.seq, id, title));
    }

    fn page(&self, cursor: Option<&str>) -> AgentsPage {
        let from: u64 = cursor.map_or(0, |cursor| cursor.parse().unwrap());
        let mut rest = self.agents.range(from..);
        let rows: Vec<_> = rest
            .by_ref()
            .take(2)
            .map(|(id, title)| (*id, title.as_str()))
            .collect();
        let next = rest.next().map(|(id, _)| id.to_string());
        page(self.seq, &rows, next.as_deref())
    }

    fn deliver(&mut self, it: &mut Directory, count: usize) {
        for (seq, id, title) in self.undelivered.drain(..count.min(self.undelivered.len())) {
            let input = match title {
                Some(title) => updated(seq, id, &title),
                None => removed(seq, id),
            };
            it.handle(at(0), input);
        }
    }

    fn listen(&mut self, it: &mut Directory) {
        while let Some(Effect::Load { generation, cursor }) = it.poll_effect() {
            self.waiting = Some((generation, cursor));
        }
    }
}

proptest! {
    /// Whatever is interleaved with whatever: once everything is delivered, the rows are the daemon's.
    #[test]
    fn bx_2_rows_converge_to_the_daemons(steps in steps()) {
        let mut it = Directory::new();
        let mut daemon = Daemon::default();
        it.handle(at(0), attached(SessionState::New));
        let last = [Step::Deliver(usize::MAX), Step::Reconnect];
        let answers = std::iter::repeat_n(Step::Answer, 8);
        for (number, step) in steps.into_iter().chain(last).chain(answers).enumerate() {
            match step {
                Step::Update(id) => daemon.change(id, Some(format!("{id} at {number}"))),
                Step::Remove(id) if daemon.agents.contains_key(&id) => daemon.change(id, None),
                Step::Remove(_) => {}
                Step::Answer => if let Some((generation, cursor)) = daemon.waiting.take() {
                    let page = daemon.page(cursor.as_deref());
                    it.handle(at(0), Input::Loaded { generation, page });
                },
                Step::Deliver(count) => daemon.deliver(&mut it, count),
                Step::Refresh => it.handle(at(0), Input::Refresh),
                Step::Reset => {
                    it.handle(at(0), disconnected());
                    daemon.undelivered.clear();
                    daemon.seq = 0;
                    it.handle(at(0), attached(SessionState::Reset));
                }
                Step::Reconnect => {
                    it.handle(at(0), disconnected());
                    it.handle(at(0), attached(SessionState::Resumed));
                }
                Step::Fail => if let Some((generation, _)) = daemon.waiting.take() {
                    it.handle(at(0), Input::LoadFailed { generation, error: REJECTED });
                    if let Some(due) = it.poll_timeout() {
                        it.handle_timeout(due);
                    }
                },
            }
            daemon.listen(&mut it);
        }
        prop_assert_eq!(it.state().name(), "ready");
        let shown: Map<String, String> = it.snapshot().agents.iter()
            .map(|agent| (agent.id.to_string(), agent.title.clone())).collect();
        let expected: Map<String, String> = daemon.agents.iter()
            .map(|(id, title)| (format!("agt_{id}"), title.clone())).collect();
        prop_assert_eq!(shown, expected);
        prop_assert_eq!(it.refused(), 0);
    }
}
