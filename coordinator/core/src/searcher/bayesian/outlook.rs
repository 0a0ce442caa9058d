//! What is still to be gained: by how much the best of the candidates that look good is expected to be better than the
//! best one known, were all their scores known. The gain of one further trial says little of that: where a hundred
//! candidates are each a little likely to be better, each promises next to nothing. Makarova et al. 2022, *Automatic
//! Termination for Hyperparameter Optimization*, end searches by a bound on the same quantity; here it is the mean over
//! draws from the joint distribution. May import linear algebra.

use nalgebra::{Cholesky, DMatrix, DVector};
use rand_chacha::ChaCha8Rng;

use super::target::Warp;
use crate::searcher::random::normal;

/// So many of the most promising candidates are looked at.
pub(super) const LEADERS: usize = 32;
/// Their scores are drawn so many times.
const DRAWS: usize = 64;
/// Keeps the covariance of near-copies positive definite; a share of the scale.
const JITTER: f64 = 1e-6;

/// A candidate of which something is predicted.
#[derive(Clone, Debug)]
pub(super) struct Leader {
    /// The mean of its value.
    pub(super) mean: f64,
    /// `L⁻¹ k`: a number for each point that is known, and where those pending count as well for each of them.
    pub(super) explained: Vec<f64>,
}

/// The expectation of how much the best score among the leaders is better than the best one known. `correlation` is
/// that of two of them, by their places; `scale` the variance of values of which nothing is known. `None` where it
/// cannot be said.
pub(super) fn gain(
    leaders: &[Leader],
    correlation: impl Fn(usize, usize) -> f64,
    scale: f64,
    warp: &Warp,
    rng: &mut ChaCha8Rng,
) -> Option<f64> {
    let count = leaders.len();
    let covariance = DMatrix::from_fn(count, count, |row, column| {
        if row < column {
            return 0.0; // only what is on and below the diagonal is looked at
        }
        let (one, other) = (&leaders[row].explained, &leaders[column].explained);
        let known: f64 = one.iter().zip(other).map(|(a, b)| a * b).sum();
        let jitter = if row == column { JITTER } else { 0.0 };
        scale * (correlation(row, column) - known + jitter)
    });
    let factor = Cholesky::new(covariance)?.l();
    let means = DVector::from_iterator(count, leaders.iter().map(|leader| leader.mean));
    let draw = |_| {
        let drawn = DVector::from_fn(count, |_, _| normal(rng));
        warp.gain((&means + &factor * drawn).max())
    };
    let sum = (0..DRAWS).map(draw).sum::<Option<f64>>()?;
    Some(sum / DRAWS as f64)
}
