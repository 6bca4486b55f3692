//! Tests of a host's timelines: retention, the record of loaded ones, and the removal of messages.
//! The explorer covers the orders of inputs.

use std::time::Duration;

use bowline_protocol::{IntentId, ItemKind, TimelineItem, methods::HistoryPage};

use super::{retention::to_forget, *};
use crate::data::{
    optimistic::{Conclusion, PendingMessage, Queued},
    timeline::Effect,
};

const NOW: MonotonicTime = MonotonicTime::from_millis(1_000);
const GRACE: Duration = Duration::from_secs(10);

fn agent(n: u32) -> AgentId {
    format!("agt_{n}").parse().unwrap()
}

fn intent(n: u8) -> IntentId {
    IntentId::from_uuid(uuid::Uuid::from_bytes([n; 16]))
}

fn item(index: u64, text: &str) -> TimelineItem {
    let id = format!("itm_{index}").parse().unwrap();
    TimelineItem {
        text: text.to_owned(),
        ..TimelineItem::new(id, index, ItemKind::Message, 0)
    }
}

/// A host with pending messages.
struct Host {
    timelines: Timelines,
    optimistic: Optimistic,
    rev: u64,
}

impl Host {
    fn new(config: TimelinesConfig) -> Self {
        let mut host = Self {
            timelines: Timelines::new(config),
            optimistic: Optimistic::new(),
            rev: 0,
        };
        host.attached(SessionState::New);
        host
    }

    fn attached(&mut self, session: SessionState) {
        self.timelines.attached(NOW, session, &self.optimistic);
    }

    fn open(&mut self, n: u32) -> Result<(), TooManyOpen> {
        let stream = Reader::Stream;
        self.timelines
            .open(NOW, &agent(n), stream, &self.optimistic)
    }

    fn loads(&mut self) -> Vec<(AgentId, Generation)> {
        std::iter::from_fn(|| self.timelines.poll_effect())
            .filter_map(|(agent_id, effect)| match effect {
                Effect::Load {
                    load: generation, ..
                } => Some((agent_id, generation)),
                Effect::Unsubscribe => None,
            })
            .collect()
    }

    /// Answers every load with one item with this text.
    fn answer(&mut self, text: &str) {
        for (agent_id, generation) in self.loads() {
            let page = HistoryPage {
                items: vec![item(0, text)],
                has_more: false,
                seq: 0,
            };
            let input = timeline::Input::Page {
                load: generation,
                result: Ok(page),
            };
            self.timelines
                .handle(NOW, &agent_id, input, &self.optimistic);
        }
        self.publish();
    }

    fn publish(&mut self) {
        self.timelines.publish(&mut self.optimistic, &mut self.rev);
    }

    fn sweep(&mut self, after: Duration, connectivity: Connectivity) {
        self.timelines
            .sweep(NOW + after, connectivity, &mut self.optimistic);
        self.publish();
    }

    /// Opens a timeline, loads it, and closes it.
    fn read(&mut self, n: u32, text: &str) {
        self.open(n).unwrap();
        self.answer(text);
        self.timelines.streams_ended(&agent(n));
        self.sweep(Duration::ZERO, Connectivity::Online);
    }

    fn is_loaded(&self, n: u32) -> bool {
        self.timelines
            .view(&agent(n))
            .is_some_and(|view| view.loaded)
    }

    /// Queues a message that the daemon then accepts.
    fn deliver(&mut self, n: u32, message: u8) {
        let queued = Queued::Message {
            agent_id: agent(n),
            message: PendingMessage {
                intent_id: intent(message),
                text: String::new(),
                at: 0,
                delivered: false,
            },
        };
        self.optimistic.handle(optimistic::Input::Queued(queued));
        self.optimistic.handle(optimistic::Input::Concluded {
            intent_id: intent(message),
            conclusion: Conclusion::Done { item: None },
        });
    }

    fn is_shown(&self, message: u8) -> bool {
        self.optimistic.is_pending(intent(message))
    }
}

fn unread(n: u32, bytes: usize, has_loaded: bool) -> Unread {
    Unread {
        left_at: u64::from(n),
        agent_id: agent(n),
        bytes,
        has_loaded,
    }
}

#[test]
fn the_ones_left_longest_ago_are_forgotten_until_the_rest_is_small_enough() {
    let bounds = KeptBounds {
        timelines: 2,
        bytes_total: 100,
        bytes_largest: 90,
        ..KeptBounds::default()
    };
    let forgotten = |unread: &[Unread]| {
        let mut numbers: Vec<_> = to_forget(unread.to_vec(), &bounds)
            .into_iter()
            .map(|one| one.left_at)
            .collect();
        numbers.sort_unstable();
        numbers
    };
    let small = |n| unread(n, 10, true);
    assert_eq!(forgotten(&[small(1), small(2)]), [] as [u64; 0]);
    assert_eq!(forgotten(&[small(3), small(1), small(2)]), [1]);
    assert_eq!(
        forgotten(&[small(1), unread(2, 60, true), unread(3, 60, true)]),
        [1, 2],
        "nothing older than the first that does not fit is kept"
    );
    assert_eq!(
        forgotten(&[small(1), unread(2, 91, true), small(3)]),
        [2],
        "one that is too large costs no other its place"
    );
    assert_eq!(
        forgotten(&[small(1), unread(2, 1, false), small(3)]),
        [2],
        "one that was never loaded is not worth a place"
    );
}

#[test]
fn ux_2_what_was_loaded_is_remembered_within_a_bound_after_it_is_forgotten() {
    let mut host = Host::new(TimelinesConfig {
        kept: KeptBounds {
            timelines: 0,
            loaded: 2,
            ..KeptBounds::default()
        },
        ..TimelinesConfig::default()
    });
    for n in 1..=3 {
        host.read(n, "text");
    }
    host.sweep(Duration::ZERO, Connectivity::Online);
    assert_eq!(host.timelines.counts(), (0, 0, 2));
    for (n, loaded) in [(1, false), (2, true), (3, true)] {
        host.open(n).unwrap();
        host.publish();
        let view = host.timelines.view(&agent(n)).unwrap();
        assert_eq!((view.loaded, view.known), (loaded, false), "{n}");
    }
}

#[test]
fn ux_2_what_is_kept_is_shown_at_once_when_it_is_opened_again() {
    let mut host = Host::new(TimelinesConfig::default());
    host.read(1, "text");
    assert_eq!(host.timelines.counts(), (0, 1, 0));
    host.open(1).unwrap();
    host.publish();
    let view = host.timelines.view(&agent(1)).unwrap();
    assert!(view.loaded && view.known && view.catching_up);
    assert_eq!(view.items.len(), 1);
}

#[test]
fn inv_10_an_answer_to_a_timeline_that_was_forgotten_is_stale_for_the_next_one() {
    let mut host = Host::new(TimelinesConfig::default());
    host.open(1).unwrap();
    let (_, late) = host.loads().pop().unwrap();
    host.timelines.streams_ended(&agent(1));
    host.sweep(Duration::ZERO, Connectivity::Online);
    host.sweep(Duration::ZERO, Connectivity::Online);
    assert_eq!(host.timelines.counts(), (0, 0, 0), "it was never loaded");
    host.open(1).unwrap();
    let page = HistoryPage {
        items: vec![item(0, "as of an earlier subscription")],
        has_more: false,
        seq: 0,
    };
    let generation = late;
    let input = timeline::Input::Page {
        load: generation,
        result: Ok(page),
    };
    host.timelines
        .handle(NOW, &agent(1), input, &host.optimistic);
    host.publish();
    assert!(!host.is_loaded(1));
    assert_eq!(host.timelines.stale(), 1);
}

#[test]
fn one_more_than_the_bound_is_refused_and_one_that_is_open_is_not() {
    let mut host = Host::new(TimelinesConfig {
        most_open: 2,
        ..TimelinesConfig::default()
    });
    host.open(1).unwrap();
    host.open(2).unwrap();
    assert_eq!(host.open(3), Err(TooManyOpen { most: 2 }));
    host.open(2).unwrap();
    host.timelines.streams_ended(&agent(1));
    host.open(3).unwrap();
}

#[test]
fn open_timelines_share_what_they_may_hold() {
    let large = "x".repeat(300);
    let mut host = Host::new(TimelinesConfig {
        open_bytes: 1_200,
        ..TimelinesConfig::default()
    });
    let feed = |host: &mut Host, n| {
        for index in 1..4 {
            let happened = timeline::Happened::Appended(item(index, &large));
            let input = timeline::Input::Event {
                seq: index,
                happened,
            };
            host.timelines
                .handle(NOW, &agent(n), input, &host.optimistic);
        }
        host.publish();
    };
    host.open(1).unwrap();
    host.answer(&large);
    feed(&mut host, 1);
    let held = |host: &Host| host.timelines.view(&agent(1)).unwrap().items.text_bytes();
    assert_eq!(held(&host), 600, "two of four in two thirds of all");
    host.open(2).unwrap();
    host.publish();
    assert_eq!(held(&host), 300, "one in two thirds of half of it");
}

#[test]
fn ux_3_a_message_whose_item_does_not_come_leaves_after_a_grace_while_online_and_exact() {
    let mut host = Host::new(TimelinesConfig::default());
    host.open(1).unwrap();
    host.deliver(1, 1);
    host.sweep(Duration::ZERO, Connectivity::Online);
    host.sweep(GRACE * 2, Connectivity::Online);
    assert!(host.is_shown(1), "it is still being loaded");
    host.answer("text");
    host.sweep(GRACE * 3, Connectivity::Online);
    host.sweep(GRACE * 4, Connectivity::Connecting);
    assert!(host.is_shown(1), "an outage begins the wait anew");
    host.sweep(GRACE * 5, Connectivity::Online);
    host.attached(SessionState::Resumed);
    host.sweep(GRACE * 6, Connectivity::Online);
    assert!(host.is_shown(1), "so does another attach");
    host.sweep(GRACE * 7, Connectivity::Online);
    assert!(!host.is_shown(1));
}

#[test]
fn ux_3_a_message_to_an_agent_that_nobody_reads_is_kept_until_it_is_opened_within_a_bound() {
    let mut host = Host::new(TimelinesConfig {
        kept_delivered: 2,
        ..TimelinesConfig::default()
    });
    host.read(1, "text");
    for message in 1..=3 {
        host.deliver(1, message);
    }
    host.deliver(2, 4);
    host.sweep(Duration::ZERO, Connectivity::Online);
    host.sweep(GRACE * 100, Connectivity::Online);
    let shown = [1, 2, 3].map(|message| host.is_shown(message));
    assert_eq!(shown, [false, true, true], "the oldest is over the bound");
    assert!(!host.is_shown(4), "opening that one shows its item first");
}
