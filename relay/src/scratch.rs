//! Buffers that all sockets of a thread share for reading and writing.
//!
//! A relay forwards at once or not at all, so bytes need memory only between two system calls.

use std::cell::Cell;

/// Bytes per read: large enough that system calls do not dominate, small enough for the
/// second-level cache.
pub(crate) const READ: usize = 128 * 1024;

/// The two buffers.
#[derive(Debug)]
pub(crate) struct Scratch {
    /// Received bytes.
    pub(crate) input: Box<[u8]>,
    /// Bytes to write.
    pub(crate) output: Vec<u8>,
}

thread_local! {
    static SCRATCH: Cell<Option<Box<Scratch>>> = const { Cell::new(None) };
}

/// Lends the thread's buffers. A nested call gets new ones.
pub(crate) fn with<R>(work: impl FnOnce(&mut Scratch) -> R) -> R {
    let mut scratch = SCRATCH.take().unwrap_or_else(|| {
        Box::new(Scratch {
            input: vec![0; READ].into_boxed_slice(),
            output: Vec::new(),
        })
    });
    scratch.output.clear();
    let result = work(&mut scratch);
    SCRATCH.set(Some(scratch));
    result
}
