//! What holds in every history of patches (LD-3).

use bowline_machines::data::tables::TableState;

use super::{Asked, Change, Doing, Node, PATCHED, Step, id, take};

pub(super) fn check(node: &Node) -> Result<(), &'static str> {
    let is_loaded = !matches!(
        node.view.state,
        TableState::Loading | TableState::Failed | TableState::Refused
    );
    let mut keys: Vec<_> = node.intents.iter().map(|one| one.key).collect();
    keys.dedup();
    for key in keys {
        let shown = node.shown(key);
        let intents = node.intents.iter().enumerate();
        let intents = intents.filter(|(_, one)| one.key == key && one.is_sent);
        let intents: Vec<_> = intents.collect();
        // The last one that the daemon has not said anything of lies on top.
        if let Some((number, last)) = intents.last()
            && !last.is_answered
            && !last.is_told
        {
            let is_there = match last.change {
                Change::Upsert => shown == Some(PATCHED + *number as u64),
                // Nothing is merged into a row that only says why it could not be made.
                Change::Merge => {
                    shown.is_none_or(|shown| shown == PATCHED + *number as u64)
                        || node.is_only_failed(key)
                }
                Change::Remove => shown.is_none(),
            };
            // One that was told by its key only may have left.
            if !is_there && last.done.is_none() {
                return Err("what_is_open_is_shown (LD-3)");
            }
        }
        let is_marked = shown.is_some_and(|shown| shown >= PATCHED);
        let has_removal = intents.iter().any(|(_, one)| {
            one.change == Change::Remove
                && !(one.is_refused && one.is_answered)
                && !(one.is_told && is_loaded)
        });
        if !is_loaded || node.is_refused || is_marked || shown.is_none() && has_removal {
            continue;
        }
        // What is shown is the daemon's: not as it was before an effect of which the client knows.
        for (_, one) in &intents {
            let Some((version, true)) = one.done else {
                continue;
            };
            let is_known_done = one.is_answered && !one.is_refused;
            if !one.is_told && !is_known_done {
                continue;
            }
            // Others had removed the row into which it is to be merged.
            if shown.is_none() && one.change == Change::Merge && !one.is_told {
                continue;
            }
            let as_of = shown.or_else(|| node.removed.get(key).copied());
            if as_of.is_none_or(|as_of| as_of < version) {
                return Err("no_effect_is_taken_back (LD-3)");
            }
        }
    }
    // In the step that brings the effect, the patch is gone.
    for (number, one) in node.intents.iter().enumerate() {
        if one.is_told && is_loaded && node.shown(one.key) == Some(PATCHED + number as u64) {
            return Err("a_patch_leaves_with_its_effect (LD-3)");
        }
    }
    Ok(())
}

/// Delivers everything, in one of two orders of events and answers.
pub(super) fn converge(mut node: Node, events_first: bool) -> Result<(), &'static str> {
    if !node.is_attached {
        take(&mut node, &Step::Resume);
    }
    for _ in 0..60 {
        let ready = |asked: &Asked| asked.page.is_some() || asked.is_lost;
        let unanswered = (0..node.intents.len()).find(|n| {
            let one = &node.intents[*n];
            one.is_sent && !one.is_answered && !node.is_waiting(*n)
        });
        let has_ended = |state| matches!(state, TableState::Failed | TableState::Stale);
        let step = if events_first && !node.events.is_empty() {
            Step::Deliver
        } else if !node.answers.is_empty() {
            Step::Answer
        } else if let Some(at) = node.asked.iter().position(ready) {
            node.asked.swap(0, at);
            Step::Page
        } else if !node.asked.is_empty() {
            Step::Process
        } else if !node.events.is_empty() {
            Step::Deliver
        } else if let Some(intent) = unanswered {
            match node.intents[intent].done {
                Some(_) => Step::Repeat(intent),
                None => Step::Do(intent, Doing::Expected),
            }
        } else if has_ended(node.view.state) {
            Step::Timer
        } else if node.view.state == TableState::Refused {
            Step::Refresh
        } else {
            break;
        };
        take(&mut node, &step);
        check(&node).inspect_err(|_| println!("{step:?}: {node:?}"))?;
    }
    if !matches!(node.view.state, TableState::Ready | TableState::Empty) {
        return Err("every_history_ends_ready");
    }
    if node.view.rows.iter().any(|row| row.pending) {
        return Err("no_patch_is_stuck (LD-3)");
    }
    for key in ["k/a", "k/b", "k/other"] {
        let mut failed = node.intents.iter().enumerate().filter(|(_, one)| {
            one.key == key && one.is_refused && one.is_answered && !one.is_dismissed
        });
        let mut rows = node.view.rows.iter();
        let shown = rows.find(|row| &*row.key == key);
        let last = failed.clone().next_back().map(|(number, _)| id(number));
        let ghost = failed.rfind(|(_, one)| one.change == Change::Upsert);
        let expected = node.rows.get(key).copied();
        let ghost = ghost.map(|(number, _)| PATCHED + number as u64);
        if node.shown(key) != expected.or(ghost) {
            return Err("the_rows_are_the_daemons (LD-3)");
        }
        let said = shown
            .and_then(|row| row.failure.as_ref())
            .map(|why| why.intent_id);
        if shown.is_none() && last.is_some() {
            return Err("a_failure_that_no_row_says_is_dropped (LD-3)");
        }
        if shown.is_some() && said != last {
            return Err("a_failure_is_said_until_it_is_dismissed (LD-3)");
        }
    }
    Ok(())
}
