//! New agents show at once and exactly once (UX-3).

use super::*;

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
    // The daemon's event with the row precedes its answer; neither list ever shows the agent twice.
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
