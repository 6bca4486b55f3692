//! Every short history of a directory, including results of loads that are over.

#![allow(clippy::unwrap_used)] // The lint exempts unit tests only.

use bowline_machines::{
    Generation, MonotonicTime,
    data::directory::{Directory, Effect, Input, State},
    data::load::LoadError,
};
use bowline_protocol::{
    AgentStatus, AgentSummary, Reason, RpcReason, SessionState, methods::AgentsPage,
};

use crate::explorer::{Model, explore};

#[derive(Clone)]
struct Node {
    directory: Directory,
    seq: u64,
    /// The load last requested by the driver.
    asked: Generation,
}

#[derive(Clone, Debug)]
enum Step {
    Feed(Input),
    /// Advances the daemon's numbering by an event.
    Event {
        agent: u8,
        removed: bool,
    },
    Timer,
}

struct Directories;

const NOW: MonotonicTime = MonotonicTime::from_millis(1_000_000);

fn agent(name: u8, title: &str) -> AgentSummary {
    AgentSummary {
        id: format!("agt_{name}").parse().unwrap(),
        title: title.to_owned(),
        provider: String::new(),
        cwd: String::new(),
        status: AgentStatus::Idle,
        created_at: i64::from(name),
        updated_at: 0,
        attention: None,
        intent_id: None,
    }
}

impl Model for Directories {
    type Node = Node;
    type Step = Step;
    type Key = String;

    fn start(&self) -> Vec<Node> {
        vec![Node {
            directory: Directory::default(),
            seq: 0,
            asked: Generation::ZERO,
        }]
    }

    fn steps(&self, node: &Node) -> Vec<Step> {
        let reason = Reason::ConnectionLost;
        let mut steps = vec![
            Step::Feed(Input::Disconnected { reason }),
            Step::Feed(Input::Unreachable { reason }),
            Step::Feed(Input::Refresh),
            Step::Event {
                agent: 1,
                removed: false,
            },
            Step::Event {
                agent: 2,
                removed: true,
            },
        ];
        for session in [
            SessionState::New,
            SessionState::Resumed,
            SessionState::Reset,
        ] {
            steps.push(Step::Feed(Input::Attached { session }));
        }
        let older = Generation::new(node.asked.get().saturating_sub(1));
        for generation in [node.asked, older, node.asked.next()] {
            for error in [
                LoadError::Rejected(RpcReason::Overloaded),
                LoadError::Lost(reason),
            ] {
                steps.push(Step::Feed(Input::Page {
                    load: generation,
                    result: Err(error),
                }));
            }
            for next_cursor in [None, Some("more".to_owned())] {
                let page = AgentsPage {
                    agents: vec![agent(1, "listed"), agent(2, "listed")],
                    next_cursor,
                    total: 2,
                    seq: node.seq,
                };
                steps.push(Step::Feed(Input::Page {
                    load: generation,
                    result: Ok(page),
                }));
            }
        }
        if node.directory.poll_timeout().is_some() {
            steps.push(Step::Timer);
        }
        steps
    }

    fn apply(&self, node: &mut Node, step: &Step) -> Result<(), String> {
        let mut before = node.clone();
        match step {
            Step::Feed(input) => {
                if let Input::Attached {
                    session: SessionState::New | SessionState::Reset,
                } = input
                {
                    node.seq = 0;
                }
                node.directory.handle(NOW, input.clone());
            }
            Step::Event {
                agent: name,
                removed,
            } => {
                node.seq += 1;
                let row = agent(*name, &format!("at {}", node.seq));
                let seq = node.seq;
                let input = if *removed {
                    Input::AgentRemoved {
                        seq,
                        agent_id: row.id,
                    }
                } else {
                    Input::AgentUpdated { seq, agent: row }
                };
                node.directory.handle(NOW, input);
            }
            Step::Timer => {
                let due = node.directory.poll_timeout().unwrap_or(NOW);
                node.directory.handle_timeout(due);
            }
        }
        let effects: Vec<_> = std::iter::from_fn(|| node.directory.poll_effect()).collect();
        let records = std::iter::from_fn(|| node.directory.poll_transition()).count();
        if let Some(Effect::Load {
            load: generation, ..
        }) = effects.last()
        {
            node.asked = *generation;
        }
        check(&mut before, node, step, &effects, records)
            .map_err(|name| format!("{name}: {:?}", node.directory))
    }

    fn key(&self, node: &Node) -> String {
        format!("{} {:?}", node.seq, node.directory)
    }
}

fn check(
    before: &mut Node,
    after: &mut Node,
    step: &Step,
    effects: &[Effect],
    records: usize,
) -> Result<(), &'static str> {
    let rows = |directory: &mut Directory| (directory.rev(), directory.agents());
    let (old_rows, new_rows) = (rows(&mut before.directory), rows(&mut after.directory));
    let (old, new) = (&before.directory, &after.directory);
    let may_change_rows = matches!(
        step,
        Step::Event { .. } | Step::Feed(Input::Page { result: Ok(_), .. })
    );
    if !may_change_rows && old_rows != new_rows {
        return Err("rows_survive_errors (DS-1, UX-4)");
    }
    if (old_rows.1 != new_rows.1) != (old_rows.0 != new_rows.0)
        && !matches!(step, Step::Feed(Input::Page { result: Ok(_), .. }))
    {
        return Err("rev_tells_changes");
    }
    if old.has_succeeded() && !new.has_succeeded() {
        return Err("after_the_first_success_errors_never_block (DS-1)");
    }
    if new.running().is_some() && new.poll_timeout().is_none() {
        return Err("every_waiting_state_has_a_deadline (INV-12)");
    }
    if effects.len() > 1
        || effects.iter().any(
            |Effect::Load {
                 load: generation, ..
             }| Some(*generation) != new.running(),
        )
    {
        return Err("one_load_at_a_time");
    }
    if new.stale() > old.stale()
        && (old.state() != new.state() || !effects.is_empty() || old_rows != new_rows)
    {
        return Err("stale_results_change_nothing (INV-10)");
    }
    if matches!(step, Step::Feed(Input::Page { load, .. })
        if Some(*load) != old.running())
        && new.stale() == old.stale()
    {
        return Err("a_result_of_no_running_load_is_stale (INV-10)");
    }
    let loaded = matches!(step, Step::Feed(Input::Page { result: Ok(_), .. }));
    if matches!(new.state(), State::Ready { .. })
        && !matches!(old.state(), State::Ready { .. })
        && !loaded
    {
        return Err("only_a_list_makes_ready");
    }
    if matches!(step, Step::Feed(Input::Disconnected { .. })) && new.poll_timeout().is_some() {
        return Err("a_disconnect_ends_the_waiting (INV-13)");
    }
    if old.state().name() != new.state().name() && records != 1 {
        return Err("every_change_is_recorded_once (OB-1)");
    }
    if new.refused() > 0 {
        return Err("every_change_is_in_the_table");
    }
    Ok(())
}

#[test]
fn ds_1_inv_10_every_short_history_of_a_directory() {
    let report = explore(&Directories, 8);
    assert!(report.nodes > 5_000, "{report:?}");
}
