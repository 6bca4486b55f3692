//! Messages of the user show at once and exactly once (UX-3).

use super::*;

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
    // Output of the agent appears before the pending messages; the first becomes an item in place.
    happens(&rig, 1, ItemKind::Output, "busy");
    tell_prompt(&rig, 2, "one", one.id);
    let shown = until(&mut screen, "one came", |shown| {
        shown.timeline.items.len() == 3
    })
    .await;
    assert_eq!(texts(&shown), ["hello", "busy", "one", "(two)"]);
    // The answer arrives later, or again on another connection.
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

/// A phone sends queued messages during a short background run, and ends the app again before the
/// user looks.
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
