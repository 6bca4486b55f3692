//! Screens against the real daemon: a viewer that builds its list only from diffs, like a binding,
//! through a reconnect, a reset, and restarts of daemon and app (UX-1 … UX-4, BX-6).

use std::{collections::BTreeSet, sync::Arc};

use bowline_protocol::{AgentId, ItemKind, TimelineItem};
use bowline_runtime::{
    Intent, ScreenSnapshot, ScreenSubscription, TimelineView,
    machines::data::screen::{Creation, Toast},
};
use bowline_testkit::world::Client;

use crate::{
    Outcome,
    world::{LONG, Plan, World},
};

/// A binding's state of a screen.
struct Viewer {
    screen: ScreenSubscription,
    base: Option<Arc<TimelineView>>,
    rows: Vec<Arc<TimelineItem>>,
    has_loaded: bool,
    toasts: BTreeSet<&'static str>,
}

impl Viewer {
    fn of(client: &Client, agent: &AgentId) -> Self {
        let server_id = client.server_id().unwrap();
        Self::new(
            client
                .runtime()
                .agent_screen(&server_id, agent.clone())
                .unwrap(),
        )
    }

    fn new(screen: ScreenSubscription) -> Self {
        Self {
            screen,
            base: None,
            rows: Vec::new(),
            has_loaded: false,
            toasts: BTreeSet::new(),
        }
    }

    /// Waits until the screen matches, and checks every snapshot.
    async fn until(
        &mut self,
        what: &str,
        wanted: impl Fn(&ScreenSnapshot) -> bool,
    ) -> Arc<ScreenSnapshot> {
        let looking = async {
            if let Some(shown) = self.screen.current()
                && self.base.is_some()
                && wanted(&shown)
            {
                return shown;
            }
            loop {
                let shown = self.screen.next().await.unwrap();
                self.take(&shown);
                if wanted(&shown) {
                    return shown;
                }
            }
        };
        let found = tokio::time::timeout(LONG, looking).await;
        found.unwrap_or_else(|_| panic!("{what}: {:#?}", self.screen.current()))
    }

    fn take(&mut self, shown: &ScreenSnapshot) {
        let before = self.rows.len();
        let diff = shown.timeline.diff(self.base.as_deref());
        let grow = |item: &mut TimelineItem, more: &str| item.text.push_str(more);
        assert!(diff.items.apply(&mut self.rows, grow));
        let items = shown.timeline.items.iter();
        assert!(self.rows.iter().eq(items), "the diffs made another list");
        assert!(self.rows.len() >= before, "it blinked");
        self.base = Some(Arc::clone(&shown.timeline));
        assert!(
            !(self.has_loaded && shown.screen.overlay),
            "UX-2: {:?}",
            shown.screen
        );
        self.has_loaded |= shown.timeline.loaded;
        self.toasts
            .extend(shown.screen.toast.map(|toast| match toast {
                Toast::Refreshing => "refreshing",
                Toast::Reconnecting => "reconnecting",
            }));
        for message in shown.timeline.pending.iter() {
            let mut rows = self.rows.iter();
            let twice = rows.any(|row| row.intent_id == Some(message.intent_id));
            assert!(!twice, "UX-3: {} is shown twice", message.text);
        }
    }
}

fn ended_turns(shown: &ScreenSnapshot) -> usize {
    let items = shown.timeline.items.iter();
    items.filter(|item| item.kind == ItemKind::TurnEnd).count()
}

fn is_settled(shown: &ScreenSnapshot, turns: usize) -> bool {
    let screen = &shown.screen;
    let is_calm = screen.toast.is_none() && screen.error_indicator.is_none() && !screen.overlay;
    is_calm && ended_turns(shown) == turns && shown.timeline.pending.is_empty()
}

fn prompt(agent: &AgentId, text: &str) -> Intent {
    Intent::SendPrompt {
        agent_id: agent.clone(),
        text: text.into(),
    }
}

#[tokio::test]
async fn ux_2_a_screen_is_never_covered_nor_blinks_whatever_ends_the_connection() -> Outcome {
    let mut world = World::with(Plan {
        // So that an absence soon means a reset.
        limits: "replay_events = 64".into(),
        ..Plan::default()
    })
    .await?;
    let agent = world
        .client
        .agent("stream", &world.work(), Some("50"))
        .await?;
    // UX-1: created by this client, but opened by another run of the app.
    world.client.restart().await?;
    let mut viewer = Viewer::of(&world.client, &agent);
    let first = viewer.until("the first snapshot", |_| true).await;
    assert!(first.screen.overlay && !first.timeline.loaded);
    viewer
        .until("the first turn", |shown| is_settled(shown, 1))
        .await;
    // A message during an outage shows at once and is delivered afterwards.
    world.offline();
    viewer
        .until("away", |shown| {
            shown.screen.toast == Some(Toast::Reconnecting)
        })
        .await;
    world.client.send(prompt(&agent, "20"))?;
    let shown = viewer
        .until("pending", |shown| !shown.timeline.pending.is_empty())
        .await;
    assert!(shown.screen.composer_enabled && shown.connection_error.is_some());
    world.healthy();
    viewer
        .until("the second turn", |shown| is_settled(shown, 2))
        .await;
    // A reset: more happens meanwhile than the daemon replays.
    world.offline();
    let other = world.other_device().await?;
    let mut elsewhere = Viewer::of(&other, &agent);
    other.run(prompt(&agent, "300")).await?;
    elsewhere
        .until("the third turn", |shown| is_settled(shown, 3))
        .await;
    let resets = world.client.counters().reset;
    world.healthy();
    viewer
        .until("the third turn", |shown| is_settled(shown, 3))
        .await;
    assert_eq!(world.client.counters().reset, resets + 1, "it was a reset");
    // The daemon is killed during a turn.
    world.client.send(prompt(&agent, "2000"))?;
    viewer
        .until("it runs", |shown| shown.timeline.items.len() > 12)
        .await;
    world.daemon.kill().await?;
    viewer
        .until("away", |shown| shown.screen.toast.is_some())
        .await;
    world.daemon.start_again().await?;
    viewer
        .until("the fourth turn", |shown| is_settled(shown, 4))
        .await;
    let history = world.history(&agent).await?;
    assert!(
        viewer.rows.iter().map(|row| &**row).eq(&history),
        "what the daemon has"
    );
    assert!(viewer.toasts.contains("reconnecting"));
    // The app restarts: a first open, and the same timeline.
    let before = viewer.rows.clone();
    drop(viewer);
    world.client.restart().await?;
    let mut viewer = Viewer::of(&world.client, &agent);
    assert!(
        viewer
            .until("the first snapshot", |_| true)
            .await
            .screen
            .overlay
    );
    viewer.until("loaded", |shown| is_settled(shown, 4)).await;
    assert_eq!(viewer.rows, before);
    world.done().await
}

#[tokio::test]
async fn ux_3_an_agent_made_here_is_there_at_once_and_once_on_the_real_daemon() -> Outcome {
    let world = World::new().await?;
    let runtime = world.client.runtime();
    let mut merged = runtime.directory();
    let mut list = merged.current();
    for n in 1..=5 {
        let sent = world.client.send(Intent::CreateAgent {
            provider: "stream".into(),
            cwd: world.work().to_string_lossy().into_owned(),
            title: None,
            prompt: Some("5".into()),
        })?;
        let screen = runtime.agent_screen(&world.client.server_id()?, sent.id)?;
        let mut viewer = Viewer::new(screen);
        let shown = viewer.until("at once", |_| true).await;
        assert!(!shown.screen.overlay && !shown.screen.placeholder);
        assert!(matches!(
            shown.creation,
            Creation::Pending | Creation::Confirmed
        ));
        let shown = viewer.until("its turn", |shown| is_settled(shown, 1)).await;
        assert!(shown.agent.is_some());
        assert!(
            viewer
                .rows
                .iter()
                .all(|row| row.kind != ItemKind::User || row.text == "5")
        );
        // The list never contains an agent twice.
        while let Ok(Some(next)) =
            tokio::time::timeout(std::time::Duration::from_millis(50), merged.next()).await
        {
            assert!(next.rows.len() <= n, "{next:#?}");
            assert!(next.rows.len() >= list.rows.len(), "{next:#?}");
            list = next;
        }
        assert_eq!(list.rows.len(), n);
    }
    world.done().await
}
