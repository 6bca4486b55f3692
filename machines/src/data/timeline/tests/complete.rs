//! A consumer gets each byte once, and what it misses is fetched (BX-2).

use super::*;

#[test]
fn inv_10_each_byte_once_whatever_page_and_events_share() {
    let mut it = catching_up();
    // All of this happened before the page was read …
    it.handle(at(0), delta(4, 2, "!"));
    it.handle(at(0), appended(5, 3, "b"));
    // … and this after.
    it.handle(at(0), delta(6, 3, "c"));
    it.handle(at(0), appended(7, 4, "d"));
    assert_eq!(updates(&mut it), [""; 0], "not before the page");
    it.handle(at(0), loaded(&it, page(5, 2, &["a!", "b"], true)));
    assert_eq!(updates(&mut it), ["+2 a!", "+3 b", "3 c", "+4 d"]);
    it.handle(at(0), appended(7, 4, "d"));
    it.handle(at(0), delta(6, 3, "c"));
    assert_eq!(updates(&mut it), [""; 0], "an event that comes twice");
}

#[test]
fn bx_2_after_a_reset_only_the_difference_is_told() {
    let mut it = live();
    it.handle(at(0), attached(SessionState::Reset));
    assert_eq!(requests(&mut it), [Request::From(2)]);
    it.handle(at(0), delta(1, 3, "?"));
    assert_eq!(updates(&mut it), [""; 0], "unknown on top of what");
    it.handle(at(0), loaded(&it, page(1, 2, &["a", "b+?", "new"], false)));
    assert_eq!(updates(&mut it), ["3 +?", "+4 new"]);
    it.handle(at(0), delta(2, 4, "er"));
    assert_eq!(updates(&mut it), ["4 er"]);
}

#[test]
fn bx_2_a_complete_timeline_is_not_fetched_again() {
    let kinds = [
        ItemKind::User,
        ItemKind::Message,
        ItemKind::TurnEnd,
        ItemKind::User,
    ];
    let mut it = catching_up();
    let items = (0..)
        .zip(kinds)
        .map(|(index, kind)| item(index, kind, "x"))
        .collect();
    let all = HistoryPage {
        items,
        has_more: false,
        seq: 9,
    };
    it.handle(at(0), loaded(&it, all));
    it.handle(at(0), Input::Close);
    requests(&mut it);
    it.handle(at(0), Input::Open);
    // Only the newest item, which shows whether it is still the same timeline.
    assert_eq!(requests(&mut it), [Request::From(3)]);
    let same = HistoryPage {
        items: vec![item(3, ItemKind::User, "x")],
        has_more: false,
        seq: 9,
    };
    it.handle(at(0), loaded(&it, same));
    assert_eq!(it.state().name(), "live");
}

#[test]
fn bx_2_a_long_absence_is_fetched_page_by_page() {
    let mut it = live();
    it.handle(at(0), attached(SessionState::Reset));
    requests(&mut it);
    it.handle(at(0), loaded(&it, page(1, 2, &["a", "b"], true)));
    assert_eq!(requests(&mut it), [Request::From(4)]);
    it.handle(at(0), delta(2, 3, "c"));
    assert_eq!(updates(&mut it), ["3 c"], "its page is there");
    it.handle(at(0), delta(4, 4, "!"));
    it.handle(at(0), loaded(&it, page(3, 4, &["d"], false)));
    assert_eq!(updates(&mut it), ["+4 d", "4 !"]);
}

#[test]
fn bx_2_a_turn_end_on_a_later_page_does_not_prove_an_earlier_page_complete() {
    let mut it = live();
    it.handle(at(0), attached(SessionState::Reset));
    it.handle(at(0), loaded(&it, page(1, 2, &["a", "b"], true)));
    // Event 2, not delivered yet, makes item 3 grow; then the turn ends and the next page is read.
    let end = HistoryPage {
        items: vec![item(4, ItemKind::TurnEnd, "")],
        has_more: false,
        seq: 3,
    };
    it.handle(at(0), loaded(&it, end));
    requests(&mut it);
    it.handle(at(0), attached(SessionState::Reset));
    assert_eq!(requests(&mut it), [Request::From(2)]);
}

#[test]
fn item_0_can_be_requested() {
    let mut it = catching_up();
    it.handle(at(0), loaded(&it, page(1, 0, &["a", "b"], false)));
    it.handle(at(0), attached(SessionState::Reset));
    requests(&mut it);
    let agent: AgentId = "agt_1".parse().unwrap();
    let asked = Request::From(0).history(agent.clone(), 100);
    assert_eq!(
        (asked.before, asked.after, asked.limit),
        (Some(1), None, Some(1))
    );
    it.handle(at(0), loaded(&it, page(1, 0, &["a1"], false)));
    assert_eq!(requests(&mut it), [Request::From(1)]);
    let asked = Request::From(1).history(agent, 100);
    assert_eq!((asked.before, asked.after), (None, Some(0)));
    updates(&mut it);
    it.handle(at(0), loaded(&it, page(1, 1, &["b1"], false)));
    assert_eq!(updates(&mut it), ["1 1"]);
    assert_eq!(it.state().name(), "live");
}

#[test]
fn a_gap_is_fetched() {
    for event in [appended(9, 6, "x"), delta(9, 4, "x")] {
        let mut it = live();
        it.handle(at(0), event);
        assert_eq!(requests(&mut it), [Request::From(2)]);
        it.handle(at(0), loaded(&it, page(9, 2, &["a", "b", "c"], false)));
        assert_eq!(updates(&mut it), ["+4 c"]);
    }
}

#[test]
fn older_items_come_before_and_still_grow() {
    let mut it = loading_older();
    it.handle(at(0), delta(6, 1, "!"));
    it.handle(at(0), delta(7, 3, "?"));
    it.handle(at(0), loaded(&it, page(5, 0, &["x", "y"], false)));
    assert_eq!(updates(&mut it), ["3 ?", "<[0, 1]", "1 !"]);
    assert!(!it.has_older());
    assert_eq!(it.item(1).unwrap().text, "y!");
}

#[test]
fn a_timeline_that_was_replaced_by_another_one_is_fetched_from_its_start() {
    let mut it = live();
    it.handle(at(0), attached(SessionState::New));
    it.handle(at(0), loaded(&it, page(1, 2, &["other"], false)));
    assert_eq!(updates(&mut it), ["clear"]);
    assert_eq!(it.error(), Some(LoadError::Malformed));
    let due = it.poll_timeout().unwrap();
    requests(&mut it);
    it.handle_timeout(due);
    assert_eq!(requests(&mut it), [Request::Newest]);
    it.handle(due, loaded(&it, page(1, 0, &["one"], false)));
    assert_eq!(updates(&mut it), ["+0 one"]);
}

/// The event of an item whose text the daemon dropped.
fn updated(seq: u64, index: u64) -> Input {
    Input::Event {
        seq,
        happened: Happened::Updated(TimelineItem {
            dropped_bytes: 9,
            ..item(index, ItemKind::Message, "")
        }),
    }
}

/// TR-12: the daemon drops old texts; the item stays in its place and says so.
#[test]
fn tr_12_a_dropped_text_is_replaced_where_it_is_shown_whatever_the_state() {
    let mut it = live();
    it.handle(at(0), updated(6, 2));
    assert_eq!(updates(&mut it), ["!2 -9"]);
    assert_eq!(it.item(2).unwrap().text, "");
    it.handle(at(0), updated(7, 2));
    it.handle(at(0), updated(8, 1));
    assert!(updates(&mut it).is_empty(), "known, and not shown");

    // A page of a later load says the same of what may have been missed.
    it.handle(at(0), attached(SessionState::Reset));
    let mut page = page(0, 2, &["", "b and more"], false);
    page.items[0].dropped_bytes = 9;
    it.handle(at(0), loaded(&it, page.clone()));
    assert_eq!(updates(&mut it), ["3  and more"]);
    page.items[1].text.clear();
    page.items[1].dropped_bytes = 10;
    it.handle(at(0), attached(SessionState::Reset));
    it.handle(at(0), loaded(&it, page));
    assert_eq!(updates(&mut it), ["!3 -10"]);
    assert_eq!(it.anomalies(), 0);
}

/// TR-12: the page was read before the text was dropped, and arrives after the event of it.
#[test]
fn tr_12_a_page_on_its_way_does_not_bring_a_dropped_text_back() {
    let mut it = detached();
    // All items before it are complete.
    let happened = Happened::Appended(item(10, ItemKind::TurnEnd, ""));
    it.handle(at(0), Input::Event { seq: 13, happened });
    it.handle(at(0), Input::LoadMore(End::Newer));
    assert_eq!(requests(&mut it), [Request::From(3)]);
    it.handle(at(0), updated(14, 4));
    it.handle(at(0), loaded(&it, page(13, 3, &["x", "x", "x"], true)));
    assert_eq!(updates(&mut it), ["+3 x", "+4 ", "+5 x"]);
}
