//! Screen content during an outage: directory states, overlays and toasts, snapshots (DS-1, UX-1,
//! UX-2, UX-4, INV-14).

use std::{sync::Arc, time::Duration};

use bowline_runtime::{
    DirectoryState, HostSnapshot, HostState, TimelineView,
    machines::data::screen::{Connectivity, Creation, Screen, ScreenInput, Toast},
};

use bowline_testkit::world::Follower;

use crate::{
    Outcome,
    world::{LONG, Plan, World},
};

#[tokio::test]
async fn ds_1_rows_survive_an_outage_and_a_failed_refresh() -> Outcome {
    let world = World::new().await?;
    for _ in 0..3 {
        world.appender().await?;
    }
    let ready = |host: &HostSnapshot| {
        host.directory.state == DirectoryState::Ready && host.directory.agents.len() == 3
    };
    let before = world.client.until("ready", LONG, ready).await?;
    // A load in progress when the path fails.
    world.proxies[0].freeze();
    world.client.runtime().refresh();
    let refreshing = world
        .client
        .until("revalidating", LONG, |host| {
            host.directory.state == DirectoryState::Revalidating
        })
        .await?;
    assert_eq!(refreshing.directory.agents, before.directory.agents);
    world.offline();
    let failed = world
        .client
        .until("error_after_ready", LONG, |host| {
            host.directory.state == DirectoryState::ErrorAfterReady
        })
        .await?;
    assert_eq!(
        failed.directory.agents, before.directory.agents,
        "rows survive every error"
    );
    world.healthy();
    let after = world.client.until("ready again", LONG, ready).await?;
    assert_eq!(after.directory.agents, before.directory.agents);
    assert_eq!(world.client.counters().reset, 1);
    world.done().await
}

#[tokio::test]
async fn ds_4_nothing_is_fetched_again_after_a_resume() -> Outcome {
    let world = World::new().await?;
    world.appender().await?;
    world
        .client
        .until("ready", LONG, |host| {
            host.directory.state == DirectoryState::Ready
        })
        .await?;
    let mut snapshots = world.client.runtime().subscribe();
    let states = Arc::<std::sync::Mutex<Vec<DirectoryState>>>::default();
    let notes = Arc::clone(&states);
    let recording = tokio::spawn(async move {
        while snapshots.changed().await.is_ok() {
            if let Some(host) = snapshots.borrow_and_update().hosts.first() {
                notes.lock().unwrap().push(host.directory.state);
            }
        }
    });
    for cut in 1..=3 {
        world.proxies[0].cut();
        world
            .client
            .until("resumed", LONG, |host| {
                host.state == HostState::Online && world.client.counters().resumed == cut
            })
            .await?;
    }
    recording.abort();
    let states = states.lock().unwrap().clone();
    assert!(!states.is_empty());
    assert!(
        states.iter().all(|state| *state == DirectoryState::Ready),
        "{states:?}"
    );
    world.done().await
}

#[tokio::test]
async fn ds_1_a_first_load_that_fails_is_an_error_before_first_success_and_heals() -> Outcome {
    let mut world = World::new().await?;
    world.appender().await?;
    world.client.runtime().close().await;
    // Slow enough to observe the time between attach and answer.
    world.proxies[0].delay(Duration::from_millis(400));
    world.client.restart().await?;
    let host = world
        .client
        .until("attached", LONG, |host| host.state == HostState::Online)
        .await?;
    assert_eq!(host.directory.state, DirectoryState::InitialLoading);
    assert!(host.directory.agents.is_empty());
    world.offline();
    world
        .client
        .until("error_before_first_success", LONG, |host| {
            host.directory.state == DirectoryState::ErrorBeforeFirstSuccess
        })
        .await?;
    world.healthy();
    let host = world
        .client
        .until("ready", LONG, |host| {
            host.directory.state == DirectoryState::Ready
        })
        .await?;
    assert_eq!(host.directory.agents.len(), 1);
    world.done().await
}

/// The screen of an app for an existing agent.
fn screen(host: &HostSnapshot, view: &TimelineView) -> Screen {
    let connectivity = Connectivity::from(host.state);
    Screen::of(&ScreenInput {
        loaded: view.loaded,
        known: view.known,
        loading: view.catching_up,
        creation: Creation::None,
        followed: false,
        prompted: false,
        read_only: None,
        last_error: view.error,
        connectivity,
        has_items: !view.items.is_empty(),
    })
}

#[tokio::test]
async fn ux_1_ux_2_ux_4_the_first_open_is_covered_and_later_trouble_never_is() -> Outcome {
    let mut world = World::new().await?;
    let agent = world
        .client
        .agent("stream", &world.work(), Some("5"))
        .await?;
    Follower::new(&world.client, &agent)
        .await?
        .until_ended(1)
        .await?;
    world.client.runtime().close().await;
    world.offline();
    world.client.restart().await?;
    // UX-1: first open in this run of the app, and no path yet.
    let mut stream = world.client.timeline(&agent).await?;
    let host = world.client.host().unwrap();
    let first = screen(&host, &stream.view());
    assert!(
        first.overlay && first.toast.is_none() && !first.placeholder,
        "{first:?}"
    );
    world.healthy();
    let host = world.client.online().await?;
    while !stream.view().loaded {
        assert!(screen(&host, &stream.view()).overlay);
        assert!(stream.changed().await);
    }
    let online = world.client.online().await?;
    let loaded = screen(&online, &stream.view());
    assert!(!loaded.overlay, "{loaded:?}");
    // UX-2, UX-4: an outage is a toast over the content.
    let items = stream.view().items.len();
    world.offline();
    let host = world
        .client
        .until("offline", LONG, |host| host.state != HostState::Online)
        .await?;
    let away = screen(&host, &stream.view());
    assert!(
        !away.overlay && away.toast == Some(Toast::Reconnecting),
        "{away:?}"
    );
    assert!(
        away.composer_enabled,
        "an intent waits for the next connection"
    );
    assert_eq!(stream.view().items.len(), items);
    world.healthy();
    let host = world.client.online().await?;
    let calm = |shown: Screen| shown.toast.is_none() && shown.error_indicator.is_none();
    while !calm(screen(&host, &stream.view())) {
        assert!(tokio::time::timeout(LONG, stream.changed()).await?);
    }
    world.done().await
}

#[tokio::test]
async fn inv_14_revisions_grow_with_every_change_and_nothing_is_published_in_vain() -> Outcome {
    let mut plan = Plan::default();
    // With one path, only a probe could cause a change.
    plan.settings.host.probe_interval = LONG;
    plan.settings.host.quiet_probe_interval = LONG;
    let world = World::with(plan).await?;
    let mut snapshots = world.client.runtime().subscribe();
    let mut last = Arc::clone(&snapshots.borrow_and_update());
    for cut in 1..=10 {
        world.proxies[0].cut();
        while world.client.counters().resumed < cut {
            tokio::time::timeout(LONG, snapshots.changed()).await??;
            let next = Arc::clone(&snapshots.borrow_and_update());
            assert!(next.rev > last.rev);
            assert_ne!(next.hosts, last.hosts, "a revision without a change");
            last = next;
        }
    }
    world.done().await
}
