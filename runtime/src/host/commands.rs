//! Commands of the app to a host.

use bowline_machines::{MonotonicTime, Path, client::paths::PathId, data::replica};

use super::{HostCommand, driver::Driver};
use crate::transport::Address;

impl Driver {
    pub(super) async fn on_command(&mut self, now: MonotonicTime, command: HostCommand) {
        match command {
            HostCommand::Query(query) => self.add_query(now, query),
            HostCommand::OpenTimeline { agent_id, reply } => {
                let view = self.open_stream(now, agent_id);
                // The caller may have stopped waiting; the next sweep then removes the view.
                let _ = reply.send(view);
            }
            HostCommand::OpenScreen { target, publisher } => {
                self.open_screen(now, target, publisher);
            }
            HostCommand::Read(agent_id, input) => {
                self.replica
                    .handle(now, replica::Input::Timeline { agent_id, input });
            }
            HostCommand::OpenTable(target, publisher) => {
                self.open_table(target, publisher).await;
            }
            HostCommand::OpenLog(target, publisher) => {
                self.open_log(target, publisher).await;
            }
            HostCommand::OpenTopic(target, publisher) => self.open_topic(now, target, publisher),
            HostCommand::ReadLive(kind, target, read) => self.read_live(now, kind, &target, read),
            HostCommand::Dismiss(intent_id) => self.dismiss(now, intent_id),
        }
    }

    /// The paths allowed by the settings, each with its label.
    pub(super) fn connections(&mut self) -> Vec<(PathId, Path)> {
        let record = &self.record;
        let usable = record.addresses.iter();
        let usable = usable.filter(|address| self.context.allows(address));
        let labels = &mut self.labels;
        let mut connections: Vec<_> = usable
            .map(|address| {
                let label = labels.assign((address.clone(), record.transport_key));
                (label, address.path)
            })
            .collect();
        connections.sort_unstable_by_key(|(label, _)| *label);
        connections
    }

    /// The label of a path under the host's current key.
    pub(super) fn label(&self, address: &Address) -> Option<PathId> {
        let place = (address.clone(), self.record.transport_key);
        self.labels.find(&place)
    }

    /// The address of a label.
    pub(super) fn address(&self, connection: PathId) -> Option<&Address> {
        self.labels.place(connection).map(|(address, _)| address)
    }
}
