//! Returns freed memory to the system.
//!
//! The GNU C library keeps freed memory for reuse and returns only the end of its heap: after
//! thousands of connections have closed, one small block that remains keeps all their memory
//! resident. `malloc_trim` returns the rest, which takes one foreign call. Other allocators return
//! memory by themselves.

/// Returns free memory to the system. Takes about 1 ms per 10 MB of heap, during which other
/// threads cannot allocate, so callers use it after a burst. Returns whether any memory was
/// returned.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[expect(unsafe_code, reason = "the C library offers no other way")]
pub fn trim() -> bool {
    // SAFETY: the function takes a plain number, may be called from any thread at any time, and
    // does not change allocated memory.
    unsafe { libc::malloc_trim(0) != 0 }
}

/// Does nothing and returns `false`: this platform's allocator returns free memory by itself.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub const fn trim() -> bool {
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
        assert!(trim());
        let after = resident().unwrap();
        assert!(
            after + 15_000 < kept,
            "{kept} KiB before, {after} KiB after"
        );
        drop(stays);
    }
}

/// Runs the examples of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
