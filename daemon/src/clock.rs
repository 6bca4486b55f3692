//! The daemon's clocks: one for people and the wire, one that only goes forward. Tests bring their own.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use bowline_machines::Moment;
use bowline_protocol::model::UnixMillis;

/// A clock; clones agree.
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
    /// The machine's clock, its zero being now.
    pub fn system() -> Self {
        Self(Arc::new(Source::System {
            zero: Instant::now(),
        }))
    }

    /// A clock that stands still until [`Clock::advance`].
    pub fn manual(wall: UnixMillis) -> Self {
        Self(Arc::new(Source::Manual {
            monotonic: AtomicU64::new(0),
            wall: AtomicI64::new(wall),
        }))
    }

    /// Sets the wall clock of a manual clock to another time; what passes is left alone.
    pub fn set_wall(&self, to: UnixMillis) {
        if let Source::Manual { wall, .. } = &*self.0 {
            wall.store(to, Ordering::SeqCst);
        }
    }

    /// Which boot of the machine this is, and how long ago it was, sleep included; `None` where the system does not say.
    /// Two processes may compare theirs.
    pub fn machine(&self) -> Option<(String, Duration)> {
        match &*self.0 {
            Source::System { .. } => machine(),
            Source::Manual { monotonic, .. } => {
                let millis = monotonic.load(Ordering::SeqCst);
                Some(("manual".to_owned(), Duration::from_millis(millis)))
            }
        }
    }

    /// Moves a manual clock forward; the machine's clock is left alone.
    pub fn advance(&self, by: Duration) {
        if let Source::Manual { monotonic, wall } = &*self.0 {
            let millis = u64::try_from(by.as_millis()).unwrap_or(u64::MAX);
            monotonic.fetch_add(millis, Ordering::SeqCst);
            wall.fetch_add(i64::try_from(millis).unwrap_or(i64::MAX), Ordering::SeqCst);
        }
    }

    /// Monotonic time, for deadlines.
    pub fn now(&self) -> Moment {
        match &*self.0 {
            Source::System { zero } => {
                Moment::from_millis(u64::try_from(zero.elapsed().as_millis()).unwrap_or(u64::MAX))
            }
            Source::Manual { monotonic, .. } => {
                Moment::from_millis(monotonic.load(Ordering::SeqCst))
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
    // The first of two numbers: seconds since the boot, suspended ones among them.
    let uptime = std::fs::read_to_string("/proc/uptime").ok()?;
    let since: f64 = uptime.split_whitespace().next()?.parse().ok()?;
    let since = Duration::try_from_secs_f64(since).ok()?;
    Some((boot.trim().to_owned(), since))
}

/// Elsewhere no clock counts from the boot that two processes could compare without more than the standard library.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn machine() -> Option<(String, Duration)> {
    None
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Clock({:?}, {})", self.now(), self.unix_millis())
    }
}
