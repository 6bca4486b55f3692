//! Detached consumers, and loads that continue, are postponed, or leave items out.

use super::*;

#[test]
fn table_load_newer() {
    row(|_| Input::LoadMore(End::Newer), ["", "", "", "", "", ""]);
    let mut it = detached();
    it.handle(at(1), Input::LoadMore(End::Newer));
    assert_eq!(log(&mut it), "load_newer live->loading_newer");
    assert_eq!(requests(&mut it), [Request::From(3)]);
    it.handle(at(1), loaded(&it, page(12, 3, &["b", "x", "x"], true)));
    assert_eq!(log(&mut it), "loaded loading_newer->live");
    assert_eq!(updates(&mut it), ["+3 b", "+4 x", "+5 x"]);
    assert!(it.is_detached());
    it.handle(at(1), Input::LoadMore(End::Newer));
    it.handle(at(1), loaded(&it, page(12, 6, &["x", "x", "x"], true)));
    // Held items follow at once, in the order of the timeline.
    assert_eq!(updates(&mut it), ["+6 x", "+7 x", "+8 x", "+9 x"]);
    assert!(!it.is_detached());
    it.handle(at(1), appended(13, 10, "y"));
    assert_eq!(updates(&mut it), ["+10 y"]);
}

#[test]
fn table_jump_to_newest() {
    row(|_| Input::JumpToNewest, ["", "", "", "", "", ""]);
    let mut it = detached();
    it.handle(at(1), Input::JumpToNewest);
    assert_eq!(updates(&mut it), ["=[8, 9]"]);
    assert!(!it.is_detached());
    it.handle(at(1), Input::JumpToNewest);
    assert_eq!(updates(&mut it), [""; 0], "it is there already");
}

#[test]
fn a_detached_consumer_is_told_of_nothing_beyond_what_it_has() {
    let mut it = detached();
    it.handle(at(1), appended(13, 10, "y"));
    it.handle(at(1), delta(14, 10, "z"));
    it.handle(at(1), delta(15, 2, "!"));
    assert_eq!(updates(&mut it), ["2 !"], "what it has grows");
    assert_eq!(it.item(10).unwrap().text, "yz");
    let items = it.restart_consumer();
    let indices: Vec<_> = items.iter().map(|item| item.index).collect();
    assert_eq!((indices, it.is_detached()), (vec![9, 10], false));
}

#[test]
fn inv_10_an_item_that_leaves_the_window_under_a_load_is_given_whole() {
    let mut it = loading_newer();
    // Read by the daemon as of event 12; all of these events arrive before the page.
    let page = page(12, 3, &["b", "x", "x"], true);
    it.handle(at(1), delta(13, 5, "!"));
    for index in 10..14 {
        it.handle(at(1), appended(index + 4, index, "y"));
    }
    it.handle(at(1), loaded(&it, page));
    assert_eq!(updates(&mut it), ["+3 b", "+4 x", "+5 x", "5 !"]);
}

#[test]
fn what_is_asked_for_at_the_wrong_moment_is_asked_for_later() {
    // While it catches up …
    let mut it = live();
    it.handle(at(0), attached(SessionState::Reset));
    it.handle(at(0), Input::LoadMore(End::Older));
    requests(&mut it);
    assert!(it.is_loading_more(End::Older));
    it.handle(at(0), loaded(&it, page(1, 2, &["a", "b"], false)));
    assert_eq!(requests(&mut it), [Request::Before(2)]);
    // … or after catching up failed …
    let mut it = live();
    it.handle(at(0), attached(SessionState::Reset));
    it.handle(at(0), failed(&it));
    it.handle(at(0), Input::LoadMore(End::Older));
    it.handle(at(0), Input::Open);
    requests(&mut it);
    it.handle(at(0), loaded(&it, page(1, 2, &["a", "b"], false)));
    assert_eq!(requests(&mut it), [Request::Before(2)]);
    // … or when the lost connection ended the load.
    let mut it = loading_older();
    it.handle(at(0), disconnected());
    let lost = LoadError::Lost(Reason::ConnectionLost);
    assert_eq!(it.load_more_error(End::Older), Some(lost));
    it.handle(at(0), attached(SessionState::Resumed));
    assert_eq!(
        (
            it.load_more_error(End::Older),
            it.is_loading_more(End::Older)
        ),
        (None, true)
    );
    assert_eq!(requests(&mut it), [Request::Before(2)]);
    // A closed timeline needs no load.
    let mut it = catching_up();
    it.handle(at(0), Input::LoadMore(End::Older));
    it.handle(at(0), Input::Close);
    it.handle(at(0), Input::Open);
    requests(&mut it);
    it.handle(at(0), loaded(&it, page(5, 2, &["a", "b"], true)));
    assert_eq!(requests(&mut it), []);
}

#[test]
fn a_load_goes_on_where_it_failed_while_the_session_does() {
    let mut it = live();
    it.handle(at(0), attached(SessionState::Reset));
    it.handle(at(0), loaded(&it, page(1, 2, &["a", "b"], true)));
    it.handle(at(0), disconnected());
    requests(&mut it);
    updates(&mut it);
    // Fetched items stay exact; the rest is in the next page.
    it.handle(at(1), delta(2, 3, "c"));
    it.handle(at(1), delta(3, 4, "?"));
    assert_eq!(updates(&mut it), ["3 c"]);
    it.handle(at(1), attached(SessionState::Resumed));
    assert_eq!(requests(&mut it), [Request::From(4)]);
    it.handle(at(1), loaded(&it, page(3, 4, &["d?"], false)));
    assert_eq!(updates(&mut it), ["+4 d?"]);
    assert_eq!(it.state().name(), "live");
    // A new session has no events of the time between: everything is requested again.
    it.handle(at(1), attached(SessionState::Reset));
    it.handle(at(1), loaded(&it, page(1, 2, &["a", "bc"], true)));
    it.handle(at(1), disconnected());
    requests(&mut it);
    it.handle(at(1), attached(SessionState::Reset));
    assert_eq!(requests(&mut it), [Request::From(2)]);
}

#[test]
fn who_was_away_for_long_is_given_the_newest_page() {
    let config = TimelineConfig {
        catch_up_pages: 2,
        ..TimelineConfig::default()
    };
    let mut it = Timeline::new(config);
    it.handle(at(0), Input::Open);
    it.handle(at(0), loaded(&it, page(5, 0, &["a"], false)));
    it.handle(at(0), appended(6, 1, "b"));
    it.handle(at(0), attached(SessionState::Reset));
    it.handle(at(0), loaded(&it, page(1, 0, &["a"], false)));
    it.handle(at(0), loaded(&it, page(1, 1, &["b", "c"], true)));
    requests(&mut it);
    updates(&mut it);
    assert!(it.is_catching_up());
    let mut far = it.clone();
    far.handle(at(0), loaded(&far, page(1, 90, &["x", "y"], true)));
    assert_eq!(updates(&mut far), ["=[90, 91]"]);
    assert!(far.is_exact() && far.has_older());
    // If nothing is left out, nothing is removed.
    let mut near = it.clone();
    near.handle(at(0), loaded(&near, page(1, 2, &["c", "d"], true)));
    assert_eq!(updates(&mut near), ["+3 d"]);
    // A detached consumer stays where it is.
    it.consumer_dropped_from(2);
    it.handle(at(0), loaded(&it, page(1, 90, &["x", "y"], true)));
    assert_eq!(updates(&mut it), ["..2"]);
    assert!(it.is_exact() && it.is_detached());
    it.handle(at(0), delta(2, 1, "!"));
    assert_eq!(updates(&mut it), ["1 !"]);
}

#[test]
fn a_shorter_timeline_under_the_name_is_noticed_where_all_was_complete() {
    let ends = |indices: std::ops::Range<u64>| HistoryPage {
        items: indices.map(|n| item(n, ItemKind::TurnEnd, "")).collect(),
        has_more: false,
        seq: 1,
    };
    let other = |index| {
        let mut page = ends(index..index + 1);
        page.items[0].id = "itm_other".parse().unwrap();
        page
    };
    for answer in [ends(2..2), other(2)] {
        let mut it = catching_up();
        it.handle(at(0), loaded(&it, ends(0..3)));
        it.handle(at(0), attached(SessionState::Reset));
        updates(&mut it);
        assert_eq!(requests(&mut it), [Request::From(2)]);
        it.handle(at(0), loaded(&it, answer));
        assert_eq!(updates(&mut it), ["clear"]);
    }
}

#[test]
fn an_index_that_cannot_be_is_refused() {
    let mut it = catching_up();
    it.handle(
        at(0),
        loaded(&it, page(1, u64::MAX - 3, &["a", "b"], false)),
    );
    assert_eq!(it.error(), Some(LoadError::Malformed));
    assert_eq!(updates(&mut it), [""; 0]);
}

#[test]
fn a_page_lost_with_a_client_that_was_replaced_is_asked_for_again() {
    let error = LoadError::Lost(Reason::ConnectionLost);
    let mut it = Timeline::new(TimelineConfig::default());
    it.handle(at(0), Input::Open);
    let asked = it.poll_effect();
    it.handle(at(1), attached(SessionState::Resumed));
    let generation = it.generation;
    it.handle(
        at(2),
        Input::Page {
            load: generation,
            result: Err(error),
        },
    );
    assert_eq!(it.poll_effect(), asked, "its subscription with it");
    it.handle(
        at(3),
        Input::Page {
            load: generation,
            result: Err(error),
        },
    );
    assert_eq!(it.poll_effect(), None);
    assert_eq!(it.error(), Some(error));
}
