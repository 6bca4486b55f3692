//! An agent's screen through everything that can happen to its host (UX-1 … UX-4).

use std::{sync::Arc, time::Duration};

use bowline_machines::{
    optimistic::IntentFailure,
    screen::{Connectivity, Creation, ErrorIndicator, Toast},
};
use bowline_protocol::{
    IntentId, ItemKind, Reason, RpcReason, SessionEvent, TimelineItem, error::RpcError,
    methods::name,
};
use bowline_runtime::{
    Intent, Older, ScreenError, ScreenSnapshot, ScreenSubscription, ScreenTarget, Submitted,
};
use tokio::time::{sleep, timeout};

use crate::rig::{LONG, Rig, agent, agent_id, eventually, is_ready, item, server_id};

pub(crate) fn open(rig: &Rig) -> ScreenSubscription {
    rig.runtime.agent_screen(&server_id(), agent_id(1)).unwrap()
}

/// Waits until the screen is as wanted; everything that was shown until then must obey the rules.
pub(crate) async fn until(
    screen: &mut ScreenSubscription,
    what: &str,
    is: impl Fn(&ScreenSnapshot) -> bool,
) -> Arc<ScreenSnapshot> {
    let waiting = async {
        if let Some(now) = screen.current()
            && is(&now)
        {
            return now;
        }
        loop {
            let shown = screen.next().await.unwrap();
            obeys(&shown);
            if is(&shown) {
                return shown;
            }
        }
    };
    match timeout(LONG, waiting).await {
        Ok(shown) => shown,
        Err(_) => panic!("{what}: {:#?}", screen.current()),
    }
}

/// What holds for every snapshot, whatever happened before it.
fn obeys(shown: &ScreenSnapshot) {
    let (screen, timeline) = (&shown.screen, &shown.timeline);
    assert!(!screen.overlay || (screen.toast.is_none() && !screen.placeholder));
    assert!(!screen.placeholder || !timeline.has_rows(), "{shown:#?}");
    assert!(!screen.overlay || !timeline.loaded, "{shown:#?}");
    let ours = timeline
        .items
        .iter()
        .filter(|item| item.kind == ItemKind::User);
    let ours: Vec<_> = ours.filter_map(|item| item.intent_id).collect();
    for message in timeline.pending.iter() {
        assert!(
            !ours.contains(&message.intent_id),
            "shown twice: {shown:#?}"
        );
    }
}

pub(crate) fn is_calm(shown: &ScreenSnapshot) -> bool {
    let screen = &shown.screen;
    !screen.overlay && screen.toast.is_none() && screen.error_indicator.is_none()
}

fn happens(rig: &Rig, index: u64, kind: ItemKind, text: &str) {
    tell(rig, item(index, kind, text));
}

fn tell(rig: &Rig, item: TimelineItem) {
    rig.daemon.happens(SessionEvent::TimelineAppended {
        agent_id: agent_id(1),
        item,
    });
}

/// The item that the daemon makes of a prompt.
pub(crate) fn tell_prompt(rig: &Rig, index: u64, text: &str, intent_id: IntentId) {
    let mut item = item(index, ItemKind::User, text);
    item.intent_id = Some(intent_id);
    tell(rig, item);
}

pub(crate) fn send(rig: &Rig, text: &str) -> Submitted {
    let intent = Intent::SendPrompt {
        agent_id: agent_id(1),
        text: text.into(),
    };
    rig.runtime.send(&server_id(), intent).unwrap()
}

fn texts(shown: &ScreenSnapshot) -> Vec<String> {
    let items = shown.timeline.items.iter().map(|item| item.text.clone());
    let pending = shown.timeline.pending.iter();
    items
        .chain(pending.map(|one| format!("({})", one.text)))
        .collect()
}

#[tokio::test(start_paused = true)]
async fn ux_1_ux_2_a_first_open_is_covered_and_opening_again_never_is() {
    let rig = Rig::online(&["a:1"]).await;
    happens(&rig, 0, ItemKind::Output, "old");
    rig.daemon
        .state()
        .delay
        .insert(name::AGENTS_HISTORY, Duration::from_secs(1));
    let mut screen = open(&rig);
    let first = until(&mut screen, "first", |_| true).await;
    assert!(first.screen.overlay && !first.screen.composer_enabled);
    let loaded = until(&mut screen, "loaded", is_calm).await;
    assert_eq!(texts(&loaded), ["old"]);
    drop(screen);
    eventually("unsubscribed", || rig.daemon.state().subscribed.is_empty()).await;
    happens(&rig, 1, ItemKind::Output, "missed");
    // What was kept is there at once, with a toast until it is up to date.
    let mut screen = open(&rig);
    let again = until(&mut screen, "again", |_| true).await;
    assert!(!again.screen.overlay && again.screen.toast == Some(Toast::Refreshing));
    assert_eq!(texts(&again), ["old"]);
    let fresh = until(&mut screen, "fresh", is_calm).await;
    assert_eq!(texts(&fresh), ["old", "missed"]);
}

#[tokio::test(start_paused = true)]
async fn ux_2_neither_a_reconnect_nor_a_reset_nor_a_switch_covers_what_is_shown_or_lets_it_blink() {
    let rig = Rig::online(&["a:1", "b:2"]).await;
    for index in 0..30 {
        happens(&rig, index, ItemKind::Output, "x");
    }
    let mut screen = open(&rig);
    until(&mut screen, "loaded", is_calm).await;
    let never_less = |shown: &ScreenSnapshot, least: usize| {
        assert!(!shown.screen.overlay);
        assert!(shown.timeline.items.len() >= least, "it blinked");
    };
    // A reconnect.
    let refuse = [
        ("a:1", Reason::ServerRestarting),
        ("b:2", Reason::ServerRestarting),
    ];
    let refuse = refuse.map(|(address, reason)| (address.to_owned(), reason));
    rig.daemon.state().refuse.extend(refuse.clone());
    let cut = || {
        rig.daemon.cut("a:1", Reason::ServerRestarting);
        rig.daemon.cut("b:2", Reason::ServerRestarting);
    };
    cut();
    let away = until(&mut screen, "away", |shown| {
        never_less(shown, 30);
        shown.screen.toast == Some(Toast::Reconnecting)
    });
    assert!(away.await.screen.composer_enabled);
    happens(&rig, 30, ItemKind::Output, "meanwhile");
    rig.daemon.state().refuse.clear();
    until(&mut screen, "back", |shown| {
        never_less(shown, 30);
        is_calm(shown) && shown.timeline.items.len() == 31
    })
    .await;
    // A daemon that has forgotten the session and has more than a page to tell.
    rig.daemon
        .state()
        .delay
        .insert(name::AGENTS_HISTORY, Duration::from_millis(100));
    {
        let mut state = rig.daemon.state();
        state.forget_session();
        for index in 31..400 {
            state.items.push(item(index, ItemKind::Output, "new"));
        }
    }
    cut();
    let mut lengths = std::collections::BTreeSet::new();
    loop {
        let shown = until(&mut screen, "changes", |_| true).await;
        never_less(&shown, 31);
        lengths.insert(shown.timeline.items.len());
        if is_calm(&shown) && shown.timeline.items.len() == 400 {
            break;
        }
        sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(
        lengths.into_iter().collect::<Vec<_>>(),
        [31, 400],
        "nothing in between"
    );
    // A switch of path is no loss at all.
    let host = rig.until("online", is_ready).await;
    let other = if host.address.as_deref() == Some("a:1") {
        "b:2"
    } else {
        "a:1"
    };
    rig.runtime
        .select_path(&server_id(), Some(crate::rig::direct(other)));
    rig.until("switched", |host| host.address.as_deref() == Some(other))
        .await;
    happens(&rig, 400, ItemKind::Output, "after");
    until(&mut screen, "after the switch", |shown| {
        never_less(shown, 400);
        assert_eq!(shown.connectivity, Connectivity::Online);
        assert!(shown.screen.toast.is_none());
        shown.timeline.items.len() == 401
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_timeline_that_was_replaced_is_shown_until_the_other_one_is_there() {
    let rig = Rig::online(&["a:1"]).await;
    for index in 0..10 {
        happens(&rig, index, ItemKind::Output, "old");
    }
    let mut screen = open(&rig);
    let before = until(&mut screen, "loaded", is_calm).await;
    {
        let mut state = rig.daemon.state();
        state.forget_session();
        state.items = vec![item(0, ItemKind::Output, "new")];
    }
    rig.daemon.cut("a:1", Reason::ServerRestarting);
    let after = until(&mut screen, "another", |shown| {
        assert!(!shown.timeline.items.is_empty(), "it blinked");
        shown.timeline.replaced > 0
    })
    .await;
    assert_eq!(texts(&after), ["new"]);
    assert!(after.timeline.diff(Some(&before.timeline)).is_reset());
}

#[tokio::test(start_paused = true)]
async fn ux_3_a_message_shows_at_once_and_becomes_its_item_without_a_jump() {
    let rig = Rig::online(&["a:1"]).await;
    happens(&rig, 0, ItemKind::Output, "hello");
    let mut screen = open(&rig);
    until(&mut screen, "loaded", is_calm).await;
    rig.daemon.state().mute.insert(name::AGENTS_SEND);
    let (one, two) = (send(&rig, "one"), send(&rig, "two"));
    let shown = until(&mut screen, "pending", |shown| {
        shown.timeline.pending.len() == 2
    })
    .await;
    assert_eq!(texts(&shown), ["hello", "(one)", "(two)"]);
    // What the agent says meanwhile comes before them; the first becomes an item where it stands.
    happens(&rig, 1, ItemKind::Output, "busy");
    tell_prompt(&rig, 2, "one", one.id);
    let shown = until(&mut screen, "one came", |shown| {
        shown.timeline.items.len() == 3
    })
    .await;
    assert_eq!(texts(&shown), ["hello", "busy", "one", "(two)"]);
    // The answer comes later, or again on another connection.
    rig.daemon.state().mute.clear();
    rig.daemon.cut("a:1", Reason::ConnectionLost);
    for sent in [one, two] {
        timeout(LONG, sent.outcome()).await.unwrap().unwrap();
    }
    let shown = until(&mut screen, "taken", |shown| {
        shown
            .timeline
            .pending
            .first()
            .is_some_and(|one| one.delivered)
    })
    .await;
    assert_eq!(
        texts(&shown),
        ["hello", "busy", "one", "(two)"],
        "not gone, not twice"
    );
}

/// A phone sends what was queued in a short run in the background, and ends the app again before anybody looks.
#[tokio::test(start_paused = true)]
async fn ux_3_a_message_that_failed_unseen_is_still_shown_after_a_restart_until_dismissed() {
    let mut rig = Rig::online(&["a:1"]).await;
    let error = RpcError::new(RpcReason::Unsupported, "archived");
    rig.daemon
        .state()
        .errors
        .insert(name::AGENTS_SEND, error.clone());
    let sent = send(&rig, "in vain");
    rig.until("refused", |host| !host.intents.recent.is_empty())
        .await;
    rig.daemon.state().errors.clear();
    rig.restart().await;
    let mut screen = open(&rig);
    let shown = until(&mut screen, "the failure", |shown| {
        !shown.timeline.failed.is_empty()
    })
    .await;
    let failed = &shown.timeline.failed[0];
    assert_eq!(
        (failed.intent_id, failed.text.as_str()),
        (sent.id, "in vain")
    );
    assert_eq!(failed.error, IntentFailure::Refused(error));
    rig.until("online", is_ready).await;
    assert_eq!(rig.daemon.state().arrivals.len(), 1, "it is not sent again");
    rig.runtime.dismiss(&server_id(), sent.id).unwrap();
    until(&mut screen, "dismissed", |shown| {
        shown.timeline.failed.is_empty()
    })
    .await;
    rig.restart().await;
    let mut screen = open(&rig);
    let shown = until(&mut screen, "loaded", is_calm).await;
    assert!(shown.timeline.failed.is_empty());
}

#[tokio::test(start_paused = true)]
async fn ux_3_a_message_that_is_refused_is_rolled_back_with_the_error_until_dismissed() {
    let rig = Rig::online(&["a:1"]).await;
    let mut screen = open(&rig);
    until(&mut screen, "loaded", is_calm).await;
    let error = RpcError::new(RpcReason::Unsupported, "archived");
    rig.daemon
        .state()
        .errors
        .insert(name::AGENTS_SEND, error.clone());
    let sent = send(&rig, "in vain");
    let shown = until(&mut screen, "refused", |shown| {
        !shown.timeline.failed.is_empty()
    })
    .await;
    assert!(shown.timeline.pending.is_empty());
    let failed = &shown.timeline.failed[0];
    assert_eq!(
        (failed.intent_id, failed.text.as_str()),
        (sent.id, "in vain")
    );
    assert_eq!(failed.error, IntentFailure::Refused(error));
    rig.runtime.dismiss(&server_id(), sent.id).unwrap();
    until(&mut screen, "dismissed", |shown| {
        shown.timeline.failed.is_empty()
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn ux_3_messages_and_agents_on_their_way_are_there_again_after_a_restart_of_the_app() {
    let mut rig = Rig::online(&["a:1"]).await;
    rig.daemon
        .state()
        .mute
        .extend([name::AGENTS_SEND, name::AGENTS_CREATE]);
    let sent = send(&rig, "remember me").id;
    let create = create(&rig).id;
    rig.until("kept", |host| host.intents.pending == 2).await;
    rig.restart().await;
    let mut screen = open(&rig);
    let shown = until(&mut screen, "there", |shown| shown.timeline.loaded).await;
    assert_eq!(texts(&shown), ["(remember me)"]);
    assert_eq!(shown.timeline.pending[0].intent_id, sent);
    let host = rig
        .until("creating", |host| !host.directory.creating.is_empty())
        .await;
    assert_eq!(host.directory.creating[0].intent_id, create);
    let mut made = rig.runtime.agent_screen(&server_id(), create).unwrap();
    let shown = until(&mut made, "pending", |_| true).await;
    assert_eq!(shown.creation, Creation::Pending);
    assert_eq!(texts(&shown), ["(begin)"]);
}

fn create(rig: &Rig) -> Submitted {
    let intent = Intent::CreateAgent {
        provider: "shell".into(),
        cwd: "/".into(),
        title: None,
        prompt: Some("begin".into()),
    };
    rig.runtime.send(&server_id(), intent).unwrap()
}

#[tokio::test(start_paused = true)]
async fn ux_3_an_agent_shows_at_once_and_its_screen_goes_on_when_it_is_there() {
    let rig = Rig::online(&["a:1"]).await;
    rig.daemon.state().mute.insert(name::AGENTS_CREATE);
    let submitted = create(&rig);
    let mut screen = rig
        .runtime
        .agent_screen(&server_id(), submitted.id)
        .unwrap();
    let shown = until(&mut screen, "at once", |_| true).await;
    assert!(!shown.screen.overlay && !shown.screen.placeholder && !shown.screen.composer_enabled);
    assert_eq!(
        (shown.agent_id.clone(), texts(&shown)),
        (None, vec!["(begin)".to_owned()])
    );
    let mut merged = rig.runtime.directory();
    assert_eq!(merged.current().rows.len(), 1, "in the list as well");
    // The daemon tells of the row before it answers; neither list ever has it twice.
    rig.daemon.state().mute.clear();
    rig.daemon.state().creates = Some(agent(1));
    let watching = tokio::spawn(async move {
        let mut last = merged.current();
        while let Ok(Some(list)) = timeout(Duration::from_secs(20), merged.next()).await {
            assert_eq!(list.rows.len(), 1, "{list:#?}");
            last = list;
        }
        last
    });
    rig.daemon.cut("a:1", Reason::ConnectionLost);
    let shown = until(&mut screen, "confirmed", |shown| shown.agent_id.is_some()).await;
    assert_eq!(shown.creation, Creation::Confirmed);
    assert!(!shown.screen.overlay);
    assert_eq!(texts(&shown), ["(begin)"]);
    tell_prompt(&rig, 0, "begin", submitted.id);
    let shown = until(&mut screen, "its item", |shown| {
        shown.timeline.pending.is_empty()
    })
    .await;
    assert_eq!(texts(&shown), ["begin"]);
    assert_eq!(shown.agent.as_ref().unwrap().id, agent_id(1));
    let last = watching.await.unwrap();
    assert!(matches!(
        last.rows[0].agent,
        bowline_runtime::RowAgent::Known(_)
    ));
}

#[tokio::test(start_paused = true)]
async fn ux_3_an_agent_that_is_refused_is_rolled_back_with_the_error() {
    let rig = Rig::online(&["a:1"]).await;
    let error = RpcError::new(RpcReason::NotFound, "no such provider");
    rig.daemon
        .state()
        .errors
        .insert(name::AGENTS_CREATE, error.clone());
    let submitted = create(&rig);
    let mut screen = rig
        .runtime
        .agent_screen(&server_id(), submitted.id)
        .unwrap();
    let shown = until(&mut screen, "refused", |shown| {
        shown.creation_failed.is_some()
    })
    .await;
    assert_eq!(
        shown.screen.error_indicator,
        Some(ErrorIndicator::CreationFailed)
    );
    let failed = shown.creation_failed.as_ref().unwrap();
    assert_eq!(failed.error, IntentFailure::Refused(error));
    let host = rig
        .until("rolled back", |host| host.directory.creating.is_empty())
        .await;
    assert_eq!(host.directory.failed.len(), 1);
    rig.runtime.dismiss(&server_id(), submitted.id).unwrap();
    rig.until("dismissed", |host| host.directory.failed.is_empty())
        .await;
}

#[tokio::test(start_paused = true)]
async fn older_pages_come_on_request_and_are_put_before_what_is_shown() {
    let rig = Rig::online(&["a:1"]).await;
    {
        let mut state = rig.daemon.state();
        let items = (0..250).map(|index| item(index, ItemKind::Output, &index.to_string()));
        state.items.extend(items);
    }
    let mut screen = open(&rig);
    let mut shown = until(&mut screen, "loaded", is_calm).await;
    assert_eq!(shown.timeline.items.first_index(), 150);
    for first in [50, 0] {
        assert_eq!(shown.timeline.older, Older::More);
        rig.runtime.load_older(&server_id(), &agent_id(1)).unwrap();
        let before = shown;
        shown = until(&mut screen, "older", |shown| {
            shown.timeline.items.first_index() == first
        })
        .await;
        assert!(shown.screen.toast.is_none(), "older pages are no refresh");
        let diff = shown.timeline.diff(Some(&before.timeline));
        assert_eq!(diff.changes.len(), 1, "{diff:?}");
    }
    assert_eq!(shown.timeline.older, Older::None);
    assert_eq!(shown.timeline.items.len(), 250);
}

#[tokio::test(start_paused = true)]
async fn screens_of_one_agent_share_a_subscription_that_ends_with_the_last() {
    let rig = Rig::online(&["a:1"]).await;
    let (mut one, mut two) = (open(&rig), open(&rig));
    until(&mut one, "loaded", is_calm).await;
    until(&mut two, "loaded", is_calm).await;
    assert_eq!(rig.daemon.requests(name::AGENTS_SUBSCRIBE), 1);
    drop(one);
    sleep(Duration::from_secs(30)).await;
    assert_eq!(rig.daemon.state().subscribed.len(), 1);
    drop(two);
    eventually("unsubscribed", || rig.daemon.state().subscribed.is_empty()).await;
}

#[tokio::test(start_paused = true)]
async fn a_screen_that_cannot_be_says_why() {
    let rig = Rig::online(&["a:1"]).await;
    let unknown = IntentId::from_uuid(uuid::Uuid::from_u128(5));
    let mut screen = rig.runtime.agent_screen(&server_id(), unknown).unwrap();
    assert_eq!(screen.next().await, Err(ScreenError::UnknownCreation));
    let other = bowline_protocol::ServerId::of_public_key(&[9; 32]);
    let target = ScreenTarget::Agent(agent_id(1));
    let refused = rig.runtime.agent_screen(&other, target).err();
    assert_eq!(refused, Some(ScreenError::UnknownHost));
    let mut screens: Vec<_> = (0..65)
        .map(|n| rig.runtime.agent_screen(&server_id(), agent_id(n)).unwrap())
        .collect();
    let mut last = screens.pop().unwrap();
    assert_eq!(last.next().await, Err(ScreenError::TooMany(64)));
    let mut first = screens.remove(0);
    until(&mut first, "loaded", is_calm).await;
    rig.runtime.forget(&server_id()).await.unwrap();
    let ended = async { while first.next().await.is_ok() {} };
    timeout(LONG, ended).await.unwrap();
    assert_eq!(first.next().await, Err(ScreenError::Gone));
}

#[tokio::test(start_paused = true)]
async fn inv_14_events_that_change_nothing_of_a_host_wake_nobody() {
    let rig = Rig::online(&["a:1"]).await;
    happens(&rig, 0, ItemKind::Output, "");
    let mut screen = open(&rig);
    until(&mut screen, "loaded", is_calm).await;
    let applied = rig.counters().events_applied;
    let snapshots = rig.runtime.subscribe();
    let before = snapshots.borrow().rev;
    for index in 1..=100 {
        happens(&rig, index, ItemKind::Output, "x");
    }
    until(&mut screen, "all of them", |shown| {
        shown.timeline.items.len() == 101
    })
    .await;
    assert_eq!(rig.counters().events_applied, applied + 100);
    assert_eq!(
        snapshots.borrow().rev,
        before,
        "counters have their own place"
    );
}

#[tokio::test(start_paused = true)]
async fn lesson_14_a_paused_runtime_writes_nothing_and_goes_on_when_resumed() {
    let rig = Rig::online(&["a:1"]).await;
    rig.runtime.pause().await;
    let refused = rig.runtime.send(
        &server_id(),
        Intent::Cancel {
            agent_id: agent_id(1),
        },
    );
    assert!(refused.unwrap_err().to_string().contains("paused"));
    assert!(rig.runtime.forget(&server_id()).await.is_err());
    rig.runtime.resume().await.unwrap();
    let sent = send(&rig, "again");
    timeout(LONG, sent.outcome()).await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn ux_3_an_agent_whose_row_comes_long_before_its_answer_is_never_there_twice() {
    let rig = Rig::online(&["a:1"]).await;
    rig.daemon.state().mute.insert(name::AGENTS_CREATE);
    let submitted = create(&rig);
    let mut screen = rig
        .runtime
        .agent_screen(&server_id(), submitted.id)
        .unwrap();
    rig.until("creating", |host| host.directory.creating.len() == 1)
        .await;
    let mut row = agent(1);
    row.intent_id = Some(submitted.id);
    rig.daemon
        .happens(SessionEvent::AgentUpdated { agent: row });
    let host = rig
        .until("its row", |host| !host.directory.agents.is_empty())
        .await;
    assert!(host.directory.creating.is_empty(), "one place at a time");
    let shown = until(&mut screen, "named", |shown| shown.agent_id.is_some()).await;
    assert_eq!(shown.creation, Creation::Confirmed);
    assert_eq!(host.intents.pending, 1, "the answer is still to come");
}
