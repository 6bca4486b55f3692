//! What a client was told to do and has not done yet.

use std::{sync::Arc, time::Duration};

use bowline_protocol::Resume;

use crate::desk;

/// Every kind of order, in the order in which they are carried out.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Orders {
    pub(super) background: Option<bool>,
    pub(super) promoted: bool,
    pub(super) connect: bool,
    pub(super) check_liveness: bool,
    pub(super) network_changed: bool,
    pub(super) ack: Option<Resume>,
    pub(super) dispose: Option<Duration>,
}

/// Where handles put orders and the driver takes them.
pub(super) type Desk = desk::Desk<Orders>;

/// The handles' end of the desk: with the last of them the client goes.
#[derive(Debug)]
pub(super) struct Handle(pub(super) Arc<Desk>);

impl Drop for Handle {
    fn drop(&mut self) {
        self.0.give(|orders| orders.dispose = Some(Duration::ZERO));
    }
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Poll, Waker};

    use super::*;

    #[test]
    fn inv_12_no_order_is_lost_however_many_came_before_it() {
        let desk = Arc::new(Desk::default());
        let handle = Handle(Arc::clone(&desk));
        let mut cx = Context::from_waker(Waker::noop());
        assert!(desk.poll_take(&mut cx).is_pending());
        let epoch = bowline_protocol::Epoch::from_uuid(uuid::Uuid::nil());
        for last_seq in 0..10_000 {
            let epoch = epoch.clone();
            let stamp = None;
            desk.give(|orders| {
                orders.ack = Some(Resume {
                    epoch,
                    last_seq,
                    stamp,
                });
            });
        }
        desk.give(|orders| orders.promoted = true);
        drop(handle);
        let Poll::Ready(orders) = desk.poll_take(&mut cx) else {
            panic!("orders wait");
        };
        assert_eq!(orders.ack.map(|ack| ack.last_seq), Some(9_999));
        assert!(orders.promoted);
        assert_eq!(orders.dispose, Some(Duration::ZERO));
        assert!(desk.poll_take(&mut cx).is_pending(), "each is taken once");
    }
}
