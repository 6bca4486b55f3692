//! Tests of the directory machine: every cell of its table, and the guarantees of its rows.

mod rows;

use bowline_protocol::{AgentStatus, RpcReason};

use super::*;
use crate::data::load::{LOAD_DEADLINE, RETRY_FIRST};

const REJECTED: LoadError = LoadError::Rejected(RpcReason::Overloaded);

fn at(millis: u64) -> MonotonicTime {
    MonotonicTime::from_millis(millis)
}

fn agent(id: u64, title: &str) -> AgentSummary {
    AgentSummary {
        id: format!("agt_{id}").parse().unwrap(),
        title: title.to_owned(),
        provider: "shell".to_owned(),
        cwd: "/".to_owned(),
        status: AgentStatus::Idle,
        // Older ids are younger, so that the order by age differs from the order by id.
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
    Input::Page {
        load: it.agents.generation(),
        result: Ok(page),
    }
}

fn failed(it: &Directory, error: LoadError) -> Input {
    Input::Page {
        load: it.agents.generation(),
        result: Err(error),
    }
}

fn titles(it: &mut Directory) -> Vec<String> {
    let agents = it.agents();
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
    let mut it = Directory::default();
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
        ("idle", Directory::default()),
        ("initial_loading", initial_loading()),
        ("ready", ready()),
        ("revalidating", revalidating()),
        ("error_before_first_success", error_before()),
        ("error_after_ready", error_after()),
    ]
}

/// Feeds the input in every state and compares log and loads with the table.
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
            Input::Page { result: Ok(_), .. }
                | Input::AgentUpdated { .. }
                | Input::AgentRemoved { .. }
        ) {
            assert_eq!(titles(&mut it), rows, "rows survive {input:?} in {name}");
        }
    }
}

#[test]
fn ds_1_table_attached_new_or_reset() {
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
fn ds_1_table_attached_resumed() {
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
fn ds_1_table_disconnected() {
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
fn ds_1_table_unreachable() {
    row(
        |_| Input::Unreachable {
            reason: Reason::Unreachable,
        },
        [
            "unreachable idle->error_before_first_success",
            "",
            "",
            "",
            "",
            "",
        ],
    );
}

#[test]
fn ds_1_table_refresh() {
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
fn ds_1_table_loaded() {
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
fn ds_1_table_load_failed() {
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
fn ds_1_table_events() {
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
fn ds_1_table_timeouts() {
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
    let old = it.agents.generation();
    it.handle(at(1), attached(SessionState::Reset));
    let before = (*it.state(), it.rev());
    it.handle(
        at(2),
        Input::Page {
            load: old,
            result: Ok(page(9, &[(9, "old")], None)),
        },
    );
    it.handle(
        at(2),
        Input::Page {
            load: old,
            result: Err(REJECTED),
        },
    );
    assert_eq!((*it.state(), it.rev()), before);
    assert_eq!(it.stale(), 2);
}
