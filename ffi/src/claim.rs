//! Which thread of a JavaScript process has the library's listeners.
//!
//! In Node each thread registers functions of its own with the library, which replace those of the
//! thread before. Swift and Kotlin register once for a process, and do not need this.

use std::sync::atomic::{AtomicU64, Ordering};

/// The thread's number and one; zero: none.
static OWNER: AtomicU64 = AtomicU64::new(0);

/// Claims the listeners of this process for a thread of JavaScript, before it registers its own.
/// Returns whether it has them; `false` while another thread has.
#[uniffi::export]
pub fn claim_listeners(thread: u32) -> bool {
    let own = u64::from(thread) + 1;
    let claimed = OWNER.compare_exchange(0, own, Ordering::AcqRel, Ordering::Acquire);
    claimed.is_ok() || claimed == Err(own)
}

/// Gives the listeners back, when the thread ends; nothing if another one has them.
#[uniffi::export]
pub fn release_listeners(thread: u32) {
    let own = u64::from(thread) + 1;
    // Another thread has them: that is its business.
    let _ = OWNER.compare_exchange(own, 0, Ordering::AcqRel, Ordering::Acquire);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_thread_has_the_listeners_until_it_gives_them_back() {
        assert!(claim_listeners(0) && claim_listeners(0));
        assert!(!claim_listeners(1));
        release_listeners(1);
        assert!(!claim_listeners(1));
        release_listeners(0);
        assert!(claim_listeners(1));
        release_listeners(1);
    }
}
