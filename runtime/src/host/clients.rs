//! The clients of one host: the active one, a candidate beside it, and old ones that drain
//! (INV-11).

use std::{collections::BTreeMap, sync::Arc};

use bowline_machines::{Generation, client::connection};
use bowline_protocol::{Epoch, handshake::Accepted};
use tokio::sync::mpsc;

use super::events::HostEvent;
use crate::client::{ClientEvent, ClientHandle, ClientOwner};

/// One client of a host.
pub(super) struct Slot {
    pub(super) client: ClientHandle,
    /// The welcome of its current connection.
    pub(super) accepted: Option<Arc<Accepted>>,
}

impl Slot {
    /// The epoch of its events.
    pub(super) fn epoch(&self) -> Option<&Epoch> {
        self.accepted
            .as_ref()?
            .session
            .as_ref()
            .map(|session| &session.epoch)
    }
}

/// Every client not yet disposed of.
#[derive(Default)]
pub(super) struct Clients {
    slots: BTreeMap<Generation, Slot>,
}

impl Clients {
    pub(super) fn insert(&mut self, generation: Generation, slot: Slot) {
        self.slots.insert(generation, slot);
    }

    pub(super) fn get(&self, generation: Generation) -> Option<&Slot> {
        self.slots.get(&generation)
    }

    /// Records a client's state; a disposed client is removed.
    pub(super) fn note(
        &mut self,
        generation: Generation,
        state: connection::State,
        accepted: Option<Arc<Accepted>>,
    ) {
        if state == connection::State::Disposed {
            self.slots.remove(&generation);
        } else if let Some(slot) = self.slots.get_mut(&generation) {
            slot.accepted = accepted;
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }
}

/// Tags a client's events with its generation.
#[derive(Clone)]
pub(super) struct Tag {
    pub(super) generation: Generation,
    pub(super) inbox: mpsc::Sender<HostEvent>,
}

impl ClientOwner for Tag {
    type Item = HostEvent;

    fn inbox(&self) -> &mpsc::Sender<HostEvent> {
        &self.inbox
    }

    fn item(&self, event: ClientEvent) -> HostEvent {
        HostEvent::Client {
            generation: self.generation,
            event,
        }
    }
}
