//! The streams of a host's timelines: the subscribers of each view.

use std::{collections::BTreeMap, sync::Arc};

use bowline_machines::{
    MonotonicTime, data::screen::Connectivity, data::timelines::TooManyOpen,
    data::view::TimelineView,
};
use bowline_protocol::AgentId;
use tokio::sync::watch;

use super::driver::Driver;
use crate::error::TimelineError;

/// One channel for all streams of an agent.
#[derive(Default)]
pub(super) struct Streams {
    channels: BTreeMap<AgentId, watch::Sender<Arc<TimelineView>>>,
}

impl Driver {
    /// Opens a stream; it starts with the current view.
    pub(super) fn open_stream(
        &mut self,
        now: MonotonicTime,
        agent_id: AgentId,
    ) -> Result<watch::Receiver<Arc<TimelineView>>, TimelineError> {
        self.end_streams();
        let view = self
            .replica
            .open_stream(now, &agent_id)
            .map_err(|TooManyOpen { most }| TimelineError::TooMany(most))?;
        let channels = self.streams.channels.entry(agent_id);
        let channel = channels.or_insert_with(|| watch::channel(view).0);
        Ok(channel.subscribe())
    }

    /// Removes dropped streams from the machine.
    pub(super) fn end_streams(&mut self) {
        let replica = &mut self.replica;
        self.streams.channels.retain(|agent_id, channel| {
            let is_open = channel.receiver_count() > 0;
            if !is_open {
                replica.streams_ended(agent_id);
            }
            is_open
        });
    }

    /// Publishes the newest views to the streams.
    pub(super) fn publish_views(&mut self) {
        let connectivity = Connectivity::from(self.machine.state().kind());
        self.replica.publish(connectivity, &mut self.rev);
        while let Some((agent_id, view)) = self.replica.poll_view() {
            if let Some(channel) = self.streams.channels.get(&agent_id) {
                channel.send_replace(view);
            }
        }
    }
}
