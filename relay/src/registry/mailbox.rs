//! The mailbox of a session's task: new sockets, and the request to end.
//!
//! A channel allocates a block of memory per session. Deliveries are rare, so the mailbox is one
//! pointer while empty.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    task::Waker,
};

use bowline_protocol::relay::CloseText;
use futures_util::task::AtomicWaker;

use super::Member;
use crate::socket::Socket;

/// One delivery.
#[derive(Debug)]
pub(crate) enum Mail {
    /// A client socket of the session.
    Client(Box<Socket>, Member),
    /// The daemon's data socket for it.
    Data(Box<Socket>),
    /// The session must end.
    End(CloseText),
}

/// The mailbox of one session. The limits on sockets bound it: per daemon for client sockets, in
/// total for data sockets.
#[derive(Debug, Default)]
pub(crate) struct Mailbox {
    mail: Mutex<Vec<Mail>>,
    waker: AtomicWaker,
}

impl Mailbox {
    fn mail(&self) -> MutexGuard<'_, Vec<Mail>> {
        self.mail.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn post(&self, mail: Mail) {
        self.mail().push(mail);
        self.waker.wake();
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.mail().is_empty()
    }

    /// Takes all deliveries; `waker` is woken at the next one.
    pub(crate) fn take(&self, waker: &Waker) -> Vec<Mail> {
        self.waker.register(waker);
        std::mem::take(&mut *self.mail())
    }
}
