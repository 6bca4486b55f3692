//! Following a timeline: every byte once, whatever has left the window (BX-2).

use std::{collections::BTreeMap, time::Duration};

use bowline_protocol::{ItemKind, Reason, SessionEvent, methods::name};
use bowline_runtime::{TimelineError, TimelinePosition, TimelineStream, TimelineUpdate};
use bowline_testkit::eventually;
use tokio::time::timeout;

use crate::rig::{LONG, Rig, agent_id, is_ready, item, server_id};

async fn follow(rig: &Rig) -> TimelineStream {
    let (host, agent) = (server_id(), agent_id(1));
    rig.runtime.timeline(&host, &agent).await.unwrap()
}

async fn next(stream: &mut TimelineStream) -> TimelineUpdate {
    let next = timeout(LONG, stream.next()).await;
    next.expect("an update")
        .unwrap()
        .expect("the host is there")
}

/// Takes updates until the stream has delivered everything up to that index and length.
async fn take(stream: &mut TimelineStream, shown: &mut BTreeMap<u64, String>, end: u64) {
    while shown.len() < usize::try_from(end).unwrap() {
        one(stream, shown).await;
    }
}

async fn one(stream: &mut TimelineStream, shown: &mut BTreeMap<u64, String>) {
    match next(stream).await {
        TimelineUpdate::Item(item) => {
            let text = item.text.clone();
            assert!(shown.insert(item.index, text).is_none(), "{}", item.index);
        }
        TimelineUpdate::Delta { index, text, .. } => {
            shown.get_mut(&index).unwrap().push_str(&text);
        }
        TimelineUpdate::Cleared => panic!("nothing was replaced"),
    }
}

fn delta(index: u64, text: &str) -> SessionEvent {
    SessionEvent::TimelineDelta {
        agent_id: agent_id(1),
        item_id: item(index, ItemKind::Output, "").id,
        index,
        text: text.into(),
    }
}

fn appended(index: u64, kind: ItemKind, text: &str) -> SessionEvent {
    SessionEvent::TimelineAppended {
        agent_id: agent_id(1),
        item: item(index, kind, text),
    }
}

fn texts(rig: &Rig) -> BTreeMap<u64, String> {
    let state = rig.daemon.state();
    let items = state.items.iter();
    items.map(|item| (item.index, item.text.clone())).collect()
}

#[tokio::test(start_paused = true)]
async fn bx_2_a_stored_position_in_the_middle_of_an_item_goes_on_there() {
    let mut rig = Rig::online(&["a:1"]).await;
    rig.daemon.happens(appended(0, ItemKind::User, "do it"));
    rig.daemon.happens(appended(1, ItemKind::Output, "begun"));
    let mut stream = follow(&rig).await.from_index(0);
    let mut shown = BTreeMap::new();
    take(&mut stream, &mut shown, 2).await;
    let stored = serde_json::to_string(stream.position()).unwrap();
    drop(stream);
    rig.runtime.close().await;
    // The app is offline while the item grows and far more than the window's first page follows it.
    rig.daemon.happens(delta(1, ", ended"));
    for index in 2..=500 {
        rig.daemon.happens(appended(index, ItemKind::Output, "x"));
    }
    rig.daemon.happens(appended(501, ItemKind::TurnEnd, ""));
    rig.restart().await;
    let position: TimelinePosition = serde_json::from_str(&stored).unwrap();
    let mut stream = follow(&rig).await.from_position(position);
    one(&mut stream, &mut shown).await;
    assert_eq!(shown[&1], "begun, ended", "before anything that follows it");
    take(&mut stream, &mut shown, 502).await;
    assert_eq!(shown, texts(&rig));
    assert_eq!(stream.position().next, Some(502));
    assert!(stream.position().given.is_empty(), "nothing can grow");
}

#[tokio::test(start_paused = true)]
async fn bx_2_an_item_that_leaves_the_window_while_it_grows_is_completed() {
    let rig = Rig::online(&["a:1"]).await;
    rig.daemon.happens(appended(0, ItemKind::Output, "long"));
    let mut stream = follow(&rig).await.from_index(0);
    let mut shown = BTreeMap::new();
    take(&mut stream, &mut shown, 1).await;
    // More than the window holds, while item 0 keeps growing.
    for index in 1..=2_500 {
        rig.daemon.happens(appended(index, ItemKind::Output, "x"));
        if index % 100 == 0 {
            rig.daemon.happens(delta(0, "er"));
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    rig.daemon.happens(appended(2_501, ItemKind::TurnEnd, ""));
    take(&mut stream, &mut shown, 2_502).await;
    while shown != texts(&rig) {
        one(&mut stream, &mut shown).await;
    }
}

#[tokio::test(start_paused = true)]
async fn bx_2_a_follower_waits_for_a_host_that_is_away_instead_of_failing() {
    let rig = Rig::online(&["a:1"]).await;
    for index in 0..300 {
        rig.daemon.happens(appended(index, ItemKind::Output, "x"));
    }
    let mut stream = follow(&rig).await;
    while !stream.view().loaded {
        assert!(stream.changed().await);
    }
    // It starts before the view, and the path fails during the query.
    let mut stream = stream.from_index(0);
    rig.daemon.state().mute.insert(name::AGENTS_HISTORY);
    let asked = rig.daemon.requests(name::AGENTS_HISTORY);
    let mut shown = BTreeMap::new();
    tokio::join!(take(&mut stream, &mut shown, 300), async {
        eventually("asked", async || {
            rig.daemon.requests(name::AGENTS_HISTORY) > asked
        })
        .await;
        let refuse = ("a:1".to_owned(), Reason::ServerRestarting);
        rig.daemon.state().refuse.extend([refuse]);
        rig.daemon.state().mute.clear();
        rig.daemon.cut("a:1", Reason::ServerRestarting);
        tokio::time::sleep(Duration::from_secs(40)).await;
        rig.daemon.state().refuse.clear();
    });
    assert_eq!(shown, texts(&rig));
}

#[tokio::test(start_paused = true)]
async fn bx_2_a_follower_is_told_when_the_daemon_has_another_timeline() {
    let rig = Rig::online(&["a:1"]).await;
    for index in 0..10 {
        rig.daemon.happens(appended(index, ItemKind::Output, "old"));
    }
    let mut stream = follow(&rig).await.from_index(0);
    let mut shown = BTreeMap::new();
    take(&mut stream, &mut shown, 10).await;
    {
        let mut state = rig.daemon.state();
        state.forget_session();
        state.items = vec![item(0, ItemKind::Output, "new")];
    }
    rig.daemon.cut("a:1", Reason::ServerRestarting);
    assert_eq!(next(&mut stream).await, TimelineUpdate::Cleared);
    let mut shown = BTreeMap::new();
    take(&mut stream, &mut shown, 1).await;
    assert_eq!(shown, texts(&rig));
}

#[tokio::test(start_paused = true)]
async fn a_subscription_ends_with_its_last_follower() {
    let rig = Rig::online(&["a:1"]).await;
    rig.daemon.happens(appended(0, ItemKind::Output, "x"));
    let mut one_stream = follow(&rig).await;
    let other = follow(&rig).await;
    next(&mut one_stream).await;
    assert_eq!(rig.daemon.state().subscribed.len(), 1);
    drop(one_stream);
    tokio::time::sleep(Duration::from_millis(31_234)).await;
    assert_eq!(rig.daemon.state().subscribed.len(), 1, "one still follows");
    drop(other);
    // The host keeps sending other events.
    rig.daemon.happens(appended(1, ItemKind::Output, "x"));
    eventually("unsubscribed", async || {
        rig.daemon.state().subscribed.is_empty()
    })
    .await;
    let mut again = follow(&rig).await;
    next(&mut again).await;
    assert_eq!(rig.daemon.state().subscribed.len(), 1);
}

/// A phone ends apps without notice. Their subscriptions would fill the session's log forever.
#[tokio::test(start_paused = true)]
async fn inv_2_the_next_run_ends_the_subscriptions_of_one_that_was_killed() {
    let mut rig = Rig::online(&["a:1"]).await;
    let mut stream = follow(&rig).await;
    rig.daemon.happens(appended(0, ItemKind::Output, "x"));
    next(&mut stream).await;
    // Killed: nothing more is sent to the daemon.
    drop(stream);
    rig.restart().await;
    assert_eq!(rig.daemon.requests(name::AGENTS_UNSUBSCRIBE), 0);
    rig.until("online again", is_ready).await;
    assert_eq!(rig.daemon.state().subscribed.len(), 1);
    for n in 1..4 {
        rig.daemon.happens(appended(n, ItemKind::Output, "x"));
    }
    eventually("unsubscribed", async || {
        rig.daemon.state().subscribed.is_empty()
    })
    .await;
    assert_eq!(rig.daemon.requests(name::AGENTS_UNSUBSCRIBE), 1, "once");
    let mut again = follow(&rig).await;
    next(&mut again).await;
    assert_eq!(rig.daemon.state().subscribed.len(), 1);
}

/// Both processes share the session and its subscriptions.
#[tokio::test(start_paused = true)]
async fn inv_3_a_screen_closed_in_one_process_leaves_the_other_its_events() {
    let rig = Rig::online(&["a:1"]).await;
    let other = rig.another_process();
    let mut theirs = other.timeline(&server_id(), &agent_id(1)).await.unwrap();
    let mut ours = follow(&rig).await;
    rig.daemon.happens(appended(0, ItemKind::Output, "x"));
    next(&mut ours).await;
    next(&mut theirs).await;
    drop(ours);
    tokio::time::sleep(Duration::from_secs(20)).await;
    rig.daemon.happens(appended(1, ItemKind::Output, "y"));
    next(&mut theirs).await;
    other.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_host_has_a_most_of_open_timelines_and_closed_ones_do_not_count() {
    let rig = Rig::online(&["a:1"]).await;
    let timeline = |n| {
        let runtime = rig.runtime.clone();
        async move { runtime.timeline(&server_id(), &agent_id(n)).await }
    };
    let mut open = Vec::new();
    for n in 0..64 {
        open.push(timeline(n).await.unwrap());
    }
    let refused = timeline(64).await.err();
    assert_eq!(refused, Some(TimelineError::TooMany(64)));
    open.pop();
    open.push(timeline(64).await.unwrap());
}
