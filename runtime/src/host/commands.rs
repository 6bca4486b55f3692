//! Commands of the app to a host.

use bowline_machines::{MonotonicTime, Path, client::paths::PathId, data::replica};

use super::{HostCommand, driver::Driver};
use crate::transport::Address;

impl Driver {
    pub(super) fn on_command(&mut self, now: MonotonicTime, command: HostCommand) {
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
            HostCommand::Dismiss(intent_id) => self.dismiss(now, intent_id),
        }
    }

    /// The paths allowed by the settings, each with its label.
    pub(super) fn connections(&mut self) -> Vec<(PathId, Path)> {
        let record = &self.record;
        let usable = record.addresses.iter();
        let usable = usable.filter(|address| self.context.allows(address));
        // A label is never reused for another address, nor for the same address with another key:
        // pending work refers to it.
        for address in usable {
            let place = (address.clone(), record.transport_key);
            if !self.places.contains(&place) {
                self.places.push(place);
            }
        }
        let known = self.places.iter().enumerate();
        known
            .filter(|(_, (address, key))| {
                *key == record.transport_key && record.addresses.contains(address)
            })
            .map(|(place, (address, _))| (connection_id(place), address.path))
            .collect()
    }

    /// The label of a configured path.
    pub(super) fn label(&self, address: &Address) -> Option<PathId> {
        let record = &self.record;
        let is_it = |(known, key): &(Address, _)| known == address && *key == record.transport_key;
        let place = self.places.iter().position(is_it)?;
        record
            .addresses
            .contains(address)
            .then(|| connection_id(place))
    }

    /// The address of a label.
    pub(super) fn address(&self, connection: PathId) -> Option<&Address> {
        let place = self.places.get(usize::try_from(connection.0).ok()?)?;
        Some(&place.0)
    }
}

/// The label of an index in `places`.
fn connection_id(place: usize) -> PathId {
    PathId(u32::try_from(place).unwrap_or(u32::MAX))
}
