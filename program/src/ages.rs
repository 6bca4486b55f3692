//! Times as people read them: "3 min ago".

use std::time::{SystemTime, UNIX_EPOCH};

/// Seconds below which an event is "just now".
const JUST_NOW: u64 = 3;

/// A span of milliseconds in its largest unit: `14 s`, `3 min`, `5 h`, `12 days`.
pub fn lasting(millis: u64) -> String {
    match millis / 1_000 {
        seconds @ 0..60 => format!("{seconds} s"),
        seconds @ 60..3_600 => format!("{} min", seconds / 60),
        seconds @ 3_600..172_800 => format!("{} h", seconds / 3_600),
        seconds => format!("{} days", seconds / 86_400),
    }
}

/// Age of an event, from two clocks in milliseconds that may disagree: an event in the future is
/// "just now".
pub fn ago(now: u64, then: u64) -> String {
    let millis = now.saturating_sub(then);
    if millis / 1_000 < JUST_NOW {
        "just now".to_owned()
    } else {
        format!("{} ago", lasting(millis))
    }
}

/// A time of day for people: `2026-11-29 14:32 UTC`.
pub fn utc(unix_millis: u64) -> String {
    let minutes = unix_millis / 60_000;
    let (days, minute) = (minutes / 1_440, minutes % 1_440);
    let (year, month, day) = civil(days);
    let (hour, minute) = (minute / 60, minute % 60);
    format!("{year}-{month:02}-{day:02} {hour:02}:{minute:02} UTC")
}

/// The date of a day counted from 1970-01-01. Years begin in March here, so that the leap day is
/// the last of its year.
const fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * march + 2) / 5 + 1;
    let month = if march < 10 { march + 3 } else { march - 9 };
    let year = year + era * 400 + if month <= 2 { 1 } else { 0 };
    (year, month, day)
}

/// Milliseconds since 1970 by this machine's clock.
pub fn unix_millis() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_read_as_people_say_them() {
        assert_eq!(
            [999, 14_000, 61_000, 3_660_000, 90_000_000, 180_000_000].map(lasting),
            ["0 s", "14 s", "1 min", "1 h", "25 h", "2 days"]
        );
        assert_eq!(utc(0), "1970-01-01 00:00 UTC");
        assert_eq!(utc(1_709_251_140_000), "2024-02-29 23:59 UTC");
        assert_eq!(utc(1_795_962_720_000), "2026-11-29 14:32 UTC");
        assert_eq!(ago(10_000, 9_000), "just now");
        assert_eq!(ago(200_000, 10_000), "3 min ago");
        assert_eq!(ago(1, 5_000), "just now", "a clock that is ahead");
    }
}
