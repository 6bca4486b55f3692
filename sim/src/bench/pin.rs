//! What is asked of the system: to keep this process and those it starts on one core, so that a round trip is work and
//! not scheduling, and to let it open many files.

/// Pins the calling thread, and the processes it starts from now on, to one core. Tells how, for the method.
#[cfg(target_os = "linux")]
pub(super) fn to_one_core() -> String {
    use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

    let pinned = sched_getaffinity(None).and_then(|allowed| {
        // The last one allowed: the first serves most interrupts.
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

/// Elsewhere the system offers no such promise.
#[cfg(not(target_os = "linux"))]
pub(super) fn to_one_core() -> String {
    "not pinned (only Linux offers it)".to_owned()
}

/// Lets this process have so many files open.
///
/// # Errors
/// When the system allows fewer.
#[cfg(unix)]
pub(super) fn allow_files(count: usize) -> super::Outcome<()> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    let limit = getrlimit(Resource::Nofile);
    let count = u64::try_from(count)?;
    if limit.maximum.is_some_and(|maximum| maximum < count) {
        return Err(format!("this needs {count} open files; allow them with `ulimit -Hn`").into());
    }
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    Ok(setrlimit(Resource::Nofile, raised)?)
}
