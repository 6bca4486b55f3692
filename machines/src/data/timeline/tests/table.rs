//! Every cell of the transition table.

use super::*;

#[test]
fn table_open_and_close() {
    row(
        |_| Input::Open,
        [
            "open idle->catching_up",
            "",
            "",
            "",
            "",
            "open failed->catching_up",
        ],
    );
    row(
        |_| Input::Close,
        [
            "",
            "close catching_up->idle",
            "close live->idle",
            "close loading_older->idle",
            "close loading_newer->idle",
            "close failed->idle",
        ],
    );
}

#[test]
fn table_attached() {
    for session in [SessionState::New, SessionState::Reset] {
        row(
            |_| attached(session),
            [
                "",
                "attached catching_up->catching_up",
                "attached live->catching_up",
                "attached loading_older->catching_up",
                "attached loading_newer->catching_up",
                "attached failed->catching_up",
            ],
        );
    }
    row(
        |_| attached(SessionState::Resumed),
        ["", "", "", "", "", "attached failed->catching_up"],
    );
}

#[test]
fn table_disconnected() {
    row(
        |_| disconnected(),
        [
            "",
            "disconnected catching_up->failed",
            "",
            "disconnected loading_older->live",
            "disconnected loading_newer->live",
            "",
        ],
    );
    for (name, mut it) in every_state() {
        it.handle(at(1), disconnected());
        assert_eq!(it.poll_timeout(), None, "{name}: an attach tries again");
    }
}

#[test]
fn table_load_older() {
    row(
        |_| Input::LoadMore(End::Older),
        ["", "", "load_older live->loading_older", "", "", ""],
    );
    let mut it = catching_up();
    it.handle(at(0), loaded(&it, page(5, 0, &["a"], false)));
    log(&mut it);
    it.handle(at(0), Input::LoadMore(End::Older));
    assert_eq!(log(&mut it), "", "there is nothing older");
}

#[test]
fn table_loaded_and_failed() {
    row(
        |it| loaded(it, page(9, 0, &["x", "y"], false)),
        [
            "",
            "loaded catching_up->live",
            "",
            "loaded loading_older->live",
            "malformed_page loading_newer->live",
            "",
        ],
    );
    row(
        failed,
        [
            "",
            "load_failed catching_up->failed",
            "",
            "load_failed loading_older->live",
            "load_failed loading_newer->live",
            "",
        ],
    );
}

#[test]
fn table_events() {
    row(|_| delta(16, 3, "c"), [""; 6]);
    row(|_| appended(16, 4, "c"), [""; 6]);
    let expected: [&[&str]; 6] = [&[], &[], &["3 c"], &["3 c"], &[], &[]];
    for ((name, mut it), expected) in every_state().into_iter().zip(expected) {
        it.handle(at(1), delta(16, 3, "c"));
        assert_eq!(updates(&mut it), expected, "{name}");
    }
}

#[test]
fn table_timeouts() {
    let expected = [
        (None, ""),
        (Some(LOAD_DEADLINE), "load_deadline catching_up->failed"),
        (None, ""),
        (Some(LOAD_DEADLINE), "load_deadline loading_older->live"),
        (Some(LOAD_DEADLINE), "load_deadline loading_newer->live"),
        (Some(RETRY_FIRST), "retry failed->catching_up"),
    ];
    for ((name, mut it), (due, line)) in every_state().into_iter().zip(expected) {
        let due = due.map(|due| at(0) + due);
        assert_eq!(it.poll_timeout(), due, "{name}");
        it.handle_timeout(at(due.map_or(u64::MAX, |due| due.as_millis() - 1)));
        assert_eq!(log(&mut it), "", "{name}: called early");
        it.handle_timeout(due.unwrap_or(at(u64::MAX)));
        assert_eq!(log(&mut it), line, "{name}");
    }
}

#[test]
fn inv_10_a_stale_page_changes_nothing() {
    let mut it = catching_up();
    let generation = it.generation;
    it.handle(at(1), attached(SessionState::Reset));
    let page = page(9, 0, &["old"], false);
    it.handle(
        at(2),
        Input::Page {
            load: generation,
            result: Ok(page),
        },
    );
    it.handle(
        at(2),
        Input::Page {
            load: generation,
            result: Err(REJECTED),
        },
    );
    assert_eq!((it.state().name(), it.stale()), ("catching_up", 2));
    assert_eq!(updates(&mut it), [""; 0]);
}
