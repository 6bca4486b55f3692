//! A consumer that reads elsewhere than at the end, and loads that go on, are put off, or leave something out.

use super::*;

#[test]
fn table_load_newer() {
    row(|_| Input::LoadNewer, ["", "", "", "", "", ""]);
    let mut it = detached();
    it.handle(at(1), Input::LoadNewer);
    assert_eq!(log(&mut it), "load_newer live->loading_newer");
    assert_eq!(requests(&mut it), [Request::From(3)]);
    it.handle(at(1), loaded(&it, page(12, 3, &["b", "x", "x"], true)));
    assert_eq!(log(&mut it), "loaded loading_newer->live");
    assert_eq!(updates(&mut it), ["+3 b", "+4 x", "+5 x"]);
    assert!(it.is_detached());
    it.handle(at(1), Input::LoadNewer);
    it.handle(at(1), loaded(&it, page(12, 6, &["x", "x", "x"], true)));
    // What is held follows at once, in the order of the timeline.
    assert_eq!(updates(&mut it), ["+6 x", "+7 x", "+8 x", "+9 x"]);
    assert!(!it.is_detached());
    it.handle(at(1), appended(13, 10, "y"));
    assert_eq!(updates(&mut it), ["+10 y"]);
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
    // Read by the daemon as of event 12; all of this comes before the page does.
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
    // While it is brought up to date …
    let mut it = live();
    it.handle(at(0), attached(SessionState::Reset));
    it.handle(at(0), Input::LoadOlder);
    requests(&mut it);
    assert!(it.is_loading_older());
    it.handle(at(0), loaded(&it, page(1, 2, &["a", "b"], false)));
    assert_eq!(requests(&mut it), [Request::Before(2)]);
    // … or could not be …
    let mut it = live();
    it.handle(at(0), attached(SessionState::Reset));
    it.handle(at(0), failed(&it));
    it.handle(at(0), Input::LoadOlder);
    it.handle(at(0), Input::Open);
    requests(&mut it);
    it.handle(at(0), loaded(&it, page(1, 2, &["a", "b"], false)));
    assert_eq!(requests(&mut it), [Request::Before(2)]);
    // … or when the connection took it away.
    let mut it = loading_older();
    it.handle(at(0), disconnected());
    let lost = LoadError::Lost(Reason::ConnectionLost);
    assert_eq!(it.older_error(), Some(lost));
    it.handle(at(0), attached(SessionState::Resumed));
    assert_eq!((it.older_error(), it.is_loading_older()), (None, true));
    assert_eq!(requests(&mut it), [Request::Before(2)]);
    // Whoever has left wants nothing.
    let mut it = catching_up();
    it.handle(at(0), Input::LoadOlder);
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
    // What was fetched stays exact; the rest is in the page to come.
    it.handle(at(1), delta(2, 3, "c"));
    it.handle(at(1), delta(3, 4, "?"));
    assert_eq!(updates(&mut it), ["3 c"]);
    it.handle(at(1), attached(SessionState::Resumed));
    assert_eq!(requests(&mut it), [Request::From(4)]);
    it.handle(at(1), loaded(&it, page(3, 4, &["d?"], false)));
    assert_eq!(updates(&mut it), ["+4 d?"]);
    assert_eq!(it.state().name(), "live");
    // Another session says nothing of what happened between: all of it is asked for again.
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
    // Where nothing is left out, nothing is taken away.
    let mut near = it.clone();
    near.handle(at(0), loaded(&near, page(1, 2, &["c", "d"], true)));
    assert_eq!(updates(&mut near), ["+3 d"]);
    // A consumer that reads elsewhere stays there.
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
