//! Comparison with a model daemon: in any interleaving, the consumer's result is the timeline
//! (BX-2).

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use proptest::prelude::*;

use super::*;

/// One step.
#[derive(Clone, Debug)]
enum Step {
    /// The daemon appends an item of one of a few kinds.
    Append(u8),
    /// The daemon extends the text of an item of the running turn.
    Grow(usize),
    /// The daemon drops the text of one of its oldest items that have one.
    Forget(usize),
    /// The daemon reads the requested page.
    Read,
    /// The page arrives.
    Answer,
    /// The request fails.
    Fail,
    /// This number of events arrives.
    Deliver(usize),
    /// The last event that arrived is repeated.
    Repeat,
    LoadOlder,
    LoadNewer,
    /// The consumer drops this number of its newest items.
    DropNewest(usize),
    /// The consumer drops this number of its oldest items.
    DropOldest(usize),
    /// The connection is replaced without a disconnect.
    Switch,
    Reconnect,
    /// The session is reset: events in flight are lost and numbering starts again.
    Reset,
    /// The same, after this number of items was appended meanwhile.
    LongReset(usize),
    CloseAndOpen,
    RestartConsumer,
    Timeout,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0_u8..8).prop_map(Step::Append),
        8 => (0_usize..6).prop_map(Step::Grow),
        2 => (0_usize..4).prop_map(Step::Forget),
        6 => Just(Step::Read),
        6 => Just(Step::Answer),
        1 => Just(Step::Fail),
        8 => (1_usize..5).prop_map(Step::Deliver),
        1 => Just(Step::Repeat),
        2 => Just(Step::LoadOlder),
        2 => Just(Step::LoadNewer),
        1 => (1_usize..6).prop_map(Step::DropNewest),
        1 => (1_usize..6).prop_map(Step::DropOldest),
        1 => Just(Step::Switch),
        1 => Just(Step::Reconnect),
        1 => Just(Step::Reset),
        1 => (5_usize..40).prop_map(Step::LongReset),
        1 => Just(Step::CloseAndOpen),
        1 => Just(Step::RestartConsumer),
        1 => Just(Step::Timeout),
    ]
}

/// The daemon, the network and the consumer.
struct World {
    it: Timeline,
    now: u64,
    // The daemon.
    items: Vec<TimelineItem>,
    seq: u64,
    subscribed: bool,
    page: usize,
    // In flight.
    events: VecDeque<(u64, Happened)>,
    asked: Option<(Generation, Request)>,
    read: Option<(Generation, HistoryPage)>,
    repeat: Option<(u64, Happened)>,
    // The consumer's result.
    consumer: VecDeque<(u64, String)>,
    restarts: usize,
    /// The texts that the daemon dropped.
    former: BTreeMap<u64, String>,
    /// Those of which the client gets the event.
    told: BTreeSet<u64>,
}

impl World {
    fn new(config: TimelineConfig, items: usize) -> Self {
        let mut world = Self {
            it: Timeline::new(config),
            now: 0,
            items: Vec::new(),
            seq: 0,
            subscribed: false,
            page: usize::try_from(config.page).unwrap(),
            events: VecDeque::new(),
            asked: None,
            read: None,
            repeat: None,
            consumer: VecDeque::new(),
            restarts: 0,
            former: BTreeMap::new(),
            told: BTreeSet::new(),
        };
        for number in 0..items {
            world.append(u8::try_from(number % 5).unwrap());
        }
        world.feed(Input::Open);
        world
    }

    fn feed(&mut self, input: Input) {
        self.it.handle(at(self.now), input);
        self.drain();
    }

    /// Does what the driver does after every input.
    fn drain(&mut self) {
        while let Some(effect) = self.it.poll_effect() {
            match effect {
                Effect::Load {
                    load: generation,
                    request,
                    subscribe,
                } => {
                    self.subscribed |= subscribe;
                    self.asked = Some((generation, request));
                }
                Effect::Unsubscribe => {
                    self.subscribed = false;
                    self.events.clear();
                    self.told.clear();
                }
            }
        }
        while let Some(update) = self.it.poll_update() {
            self.consume(update);
        }
        while self.it.poll_transition().is_some() {}
    }

    fn consume(&mut self, update: Update) {
        match update {
            Update::Appended(item) => self.consumer.push_back((item.index, item.text.clone())),
            Update::Prepended(items) => {
                for item in items.iter().rev() {
                    self.consumer.push_front((item.index, item.text.clone()));
                }
            }
            Update::Grown {
                index,
                text,
                item_id,
            } => {
                assert_eq!(item_id.as_str(), format!("itm_{index}"));
                let entry = self.consumer.iter_mut().find(|(at, _)| *at == index);
                entry
                    .expect("only what the consumer has grows")
                    .1
                    .push_str(&text);
            }
            Update::Restarted(items) => {
                let items = items.iter().map(|item| (item.index, item.text.clone()));
                self.consumer = items.collect();
                self.restarts += 1;
            }
            Update::Replaced(item) => {
                let index = item.index;
                let entry = self.consumer.iter_mut().find(|(at, _)| *at == index);
                let entry = entry.expect("only what the consumer has is replaced");
                entry.1.clone_from(&item.text);
            }
            Update::Dropped { from } => self.consumer.retain(|(index, _)| *index < from),
            Update::Cleared => panic!("the daemon never took anything back"),
        }
    }

    fn emit(&mut self, happened: Happened) {
        self.seq += 1;
        if self.subscribed {
            self.events.push_back((self.seq, happened));
        }
    }

    fn append(&mut self, kind: u8) {
        let kind = match kind {
            0 => ItemKind::User,
            1 => ItemKind::TurnEnd,
            2..=4 => ItemKind::Output,
            _ => ItemKind::Message,
        };
        let index = u64::try_from(self.items.len()).unwrap();
        let item = item(index, kind, &format!("[{index}]"));
        self.items.push(item.clone());
        self.emit(Happened::Appended(item));
    }

    /// Only items of the running turn grow, and none that is complete from the start.
    fn grow(&mut self, back: usize) {
        let turn = self
            .items
            .iter()
            .rposition(|item| item.kind == ItemKind::TurnEnd);
        let from = turn.map_or(0, |end| end + 1);
        let growable: Vec<usize> = (from..self.items.len())
            .filter(|place| self.items[*place].kind != ItemKind::User)
            .collect();
        if growable.is_empty() {
            return;
        }
        let place = growable[growable.len() - 1 - back % growable.len()];
        let text = format!("~{}", self.seq);
        self.items[place].text.push_str(&text);
        let (item_id, index) = (self.items[place].id.clone(), self.items[place].index);
        self.emit(Happened::Delta {
            item_id,
            index,
            text,
        });
    }

    /// Items of turns that have ended may lose their text.
    fn forget(&mut self, nth: usize) {
        let mut items = self.items.iter();
        let end = items.rposition(|item| item.kind == ItemKind::TurnEnd);
        let before = end.unwrap_or(0);
        let held = self.items[..before].iter().enumerate();
        let mut held = held.filter(|(_, item)| !item.text.is_empty());
        let Some(place) = held.nth(nth).map(|(place, _)| place) else {
            return;
        };
        let item = &mut self.items[place];
        item.dropped_bytes = item.text.len() as u64;
        let item = item.clone();
        let item = TimelineItem {
            text: String::new(),
            ..item
        };
        let former = std::mem::replace(&mut self.items[place], item.clone());
        self.former.insert(former.index, former.text);
        if self.subscribed {
            self.told.insert(former.index);
        }
        self.emit(Happened::Updated(item));
    }

    fn read(&mut self) {
        let Some((generation, request)) = self.asked.take() else {
            return;
        };
        let asked = request.history("agt_1".parse().unwrap(), u32::try_from(self.page).unwrap());
        let limit = usize::try_from(asked.limit.unwrap()).unwrap();
        let (items, has_more) = match asked.after {
            Some(after) => {
                let from = usize::try_from(after + 1).unwrap().min(self.items.len());
                let to = (from + limit).min(self.items.len());
                (&self.items[from..to], to < self.items.len())
            }
            None => {
                let end = self.items.len();
                let to = asked
                    .before
                    .map_or(end, |before| usize::try_from(before).unwrap().min(end));
                let from = to.saturating_sub(limit);
                (&self.items[from..to], from > 0)
            }
        };
        let page = HistoryPage {
            items: items.to_vec(),
            has_more,
            seq: self.seq,
        };
        self.read = Some((generation, page));
    }

    fn lose_requests(&mut self) {
        self.asked = None;
        self.read = None;
    }

    fn reset(&mut self, appended: usize) {
        self.lose_requests();
        self.feed(disconnected());
        self.events.clear();
        self.repeat = None;
        // Growth without an event.
        self.grow(0);
        for _ in 0..appended {
            self.append(7);
        }
        self.events.clear();
        self.told.clear();
        self.seq = 0;
        self.feed(attached(SessionState::Reset));
    }

    fn take(&mut self, step: Step) {
        self.now += 10;
        match step {
            Step::Append(kind) => self.append(kind),
            Step::Grow(back) => self.grow(back),
            Step::Forget(nth) => self.forget(nth),
            Step::Read => self.read(),
            Step::Answer => {
                if let Some((generation, page)) = self.read.take() {
                    self.feed(Input::Page {
                        load: generation,
                        result: Ok(page),
                    });
                }
            }
            Step::Fail => {
                if let Some((generation, _)) = self.asked.take() {
                    self.feed(Input::Page {
                        load: generation,
                        result: Err(REJECTED),
                    });
                }
            }
            Step::Deliver(count) => {
                for _ in 0..count {
                    if let Some((seq, happened)) = self.events.pop_front() {
                        self.repeat = Some((seq, happened.clone()));
                        self.feed(Input::Event { seq, happened });
                    }
                }
            }
            Step::Repeat => {
                if let Some((seq, happened)) = self.repeat.clone() {
                    self.feed(Input::Event { seq, happened });
                }
            }
            Step::LoadOlder => self.feed(Input::LoadMore(End::Older)),
            Step::LoadNewer => self.feed(Input::LoadMore(End::Newer)),
            Step::DropNewest(count) => {
                if count < self.consumer.len() {
                    let kept = self.consumer.len() - count;
                    self.it.consumer_dropped_from(self.consumer[kept].0);
                    self.consumer.truncate(kept);
                }
            }
            Step::DropOldest(count) => {
                if count < self.consumer.len() {
                    let from = self.consumer[count].0.min(self.it.held_from());
                    self.it.consumer_dropped_before(from);
                    self.consumer.retain(|(index, _)| *index >= from);
                }
            }
            Step::Switch => self.feed(attached(SessionState::Resumed)),
            Step::Reconnect => {
                self.lose_requests();
                self.feed(disconnected());
                self.feed(attached(SessionState::Resumed));
            }
            Step::Reset => self.reset(1),
            Step::LongReset(appended) => self.reset(appended),
            Step::CloseAndOpen => {
                self.feed(Input::Close);
                self.grow(1);
                self.append(5);
                self.feed(Input::Open);
            }
            Step::RestartConsumer => {
                let items = self.it.restart_consumer();
                self.consumer = items
                    .iter()
                    .map(|item| (item.index, item.text.clone()))
                    .collect();
            }
            Step::Timeout => {
                if let Some(due) = self.it.poll_timeout() {
                    self.now = self.now.max(due.as_millis());
                    self.it.handle_timeout(due);
                    self.drain();
                }
            }
        }
    }

    /// At all times the consumer has a run of the timeline, each text a prefix of the daemon's.
    fn check(&self) {
        let first = self.consumer.front().map_or(0, |(index, _)| *index);
        for (expected, (index, text)) in (first..).zip(&self.consumer) {
            assert_eq!(*index, expected, "items in order, without gaps");
            let whole = &self.items[usize::try_from(*index).unwrap()].text;
            let former = self.former.get(index);
            let is_known = former.is_some_and(|former| former.starts_with(text));
            assert!(
                whole.starts_with(text) || is_known,
                "{index}: {text} of {whole}"
            );
        }
        assert_eq!((self.it.refused(), self.it.anomalies()), (0, 0));
    }

    /// The network works and nothing more happens.
    fn settle(&mut self) {
        for round in 0..1_000 {
            if matches!(self.it.state(), State::Live { .. }) && self.events.is_empty() {
                return;
            }
            if matches!(self.it.state(), State::Failed { .. }) {
                self.take(Step::Timeout);
            }
            self.take(Step::Deliver(10));
            self.take(Step::Read);
            self.take(Step::Answer);
            if round % 20 == 19 {
                // Losses are recovered at the deadline.
                self.take(Step::Timeout);
            }
        }
        panic!("stuck in {:?}", self.it.state());
    }

    /// The consumer's items are exact, and reach the end unless it is detached.
    fn assert_whole(&self) {
        let first = self
            .consumer
            .front()
            .map_or(self.items.len(), |(index, _)| {
                usize::try_from(*index).unwrap()
            });
        let end = if self.it.is_detached() {
            first + self.consumer.len()
        } else {
            self.items.len()
        };
        assert_eq!(self.consumer.len(), end - first);
        for (item, (index, text)) in self.items[first..end].iter().zip(&self.consumer) {
            // A dropped text may stay where the event of it was missed.
            let is_missed =
                !self.told.contains(index) && self.former.get(index).is_some_and(|it| it == text);
            assert!(
                *index == item.index && (*text == item.text || is_missed),
                "{index}: {text} is not {item:?}"
            );
        }
    }
}

fn run(config: TimelineConfig, items: usize, steps: Vec<Step>) {
    let mut world = World::new(config, items);
    for step in steps {
        world.take(step);
        world.check();
    }
    world.settle();
    world.assert_whole();
    // Scrolled to its end and to its start, it is the whole timeline.
    for _ in 0..1_000 {
        if !world.it.is_detached() {
            break;
        }
        world.take(Step::LoadNewer);
        world.settle();
        world.check();
    }
    assert!(!world.it.is_detached());
    world.assert_whole();
    for _ in 0..1_000 {
        if !world.it.has_older() {
            break;
        }
        world.take(Step::LoadOlder);
        world.settle();
        world.check();
    }
    world.assert_whole();
    assert!(world.consumer.front().is_none_or(|(index, _)| *index == 0));
}

/// The consumer holds a bounded number of items and scrolls over the whole timeline, up and down,
/// while items are appended.
#[test]
fn a_bounded_consumer_scrolls_over_any_timeline() {
    let most = 20;
    let config = TimelineConfig {
        max_items: 8,
        page: 4,
        ..TimelineConfig::default()
    };
    let mut world = World::new(config, 200);
    world.settle();
    let (mut up, mut down) = (0, 0);
    while world.it.has_older() {
        world.take(Step::LoadOlder);
        world.take(Step::Append(u8::try_from(up % 7).unwrap()));
        world.take(Step::Grow(up));
        world.settle();
        let over = world.consumer.len().saturating_sub(most);
        if over > 0 {
            world.take(Step::DropNewest(over));
        }
        world.check();
        world.assert_whole();
        up += 1;
    }
    assert!(up > 40 && world.it.is_detached());
    assert_eq!(world.consumer[0].0, 0);
    while world.it.is_detached() {
        world.take(Step::LoadNewer);
        world.take(Step::Append(u8::try_from(down % 7).unwrap()));
        world.take(Step::Grow(down));
        world.settle();
        let over = world.consumer.len().saturating_sub(most);
        if over > 0 {
            world.take(Step::DropOldest(over));
        }
        world.check();
        world.assert_whole();
        down += 1;
    }
    assert!(down > 40, "{down}");
    assert_eq!(world.restarts, 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn bx_2_and_inv_10_the_consumer_has_exactly_the_timeline(
        items in 0_usize..30,
        steps in prop::collection::vec(step(), 0..120),
    ) {
        let config = TimelineConfig { page: 4, ..TimelineConfig::default() };
        run(config, items, steps);
    }

    #[test]
    fn bx_2_and_inv_10_hold_for_a_small_window(
        items in 0_usize..30,
        steps in prop::collection::vec(step(), 0..120),
    ) {
        let config = TimelineConfig { max_items: 3, page: 4, max_kept: 6, ..TimelineConfig::default() };
        run(config, items, steps);
    }

    #[test]
    fn bx_2_and_inv_10_hold_where_what_was_missed_is_left_out(
        items in 0_usize..60,
        steps in prop::collection::vec(step(), 0..120),
    ) {
        let config = TimelineConfig {
            max_items: 12, page: 4, max_kept: 12, catch_up_pages: 2, ..TimelineConfig::default()
        };
        run(config, items, steps);
    }
}
