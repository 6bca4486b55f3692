//! How long tests keep up an attack.

use std::time::Duration;

/// The time in CI: whatever leaks a little with each message of an attack has grown by hundreds of
/// megabytes after it.
const MINUTE: Duration = Duration::from_secs(60);

/// How long a test keeps up an attack: a minute where `CI` is set, so that what grows slowly shows
/// as well, and otherwise `short`. `BOWLINE_ATTACK_SECONDS` overrides both.
///
/// # Panics
/// The variable is not a number of seconds.
#[allow(clippy::expect_used, reason = "a test fails by panicking")]
pub fn attack_time(short: Duration) -> Duration {
    let named = std::env::var("BOWLINE_ATTACK_SECONDS").ok();
    let in_ci = std::env::var_os("CI").is_some();
    chosen(named.as_deref(), in_ci, short).expect("BOWLINE_ATTACK_SECONDS: a number of seconds")
}

fn chosen(named: Option<&str>, in_ci: bool, short: Duration) -> Option<Duration> {
    match named {
        Some(seconds) => Some(Duration::from_secs(seconds.parse().ok()?)),
        None if in_ci => Some(MINUTE),
        None => Some(short),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_variable_comes_first_then_ci() {
        let short = Duration::from_secs(4);
        assert_eq!(chosen(None, false, short), Some(short));
        assert_eq!(chosen(None, true, short), Some(MINUTE));
        let named = chosen(Some("7"), true, short);
        assert_eq!(named, Some(Duration::from_secs(7)));
        assert_eq!(chosen(Some("long"), true, short), None);
    }
}
