//! How workers fare: one on which jobs keep failing for reasons of its own is paused, longer each time, so that
//! a sick machine does not use up every trial's attempts. Time is an argument, in milliseconds of a clock that
//! never goes back.

/// The pause after the second fault in a row. After the first there is none: one crash may be the candidate's.
const FIRST_PAUSE_MS: u64 = 2_000;
/// A machine that was mended is tried again within this.
const LONGEST_PAUSE_MS: u64 = 5 * 60_000;
/// What is known of a worker is forgotten so long after its last pause.
const FORGOTTEN_AFTER_MS: u64 = 60 * 60_000;
/// How long a job waits before it is tried again where it failed, after its first failure.
const FIRST_RETRY_MS: u64 = 1_000;
/// The longest such wait.
const LONGEST_RETRY_MS: u64 = 60_000;

/// How one worker fares.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// Faults in a row.
    faults: u32,
    /// Of the last fault.
    at_ms: u64,
    paused_until_ms: u64,
}

impl Health {
    /// A job failed by a fault of the worker. Answers with the pause that begins, if one does: what fails
    /// within a pause began before it, and says nothing new.
    pub fn fault(&mut self, now_ms: u64) -> Option<u64> {
        if self.pause_left_ms(now_ms).is_some() {
            return None;
        }
        self.at_ms = now_ms;
        self.faults = self.faults.saturating_add(1);
        let doublings = self.faults.checked_sub(2)?;
        let pause = doubled(FIRST_PAUSE_MS, doublings, LONGEST_PAUSE_MS);
        self.paused_until_ms = now_ms.saturating_add(pause);
        Some(pause)
    }

    /// How long the worker is still paused; `None` when it is not.
    #[must_use]
    pub fn pause_left_ms(&self, now_ms: u64) -> Option<u64> {
        let left = self.paused_until_ms.saturating_sub(now_ms);
        (left > 0).then_some(left)
    }

    /// Whether all this lies so far back that it need not be kept.
    #[must_use]
    pub fn is_forgotten(&self, now_ms: u64) -> bool {
        let last = self.at_ms.max(self.paused_until_ms);
        now_ms.saturating_sub(last) > FORGOTTEN_AFTER_MS
    }
}

/// How long a job waits after so many failures before it is tried again where it failed.
#[must_use]
pub fn retry_wait_ms(failures: u32) -> u64 {
    doubled(FIRST_RETRY_MS, failures.saturating_sub(1), LONGEST_RETRY_MS)
}

fn doubled(first: u64, times: u32, most: u64) -> u64 {
    let factor = 1_u64.checked_shl(times).unwrap_or(u64::MAX);
    first.saturating_mul(factor).min(most)
}
