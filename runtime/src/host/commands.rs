//! What a host is told by the app.

use bowline_machines::{Moment, Path, host::ConnectionId, timeline};

use super::{HostCommand, driver::Driver, queries::Query};
use crate::transport::Address;

impl Driver {
    pub(super) fn on_command(&mut self, now: Moment, command: HostCommand) {
        match command {
            HostCommand::Query {
                method,
                params,
                reply,
            } => {
                self.queries.push(Query::new(now, method, params, reply));
            }
            HostCommand::OpenTimeline { agent_id, reply } => {
                let view = self.timelines.follow(now, &agent_id, &self.optimistic);
                // Whoever asked may have stopped waiting; the next sweep ends it then.
                let _ = reply.send(view);
            }
            HostCommand::OpenScreen { target, publisher } => {
                self.open_screen(now, target, publisher);
            }
            HostCommand::LoadOlder(agent_id) => {
                self.timelines.load_older(now, &agent_id, &self.optimistic);
            }
            HostCommand::LoadNewer(agent_id) => {
                self.timelines.load_newer(now, &agent_id, &self.optimistic);
            }
            HostCommand::JumpToNewest(agent_id) => {
                self.timelines.jump_to_newest(&agent_id, &self.optimistic);
            }
            HostCommand::Reload(agent_id) => {
                let open = timeline::Input::Open;
                self.timelines
                    .handle(now, &agent_id, open, &self.optimistic);
            }
            HostCommand::Dismiss(intent_id) => self.dismiss(intent_id),
        }
    }

    /// The paths that the settings allow, each with its label.
    pub(super) fn connections(&mut self) -> Vec<(ConnectionId, Path)> {
        let record = &self.record;
        let usable = record.addresses.iter();
        let usable = usable.filter(|address| self.context.allows(address));
        // A label is never given to another address, nor to the same one with another key behind it: what is
        // under way refers to it.
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
    pub(super) fn label(&self, address: &Address) -> Option<ConnectionId> {
        let record = &self.record;
        let is_it = |(known, key): &(Address, _)| known == address && *key == record.transport_key;
        let place = self.places.iter().position(is_it)?;
        record
            .addresses
            .contains(address)
            .then(|| connection_id(place))
    }

    /// The address behind a label.
    pub(super) fn address(&self, connection: ConnectionId) -> Option<&Address> {
        let place = self.places.get(usize::try_from(connection.0).ok()?)?;
        Some(&place.0)
    }
}

/// The machine's label for a place in `places`.
fn connection_id(place: usize) -> ConnectionId {
    ConnectionId(u32::try_from(place).unwrap_or(u32::MAX))
}
