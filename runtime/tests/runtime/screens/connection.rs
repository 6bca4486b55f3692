//! What a screen shows is covered at most once, whatever the connection does (UX-1, UX-2).

use super::*;

#[tokio::test(start_paused = true)]
async fn ux_1_ux_2_only_the_first_open_of_an_agent_shows_the_loading_overlay() {
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
    eventually("unsubscribed", async || {
        rig.daemon.state().subscribed.is_empty()
    })
    .await;
    happens(&rig, 1, ItemKind::Output, "missed");
    // Cached content shows at once, with a toast until it is refreshed.
    let mut screen = open(&rig);
    let again = until(&mut screen, "again", |_| true).await;
    assert!(!again.screen.overlay && again.screen.toast == Some(Toast::Refreshing));
    assert_eq!(texts(&again), ["old"]);
    let fresh = until(&mut screen, "fresh", is_calm).await;
    assert_eq!(texts(&fresh), ["old", "missed"]);
}

#[tokio::test(start_paused = true)]
async fn ux_2_no_reconnect_reset_or_switch_covers_or_blanks_what_is_shown() {
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
    // A daemon that lost the session and has more than one page.
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
    // A path switch loses nothing.
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
    assert!(after.timeline.diff(Some(&before.timeline)).items.is_reset());
}

#[tokio::test(start_paused = true)]
async fn a_screen_that_cannot_open_returns_the_reason() {
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
async fn ls_14_a_paused_runtime_writes_nothing_and_goes_on_when_resumed() {
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
