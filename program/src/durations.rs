//! Durations as text: `"500ms"`, `"10s"`, `"2m"`, `"24h"`, `"7d"`.

use std::{fmt, str::FromStr, time::Duration};

use crate::as_text;

/// Units with their milliseconds. Formatting takes the largest that fits.
const UNITS: [(&str, u64); 5] = [
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

/// A duration that may be infinite: `"0s"` means never.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeout(Option<Duration>);

impl Timeout {
    /// The setting for a duration; zero means never.
    pub const fn of(duration: Duration) -> Self {
        if duration.is_zero() {
            Self(None)
        } else {
            Self(Some(duration))
        }
    }

    /// The duration, or `None` for never.
    pub const fn get(self) -> Option<Duration> {
        self.0
    }
}

impl FromStr for Timeout {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "`{text}` is no duration; write for example \"500ms\", \"30s\", \"10m\" or \"24h\" (\"0s\" = never)"
            )
        };
        read(text).map(Self::of).ok_or_else(wrong)
    }
}

impl fmt::Display for Timeout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.0.map_or(0, |duration| duration.as_millis());
        let fits = |unit: u64| millis.is_multiple_of(u128::from(unit));
        // Days are parsed and never printed: 24h is the usual form.
        let mut units = UNITS.iter().skip(1);
        match units.find(|(_, unit)| fits(*unit)) {
            Some((name, unit)) if millis > 0 => write!(f, "{}{name}", millis / u128::from(*unit)),
            _ => f.write_str("0s"),
        }
    }
}

as_text!(Timeout);

/// A finite duration: it cannot be set to never.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadline(Duration);

impl Deadline {
    /// The setting for a duration, unless that is zero.
    pub const fn of(duration: Duration) -> Option<Self> {
        if duration.is_zero() {
            None
        } else {
            Some(Self(duration))
        }
    }

    /// The duration, greater than zero.
    pub const fn get(self) -> Duration {
        self.0
    }
}

impl FromStr for Deadline {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let deadline = read(text).and_then(Self::of);
        deadline.ok_or_else(|| {
            format!("`{text}` is no deadline; write for example \"500ms\", \"10s\" or \"2m\"")
        })
    }
}

impl fmt::Display for Deadline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Timeout::of(self.0).fmt(f)
    }
}

as_text!(Deadline);

fn read(text: &str) -> Option<Duration> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits)?;
    let (_, millis) = UNITS.iter().find(|(name, _)| *name == unit)?;
    let millis = number.parse::<u64>().ok()?.checked_mul(*millis)?;
    Some(Duration::from_millis(millis))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_as_people_write_them() {
        for (text, millis, again) in [
            ("500ms", 500, "500ms"),
            ("10s", 10_000, "10s"),
            ("90s", 90_000, "90s"),
            ("120s", 120_000, "2m"),
            ("24h", 86_400_000, "24h"),
            ("7d", 604_800_000, "168h"),
        ] {
            let lapse: Timeout = text.parse().unwrap();
            assert_eq!(lapse.get(), Some(Duration::from_millis(millis)));
            assert_eq!(lapse.to_string(), again);
            let deadline: Deadline = text.parse().unwrap();
            assert_eq!(deadline.get(), Duration::from_millis(millis));
        }
        let most = u64::MAX.to_string() + "d";
        for wrong in ["", "s", "10", "10 s", "-1s", "1.5s", "1y", most.as_str()] {
            assert!(wrong.parse::<Timeout>().is_err(), "{wrong}");
            assert!(wrong.parse::<Deadline>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn nothing_is_never_for_a_lapse_and_no_deadline() {
        let never: Timeout = "0m".parse().unwrap();
        assert_eq!((never.get(), never.to_string().as_str()), (None, "0s"));
        assert!("0s".parse::<Deadline>().unwrap_err().contains("\"10s\""));
    }
}
