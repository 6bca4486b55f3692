//! The daemon's clocks: wall time for people and the wire, and monotonic time. Tests use a manual
//! clock.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use bowline_machines::MonotonicTime;
use bowline_protocol::model::UnixMillis;

/// A clock; clones share one time.
#[derive(Clone)]
pub struct Clock(Arc<Source>);

enum Source {
    System {
        zero: Instant,
    },
    Manual {
        monotonic: AtomicU64,
        wall: AtomicI64,
    },
}

impl Clock {
    /// The machine's clock; its monotonic time starts at zero now.
    pub fn system() -> Self {
        Self(Arc::new(Source::System {
            zero: Instant::now(),
        }))
    }

    /// A clock that only moves by [`Clock::advance`].
    pub fn manual(wall: UnixMillis) -> Self {
        Self(Arc::new(Source::Manual {
            monotonic: AtomicU64::new(0),
            wall: AtomicI64::new(wall),
        }))
    }

    /// Sets the wall clock of a manual clock; its monotonic time is unchanged.
    pub fn set_wall(&self, to: UnixMillis) {
        if let Source::Manual { wall, .. } = &*self.0 {
            wall.store(to, Ordering::SeqCst);
        }
    }

    /// An id of the machine's boot and the time since it, including sleep; `None` where the system
    /// does not provide it. Values of two processes are comparable.
    pub fn machine(&self) -> Option<(String, Duration)> {
        match &*self.0 {
            Source::System { .. } => machine(),
            Source::Manual { monotonic, .. } => {
                let millis = monotonic.load(Ordering::SeqCst);
                Some(("manual".to_owned(), Duration::from_millis(millis)))
            }
        }
    }

    /// Moves a manual clock forward; has no effect on the machine's clock.
    pub fn advance(&self, by: Duration) {
        if let Source::Manual { monotonic, wall } = &*self.0 {
            let millis = u64::try_from(by.as_millis()).unwrap_or(u64::MAX);
            monotonic.fetch_add(millis, Ordering::SeqCst);
            wall.fetch_add(i64::try_from(millis).unwrap_or(i64::MAX), Ordering::SeqCst);
        }
    }

    /// Monotonic time, for deadlines.
    pub fn now(&self) -> MonotonicTime {
        match &*self.0 {
            Source::System { zero } => MonotonicTime::from_millis(
                u64::try_from(zero.elapsed().as_millis()).unwrap_or(u64::MAX),
            ),
            Source::Manual { monotonic, .. } => {
                MonotonicTime::from_millis(monotonic.load(Ordering::SeqCst))
            }
        }
    }

    /// Milliseconds since the Unix epoch, for people and the wire.
    pub fn unix_millis(&self) -> UnixMillis {
        match &*self.0 {
            Source::System { .. } => SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |since| {
                    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
                }),
            Source::Manual { wall, .. } => wall.load(Ordering::SeqCst),
        }
    }
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn machine() -> Option<(String, Duration)> {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    // The first of two numbers: seconds since boot, including suspend.
    let uptime = std::fs::read_to_string("/proc/uptime").ok()?;
    let since: f64 = uptime.split_whitespace().next()?.parse().ok()?;
    let since = Duration::try_from_secs_f64(since).ok()?;
    Some((boot.trim().to_owned(), since))
}

/// The standard library of other systems offers no time since boot that two processes can compare.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn machine() -> Option<(String, Duration)> {
    None
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Clock({:?}, {})", self.now(), self.unix_millis())
    }
}
