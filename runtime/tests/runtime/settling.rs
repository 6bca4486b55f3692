//! Pending messages and their items, retained and released timelines, and outages of any length.

use std::time::Duration;

use bowline_machines::data::screen::Toast;
use bowline_protocol::{IntentId, ItemKind, Reason, methods::name};
use bowline_runtime::{Beyond, ScreenSnapshot, ScreenSubscription};
use bowline_testkit::eventually;
use tokio::time::{Instant, sleep, timeout};

use crate::{
    rig::{LONG, Rig, agent_id, item, server_id},
    screens::{is_calm, open, send, until},
};

/// Whether the message is shown, as pending or as an item.
fn has(shown: &ScreenSnapshot, text: &str) -> bool {
    let timeline = &shown.timeline;
    timeline.items.iter().any(|item| item.text == text)
        || timeline.pending.iter().any(|one| one.text == text)
}

/// Sends a message, which the daemon accepts without sending its item.
async fn deliver(rig: &Rig, screen: &mut ScreenSubscription, text: &str) -> IntentId {
    let sent = send(rig, text);
    let id = sent.id;
    timeout(LONG, sent.outcome()).await.unwrap().unwrap();
    until(screen, "delivered", |shown| {
        let mut pending = shown.timeline.pending.iter();
        pending.any(|one| one.intent_id == id && one.delivered)
    })
    .await;
    id
}

/// The item that the daemon makes of a prompt, without an event.
fn make(rig: &Rig, text: &str, intent_id: IntentId) {
    let mut state = rig.daemon.state();
    let mut item = item(state.items.len() as u64, ItemKind::User, text);
    item.intent_id = Some(intent_id);
    state.items.push(item);
}

fn refuse(rig: &Rig) {
    let refused = ("a:1".to_owned(), Reason::ServerRestarting);
    rig.daemon.state().refuse.extend([refused]);
    rig.daemon.cut("a:1", Reason::ServerRestarting);
}

#[tokio::test(start_paused = true)]
async fn ux_3_a_delivered_message_stays_through_an_outage_however_long() {
    let rig = Rig::online(&["a:1"]).await;
    let mut screen = open(&rig);
    until(&mut screen, "loaded", is_calm).await;
    let id = deliver(&rig, &mut screen, "hello").await;
    refuse(&rig);
    sleep(Duration::from_secs(90)).await;
    assert!(
        has(&screen.current().unwrap(), "hello"),
        "the outcome is unknown"
    );
    make(&rig, "hello", id);
    rig.daemon.state().forget_session();
    rig.daemon.state().refuse.clear();
    until(&mut screen, "its item", |shown| {
        assert!(has(shown, "hello"), "{shown:#?}");
        shown.timeline.items.len() == 1
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn ux_3_a_message_whose_item_never_comes_leaves_after_a_grace_of_its_own() {
    let rig = Rig::online(&["a:1"]).await;
    let mut screen = open(&rig);
    until(&mut screen, "loaded", is_calm).await;
    for text in ["one", "two"] {
        let begun = Instant::now();
        deliver(&rig, &mut screen, text).await;
        let gone = until(&mut screen, "settled", |shown| !has(shown, text)).await;
        assert!(gone.timeline.pending.is_empty());
        let waited = begun.elapsed();
        assert!(waited >= Duration::from_secs(10), "{text}: {waited:?}");
        assert!(waited <= Duration::from_secs(30), "{text}: {waited:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn ux_3_a_message_is_still_there_when_its_screen_is_opened_again() {
    let rig = Rig::online(&["a:1"]).await;
    let mut screen = open(&rig);
    until(&mut screen, "loaded", is_calm).await;
    let id = deliver(&rig, &mut screen, "hello").await;
    drop(screen);
    eventually("unsubscribed", async || {
        rig.daemon.state().subscribed.is_empty()
    })
    .await;
    make(&rig, "hello", id);
    sleep(Duration::from_secs(60)).await;
    let delay = (name::AGENTS_HISTORY, Duration::from_secs(1));
    rig.daemon.state().delay.extend([delay]);
    let mut screen = open(&rig);
    until(&mut screen, "its item", |shown| {
        assert!(has(shown, "hello"), "{shown:#?}");
        shown.timeline.items.len() == 1 && shown.timeline.pending.is_empty()
    })
    .await;
}

/// Opens and closes the screens of several agents.
async fn look_at(rig: &Rig, agents: impl Iterator<Item = u8>) {
    for n in agents {
        let mut screen = rig.runtime.agent_screen(&server_id(), agent_id(n)).unwrap();
        until(&mut screen, "loaded", is_calm).await;
    }
    eventually("unsubscribed", async || {
        rig.daemon.state().subscribed.is_empty()
    })
    .await;
    // The sweep after the last close.
    sleep(Duration::from_secs(6)).await;
}

#[tokio::test(start_paused = true)]
async fn ux_2_what_was_let_go_is_opened_again_without_an_overlay_and_without_an_invitation() {
    let rig = Rig::online(&["a:1"]).await;
    rig.daemon.state().items = vec![item(0, ItemKind::Output, "x")];
    for from in (0..200).step_by(50) {
        look_at(&rig, from..from + 50).await;
    }
    let delay = (name::AGENTS_HISTORY, Duration::from_secs(1));
    rig.daemon.state().delay.extend([delay]);
    for (n, kept) in [(0, 0), (199, 1)] {
        let mut screen = rig.runtime.agent_screen(&server_id(), agent_id(n)).unwrap();
        let shown = until(&mut screen, "first", |_| true).await;
        assert!(
            !shown.screen.overlay && !shown.screen.placeholder,
            "{shown:#?}"
        );
        assert_eq!(shown.screen.toast, Some(Toast::Refreshing));
        assert_eq!(shown.timeline.items.len(), kept, "{n}");
        until(&mut screen, "loaded", |shown| {
            assert!(!shown.screen.overlay && !shown.screen.placeholder);
            is_calm(shown) && shown.timeline.items.len() == 1
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn timelines_that_are_kept_share_a_budget_of_bytes() {
    let rig = Rig::online(&["a:1"]).await;
    let long = "x".repeat(250 << 10);
    rig.daemon.state().items = vec![item(0, ItemKind::Output, &long)];
    look_at(&rig, 0..50).await;
    let delay = (name::AGENTS_HISTORY, Duration::from_secs(1));
    rig.daemon.state().delay.extend([delay]);
    let mut kept = Vec::new();
    for n in (0..50).rev() {
        let mut screen = rig.runtime.agent_screen(&server_id(), agent_id(n)).unwrap();
        let shown = until(&mut screen, "first", |_| true).await;
        kept.push(shown.timeline.items.len());
    }
    let count: usize = kept.iter().sum();
    assert!((20..40).contains(&count), "{kept:?}");
    assert!(kept.is_sorted_by(|one, next| one >= next), "{kept:?}");
}

/// The daemon loses the session and produces many items; the connection is cut repeatedly during
/// the reload.
async fn away(rig: &Rig, screen: &mut ScreenSubscription, items: u64) -> usize {
    let delay = (name::AGENTS_HISTORY, Duration::from_millis(100));
    {
        let mut state = rig.daemon.state();
        state.delay.extend([delay]);
        state.forget_session();
        let from = state.items.len() as u64;
        let new = (from..from + items).map(|index| item(index, ItemKind::Output, "new"));
        state.items.extend(new);
    }
    let asked = rig.daemon.requests(name::AGENTS_HISTORY);
    let end = rig.daemon.state().items.len() as u64;
    rig.daemon.cut("a:1", Reason::ServerRestarting);
    let daemon = rig.daemon.clone();
    let cuts = tokio::spawn(async move {
        for _ in 0..5 {
            let before = daemon.requests(name::AGENTS_HISTORY);
            eventually("two more pages", async || {
                daemon.requests(name::AGENTS_HISTORY) >= before + 2
            })
            .await;
            daemon.cut("a:1", Reason::ConnectionLost);
        }
    });
    let shown = until(screen, "caught up", |shown| {
        assert!(!shown.screen.overlay, "{shown:#?}");
        is_calm(shown) && shown.timeline.items.end_index() == end
    })
    .await;
    cuts.abort();
    let state = rig.daemon.state();
    let first = usize::try_from(shown.timeline.items.first_index()).unwrap();
    assert!(
        shown
            .timeline
            .items
            .iter()
            .map(|item| &**item)
            .eq(&state.items[first..])
    );
    drop(state);
    rig.daemon.requests(name::AGENTS_HISTORY) - asked
}

#[tokio::test(start_paused = true)]
async fn a_catch_up_that_is_cut_again_and_again_goes_on_where_it_stopped_and_ends() {
    let rig = Rig::online(&["a:1"]).await;
    rig.daemon.state().items = vec![item(0, ItemKind::Output, "x")];
    let mut screen = open(&rig);
    let shown = until(&mut screen, "loaded", is_calm).await;
    assert_eq!(shown.timeline.older, Beyond::None);
    // Eight pages and five cuts: each page is loaded once, plus once per cut.
    let asked = away(&rig, &mut screen, 800).await;
    assert!(asked <= 9 + 1 + 5, "{asked}");
    let shown = screen.current().unwrap();
    assert_eq!(
        (
            shown.timeline.items.first_index(),
            shown.timeline.items.len()
        ),
        (0, 801)
    );
    // Too many to load: the newest page only, with older ones on request.
    let asked = away(&rig, &mut screen, 5_000).await;
    assert!(asked <= 11 + 5, "{asked}");
    let shown = screen.current().unwrap();
    assert_eq!(shown.timeline.items.len(), 100);
    assert_eq!(shown.timeline.older, Beyond::More);
    rig.runtime.load_older(&server_id(), &agent_id(1)).unwrap();
    until(&mut screen, "older", |shown| {
        shown.timeline.items.len() == 200
    })
    .await;
}
