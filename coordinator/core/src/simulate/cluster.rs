//! The modelled workers: how fast each one is, and which attempts it does not survive.

use espalier_common::ids::{AttemptNumber, TrialNumber};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// The most workers of a simulated cluster: a coordinator's own bound, and far above what a table is for.
pub const MAX_WORKERS: u32 = 100_000;

/// A cluster of one-slot workers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cluster {
    /// So many workers.
    pub workers: u32,
    /// How many times as long the slowest takes as the fastest; 1: all are equal. Speeds are drawn evenly on a
    /// logarithmic scale around that of the table.
    pub speed_spread: f64,
    /// The share of attempts that are lost with their worker, at a moment drawn evenly from their time. The
    /// worker is back at once, and the trial is leased again.
    pub failure_rate: f64,
}

impl Default for Cluster {
    /// One worker as fast as the table says, which never fails.
    fn default() -> Self {
        Self {
            workers: 1,
            speed_spread: 1.0,
            failure_rate: 0.0,
        }
    }
}

impl Cluster {
    /// How many times the table's time each worker takes.
    pub(super) fn factors(&self, seed: u64) -> Vec<f64> {
        let mut rng = rng_of(seed, b"speed", 0, 0);
        let spread = self.speed_spread.max(1.0);
        let factor = |_| spread.powf(rng.random::<f64>() - 0.5);
        (0..self.workers.clamp(1, MAX_WORKERS))
            .map(factor)
            .collect()
    }

    /// The share of its time after which an attempt is lost, if it is.
    pub(super) fn lost(
        &self,
        seed: u64,
        trial: TrialNumber,
        attempt: AttemptNumber,
    ) -> Option<f64> {
        if self.failure_rate <= 0.0 {
            return None;
        }
        let mut rng = rng_of(seed, b"lost", trial.0, attempt.0);
        let is_lost = rng.random::<f64>() < self.failure_rate;
        let share: f64 = rng.random();
        is_lost.then_some(share)
    }
}

/// Random numbers that belong to one question of one search, apart from the searcher's.
fn rng_of(seed: u64, question: &[u8], trial: u32, attempt: u32) -> ChaCha8Rng {
    let mut key = [0_u8; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    key[8..12].copy_from_slice(&trial.to_le_bytes());
    key[12..16].copy_from_slice(&attempt.to_le_bytes());
    key[16..16 + question.len()].copy_from_slice(question);
    key[24..32].copy_from_slice(b"simulate");
    ChaCha8Rng::from_seed(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn speeds_stay_within_their_spread_and_fill_it() {
        let cluster = Cluster {
            workers: 1_000,
            speed_spread: 4.0,
            ..Cluster::default()
        };
        let factors = cluster.factors(3);
        let least = factors.iter().copied().fold(f64::MAX, f64::min);
        let most = factors.iter().copied().fold(0.0, f64::max);
        assert!((0.5..0.52).contains(&least), "{least}");
        assert!((1.9..=2.0).contains(&most), "{most}");
        assert_eq!(factors, cluster.factors(3));
        assert_ne!(factors, cluster.factors(4));
    }

    #[test]
    fn as_many_attempts_are_lost_as_the_rate_says() {
        let cluster = Cluster {
            failure_rate: 0.25,
            ..Cluster::default()
        };
        let lost = |trial| cluster.lost(1, TrialNumber(trial), AttemptNumber(1));
        let count = (1..=4_000).filter(|&trial| lost(trial).is_some()).count();
        assert!((900..1_100).contains(&count), "{count}");
    }
}
