//! Guarantees of a directory's rows under any loads and events.

use std::collections::BTreeMap as Map;

use proptest::prelude::*;

use super::*;

#[test]
fn ds_4_rows_are_ordered_by_age() {
    assert_eq!(titles(&mut ready()), ["two", "one"]);
}

#[test]
fn ds_4_pages_are_one_load() {
    let mut it = initial_loading();
    it.handle(at(0), loaded(&it, page(5, &[(1, "one")], Some("next"))));
    assert_eq!(loads(&mut it), [Some("next".to_owned())]);
    assert_eq!(log(&mut it), "");
    assert_eq!(titles(&mut it), [""; 0], "half a list is not shown");
    // Since the first page: 1 was removed, 3 was created, 2 changed before the second page was
    // read.
    it.handle(at(0), removed(6, 1));
    it.handle(at(0), updated(7, 2, "two at 7"));
    it.handle(at(0), loaded(&it, page(8, &[(2, "two at 8")], None)));
    it.handle(at(0), updated(9, 3, "three"));
    assert_eq!(titles(&mut it), ["three", "two at 8"]);
}

#[test]
fn ds_4_events_apply_on_top_of_the_list() {
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
fn ds_4_a_new_numbering_starts_at_one() {
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
fn ds_4_an_empty_list_is_a_list() {
    let mut it = initial_loading();
    it.handle(at(0), updated(3, 1, "contained and gone"));
    it.handle(at(0), loaded(&it, page(5, &[], None)));
    assert_eq!(titles(&mut it), [""; 0]);
    it.handle(at(0), updated(5, 1, "contained"));
    assert_eq!(titles(&mut it), [""; 0]);
}

#[test]
fn ds_4_an_unchanged_reload_changes_no_snapshot() {
    let mut it = ready();
    let before = (it.rev(), it.agents());
    it.handle(at(0), Input::Refresh);
    it.handle(at(0), loaded(&it, page(9, &[(1, "one"), (2, "two")], None)));
    let after = (it.rev(), it.agents());
    assert_eq!(before.0, after.0);
    assert!(Arc::ptr_eq(&before.1, &after.1));
    it.handle(at(0), updated(10, 1, "uno"));
    let changed = (it.rev(), it.agents());
    assert_eq!(changed.0, after.0 + 1);
    assert!(
        Arc::ptr_eq(&changed.1[0], &after.1[0]),
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
fn ds_4_a_disconnect_under_a_reload_is_made_good_by_any_attach() {
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
    assert_eq!(it.agents().len(), MAX_AGENTS);

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

/// An agent created at `created_at`.
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
    // In the daemon's order: newest first.
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
        let shown = it.agents();
        shown.iter().map(|agent| agent.created_at).collect()
    };
    assert_eq!(it.left_out(), 3);
    assert_eq!(ids(&mut it), (3..10_003).collect::<Vec<_>>());

    // A new agent is held, and the oldest removed.
    let agent = aged(TOTAL, TOTAL.cast_signed());
    it.handle(at(1), Input::AgentUpdated { seq: 2, agent });
    assert_eq!((it.left_out(), ids(&mut it)[0]), (4, 4));
    assert_eq!(ids(&mut it).last(), Some(&10_003));

    // An agent that was left out and changes is held as well.
    let agent = aged(1, 1);
    it.handle(at(2), Input::AgentUpdated { seq: 3, agent });
    assert_eq!((it.left_out(), ids(&mut it)[0]), (4, 1));
    assert_eq!(ids(&mut it).len(), MAX_AGENTS);

    // Removed agents are counted, held or not.
    it.handle(at(3), removed(4, 2));
    assert_eq!((it.left_out(), ids(&mut it).len()), (3, MAX_AGENTS));
    it.handle(at(4), removed(5, 1));
    assert_eq!((it.left_out(), ids(&mut it).len()), (3, MAX_AGENTS - 1));
}

/// One step of a run of the daemon's directory.
#[derive(Clone, Debug)]
enum Step {
    Update(u64),
    Remove(u64),
    /// Requests a page of the running load, answered later.
    Answer,
    /// Delivers this number of the daemon's events.
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
        while let Some(Effect::Load {
            load: generation,
            cursor,
        }) = it.poll_effect()
        {
            self.waiting = Some((generation, cursor));
        }
    }
}

proptest! {
    /// In any interleaving, once everything is delivered the rows are the daemon's.
    #[test]
    fn bx_2_rows_converge_to_the_daemons(steps in steps()) {
        let mut it = Directory::default();
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
                    it.handle(at(0), Input::Page { load: generation, result: Ok(page) });
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
                    it.handle(at(0), Input::Page { load: generation, result: Err(REJECTED) });
                    if let Some(due) = it.poll_timeout() {
                        it.handle_timeout(due);
                    }
                },
            }
            daemon.listen(&mut it);
        }
        prop_assert_eq!(it.state().name(), "ready");
        let shown: Map<String, String> = it.agents().iter()
            .map(|agent| (agent.id.to_string(), agent.title.clone())).collect();
        let expected: Map<String, String> = daemon.agents.iter()
            .map(|(id, title)| (format!("agt_{id}"), title.clone())).collect();
        prop_assert_eq!(shown, expected);
        prop_assert_eq!(it.refused(), 0);
    }
}

#[test]
fn a_page_lost_with_a_client_that_was_replaced_is_asked_for_again() {
    let lost = LoadError::Lost(Reason::ConnectionLost);
    let mut it = initial_loading();
    it.handle(at(0), loaded(&it, page(5, &[(1, "one")], Some("next"))));
    assert_eq!(loads(&mut it), [Some("next".to_owned())]);
    it.handle(at(1), attached(SessionState::Resumed));
    it.handle(at(2), failed(&it, lost));
    assert_eq!(loads(&mut it), [Some("next".to_owned())]);
    it.handle(at(3), failed(&it, lost));
    assert_eq!(
        loads(&mut it),
        [],
        "it went through the client that is there"
    );
    assert_eq!(it.error(), Some(lost));
}

#[test]
fn ob_1_states_have_one_name_in_logs_and_json() {
    for state in DirectoryState::ALL {
        let json = serde_json::to_value(state).unwrap();
        assert_eq!(json, state.as_str());
    }
}
