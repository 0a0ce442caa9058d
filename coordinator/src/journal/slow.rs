//! When slow commits are worth a line in the log. Plain data with time as an argument; the writer owns it.

use std::time::{Duration, Instant};

/// Every answer waits for a commit. A disk that is well takes some milliseconds.
const SLOW: Duration = Duration::from_secs(1);
/// A disk that stays slow is spoken of this often.
const SAID_EVERY: Duration = Duration::from_secs(60);

/// Slow commits since the last line about them.
#[derive(Debug, Default)]
pub(super) struct SlowCommits {
    said: Option<Instant>,
    since: u64,
}

impl SlowCommits {
    /// Takes a commit in; says how many were slow since the last line, when it is time for one.
    pub(super) fn note(&mut self, took: Duration, now: Instant) -> Option<u64> {
        if took < SLOW {
            return None;
        }
        self.since += 1;
        let recent = |said: Instant| now.duration_since(said) < SAID_EVERY;
        if self.said.is_some_and(recent) {
            return None;
        }
        self.said = Some(now);
        Some(std::mem::take(&mut self.since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slow_commits_are_said_once_a_minute_with_their_number() {
        let mut slow = SlowCommits::default();
        let (start, long) = (Instant::now(), Duration::from_secs(2));
        assert_eq!(slow.note(Duration::from_millis(20), start), None);
        assert_eq!(slow.note(long, start), Some(1));
        assert_eq!(slow.note(long, start + Duration::from_secs(10)), None);
        assert_eq!(slow.note(long, start + Duration::from_secs(59)), None);
        assert_eq!(slow.note(long, start + Duration::from_secs(60)), Some(3));
    }
}
