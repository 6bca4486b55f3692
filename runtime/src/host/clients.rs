//! The clients of one host: the active one, a candidate beside it, and old ones that finish (INV-11).

use std::{collections::BTreeMap, sync::Arc};

use bowline_machines::{Generation, client};
use bowline_protocol::{Epoch, handshake::Accepted};
use tokio::sync::mpsc;

use super::events::HostEvent;
use crate::client::{ClientEvent, ClientOwner, DaemonClient};

/// One client as its host sees it.
pub(super) struct Slot {
    pub(super) client: DaemonClient,
    /// The welcome of its current connection.
    pub(super) accepted: Option<Arc<Accepted>>,
}

impl Slot {
    /// The numbering that its events belong to.
    pub(super) fn epoch(&self) -> Option<&Epoch> {
        self.accepted
            .as_ref()?
            .session
            .as_ref()
            .map(|session| &session.epoch)
    }
}

/// Every client that is not disposed of yet.
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

    /// Takes note of a client's state; one that is disposed of is forgotten.
    pub(super) fn note(
        &mut self,
        generation: Generation,
        state: client::State,
        accepted: Option<Arc<Accepted>>,
    ) {
        if state == client::State::Disposed {
            self.slots.remove(&generation);
        } else if let Some(slot) = self.slots.get_mut(&generation) {
            slot.accepted = accepted;
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }
}

/// Tags what a client reports with its generation.
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
