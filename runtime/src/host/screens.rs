//! The open screens of a host: each receives its machine's state once per turn (INV-14).

use std::collections::BTreeMap;

use bowline_machines::{
    MonotonicTime,
    data::screen::Connectivity,
    data::screens::{Content, Refusal, ScreenId, ScreenTarget},
};

use super::driver::Driver;
use crate::screen::{ScreenError, ScreenPublisher, ScreenSnapshot};

/// The publisher of each screen.
pub(super) type ScreenPublishers = BTreeMap<ScreenId, ScreenPublisher>;

impl Driver {
    /// Opens a screen. Its first snapshot is published in this turn.
    pub(super) fn open_screen(
        &mut self,
        now: MonotonicTime,
        target: ScreenTarget,
        publisher: ScreenPublisher,
    ) {
        // Its creation may have been submitted just before.
        self.on_submitted(now);
        // A screen closed just before must neither count toward the limit nor prevent a new load.
        self.close_screens();
        match self.replica.open_screen(target) {
            Ok(id) => drop(self.screen_publishers.insert(id, publisher)),
            Err(refusal) => publisher.end(refusal.into()),
        }
        self.follow_screens(now);
    }

    /// Removes dropped screens from the machine.
    pub(super) fn close_screens(&mut self) {
        let replica = &mut self.replica;
        self.screen_publishers.retain(|id, publisher| {
            let is_wanted = publisher.is_wanted();
            if !is_wanted {
                replica.close_screen(*id);
            }
            is_wanted
        });
    }

    /// Follows the timelines of screens whose agents have become known.
    pub(super) fn follow_screens(&mut self, now: MonotonicTime) {
        self.end_streams();
        self.replica.follow(now);
        while let Some((id, refusal)) = self.replica.poll_refused() {
            if let Some(publisher) = self.screen_publishers.remove(&id) {
                publisher.end(refusal.into());
            }
        }
    }

    /// Publishes the newest snapshots to the screens.
    pub(super) fn publish_screens(&mut self) {
        let connectivity = Connectivity::from(self.machine.state().kind());
        let error = self.machine.last_error();
        let connection_error = error.map(|reason| self.describe(reason));
        for (id, publisher) in &self.screen_publishers {
            let Some(content) = self.replica.show(*id, connectivity) else {
                continue;
            };
            let Content {
                agent_id,
                agent,
                creation,
                creating,
                creation_failed,
                screen,
                timeline,
            } = content;
            let snapshot = ScreenSnapshot {
                rev: 0,
                server_id: self.record.server_id.clone(),
                agent_id,
                agent,
                creation,
                creating,
                creation_failed,
                screen,
                connectivity,
                connection_error: connection_error.clone(),
                timeline,
            };
            publisher.show(snapshot, &mut self.rev);
        }
    }
}

impl From<Refusal> for ScreenError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::UnknownCreation => Self::UnknownCreation,
            Refusal::TooMany(most) => Self::TooMany(most),
        }
    }
}
