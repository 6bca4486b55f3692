//! Every short history of a timeline, with a daemon that may give any answer.
//!
//! The unit tests compare the machine with a correct daemon, at length and at random. Here pages
//! and events contradict each other, and the updates for a consumer must still be a sequence
//! without gaps.

#![allow(clippy::unwrap_used)] // The lint exempts unit tests only.

use bowline_machines::{
    Generation, MonotonicTime,
    data::load::LoadError,
    data::timeline::{Effect, End, Happened, Input, Request, Timeline, TimelineConfig, Update},
};
use bowline_protocol::{
    ItemKind, Reason, RpcReason, SessionState, TimelineItem, methods::HistoryPage,
};

use crate::explorer::{Model, explore};

#[derive(Clone)]
struct Node {
    timeline: Timeline,
    seq: u64,
    asked: Generation,
    /// Indices that the consumer has: from, up to.
    consumer: Option<(u64, u64)>,
}

#[derive(Clone, Debug)]
enum Step {
    Feed(Input),
    Happened(Happened),
    Timer,
    RestartConsumer,
    DropNewest,
}

struct Timelines;

const NOW: MonotonicTime = MonotonicTime::from_millis(1_000_000);

fn item(index: u64, kind: ItemKind, text: &str) -> TimelineItem {
    TimelineItem {
        text: text.to_owned(),
        ..TimelineItem::new(format!("itm_{index}").parse().unwrap(), index, kind, 0)
    }
}

/// Runs of items, some of which contradict each other.
fn pages(seq: u64) -> Vec<HistoryPage> {
    let message = |index| item(index, ItemKind::Message, "m");
    let runs = [
        (vec![], false),
        (vec![message(0)], false),
        (vec![message(1), item(2, ItemKind::TurnEnd, "")], true),
        (
            vec![item(1, ItemKind::Message, "more"), message(2), message(3)],
            false,
        ),
        (vec![message(1), message(3)], false),
    ];
    runs.into_iter()
        .map(|(items, has_more)| HistoryPage {
            items,
            has_more,
            seq,
        })
        .collect()
}

impl Model for Timelines {
    type Node = Node;
    type Step = Step;
    type Key = String;

    fn start(&self) -> Vec<Node> {
        let config = TimelineConfig {
            max_items: 2,
            max_kept: 2,
            catch_up_pages: 1,
            ..TimelineConfig::default()
        };
        let mut timeline = Timeline::new(config);
        timeline.handle(NOW, Input::Open);
        let asked = timeline
            .poll_effect()
            .map_or(Generation::ZERO, |effect| match effect {
                Effect::Load {
                    load: generation, ..
                } => generation,
                Effect::Unsubscribe => Generation::ZERO,
            });
        while timeline.poll_transition().is_some() {}
        vec![Node {
            timeline,
            seq: 0,
            asked,
            consumer: None,
        }]
    }

    fn steps(&self, node: &Node) -> Vec<Step> {
        let reason = Reason::ConnectionLost;
        let generation = node.asked;
        let mut steps = vec![
            Step::Feed(Input::Open),
            Step::Feed(Input::Close),
            Step::Feed(Input::Disconnected { reason }),
            Step::Feed(Input::LoadMore(End::Older)),
            Step::Feed(Input::LoadMore(End::Newer)),
            Step::Feed(Input::JumpToNewest),
            Step::RestartConsumer,
            Step::DropNewest,
            Step::Feed(Input::Page {
                load: generation,
                result: Err(LoadError::Rejected(RpcReason::Overloaded)),
            }),
            Step::Feed(Input::Page {
                load: generation.next(),
                result: Err(LoadError::TimedOut),
            }),
        ];
        for session in [SessionState::Resumed, SessionState::Reset] {
            steps.push(Step::Feed(Input::Attached { session }));
        }
        for page in pages(node.seq) {
            steps.push(Step::Feed(Input::Page {
                load: generation,
                result: Ok(page),
            }));
        }
        for index in [1, 3] {
            let item = item(index, ItemKind::Message, "new");
            let (item_id, text) = (item.id.clone(), "d".to_owned());
            let dropped = TimelineItem {
                dropped_bytes: 3,
                text: String::new(),
                ..item.clone()
            };
            steps.push(Step::Happened(Happened::Appended(item)));
            if index == 1 {
                steps.push(Step::Happened(Happened::Updated(dropped)));
            }
            steps.push(Step::Happened(Happened::Delta {
                item_id,
                index,
                text,
            }));
        }
        if node.timeline.poll_timeout().is_some() {
            steps.push(Step::Timer);
        }
        steps
    }

    fn apply(&self, node: &mut Node, step: &Step) -> Result<(), String> {
        let before = node.clone();
        match step {
            Step::Feed(input) => {
                if let Input::Attached {
                    session: SessionState::Reset,
                } = input
                {
                    node.seq = 0;
                }
                node.timeline.handle(NOW, input.clone());
            }
            Step::Happened(happened) => {
                node.seq += 1;
                let (seq, happened) = (node.seq, happened.clone());
                node.timeline.handle(NOW, Input::Event { seq, happened });
            }
            Step::Timer => {
                let due = node.timeline.poll_timeout().unwrap_or(NOW);
                node.timeline.handle_timeout(due);
            }
            Step::DropNewest => {
                if let Some((from, to)) = node.consumer
                    && from + 1 < to
                {
                    node.timeline.consumer_dropped_from(to - 1);
                    node.consumer = Some((from, to - 1));
                }
            }
            Step::RestartConsumer => {
                let items = node.timeline.restart_consumer();
                let ends = items.first().zip(items.last());
                node.consumer = ends.map(|(first, last)| (first.index, last.index + 1));
            }
        }
        let loads: Vec<_> = std::iter::from_fn(|| node.timeline.poll_effect())
            .filter_map(|effect| match effect {
                Effect::Load {
                    load: generation,
                    request,
                    ..
                } => Some((generation, request)),
                Effect::Unsubscribe => None,
            })
            .collect();
        let records = std::iter::from_fn(|| node.timeline.poll_transition()).count();
        if let Some((generation, _)) = loads.last() {
            node.asked = *generation;
        }
        consume(node)
            .and_then(|updates| check(&before, node, &loads, records, updates))
            .map_err(|name| format!("{name}: {:?}", node.timeline))
    }

    fn key(&self, node: &Node) -> String {
        format!("{} {:?} {:?}", node.seq, node.consumer, node.timeline)
    }
}

/// Applies the updates and returns their number.
fn consume(node: &mut Node) -> Result<usize, &'static str> {
    let mut count = 0;
    while let Some(update) = node.timeline.poll_update() {
        count += 1;
        node.consumer = match (update, node.consumer) {
            (Update::Cleared, _) => None,
            (Update::Restarted(items), _) => {
                let ends = items.first().zip(items.last());
                ends.map(|(first, last)| (first.index, last.index + 1))
            }
            (Update::Dropped { from: end }, Some((from, to))) if end > from && end <= to => {
                Some((from, end))
            }
            (Update::Dropped { .. }, _) => return Err("only_what_the_consumer_has_is_dropped"),
            (Update::Appended(item), None) => Some((item.index, item.index + 1)),
            (Update::Appended(item), Some((from, to))) if item.index == to => Some((from, to + 1)),
            (Update::Appended(_), Some(_)) => return Err("appended_items_follow_the_last (BX-2)"),
            (Update::Prepended(items), Some((from, to))) => {
                let (first, last) = (items.first(), items.last());
                if last.map(|item| item.index + 1) != Some(from) {
                    return Err("prepended_items_precede_the_first (BX-2)");
                }
                Some((first.map_or(from, |item| item.index), to))
            }
            (Update::Prepended(_), None) => return Err("nothing_comes_before_nothing"),
            (Update::Grown { index, .. }, Some((from, to))) if (from..to).contains(&index) => {
                Some((from, to))
            }
            (Update::Replaced(item), Some((from, to))) if (from..to).contains(&item.index) => {
                Some((from, to))
            }
            (Update::Replaced(_), _) => return Err("only_what_the_consumer_has_is_replaced"),
            (Update::Grown { .. }, _) => return Err("only_what_the_consumer_has_grows (INV-10)"),
        };
    }
    Ok(count)
}

fn check(
    before: &Node,
    after: &Node,
    loads: &[(Generation, Request)],
    records: usize,
    updates: usize,
) -> Result<(), &'static str> {
    let (old, new) = (&before.timeline, &after.timeline);
    if new.running().is_some() && new.poll_timeout().is_none() {
        return Err("every_waiting_state_has_a_deadline (INV-12)");
    }
    if loads
        .last()
        .is_some_and(|(generation, _)| Some(*generation) != new.running())
    {
        return Err("the_last_load_asked_for_is_the_running_one");
    }
    if new.running() != old.running() && new.running().is_some() && loads.is_empty() {
        return Err("a_running_load_was_asked_for");
    }
    if new.stale() > old.stale() && (old.state() != new.state() || updates > 0 || !loads.is_empty())
    {
        return Err("stale_results_change_nothing (INV-10)");
    }
    if old.has_loaded() && !new.has_loaded() {
        return Err("loaded_once_is_loaded_for_ever (UX-1, UX-2)");
    }
    if after.consumer.is_none() && before.consumer.is_some() && new.anomalies() == old.anomalies() {
        return Err("nothing_shown_is_taken_away (BX-2)");
    }
    if old.state().name() != new.state().name() && records == 0 {
        return Err("every_change_is_recorded (OB-1)");
    }
    if new.refused() > 0 {
        return Err("every_change_is_in_the_table");
    }
    Ok(())
}

#[test]
fn bx_2_inv_10_every_short_history_of_a_timeline() {
    let report = explore(&Timelines, 6);
    assert!(report.nodes > 10_000, "{report:?}");
}
