//! What is kept of a host's tables and logs for the next run of the app (LD-5): read when one is
//! opened, written when the machine says so, both on threads that may block.

use std::{
    sync::{
        Arc,
        mpsc::{Receiver, Sender, channel},
    },
    time::Instant,
};

use bowline_machines::{
    MonotonicTime,
    data::{
        cache::{Kept, StoredPage},
        replica,
        target::LiveTarget,
    },
};
use bowline_protocol::identity::PresharedKey;
use tokio::time::timeout;

use super::{driver::Driver, events::HostEvent};
use crate::{blocking::blocking, settings::CACHE_READ};

/// Tells, when it is dropped, that what was to be written is written, or will not be.
#[derive(Clone, Debug)]
pub(super) struct Flush(Arc<Sender<()>>);

impl PartialEq for Flush {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Flush {}

/// Waits for a [`Flush`].
pub(crate) struct Flushed(Receiver<()>);

impl Flush {
    pub(super) fn new() -> (Self, Flushed) {
        let (flush, flushed) = channel();
        (Self(Arc::new(flush)), Flushed(flushed))
    }
}

impl Flushed {
    /// Blocks until then, or until the deadline.
    pub(crate) fn wait(&self, deadline: Instant) {
        let left = deadline.saturating_duration_since(Instant::now());
        // Nothing is ever sent: both errors are an end of the wait.
        let _ = self.0.recv_timeout(left);
    }
}

impl Driver {
    /// Begins where the last run of the app was, if it kept what it displayed.
    pub(super) fn recover_lists(&mut self) {
        self.replica.keep_lists(self.cache.is_on());
        if let Some(position) = self.cache.position() {
            self.session.restore(position);
            self.cursor.set(self.session.position());
        }
    }

    /// What is kept of a table or log that is about to be opened. Handles nothing else meanwhile,
    /// so that no attach and no event comes in between.
    pub(super) async fn kept<P>(&self, target: &LiveTarget) -> Option<Kept<P>>
    where
        P: StoredPage + Send + 'static,
    {
        if !self.cache.is_on() {
            return None;
        }
        let (cache, target) = (self.cache.clone(), target.clone());
        let reading = blocking(move || cache.read::<P>(&target))?;
        let stored = timeout(CACHE_READ, reading).await.ok()?.ok()??;
        let cache = self.cache.clone();
        // The rows do not wait for it.
        let _ = blocking(move || cache.write_views());
        let manifest = self.cache.manifest();
        Some(stored.kept(manifest.as_ref(), self.session.position().as_ref()))
    }

    /// The host was paired again: what an earlier pairing kept is deleted, and what is open now is
    /// written again.
    pub(super) fn begin_lists_anew(&mut self, now: MonotonicTime, psk: Option<&PresharedKey>) {
        if !self.cache.is_on() {
            return;
        }
        self.cache.begin_anew(psk);
        // No write has this number: whatever was written counts as lost.
        let (number, is_written) = (0, false);
        let lost = replica::Input::Saved { number, is_written };
        self.replica.handle(now, lost);
        self.replica.retry_saving();
        let cache = self.cache.clone();
        let _ = blocking(move || cache.drop_old());
    }

    /// Writes what the machine wants written, without waiting for it.
    pub(super) fn write_lists(&mut self, now: MonotonicTime, flush: Option<Flush>) {
        let (replica, session) = (&mut self.replica, &self.session);
        let position = || session.position();
        let Some(checkpoint) = replica.poll_checkpoint(now, session.last_seq(), position) else {
            return;
        };
        let number = checkpoint.number;
        self.cache.push(checkpoint);
        let (cache, inbox) = (self.cache.clone(), self.inbox_sender.clone());
        let writing = blocking(move || {
            let is_written = cache.write_next();
            drop(flush);
            is_written
        });
        tokio::spawn(async move {
            let is_written = match writing {
                Some(writing) => writing.await.unwrap_or(false),
                None => false,
            };
            let saved = replica::Input::Saved { number, is_written };
            // An error means that the host has ended.
            let _ = inbox.send(HostEvent::Loaded(saved)).await;
        });
    }
}
