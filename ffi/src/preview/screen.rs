//! An artificial agent's screen, over the artificial timeline. What it shows is decided by the same
//! code as for a real one.

use std::sync::Arc;

use bowline_runtime::{
    ScreenSnapshot, TimelineView,
    machines::data::{
        load::LoadError,
        screen::{self, Screen, ScreenInput},
    },
    protocol::{Reason, ServerId},
};

use super::PreviewData;
use crate::{
    error::BowlineError,
    listeners::ScreenListener,
    records::ScreenUpdate,
    sinks::{Changes, follow_values},
    slot::Slot,
    subscription::Subscription,
};

/// What a preview's screen is in the middle of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, uniffi::Enum)]
pub enum PreviewScreen {
    /// Loaded and up to date.
    #[default]
    Ready,
    /// The first load is running: the overlay (UX-1).
    Loading,
    /// It is being refreshed: a toast (UX-2).
    Refreshing,
    /// The connection is being restored: a toast.
    Reconnecting,
    /// The last refresh failed: an error beside the content (UX-4).
    RefreshFailed,
    /// The host is offline.
    Offline,
    /// The agent is archived: no composer.
    Archived,
}

#[uniffi::export]
impl PreviewData {
    /// Changes what the screen is in the middle of. It begins as `Ready`.
    pub fn show_screen(&self, moment: PreviewScreen) {
        self.change(|lists| {
            lists.moment = moment;
            self.publish_screen(moment);
        });
    }

    /// Same contract as the method of the runtime. Every agent has the same screen: that of the
    /// artificial timeline.
    pub fn subscribe_screen(
        &self,
        server_id: String,
        agent_id: Option<String>,
        listener: Box<dyn ScreenListener>,
    ) -> Result<Arc<Subscription>, BowlineError> {
        let slot = Slot::new(Changes::new(
            move |base: Option<&ScreenSnapshot>, new: &ScreenSnapshot| {
                let update = ScreenUpdate::from((base, new));
                listener.on_screen(ScreenUpdate {
                    server_id: server_id.clone(),
                    agent_id: agent_id.clone(),
                    ..update
                })
            },
        ))?;
        follow_values(slot, self.screen.subscribe())
    }
}

impl PreviewData {
    /// Publishes the screen over the newest timeline. Updates are serialised by the caller.
    pub(super) fn publish_screen(&self, moment: PreviewScreen) {
        let timeline = Arc::clone(&self.timeline.borrow());
        self.screen.send_modify(|screen| {
            *screen = Arc::new(made_up(moment, timeline, screen.rev + 1));
        });
    }
}

/// The screen at a moment.
pub(super) fn made_up(
    moment: PreviewScreen,
    timeline: Arc<TimelineView>,
    rev: u64,
) -> ScreenSnapshot {
    let connectivity = match moment {
        PreviewScreen::Reconnecting => screen::Connectivity::Connecting,
        PreviewScreen::Offline => screen::Connectivity::Offline,
        _ => screen::Connectivity::Online,
    };
    let is_loaded = moment != PreviewScreen::Loading;
    let failed = moment == PreviewScreen::RefreshFailed;
    let input = ScreenInput {
        loaded: is_loaded,
        known: is_loaded,
        loading: matches!(moment, PreviewScreen::Loading | PreviewScreen::Refreshing),
        creation: screen::Creation::None,
        followed: false,
        prompted: false,
        read_only: (moment == PreviewScreen::Archived).then_some(screen::ReadOnly::Archived),
        last_error: failed.then_some(LoadError::Lost(Reason::HeartbeatTimeout)),
        connectivity,
        has_items: !timeline.items.is_empty(),
    };
    ScreenSnapshot {
        rev,
        server_id: ServerId::of_public_key(&[]),
        agent_id: None,
        agent: None,
        creation: screen::Creation::None,
        creating: None,
        creation_failed: None,
        screen: Screen::of(&input),
        connectivity,
        connection_error: None,
        timeline,
    }
}
