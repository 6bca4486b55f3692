//! What reaches the task of a session from outside: sockets, and the end.
//!
//! A channel would keep blocks of memory for mail that hardly ever comes; this keeps a pointer.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    task::Waker,
};

use bowline_protocol::relay::CloseText;
use futures_util::task::AtomicWaker;

use crate::{registry::Member, socket::Socket};

/// One delivery.
#[derive(Debug)]
pub(crate) enum Mail {
    /// A client socket of the session.
    Client(Box<Socket>, Member),
    /// The daemon's data socket for it.
    Data(Box<Socket>),
    /// The session is to end.
    End(CloseText),
}

/// Bounded by what posts: each client socket is counted among those of its daemon, each data socket among all sockets.
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

    /// Takes all mail; `waker` is woken when more comes.
    pub(crate) fn take(&self, waker: &Waker) -> Vec<Mail> {
        self.waker.register(waker);
        std::mem::take(&mut *self.mail())
    }
}
