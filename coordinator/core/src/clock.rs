//! Unix time that can be relied on, and how much of it did not pass: machines' clocks are set, and processes and
//! machines stand still. Plain data with both clocks' readings as arguments, like the table of leases.

use std::ops::Sub;
use std::time::Duration;

/// A process that reads its clock at least every second, yet did not for so long, stood still.
const STOOD_STILL: Duration = Duration::from_secs(5);
/// A machine's clock that is further off than this was set, or the machine was suspended. What is less is drift,
/// which is followed once it is so much.
const SET_MS: i64 = 2_000;
/// For so long the machine's clock must be off: one that is set wrong and set right again ends no search.
const HOLDS: Duration = Duration::from_secs(10);

/// What the clock says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// Unix time in milliseconds.
    pub unix_ms: u64,
    /// How much of that, counted from the clock's beginning, did not pass: the clock went on by it, or back if
    /// it is negative, while the process stood still or when the machine's clock was set.
    pub jumped_ms: i64,
}

/// The jumps of a clock that somebody has seen who looks at it now and then.
#[derive(Clone, Copy, Debug)]
pub struct Jumps {
    /// By how much it had jumped at the last look.
    seen_ms: i64,
}

impl Jumps {
    /// Begins with a first look: what the clock did before it was in nobody's time.
    #[must_use]
    pub fn since(first: Reading) -> Self {
        Self {
            seen_ms: first.jumped_ms,
        }
    }

    /// By how much the clock has jumped since the look before, if it has.
    pub fn look(&mut self, reading: Reading) -> Option<i64> {
        let seen_ms = std::mem::replace(&mut self.seen_ms, reading.jumped_ms);
        let by_ms = reading.jumped_ms.saturating_sub(seen_ms);
        (by_ms != 0).then_some(by_ms)
    }
}

/// Unix time by a monotonic clock that is kept in step with the machine's.
#[derive(Clone, Debug)]
pub struct Clock<T> {
    /// Where it began, and Unix time then by what is known now.
    start: T,
    start_ms: i64,
    /// When it was last read.
    read: T,
    /// Since when the machine's clock has been off.
    off_since: Option<T>,
    jumped_ms: i64,
}

impl<T: Copy + Ord + Sub<T, Output = Duration>> Clock<T> {
    /// A clock that begins now; `machine_ms` is Unix time by the machine's clock.
    #[must_use]
    pub fn new(now: T, machine_ms: u64) -> Self {
        Self {
            start: now,
            start_ms: signed(machine_ms),
            read: now,
            off_since: None,
            jumped_ms: 0,
        }
    }

    /// Reads the clock, by the monotonic clock's `now` and the machine's Unix time.
    pub fn read(&mut self, now: T, machine_ms: u64) -> Reading {
        let since = |then: T| {
            if now > then {
                now - then
            } else {
                Duration::ZERO
            }
        };
        let gap = since(self.read);
        self.read = self.read.max(now);
        if gap > STOOD_STILL {
            self.jumped_ms = self.jumped_ms.saturating_add(millis(gap));
        }
        let unix_ms = self.start_ms.saturating_add(millis(since(self.start)));
        let off_ms = signed(machine_ms).saturating_sub(unix_ms);
        if off_ms.saturating_abs() < SET_MS {
            self.off_since = None;
        } else if since(*self.off_since.get_or_insert(now)) >= HOLDS {
            self.start_ms = self.start_ms.saturating_add(off_ms);
            self.jumped_ms = self.jumped_ms.saturating_add(off_ms);
            self.off_since = None;
        }
        Reading {
            unix_ms: self
                .start_ms
                .saturating_add(millis(since(self.start)))
                .try_into()
                .unwrap_or(0),
            jumped_ms: self.jumped_ms,
        }
    }
}

fn signed(ms: u64) -> i64 {
    i64::try_from(ms).unwrap_or(i64::MAX)
}

fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEGIN: u64 = 1_000_000_000;
    const HOUR: u64 = 3_600_000;

    /// Reads it every second, as the coordinator does; the last reading.
    fn go_on(
        clock: &mut Clock<Duration>,
        from: u64,
        seconds: u64,
        machine: impl Fn(u64) -> u64,
    ) -> Reading {
        let mut reading = Reading::default();
        for second in 0..=seconds {
            let now = from + second * 1_000;
            reading = clock.read(Duration::from_millis(now), machine(now));
        }
        reading
    }

    #[test]
    fn a_clock_that_is_left_alone_agrees_with_the_machine_and_all_of_its_time_passes() {
        let mut clock = Clock::new(Duration::ZERO, BEGIN);
        let reading = go_on(&mut clock, 0, 1_000, |now| BEGIN + now);
        assert_eq!((reading.unix_ms, reading.jumped_ms), (BEGIN + 1_000_000, 0));
    }

    #[test]
    fn while_the_process_stood_still_no_time_passed() {
        let mut clock = Clock::new(Duration::ZERO, BEGIN);
        go_on(&mut clock, 0, 60, |now| BEGIN + now);
        let reading = go_on(&mut clock, 60_000 + HOUR, 60, |now| BEGIN + now);
        assert_eq!(reading.unix_ms, BEGIN + HOUR + 120_000);
        assert_eq!(reading.jumped_ms, HOUR as i64);
    }

    #[test]
    fn a_suspended_machine_and_a_clock_that_was_set_are_followed_and_no_time_passed() {
        for by in [HOUR as i64, -(HOUR as i64)] {
            let mut clock = Clock::new(Duration::ZERO, BEGIN);
            go_on(&mut clock, 0, 60, |now| BEGIN + now);
            let set = |now: u64| (BEGIN + now).checked_add_signed(by).unwrap();
            let reading = go_on(&mut clock, 61_000, 5, set);
            assert_eq!((reading.unix_ms, reading.jumped_ms), (BEGIN + 66_000, 0));
            let reading = go_on(&mut clock, 67_000, 60, set);
            assert_eq!((reading.unix_ms, reading.jumped_ms), (set(127_000), by));
        }
    }

    #[test]
    fn a_clock_that_is_set_wrong_for_a_moment_is_not_followed() {
        let mut clock = Clock::new(Duration::ZERO, BEGIN);
        for round in 0..50 {
            let from = round * 20_000;
            go_on(&mut clock, from, 9, |now| BEGIN + now + 24 * HOUR);
            let reading = go_on(&mut clock, from + 10_000, 9, |now| BEGIN + now);
            assert_eq!(reading.unix_ms, BEGIN + from + 19_000);
            assert_eq!(reading.jumped_ms, 0);
        }
    }

    #[test]
    fn clocks_at_the_ends_of_time_break_nothing() {
        let mut clock = Clock::new(Duration::ZERO, u64::MAX);
        go_on(&mut clock, 0, 30, |_| 0);
        go_on(&mut clock, 31_000, 30, |_| u64::MAX);
        clock.read(Duration::MAX, 0);
    }
}
