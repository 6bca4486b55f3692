//! The account: what clients were given of one agent, checked against what the command really printed.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use bowline_protocol::{ItemKind, TimelineItem, model::TurnStatus};
use bowline_runtime::TimelinePosition;

use super::follow::Told;

/// What was received of one agent, by however many clients after each other.
#[derive(Debug, Default)]
pub(super) struct Account {
    items: BTreeMap<u64, TimelineItem>,
    /// Items and deltas received.
    pub(super) received: u64,
    /// Items that came although they had come before.
    pub(super) repeated_items: u64,
    /// Longest time without anything, while the command ran.
    pub(super) longest_gap: Duration,
    /// The same since the step began.
    pub(super) step_gap: Duration,
    last: Option<Instant>,
    pub(super) turn_end: Option<(TurnStatus, Option<i32>)>,
}

impl Account {
    /// Takes note of one thing told. Tells the text that it adds.
    pub(super) fn note(&mut self, now: Instant, told: Told) -> String {
        let text = match told {
            Told::Item { item } => {
                let text = if item.kind == ItemKind::Output {
                    item.text.clone()
                } else {
                    String::new()
                };
                if item.kind == ItemKind::TurnEnd {
                    self.turn_end = item.status.map(|status| (status, item.exit_code));
                }
                if self.items.insert(item.index, item).is_some() {
                    self.repeated_items += 1;
                }
                text
            }
            Told::Delta { index, text } => {
                if let Some(item) = self.items.get_mut(&index) {
                    item.text.push_str(&text);
                }
                text
            }
            Told::Agent { .. } | Told::Host { .. } => return String::new(),
        };
        self.received += 1;
        if let Some(last) = self.last.replace(now) {
            self.longest_gap = self.longest_gap.max(now - last);
            self.step_gap = self.step_gap.max(now - last);
        }
        text
    }

    /// Where the next client goes on.
    pub(super) fn position(&self) -> TimelinePosition {
        TimelinePosition {
            next: Some(self.items.keys().next_back().map_or(0, |last| last + 1)),
            given: self
                .items
                .iter()
                .map(|(index, item)| (*index, item.text.len()))
                .collect(),
        }
    }

    /// Everything the command printed, as received.
    pub(super) fn output(&self) -> String {
        let outputs = self
            .items
            .values()
            .filter(|item| item.kind == ItemKind::Output);
        outputs.map(|item| item.text.as_str()).collect()
    }

    /// Lines `tick 1` to `tick last`: how many are missing, how many came more than once, and whether they
    /// came in order.
    pub(super) fn ticks(&self, last: u32) -> Ticks {
        let output = self.output();
        let numbers: Vec<u32> = output
            .lines()
            .filter_map(|line| line.strip_prefix("tick ")?.parse().ok())
            .collect();
        let unique: BTreeSet<u32> = numbers.iter().copied().collect();
        Ticks {
            lost: (1..=last).filter(|n| !unique.contains(n)).count(),
            repeated: numbers.len() - unique.len(),
            in_order: numbers.is_sorted(),
        }
    }

    /// The highest tick received.
    pub(super) fn last_tick(&self) -> u32 {
        let output = self.output();
        // The last line may still be on its way.
        let whole = output
            .rfind('\n')
            .map_or("", |end| output.get(..end).unwrap_or_default());
        whole
            .lines()
            .rev()
            .find_map(|line| line.strip_prefix("tick ")?.parse().ok())
            .unwrap_or(0)
    }

    /// What the command says that it printed, in its last line.
    pub(super) fn printed(&self) -> Option<u32> {
        let output = self.output();
        let last = output.lines().last()?;
        last.strip_prefix("printed ")?.parse().ok()
    }

    /// Begins a step: its gaps are its own.
    pub(super) fn begin_step(&mut self) {
        self.step_gap = Duration::ZERO;
    }

    /// Starts a new stretch of time: what comes next is not late.
    pub(super) fn pause(&mut self) {
        self.last = None;
    }
}

/// What became of the numbered lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Ticks {
    pub(super) lost: usize,
    pub(super) repeated: usize,
    pub(super) in_order: bool,
}

#[cfg(test)]
mod tests {
    use bowline_protocol::ItemId;

    use super::*;

    fn output(index: u64, text: &str) -> Told {
        let id: ItemId = format!("itm_{index}").parse().unwrap();
        let mut item = TimelineItem::new(id, index, ItemKind::Output, 0);
        item.text = text.to_owned();
        Told::Item { item }
    }

    #[test]
    fn what_is_missing_and_what_comes_twice_is_seen() {
        let mut account = Account::default();
        let now = Instant::now();
        account.note(now, output(0, "tick 1\ntick 2\nti"));
        account.note(
            now,
            Told::Delta {
                index: 0,
                text: "ck 3\ntick 5\ntick 5\n".into(),
            },
        );
        let ticks = account.ticks(5);
        assert_eq!(
            ticks,
            Ticks {
                lost: 1,
                repeated: 1,
                in_order: true
            }
        );
        assert_eq!(account.last_tick(), 5);
        account.note(now, output(0, ""));
        assert_eq!(account.repeated_items, 1);
    }

    #[test]
    fn the_next_client_goes_on_where_this_one_stopped() {
        let mut account = Account::default();
        account.note(Instant::now(), output(0, "a"));
        account.note(Instant::now(), output(1, "bcd"));
        let position = account.position();
        assert_eq!(position.next, Some(2));
        assert_eq!(position.given, [(0, 1), (1, 3)].into());
    }
}
