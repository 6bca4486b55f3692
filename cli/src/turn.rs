//! Finds the turn of this command's prompt in a timeline.

use bowline_runtime::protocol::{IntentId, ItemKind, TimelineItem, model::TurnStatus};

use crate::failure::Exit;

/// Follows a timeline until the command's turn ends.
///
/// Prompts queue: an earlier prompt's turn may still be running, and its end comes first. The
/// relevant end is the one that names this command's intent.
#[derive(Debug)]
pub(crate) struct Turn {
    intent: IntentId,
    asked: bool,
}

/// Relation of an item to the turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// Before the prompt.
    Before,
    /// The prompt, or after it.
    During,
    /// The end of the turn.
    End(TurnStatus, Option<i32>),
}

impl Turn {
    /// The turn started by the prompt of this intent.
    pub(crate) const fn of(intent: IntentId) -> Self {
        Self {
            intent,
            asked: false,
        }
    }

    /// Classifies the next item.
    pub(crate) fn see(&mut self, item: &TimelineItem) -> Part {
        let ours = item.intent_id == Some(self.intent);
        match item.kind {
            // An end without a status counts as a failure.
            ItemKind::TurnEnd if ours => {
                Part::End(item.status.unwrap_or(TurnStatus::Failed), item.exit_code)
            }
            ItemKind::User if ours => {
                self.asked = true;
                Part::During
            }
            _ if self.asked => Part::During,
            _ => Part::Before,
        }
    }
}

/// The exit code for the status of a turn. The process's own exit code is in the timeline: 2, 3 and
/// 4 have other meanings here.
pub(crate) const fn exit(status: TurnStatus) -> Exit {
    match status {
        TurnStatus::Completed => Exit::Done,
        TurnStatus::Failed | TurnStatus::Cancelled | TurnStatus::Interrupted => Exit::Failed,
    }
}

/// The end of a turn in words.
pub(crate) fn describe(status: TurnStatus, exit_code: Option<i32>) -> String {
    match (status, exit_code) {
        (TurnStatus::Completed, _) => "completed".to_owned(),
        (TurnStatus::Failed, Some(code)) => format!("failed with exit status {code}"),
        (TurnStatus::Failed, None) => "failed".to_owned(),
        (TurnStatus::Cancelled, _) => "cancelled".to_owned(),
        (TurnStatus::Interrupted, _) => "interrupted".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: &str = "018f0000-0000-7000-8000-000000000001";
    const THEIRS: &str = "018f0000-0000-7000-8000-000000000002";

    fn item(kind: ItemKind, intent: Option<&str>, status: Option<TurnStatus>) -> TimelineItem {
        let mut item = TimelineItem::new("itm_1".parse().unwrap(), 0, kind, 0);
        item.intent_id = intent.map(|intent| intent.parse().unwrap());
        item.status = status;
        item
    }

    #[test]
    fn bx_1_the_end_that_counts_is_the_one_of_our_own_prompt() {
        let mut turn = Turn::of(OURS.parse().unwrap());
        let failed = Some(TurnStatus::Failed);
        let done = Some(TurnStatus::Completed);
        let story = [
            (item(ItemKind::User, Some(THEIRS), None), Part::Before),
            (item(ItemKind::Output, None, None), Part::Before),
            (item(ItemKind::User, Some(OURS), None), Part::During),
            (item(ItemKind::Output, None, None), Part::During),
            (item(ItemKind::TurnEnd, Some(THEIRS), failed), Part::During),
            (item(ItemKind::Output, None, None), Part::During),
            (
                item(ItemKind::TurnEnd, Some(OURS), done),
                Part::End(TurnStatus::Completed, None),
            ),
        ];
        for (item, part) in story {
            assert_eq!(turn.see(&item), part);
        }
    }

    #[test]
    fn only_a_completed_turn_exits_with_zero() {
        assert_eq!(exit(TurnStatus::Completed), Exit::Done);
        for status in [
            TurnStatus::Failed,
            TurnStatus::Cancelled,
            TurnStatus::Interrupted,
        ] {
            assert_eq!(exit(status), Exit::Failed);
        }
        let mut turn = Turn::of(OURS.parse().unwrap());
        let end = turn.see(&item(ItemKind::TurnEnd, Some(OURS), None));
        assert_eq!(end, Part::End(TurnStatus::Failed, None));
    }
}
