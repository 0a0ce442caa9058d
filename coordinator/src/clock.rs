//! The coordinator's two clocks: Unix time for the journal and for people, which never runs backwards
//! within a process, and tokio's monotonic `Instant` for lease deadlines. May import the standard library.

use std::sync::OnceLock;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Unix time in milliseconds. Read once at the first call and then advanced by the monotonic clock, so
/// that a step of the machine's clock neither reorders the journal nor eats a search's time budget.
#[must_use]
pub fn now_ms() -> u64 {
    static START: OnceLock<(Instant, u64)> = OnceLock::new();
    let (start, unix_ms) = START.get_or_init(|| {
        let unix = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        (Instant::now(), millis(unix))
    });
    unix_ms + millis(start.elapsed())
}

/// A duration in whole milliseconds; more than `u64` holds is the most it holds.
#[must_use]
pub fn millis(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
