//! Memory that every socket of a thread reads into and writes from, one after the other.
//!
//! A relay forwards at once or not at all, so bytes need a place only for the moment between two system calls.

use std::cell::Cell;

/// Bytes read in one go: enough that system calls do not dominate, small enough for the second cache.
pub(crate) const READ: usize = 128 * 1024;

/// The two places.
#[derive(Debug)]
pub(crate) struct Scratch {
    /// What was read.
    pub(crate) input: Box<[u8]>,
    /// What is to be written.
    pub(crate) output: Vec<u8>,
}

thread_local! {
    static SCRATCH: Cell<Option<Box<Scratch>>> = const { Cell::new(None) };
}

/// Lends the thread's memory. A call inside a call gets memory of its own.
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
