//! Items that grow and are replaced, also by more than an event holds (LD-2).

use super::*;

/// The growth of item 98 by a text that no event holds.
const LARGE: &str = "";

fn page_of(index: u64, text: &str, seq: u64) -> LogPage {
    let mut page = page("castle", seq, index..index + 1, false);
    page.items[0].value = json(&format!("{{\"text\":\"{text}\"}}"));
    page
}

#[test]
fn ld_2_text_after_a_large_one_waits_until_the_large_one_is_fetched() {
    // The large text arrives while the items are fetched again, as of an event before it.
    let mut host = Host::attached();
    let id = host.open("castle");
    host.answer(id, page("castle", 4, 97..100, true));
    host.asked();
    host.logs.handle(NOW, id, Input::Refresh);
    host.logs.changed(NOW, 6, &grown("castle", 98, LARGE));
    host.logs.changed(NOW, 7, &grown("castle", 98, "B"));
    host.answer(id, page("castle", 4, 97..100, true));
    assert_eq!(host.text(id, 98), "98", "not the later text alone");
    let last = host.asked().pop().unwrap();
    assert_eq!(last, Request::Rows(vec![Reverse(98)]));
    host.answer(id, page_of(98, "98AB", 7));
    assert_eq!(host.text(id, 98), "98AB");

    // A second one arrives while the item is fetched for the first.
    host.logs.changed(NOW, 8, &grown("castle", 98, LARGE));
    host.logs.changed(NOW, 10, &grown("castle", 98, LARGE));
    host.logs.changed(NOW, 11, &grown("castle", 98, "E"));
    host.answer(id, page_of(98, "98ABC", 8));
    assert!(!host.text(id, 98).contains('E'), "{}", host.text(id, 98));
    host.answer(id, page_of(98, "98ABCDE", 11));
    assert_eq!(host.text(id, 98), "98ABCDE");
    host.logs.changed(NOW, 12, &grown("castle", 98, "F"));
    assert_eq!(host.text(id, 98), "98ABCDEF");
    assert_eq!(host.view(id).state, TableState::Ready);
}

#[test]
fn ld_2_a_new_item_with_a_large_text_before_the_page_is_fetched_whole() {
    let mut host = Host::attached();
    let id = host.open("castle");
    host.answer(id, page("castle", 4, 97..100, true));
    host.asked();
    host.logs.handle(NOW, id, Input::Refresh);
    host.appended(5, appended("castle", 100..101));
    host.logs.changed(NOW, 6, &grown("castle", 100, LARGE));
    host.logs.changed(NOW, 7, &grown("castle", 100, "B"));
    host.answer(id, page("castle", 4, 97..100, true));
    let last = host.asked().pop().unwrap();
    assert_eq!(last, Request::Rows(vec![Reverse(100)]));
    host.answer(id, page_of(100, "100AB", 7));
    assert_eq!(host.indexes(id), [97, 98, 99, 100]);
    assert_eq!(host.text(id, 100), "100AB");
}

/// The answer to a request for one item.
#[test]
fn ld_2_a_replaced_item_is_whole_and_grows_from_there() {
    let mut host = Host::attached();
    let id = host.open("castle");
    host.asked();
    let mut first = page("castle", 4, 97..100, true);
    first.items[2] = LogItem {
        value: json("null"),
        omitted_bytes: Some(300_000),
        unreadable: true,
        ..item(99)
    };
    host.answer(id, first);
    // What was left out is there, and its text counts again.
    host.logs.changed(NOW, 5, &grown("castle", 99, "none"));
    host.logs
        .changed(NOW, 6, &replaced("castle", 99, Some("new")));
    host.logs.changed(NOW, 7, &grown("castle", 99, "!"));
    assert_eq!(host.text(id, 99), "new!");
    let view = host.view(id);
    let last = view.items().next_back().unwrap();
    assert_eq!((last.omitted_bytes, last.unreadable), (None, false));
    // Older than the window, and of another log.
    host.logs
        .changed(NOW, 8, &replaced("castle", 50, Some("old")));
    host.logs.changed(NOW, 8, &replaced("castle", 50, None));
    host.logs
        .changed(NOW, 9, &replaced("tower", 98, Some("other")));
    assert_eq!(host.indexes(id), [97, 98, 99]);
    assert_eq!((host.text(id, 98).as_str(), host.asked()), ("98", vec![]));

    // Too large: what it was stays until it is fetched. A later value makes that needless.
    host.logs.changed(NOW, 10, &replaced("castle", 98, None));
    host.logs.changed(NOW, 11, &grown("castle", 98, "lost"));
    assert_eq!(host.text(id, 98), "98");
    host.logs
        .changed(NOW, 12, &replaced("castle", 98, Some("late")));
    host.logs.changed(NOW, 13, &grown("castle", 98, "r"));
    assert_eq!(host.text(id, 98), "later");
    host.answer(id, page_of(98, "fetched", 11));
    assert_eq!(host.text(id, 98), "later");
    assert_eq!(host.view(id).state, TableState::Ready);

    // Older items that are on their way are as of their page.
    host.logs.handle(NOW, id, Input::LoadMore);
    host.logs
        .changed(NOW, 14, &replaced("castle", 95, Some("in the page")));
    host.logs
        .changed(NOW, 16, &replaced("castle", 96, Some("after it")));
    host.answer(id, page("castle", 15, 94..97, true));
    assert_eq!(
        (host.text(id, 95), host.text(id, 96)),
        ("95".to_owned(), "after it".to_owned())
    );
}
