//! Parses `Retry-After` of an HTTP answer: seconds or a date (RFC 9110 §10.2.3).

use std::time::{Duration, SystemTime};

use bowline_protocol::relay::limits::MAX_RETRY_AFTER;

/// The retry delay, at most [`MAX_RETRY_AFTER`]; `None` if the value is malformed.
pub(crate) fn parse(value: &[u8], now: SystemTime) -> Option<Duration> {
    let text = std::str::from_utf8(value).ok()?.trim();
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let wait = if digits {
        // A number too large to parse is the maximum.
        text.parse().map_or(MAX_RETRY_AFTER, Duration::from_secs)
    } else {
        let date = httpdate::parse_http_date(text).ok()?;
        date.duration_since(now).unwrap_or_default()
    };
    Some(wait.min(MAX_RETRY_AFTER))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_c41_seconds_and_dates_are_read_and_bounded() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
        let after = |text: &str| parse(text.as_bytes(), now).map(|wait| wait.as_secs());
        assert_eq!(after("120"), Some(120));
        assert_eq!(after(" 0 "), Some(0));
        assert_eq!(after("99999999999999999999999"), Some(3_600));
        assert_eq!(after("Sun, 09 Sep 2001 01:47:10 GMT"), Some(30));
        assert_eq!(
            after("Sun, 09 Sep 2001 01:40:00 GMT"),
            Some(0),
            "it is over"
        );
        assert_eq!(after("Sun, 09 Sep 2091 01:40:00 GMT"), Some(3_600));
        for nothing in ["", "soon", "-5", "1.5", "+1"] {
            assert_eq!(after(nothing), None, "{nothing}");
        }
        assert_eq!(parse(&[0xff], now), None);
    }
}
