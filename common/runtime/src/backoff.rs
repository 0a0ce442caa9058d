//! How long to wait before trying again: one policy for every caller of a coordinator. May import backon.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};

/// The first wait is between this and twice this: a coordinator that restarts is back within seconds.
pub const FIRST_WAIT: Duration = Duration::from_millis(100);
/// No wait is longer, the random part included.
pub const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// The policy: from 100 ms, doubling, up to 10 s, with a random part and without end. For use with
/// `backon::Retryable`.
#[must_use]
pub fn policy() -> ExponentialBuilder {
    // Without the random part a thousand workers would come back in the same instant. It adds up to the
    // wait itself, so the wait is held to half of the longest.
    ExponentialBuilder::new()
        .with_min_delay(FIRST_WAIT)
        .with_max_delay(LONGEST_WAIT / 2)
        .with_jitter()
        .without_max_times()
}

/// The waits of [`policy`], for a caller that schedules its own tries.
#[derive(Debug)]
pub struct Waits {
    waits: <ExponentialBuilder as BackoffBuilder>::Backoff,
}

impl Default for Waits {
    fn default() -> Self {
        Self {
            waits: policy().build(),
        }
    }
}

impl Waits {
    /// How long to wait now.
    pub fn next_wait(&mut self) -> Duration {
        // The policy has no end; the longest wait is right should it ever get one.
        self.waits.next().unwrap_or(LONGEST_WAIT)
    }

    /// It went well: the next wait is a short one again.
    pub fn reset(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_the_bound_and_never_end() {
        let mut waits = Waits::default();
        let all: Vec<Duration> = (0..200).map(|_| waits.next_wait()).collect();
        assert!(
            all[0] >= FIRST_WAIT && all[0] <= 2 * FIRST_WAIT,
            "{:?}",
            all[0]
        );
        assert!(all.iter().all(|&wait| wait <= LONGEST_WAIT));
        assert!(all[199] >= LONGEST_WAIT / 2);
        // The random part differs.
        assert_ne!(all[198], all[199]);
    }

    #[test]
    fn after_a_reset_the_first_wait_is_short_again() {
        let mut waits = Waits::default();
        for _ in 0..20 {
            waits.next_wait();
        }
        waits.reset();
        assert!(waits.next_wait() <= 2 * FIRST_WAIT);
    }
}
