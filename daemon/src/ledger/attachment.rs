//! An attached connection, which acknowledges and detaches through the ledger's queue.

use std::{fmt, sync::Arc};

use super::{
    queue::{Job, Queue},
    types::SessionRef,
};
use crate::outbound::Frame;

/// An attached connection.
#[derive(Debug)]
pub struct Attached {
    /// Detaches when dropped; absent for a probe.
    pub attachment: Option<Attachment>,
    /// The events after the client's cursor, in order; they are sent before anything from the
    /// connection's queue.
    pub replay: Vec<Frame>,
}

/// Keeps a connection attached to its session; dropping it detaches (INV-4).
pub struct Attachment {
    pub(super) session: SessionRef,
    pub(super) connection: u64,
    pub(super) queue: Arc<Queue>,
}

impl Attachment {
    /// The session for requests.
    pub fn session(&self) -> &SessionRef {
        &self.session
    }

    /// The attached connection.
    pub fn connection(&self) -> u64 {
        self.connection
    }

    /// Records that the client has applied every event up to `seq`. Never waits; with a full queue
    /// it is dropped, since the next acknowledgement includes it.
    pub fn ack(&self, seq: u64) {
        let session = self.session.id;
        let job = Job::Now(Box::new(move |core| core.acknowledge(session, seq)));
        let _ = self.queue.push(self.session.name.account.owner, job);
    }
}

impl Drop for Attachment {
    fn drop(&mut self) {
        let (session, connection) = (self.session.id, self.connection);
        let job = Job::Now(Box::new(move |core| core.detach(session, connection)));
        // If the ledger has stopped, there is nothing to detach from.
        let _ = self.queue.push_always(self.session.name.account.owner, job);
    }
}

impl fmt::Debug for Attachment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Attachment({:?}, {})", self.session, self.connection)
    }
}
