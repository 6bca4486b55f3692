//! Gives memory that was freed back to the system.
//!
//! The GNU C library keeps what was freed for the next time, and returns only what lies at the end of its heap: after
//! thousands of connections have left, one small block that stays is enough to keep all their memory. It returns
//! the rest when asked to, and that takes one foreign call. Other allocators return memory by themselves.

/// Asks the allocator to return what is free. Takes about a millisecond for each ten megabytes of heap, and
/// other threads that allocate wait meanwhile, so it is for after a burst. Tells whether anything was returned.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[expect(unsafe_code, reason = "the C library offers no other way")]
pub fn give_back() -> bool {
    // SAFETY: the function takes a plain number, may be called from any thread at any time, and changes nothing
    // that is allocated.
    unsafe { libc::malloc_trim(0) != 0 }
}

/// Asks the allocator to return what is free. Here it does so by itself.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub const fn give_back() -> bool {
    false
}

#[cfg(all(test, target_os = "linux", target_env = "gnu"))]
mod tests {
    use super::*;

    /// Resident memory of this process in KiB.
    fn resident() -> Option<u64> {
        let status = std::fs::read_to_string("/proc/self/status").ok()?;
        let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
        line.split_whitespace().nth(1)?.parse().ok()
    }

    #[test]
    fn freed_memory_below_a_block_that_stays_is_returned() {
        let blocks: Vec<Box<[u8]>> = (0..20_000).map(|_| vec![1; 1_024].into()).collect();
        let stays: Box<[u8]> = vec![1; 1_024].into();
        drop(blocks);
        let kept = resident().unwrap();
        assert!(give_back());
        let after = resident().unwrap();
        assert!(
            after + 15_000 < kept,
            "{kept} KiB before, {after} KiB after"
        );
        drop(stays);
    }
}
