//! Learning the settings of a process: the most probable ones, given the observations and a prior that is
//! wide in orders of magnitude. A pattern search over their logarithms: with a few dozen observations the
//! likelihood has ridges and several tops on which gradients gain little. May import linear algebra.

use nalgebra::{DMatrix, DVector};

use espalier_common::spec::Kernel;

use super::gaussian::{Factor, Settings, Shape};
use crate::searcher::describe::Describer;

/// Before anything is learned, candidates as far apart as two random ones are at this squared distance.
const SPREAD: f64 = 4.0;
/// Widths of the priors, in natural logarithms.
const WEIGHT_WIDTH: f64 = 1.5;
const NOISE_WIDTH: f64 = 2.0;
/// Centre of the prior of the noise's share.
const NOISE: f64 = 1e-3;
/// The least noise: keeps the matrix well conditioned.
const LEAST_NOISE: f64 = 1e-6;
/// Steps of the search, in natural logarithms.
const STEPS: [f64; 4] = [1.6, 0.8, 0.4, 0.2];

/// Squared distances of observations from one another, a matrix for each group.
pub(super) type Distances = Vec<DMatrix<f64>>;

/// The settings that a model of a search starts with: every group counts alike.
pub(super) fn centre(describer: &Describer) -> Settings {
    let typical = describer.typical();
    let groups = typical.len().max(1) as f64;
    let weight = |typical: &f64| {
        if *typical > 0.0 {
            SPREAD / (groups * typical)
        } else {
            0.0
        }
    };
    Settings {
        weights: typical.iter().map(weight).collect(),
        noise: NOISE,
        shape: match describer.kernel() {
            Kernel::Network => Shape::Mixture,
            Kernel::Rbf => Shape::Gaussian,
        },
    }
}

/// The correlations of observations under these settings.
pub(super) fn correlations(distances: &Distances, settings: &Settings) -> DMatrix<f64> {
    let count = distances.first().map_or(0, DMatrix::nrows);
    let mut matrix = DMatrix::identity(count, count);
    for column in 0..count {
        for row in column + 1..count {
            let at = distances.iter().map(|group| group[(row, column)]);
            let correlation = settings.correlation(at);
            matrix[(row, column)] = correlation;
            matrix[(column, row)] = correlation;
        }
    }
    matrix
}

/// Improves `settings` on these observations. `centre` is the centre of the prior.
pub(super) fn fit(
    distances: &Distances,
    values: &DVector<f64>,
    centre: &Settings,
    settings: &Settings,
) -> Settings {
    let posterior = |settings: &Settings| {
        let factor = Factor::new(&correlations(distances, settings), settings.noise);
        factor.with_values(values).log_likelihood() + log_prior(settings, centre)
    };
    let (mut best, mut value) = (settings.clone(), posterior(settings));
    let from_centre = posterior(centre);
    if from_centre > value || !value.is_finite() {
        (best, value) = (centre.clone(), from_centre);
    }
    for step in STEPS {
        for coordinate in 0..=best.weights.len() {
            for direction in [step, -step] {
                // On in one direction for as long as it pays.
                while let Some(next) = moved(&best, coordinate, direction) {
                    let at = posterior(&next);
                    if at <= value || !at.is_finite() {
                        break;
                    }
                    (best, value) = (next, at);
                }
            }
        }
    }
    best
}

/// The settings with one coordinate moved; `None` where it cannot be.
fn moved(settings: &Settings, coordinate: usize, step: f64) -> Option<Settings> {
    let mut next = settings.clone();
    match next.weights.get_mut(coordinate) {
        // A group in which all candidates are alike.
        Some(weight) if *weight == 0.0 => return None,
        Some(weight) => *weight *= step.exp(),
        None => {
            next.noise *= step.exp();
            if !(LEAST_NOISE..=1.0).contains(&next.noise) {
                return None;
            }
        }
    }
    Some(next)
}

fn log_prior(settings: &Settings, centre: &Settings) -> f64 {
    let normal = |value: f64, centre: f64, width: f64| {
        let distance = (value / centre).ln() / width;
        -0.5 * distance * distance
    };
    let weights = settings.weights.iter().zip(&centre.weights);
    let weights: f64 = weights
        .filter(|(_, centre)| **centre > 0.0)
        .map(|(weight, centre)| normal(*weight, *centre, WEIGHT_WIDTH))
        .sum();
    weights + normal(settings.noise, centre.noise, NOISE_WIDTH)
}
