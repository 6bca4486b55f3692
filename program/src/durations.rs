//! Durations as people write them: `"500ms"`, `"10s"`, `"2m"`, `"24h"`, `"7d"`.

use std::{fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Units, with their milliseconds, from the largest that is written.
const UNITS: [(&str, u64); 5] = [
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

/// A time that may be endless: `"0s"` means never.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lapse(Option<Duration>);

impl Lapse {
    /// The setting for a duration; zero is never.
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

impl FromStr for Lapse {
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

impl fmt::Display for Lapse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.0.map_or(0, |duration| duration.as_millis());
        let fits = |unit: u64| millis.is_multiple_of(u128::from(unit));
        // Days are read and not written: people say 24h.
        let mut units = UNITS.iter().skip(1);
        match units.find(|(_, unit)| fits(*unit)) {
            Some((name, unit)) if millis > 0 => write!(f, "{}{name}", millis / u128::from(*unit)),
            _ => f.write_str("0s"),
        }
    }
}

impl Serialize for Lapse {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Lapse {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

/// A time that ends: there is no «never».
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadline(Duration);

impl Deadline {
    /// The duration, more than nothing.
    pub const fn get(self) -> Duration {
        self.0
    }
}

impl FromStr for Deadline {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match read(text) {
            Some(duration) if !duration.is_zero() => Ok(Self(duration)),
            _ => Err(format!(
                "`{text}` is no deadline; write for example \"500ms\", \"10s\" or \"2m\""
            )),
        }
    }
}

impl<'de> Deserialize<'de> for Deadline {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

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
            let lapse: Lapse = text.parse().unwrap();
            assert_eq!(lapse.get(), Some(Duration::from_millis(millis)));
            assert_eq!(lapse.to_string(), again);
            let deadline: Deadline = text.parse().unwrap();
            assert_eq!(deadline.get(), Duration::from_millis(millis));
        }
        let most = u64::MAX.to_string() + "d";
        for wrong in ["", "s", "10", "10 s", "-1s", "1.5s", "1y", most.as_str()] {
            assert!(wrong.parse::<Lapse>().is_err(), "{wrong}");
            assert!(wrong.parse::<Deadline>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn nothing_is_never_for_a_lapse_and_no_deadline() {
        let never: Lapse = "0m".parse().unwrap();
        assert_eq!((never.get(), never.to_string().as_str()), (None, "0s"));
        assert!("0s".parse::<Deadline>().unwrap_err().contains("\"10s\""));
    }
}
