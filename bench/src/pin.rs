//! One core for this process and its children, so that a round trip measures work and not
//! scheduling.

/// Pins the calling thread, and processes it starts later, to one core. Returns a description for
/// the method text.
#[cfg(target_os = "linux")]
pub(super) fn to_one_core() -> String {
    use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

    let pinned = sched_getaffinity(None).and_then(|allowed| {
        // The last allowed core: the first serves most interrupts.
        let core = (0..CpuSet::MAX_CPU)
            .rev()
            .find(|core| allowed.is_set(*core));
        let core = core.ok_or(rustix::io::Errno::INVAL)?;
        let mut one = CpuSet::new();
        one.set(core);
        sched_setaffinity(None, &one).map(|()| core)
    });
    match pinned {
        Ok(core) => format!("server and load pinned to core {core}"),
        Err(error) => format!("not pinned ({error})"),
    }
}

/// Only Linux supports pinning.
#[cfg(not(target_os = "linux"))]
pub(super) fn to_one_core() -> String {
    "not pinned (only Linux offers it)".to_owned()
}
