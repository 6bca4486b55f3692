//! The account: what clients received of one agent, compared with the command's real output.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use bowline_protocol::{ItemKind, TimelineItem, model::TurnStatus};
use bowline_runtime::TimelinePosition;

use super::follow::Told;

/// Everything received of one agent, over successive clients.
#[derive(Debug, Default)]
pub(super) struct Account {
    items: BTreeMap<u64, TimelineItem>,
    /// Items and deltas received.
    pub(super) received: u64,
    /// Items received more than once.
    pub(super) repeated_items: u64,
    /// Longest time without data while the command ran.
    pub(super) longest_gap: Duration,
    /// The same since the start of the step.
    pub(super) step_gap: Duration,
    last: Option<Instant>,
    pub(super) turn_end: Option<(TurnStatus, Option<i32>)>,
}

impl Account {
    /// Records one message.
    pub(super) fn note(&mut self, now: Instant, told: Told) {
        match told {
            Told::Item { item } => {
                if item.kind == ItemKind::TurnEnd {
                    self.turn_end = item.status.map(|status| (status, item.exit_code));
                }
                let known = self.items.insert(item.index, item);
                self.repeated_items += u64::from(known.is_some());
            }
            Told::Delta { index, text } => {
                if let Some(item) = self.items.get_mut(&index) {
                    item.text.push_str(&text);
                }
            }
            Told::Agent { .. } | Told::Host { .. } => return,
        }
        self.received += 1;
        if let Some(last) = self.last.replace(now) {
            self.longest_gap = self.longest_gap.max(now - last);
            self.step_gap = self.step_gap.max(now - last);
        }
    }

    /// The position at which the next client continues.
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

    /// The command's whole output as received.
    pub(super) fn output(&self) -> String {
        let outputs = self
            .items
            .values()
            .filter(|item| item.kind == ItemKind::Output);
        outputs.map(|item| item.text.as_str()).collect()
    }

    /// Checks lines `tick 1` to `tick last`: missing, repeated, and out of order.
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
        // The last line may be incomplete.
        let whole = output
            .rfind('\n')
            .map_or("", |end| output.get(..end).unwrap_or_default());
        whole
            .lines()
            .rev()
            .find_map(|line| line.strip_prefix("tick ")?.parse().ok())
            .unwrap_or(0)
    }

    /// The number of lines that the command's last line reports.
    pub(super) fn printed(&self) -> Option<u32> {
        let output = self.output();
        let last = output.lines().last()?;
        last.strip_prefix("printed ")?.parse().ok()
    }

    /// Starts a step with its own gap measurement.
    pub(super) fn begin_step(&mut self) {
        self.step_gap = Duration::ZERO;
    }

    /// Starts a new interval: the next message is not late.
    pub(super) fn pause(&mut self) {
        self.last = None;
    }
}

/// Result of the check of numbered lines.
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
