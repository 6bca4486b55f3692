//! Pages are checked, everything is bounded, and what was loaded stays loaded.

use super::*;

#[test]
fn a_page_with_holes_is_refused() {
    let holes = |items: Vec<TimelineItem>| HistoryPage {
        items,
        has_more: true,
        seq: 5,
    };
    let message = |index| item(index, ItemKind::Message, "x");
    for items in [vec![message(4), message(6)], vec![message(1)], vec![]] {
        let mut it = live();
        it.handle(at(0), attached(SessionState::Reset));
        it.handle(at(0), loaded(&it, holes(items.clone())));
        assert_eq!(it.error(), Some(LoadError::Malformed), "{items:?}");
        assert_eq!(updates(&mut it), [""; 0]);
        let mut it = loading_older();
        it.handle(at(0), loaded(&it, holes(items.clone())));
        let refused = matches!(
            it.state(),
            State::Live {
                failed: Some((End::Older, _))
            }
        );
        assert_eq!(
            refused,
            items.first().is_none_or(|item| item.index != 1),
            "{items:?}"
        );
    }
}

#[test]
fn everything_is_bounded() {
    let config = TimelineConfig {
        max_items: 10,
        max_kept: 20,
        ..TimelineConfig::default()
    };
    let mut it = Timeline::new(config);
    it.handle(at(0), Input::Open);
    for seq in 1..=21 {
        it.handle(at(0), delta(seq, 0, "x"));
    }
    assert_eq!(it.error(), Some(LoadError::Overrun));
    it.handle(at(0), Input::Open);
    it.handle(at(0), loaded(&it, page(21, 0, &["a"], false)));
    updates(&mut it);
    for index in 1..5_000 {
        it.handle(at(0), appended(21 + index, index, "b"));
    }
    assert_eq!(updates(&mut it).len(), 4_999, "a consumer misses nothing");
    assert_eq!((it.item(4_989), it.end()), (None, 5_000));
    assert_eq!(it.restart_consumer().len(), 10);
    assert!(it.has_older());

    let config = TimelineConfig {
        max_bytes: 10,
        max_kept_bytes: 10,
        ..config
    };
    let mut it = Timeline::new(config);
    it.handle(at(0), Input::Open);
    it.handle(at(0), loaded(&it, page(1, 0, &["a"], false)));
    it.handle(at(0), appended(2, 1, "123456789"));
    it.handle(at(0), delta(3, 1, "0"));
    assert!(it.item(0).is_none(), "bytes are bounded too");
    updates(&mut it);
    it.handle(at(0), delta(4, 0, "late"));
    assert_eq!(
        updates(&mut it),
        ["0 late"],
        "what left the window still grows"
    );
}

#[test]
fn ux_1_loaded_stays_loaded() {
    let mut it = live();
    for input in [disconnected(), attached(SessionState::Reset), Input::Close] {
        assert!(it.has_loaded());
        it.handle(at(0), input);
    }
    assert!(it.has_loaded() && it.end() > it.held_from());
}
