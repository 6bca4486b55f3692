//! Counts bytes, so that liveness does not depend on whole messages (LS-16), and a peer that takes
//! some is told from one that takes none (LS-19).

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use tokio_util::io::{InspectReader, InspectWriter};

use crate::dialer::Wire;

/// Number of bytes that passed through a [`counted`] stream.
#[derive(Clone, Debug, Default)]
pub struct Count(Arc<Counters>);

#[derive(Debug, Default)]
struct Counters {
    received: AtomicU64,
    sent: AtomicU64,
}

impl Count {
    /// Bytes received so far; never decreases.
    pub fn get(&self) -> u64 {
        self.0.received.load(Ordering::Relaxed)
    }

    /// Bytes that the system has taken so far; never decreases.
    pub fn sent(&self) -> u64 {
        self.0.sent.load(Ordering::Relaxed)
    }
}

/// The stream, with the count of bytes that pass from now on.
pub fn counted<S: Wire>(stream: S) -> (impl Wire + use<S>, Count) {
    let count = Count::default();
    let (received, sent) = (Arc::clone(&count.0), Arc::clone(&count.0));
    let note_received = move |bytes: &[u8]| {
        let counter = &received.received;
        counter.fetch_add(bytes.len() as u64, Ordering::Relaxed);
    };
    let note_sent = move |bytes: &[u8]| {
        sent.sent.fetch_add(bytes.len() as u64, Ordering::Relaxed);
    };
    let reading = InspectReader::new(stream, note_received);
    (InspectWriter::new(reading, note_sent), count)
}
