//! Learning the settings of a process: the most probable ones, given the observations and a prior that is
//! wide in orders of magnitude. A pattern search over their logarithms: with a few dozen observations the
//! likelihood has ridges and several tops on which gradients gain little. May import linear algebra.

use nalgebra::DVector;

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

/// Further starts of the textbook form, in natural logarithms from the centre of the prior: functions that change over
/// shorter and over longer distances are different tops of the likelihood.
const RESTARTS: [f64; 2] = [2.0, -2.0];

/// Squared distances of each observation from those before it, in each group.
pub(super) type Distances = Vec<Vec<Vec<f64>>>;

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

/// The correlations of each observation with those before it, under these settings.
pub(super) fn correlations(distances: &Distances, settings: &Settings) -> Vec<Vec<f64>> {
    let observations = distances.iter().enumerate();
    let with_those_before = |(count, groups): (usize, &Vec<Vec<f64>>)| {
        settings.correlations(count, groups.iter().map(|group| group.iter().copied()))
    };
    observations.map(with_those_before).collect()
}

/// Improves `settings` on these observations. `centre` is the centre of the prior. The textbook form is searched from
/// several starts; the one for networks, whose groups are many and whose prior holds them together, from the better of
/// two.
pub(super) fn fit(
    distances: &Distances,
    values: &DVector<f64>,
    centre: &Settings,
    settings: &Settings,
) -> Settings {
    let posterior = |settings: &Settings| {
        let factor = Factor::new(&correlations(distances, settings), settings.noise);
        let value = factor.with_values(values).log_likelihood() + log_prior(settings, centre);
        if value.is_finite() {
            value
        } else {
            f64::NEG_INFINITY
        }
    };
    let valued = |settings: &Settings| (settings.clone(), posterior(settings));
    let mut starts = vec![valued(settings), valued(centre)];
    match centre.shape {
        Shape::Gaussian => starts.extend(RESTARTS.map(|shift| valued(&widened(centre, shift)))),
        Shape::Mixture => {
            let from_centre = starts[1].1 > starts[0].1;
            starts = vec![starts.swap_remove(usize::from(from_centre))];
        }
    }
    let tops = starts.into_iter().map(|start| climbed(start, posterior));
    let best = tops.reduce(|best, next| if next.1 > best.1 { next } else { best });
    best.map_or_else(|| centre.clone(), |(settings, _)| settings)
}

/// Goes on from a start, one coordinate after another, for as long as it pays.
fn climbed(
    (mut best, mut value): (Settings, f64),
    posterior: impl Fn(&Settings) -> f64,
) -> (Settings, f64) {
    for step in STEPS {
        for coordinate in 0..=best.weights.len() {
            for direction in [step, -step] {
                // On in one direction for as long as it pays.
                while let Some(next) = moved(&best, coordinate, direction) {
                    let at = posterior(&next);
                    if at <= value {
                        break;
                    }
                    (best, value) = (next, at);
                }
            }
        }
    }
    (best, value)
}

/// The settings with all weights changed alike: shorter or longer lengths.
fn widened(settings: &Settings, shift: f64) -> Settings {
    let mut other = settings.clone();
    other
        .weights
        .iter_mut()
        .for_each(|weight| *weight *= shift.exp());
    other
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Points on a line with a wave of this many turns over all of it.
    fn wave(turns: f64) -> (Distances, DVector<f64>) {
        let place = |index: usize| index as f64 / 23.0;
        let from_those_before = |one: usize| {
            let before = (0..one).map(|other| (place(one) - place(other)).powi(2));
            vec![before.collect()]
        };
        let values = DVector::from_fn(24, |row, _| {
            (place(row) * turns * std::f64::consts::TAU).sin()
        });
        ((0..24).map(from_those_before).collect(), values)
    }

    fn settings(weight: f64) -> Settings {
        Settings {
            weights: vec![weight],
            noise: NOISE,
            shape: Shape::Gaussian,
        }
    }

    #[test]
    fn whatever_was_learned_before_the_textbook_form_finds_the_length_of_what_is_there() {
        for turns in [0.5, 3.0] {
            let (distances, values) = wave(turns);
            let centre = settings(40.0);
            let found: Vec<f64> = [1e-3, 40.0, 1e6]
                .map(|before| fit(&distances, &values, &centre, &settings(before)))
                .map(|fitted| fitted.weights[0].ln())
                .into();
            for pair in found.windows(2) {
                assert!((pair[0] - pair[1]).abs() < 1.0, "{turns} turns: {found:?}");
            }
        }
        let length = |turns: f64| {
            let (distances, values) = wave(turns);
            fit(&distances, &values, &settings(40.0), &settings(40.0)).weights[0]
        };
        assert!(length(3.0) > 4.0 * length(0.5));
    }
}
