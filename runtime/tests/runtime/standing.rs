//! Status of an agent on its screen: created here, archived, removed, or not loadable (UX-1, UX-3).

use std::time::Duration;

use bowline_machines::{
    data::load::LoadError,
    data::screen::{Creation, ErrorIndicator, ReadOnly},
};
use bowline_protocol::{
    AgentStatus, ItemKind, RpcReason, SessionEvent, error::RpcError, methods::name,
};
use bowline_runtime::{Intent, Receipt};
use tokio::time::{sleep, timeout};

use crate::{
    rig::{LONG, Rig, agent, agent_id, item, server_id},
    screens::{is_calm, open, until},
};

fn create(rig: &Rig, prompt: Option<&str>) -> Receipt {
    rig.daemon.state().creates = Some(agent(1));
    let intent = Intent::CreateAgent {
        provider: "shell".into(),
        cwd: "/".into(),
        title: None,
        prompt: prompt.map(Into::into),
    };
    rig.runtime.send(&server_id(), intent).unwrap()
}

/// Gives the agent a history that takes a second to load.
fn has_history(rig: &Rig) {
    let mut state = rig.daemon.state();
    let items = (0..3).map(|index| item(index, ItemKind::Output, "old"));
    state.items.extend(items);
    let delay = (name::AGENTS_HISTORY, Duration::from_secs(1));
    state.delay.extend([delay]);
}

#[tokio::test(start_paused = true)]
async fn ux_1_an_agent_created_here_and_opened_later_is_an_agent_like_any_other() {
    for (prompt, by_intent) in [(None, false), (Some("begin"), false), (None, true)] {
        let rig = Rig::online(&["a:1"]).await;
        let created = create(&rig, prompt);
        let id = created.id;
        timeout(LONG, created.outcome()).await.unwrap().unwrap();
        has_history(&rig);
        sleep(Duration::from_secs(60)).await;
        let mut screen = if by_intent {
            rig.runtime.agent_screen(&server_id(), id).unwrap()
        } else {
            open(&rig)
        };
        let shown = until(&mut screen, "first", |_| true).await;
        assert_eq!(shown.creation, Creation::Confirmed);
        assert!(shown.screen.overlay, "{shown:#?}");
        let shown = until(&mut screen, "loaded", is_calm).await;
        assert_eq!(shown.timeline.items.len(), 3);
    }
}

#[tokio::test(start_paused = true)]
async fn ux_1_a_placeholder_is_never_shown_over_a_history_that_is_not_known() {
    let rig = Rig::online(&["a:1"]).await;
    has_history(&rig);
    let created = create(&rig, Some("begin"));
    let mut screen = rig.runtime.agent_screen(&server_id(), created.id).unwrap();
    timeout(LONG, created.outcome()).await.unwrap().unwrap();
    until(&mut screen, "loaded", |shown| {
        assert!(!shown.screen.overlay && !shown.screen.placeholder);
        shown.timeline.items.len() == 3
    })
    .await;
    // Closed long enough for the timeline to be released, and loaded again.
    drop(screen);
    sleep(Duration::from_secs(30)).await;
    let mut screen = open(&rig);
    until(&mut screen, "again", |shown| {
        assert!(!shown.screen.overlay && !shown.screen.placeholder);
        is_calm(shown)
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn ux_3_an_agent_created_without_a_prompt_invites_to_one_at_once() {
    let rig = Rig::online(&["a:1"]).await;
    let delay = (name::AGENTS_HISTORY, Duration::from_secs(1));
    rig.daemon.state().delay.extend([delay]);
    let created = create(&rig, None);
    let mut screen = rig.runtime.agent_screen(&server_id(), created.id).unwrap();
    until(&mut screen, "loaded", |shown| {
        assert!(
            shown.screen.placeholder && !shown.screen.overlay,
            "{shown:#?}"
        );
        shown.timeline.loaded
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_is_archived_or_removed_takes_no_prompts_and_its_screen_says_why() {
    let rig = Rig::online(&["a:1"]).await;
    let changed = |status| {
        let agent = bowline_protocol::AgentSummary { status, ..agent(1) };
        rig.daemon.happens(SessionEvent::AgentUpdated { agent });
    };
    changed(AgentStatus::Idle);
    let mut screen = open(&rig);
    let shown = until(&mut screen, "loaded", is_calm).await;
    assert!(shown.screen.composer_enabled && shown.screen.placeholder);
    changed(AgentStatus::Archived);
    let shown = until(&mut screen, "archived", |shown| {
        shown.screen.read_only == Some(ReadOnly::Archived)
    });
    let shown = shown.await;
    assert!(!shown.screen.composer_enabled && !shown.screen.placeholder);
    rig.daemon.state().agents.clear();
    let agent_id = agent_id(1);
    rig.daemon.happens(SessionEvent::AgentRemoved { agent_id });
    let shown = until(&mut screen, "removed", |shown| {
        shown.screen.read_only == Some(ReadOnly::Removed)
    });
    assert!(!shown.await.screen.composer_enabled);
}

#[tokio::test(start_paused = true)]
async fn ux_1_a_load_that_failed_for_good_is_tried_again_by_the_user() {
    let rig = Rig::online(&["a:1"]).await;
    let fail = || {
        let error = RpcError::new(RpcReason::NotFound, "no such agent");
        let mut state = rig.daemon.state();
        state.errors.insert(name::AGENTS_HISTORY, error);
    };
    fail();
    let not_found = LoadError::Rejected(RpcReason::NotFound);
    let mut screen = open(&rig);
    let shown = until(&mut screen, "failed", |shown| {
        shown.screen.error_indicator == Some(ErrorIndicator::LoadFailed(not_found))
    });
    let shown = shown.await;
    assert!(shown.screen.overlay);
    assert_eq!(shown.screen.read_only, Some(ReadOnly::Removed));
    rig.daemon.state().errors.clear();
    sleep(Duration::from_secs(60)).await;
    assert!(!screen.current().unwrap().timeline.loaded, "final");
    rig.runtime.reload(&server_id(), &agent_id(1)).unwrap();
    let shown = until(&mut screen, "loaded", is_calm).await;
    assert_eq!(
        (shown.screen.read_only, shown.screen.composer_enabled),
        (None, true)
    );
    // Opening it again is another attempt, at once and beside another screen.
    fail();
    rig.daemon.state().forget_session();
    rig.daemon
        .cut("a:1", bowline_protocol::Reason::ServerRestarting);
    until(&mut screen, "failed", |shown| {
        shown.screen.error_indicator == Some(ErrorIndicator::RefreshFailed(not_found))
    })
    .await;
    rig.daemon.state().errors.clear();
    let _second = open(&rig);
    until(&mut screen, "loaded", is_calm).await;
}
