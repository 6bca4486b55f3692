//! Durations as people write them: `"10s"`, `"500ms"`, `"2m"`.

use std::{str::FromStr, time::Duration};

use serde::{Deserialize, Deserializer};

/// Units, with their milliseconds.
const UNITS: &[(&str, u32)] = &[("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000)];

/// A deadline of the relay. All of them exist, so there is no «never» here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lapse(Duration);

impl Lapse {
    /// The duration, more than nothing.
    pub const fn get(self) -> Duration {
        self.0
    }
}

impl FromStr for Lapse {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = text.trim_end_matches(|c: char| c.is_ascii_lowercase());
        let unit = text.strip_prefix(number).unwrap_or_default();
        let millis = UNITS
            .iter()
            .find(|(name, _)| *name == unit)
            .and_then(|(_, millis)| number.parse::<u32>().ok()?.checked_mul(*millis));
        match millis {
            Some(millis) if millis > 0 => Ok(Self(Duration::from_millis(millis.into()))),
            _ => Err(format!(
                "`{text}` is no deadline; write for example \"10s\", \"500ms\" or \"2m\""
            )),
        }
    }
}

impl<'de> Deserialize<'de> for Lapse {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deadlines_read_as_people_write_them() {
        for (text, millis) in [
            ("10s", 10_000),
            ("500ms", 500),
            ("2m", 120_000),
            ("1h", 3_600_000),
        ] {
            assert_eq!(
                text.parse::<Lapse>().unwrap().get(),
                Duration::from_millis(millis)
            );
        }
        for wrong in ["", "s", "10", "0s", "10 s", "-1s", "1.5s", "1y", "9999999h"] {
            assert!(wrong.parse::<Lapse>().is_err(), "{wrong}");
        }
    }
}
