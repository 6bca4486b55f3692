//! Pending commands of a client.

use std::{sync::Arc, time::Duration};

use bowline_machines::client::commands::ClientCommands;
use bowline_protocol::{Reason, Resume};

use crate::control_slot;

/// The latest command of each kind, in order of execution.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Commands {
    pub(super) client: ClientCommands,
    pub(super) ack: Option<Resume>,
    /// Time to drain, and the reason for the callers that still wait then.
    pub(super) dispose: Option<(Duration, Reason)>,
}

/// The control slot: handles write commands, the driver takes them.
pub(super) type ControlSlot = control_slot::ControlSlot<Commands>;

/// The handle's side of the control slot; the client ends when the last handle is dropped.
#[derive(Debug)]
pub(super) struct Handle(pub(super) Arc<ControlSlot>);

impl Drop for Handle {
    fn drop(&mut self) {
        self.0
            .update(|commands| commands.dispose = Some((Duration::ZERO, Reason::ClosedLocally)));
    }
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Poll, Waker};

    use super::*;

    #[test]
    fn inv_12_no_order_is_lost_however_many_came_before_it() {
        let control = Arc::new(ControlSlot::default());
        let handle = Handle(Arc::clone(&control));
        let mut cx = Context::from_waker(Waker::noop());
        assert!(control.poll_take(&mut cx).is_pending());
        let epoch = bowline_protocol::Epoch::from_uuid(uuid::Uuid::nil());
        for last_seq in 0..10_000 {
            let epoch = epoch.clone();
            let stamp = None;
            control.update(|commands| {
                commands.ack = Some(Resume {
                    epoch,
                    last_seq,
                    stamp,
                });
            });
        }
        control.update(|commands| commands.client.promoted = true);
        drop(handle);
        let Poll::Ready(commands) = control.poll_take(&mut cx) else {
            panic!("commands wait");
        };
        assert_eq!(commands.ack.map(|ack| ack.last_seq), Some(9_999));
        assert!(commands.client.promoted);
        assert_eq!(
            commands.dispose,
            Some((Duration::ZERO, Reason::ClosedLocally))
        );
        assert!(
            control.poll_take(&mut cx).is_pending(),
            "each is taken once"
        );
    }
}
