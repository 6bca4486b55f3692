//! What holds in every history of a log (LD-2, LD-3, LD-9).

use bowline_machines::data::{tables::TableState, view::Beyond};

use super::{Asked, Node, Step, intent_id, intents::Doing, take};

pub(super) fn check(node: &mut Node) -> Result<(), &'static str> {
    check_expected(node)?;
    let real = node.view.items().filter(|row| row.expected.is_none());
    let indexes: Vec<u64> = real.map(|row| row.index).collect();
    if !indexes.is_sorted_by(|one, other| one < other) {
        return Err("no_item_is_repeated (LD-2)");
    }
    for (index, shown) in node.view_items() {
        // A client that does not know yet that its follow ended takes text of the next one for what
        // comes after its own, until the answer that says so.
        if let Some(now) = node.items.get(&index)
            && !node.has_lapsed
            && now.version == shown.version
            && !now.text.starts_with(&shown.text)
        {
            return Err("no_text_has_a_hole_or_is_of_another_value (LD-2)");
        }
        let newest = node.shown.insert(index, shown.newest());
        if newest.is_some_and(|newest| newest > shown.newest()) {
            return Err("no_item_goes_back (LD-2)");
        }
        if index < node.view.first {
            return Err("what_is_dropped_is_not_shown (LD-9)");
        }
    }
    Ok(())
}

fn check_expected(node: &Node) -> Result<(), &'static str> {
    let rows = node.view.items();
    let expected: Vec<_> = rows
        .skip_while(|row| row.expected.is_none())
        .map(|row| row.expected.as_deref())
        .collect();
    if expected.contains(&None) {
        return Err("what_is_expected_is_after_all_items (LD-3)");
    }
    let ids: Vec<_> = expected.iter().flatten().map(|one| one.intent_id).collect();
    if !ids.is_sorted_by(|one, other| one < other) {
        return Err("what_is_expected_is_in_the_order_of_sending (LD-3)");
    }
    for (number, one) in node.intents.iter().enumerate() {
        let shown = expected.iter().flatten();
        let shown = shown.clone().find(|row| row.intent_id == intent_id(number));
        let is_open = one.is_sent && !one.is_answered && !one.is_told && one.done.is_none();
        if is_open && shown.is_none_or(|row| row.failure.is_some()) {
            return Err("what_is_open_is_shown (LD-3)");
        }
        let has_failed = one.is_refused && one.is_answered && !one.is_dismissed;
        if has_failed && shown.is_none_or(|row| row.failure.is_none()) {
            return Err("a_failure_is_said_until_it_is_dismissed (LD-3)");
        }
        let is_loaded = !matches!(node.view.state, TableState::Loading | TableState::Failed);
        if one.is_told && is_loaded && shown.is_some() {
            return Err("it_leaves_with_the_item (LD-3)");
        }
    }
    Ok(())
}

/// Delivers everything, in one of two orders; then the items are the daemon's.
pub(super) fn converge(mut node: Node, events_first: bool) -> Result<(), &'static str> {
    if !node.is_attached {
        take(&mut node, &Step::Resume);
    }
    for _ in 0..60 {
        let is_ready = |asked: &Asked| asked.page.is_some() || asked.is_lost;
        let unanswered = (0..node.intents.len()).find(|n| {
            let one = &node.intents[*n];
            one.is_sent && !one.is_answered && !node.is_waiting(*n)
        });
        let step = if events_first && !node.events.is_empty() {
            Step::Deliver
        } else if !node.answers.is_empty() {
            Step::Receive
        } else if let Some(at) = node.asked.iter().position(is_ready) {
            // Answers overtake each other, but none is left behind.
            node.asked.swap(0, at);
            Step::Answer
        } else if !node.asked.is_empty() {
            Step::Process
        } else if !node.events.is_empty() {
            Step::Deliver
        } else if let Some(intent) = unanswered {
            match node.intents[intent].done {
                Some(_) => Step::Repeat(intent),
                None => Step::Do(intent, Doing::Expected),
            }
        } else if matches!(node.view.state, TableState::Failed | TableState::Stale) {
            Step::Timer
        } else if matches!(node.view.older, Beyond::Failed(_)) {
            Step::LoadMore
        } else {
            break;
        };
        take(&mut node, &step);
        check(&mut node)?;
    }
    if !matches!(node.view.state, TableState::Ready | TableState::Empty) {
        return Err("every_history_ends_ready");
    }
    let mut expected = node.view.items().filter_map(|row| row.expected.as_deref());
    if expected.any(|row| row.failure.is_none()) {
        return Err("no_patch_is_stuck (LD-3)");
    }
    let shown = node.view_items();
    let from = shown.keys().next().copied();
    let expected = from.map(|from| node.items.split_off(&from));
    if shown != expected.unwrap_or_default() {
        println!("{shown:?}\nnode: {node:?}");
        return Err("no_change_is_missed (LD-2)");
    }
    let is_whole = node.items.is_empty() || from.is_none();
    if !is_whole && node.view.older == Beyond::None && !node.view.truncated {
        return Err("what_is_left_out_is_known (LD-9)");
    }
    if from.is_none() && !node.items.is_empty() {
        return Err("the_newest_item_is_shown (LD-9)");
    }
    Ok(())
}
