//! Resident memory of a process.

/// Resident memory of a process in bytes. `None` if unavailable: only Linux is supported.
pub fn resident(pid: u32) -> Option<u64> {
    #[cfg(target_os = "linux")]
    {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
        let kilobytes: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
        Some(kilobytes * 1024)
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = pid;
        None
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    #[test]
    fn our_own_memory_is_some_and_that_of_nobody_is_none() {
        assert!(super::resident(std::process::id()).is_some_and(|bytes| bytes > 100_000));
        assert_eq!(super::resident(u32::MAX), None);
    }
}
