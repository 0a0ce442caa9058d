//! Gaussian process regression with one radial basis function over groups of features:
//! `k(a, b) = s² f(Σ_g w_g d_g(a, b))`, where `d_g` is the squared distance in group `g` and `f` a [`Shape`];
//! plus noise of variance `s² λ`. The mean is zero (values are standardised) and the scale `s²` has a closed form, so what
//! is learned are the weights `w` and the noise `λ`. Rasmussen and Williams 2006, *Gaussian Processes for
//! Machine Learning*, algorithm 2.1 and chapters 4 and 5. May import linear algebra.

use std::cmp::Ordering;

use nalgebra::{Cholesky, DMatrix, DVector, Dyn};

/// Added to the diagonal when a matrix turns out not to be positive definite, ten times more at each try.
const JITTER: f64 = 1e-8;
/// The most tries: the last one adds 100, with which a matrix of a thousand correlations is far from singular.
const TRIES: i32 = 11;

/// What is learned beside the scale.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Settings {
    /// How much each group counts; not negative.
    pub(super) weights: Vec<f64>,
    /// The noise's share of the scale; positive.
    pub(super) noise: f64,
    /// What is not learned.
    pub(super) shape: Shape,
}

/// How correlation falls with the weighted squared distance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// The textbook form, `exp(-½ d)`.
    Gaussian,
    /// The rational quadratic form, `(1 + d / 2α)^-α` with α = 2: a mixture of Gaussians of many lengths. Near
    /// differences and far ones count in it, so a length learned from few points is not all there is.
    Mixture,
}

impl Shape {
    fn correlation(self, distance: f64) -> f64 {
        match self {
            Self::Gaussian => (-0.5 * distance).exp(),
            Self::Mixture => {
                let root = 1.0 + 0.25 * distance;
                1.0 / (root * root)
            }
        }
    }
}

impl Settings {
    /// The correlation at these squared distances, one for each group.
    pub(super) fn correlation(&self, distances: impl Iterator<Item = f64>) -> f64 {
        let weighted = self.weights.iter().zip(distances);
        let sum = weighted.fold(0.0, |sum, (weight, distance)| sum + weight * distance);
        self.shape.correlation(sum)
    }

    /// The correlations with `count` candidates, given for each group their squared distances: the numbers
    /// that [`Self::correlation`] gives for each.
    pub(super) fn correlations<I: Iterator<Item = f64>>(
        &self,
        count: usize,
        groups: impl Iterator<Item = I>,
    ) -> Vec<f64> {
        let mut sums = vec![0.0; count];
        for (weight, distances) in self.weights.iter().zip(groups) {
            for (sum, distance) in sums.iter_mut().zip(distances) {
                *sum += weight * distance;
            }
        }
        let shape = self.shape;
        sums.iter_mut()
            .for_each(|sum| *sum = shape.correlation(*sum));
        sums
    }
}

/// The factor of the matrix of correlations (plus noise) of the points that a process knows.
#[derive(Clone, Debug)]
pub(super) struct Factor {
    cholesky: Cholesky<f64, Dyn>,
    noise: f64,
}

impl Factor {
    /// Factorises the correlations of each point with those before it.
    pub(super) fn new(correlations: &[Vec<f64>], noise: f64) -> Self {
        let count = correlations.len();
        let with = |extra: f64| {
            // Only what is on and below the diagonal is looked at.
            let lower = DMatrix::from_fn(count, count, |row, column| match row.cmp(&column) {
                Ordering::Greater => correlations[row][column],
                Ordering::Equal => 1.0 + (noise + extra),
                Ordering::Less => 0.0,
            });
            Cholesky::new(lower)
        };
        let mut more = (0..TRIES).map(|power| JITTER * 10_f64.powi(power));
        let cholesky = with(0.0)
            .or_else(|| more.find_map(with))
            // Correlations are finite, so one of the tries succeeds; were it not so: as if no two points
            // were alike.
            .unwrap_or_else(|| Cholesky::new_unchecked(DMatrix::identity(count, count)));
        Self { cholesky, noise }
    }

    /// Takes in one more point, given its correlations with the others: costs a solve, no factorisation.
    pub(super) fn extend(&mut self, correlations: &[f64]) {
        let count = self.len();
        let mut column = DVector::from_column_slice(correlations);
        let left = self.residue(correlations);
        column = column.insert_row(count, 1.0 + self.noise);
        if left < 0.5 * self.noise {
            // A copy of known points, below what rounding can tell: the least that keeps it positive.
            column[count] += self.noise - left;
        }
        self.cholesky = self.cholesky.insert_column(count, column);
    }

    /// How many points it knows.
    pub(super) fn len(&self) -> usize {
        self.cholesky.l_dirty().nrows()
    }

    /// The numbers of the factor's row for one of the points, up to the diagonal.
    pub(super) fn row(&self, point: usize) -> Vec<f64> {
        let lower = self.cholesky.l_dirty();
        (0..=point).map(|column| lower[(point, column)]).collect()
    }

    /// `L⁻¹` times these numbers, of which those before `from` are already so.
    pub(super) fn solve_lower(&self, mut numbers: Vec<f64>, from: usize) -> Vec<f64> {
        let lower = self.cholesky.l_dirty();
        let count = numbers.len();
        for column in 0..count {
            // Matrices are stored column by column.
            let start = column * lower.nrows();
            let factors = &lower.as_slice()[start..start + count];
            if column >= from {
                // A factor has no zero on its diagonal.
                numbers[column] /= factors[column];
            }
            let solved = numbers[column];
            let first = from.max(column + 1);
            for (number, factor) in numbers[first..].iter_mut().zip(&factors[first..]) {
                *number -= factor * solved;
            }
        }
        numbers
    }

    /// What is left of one, and the noise, when the points with these correlations are known.
    fn residue(&self, correlations: &[f64]) -> f64 {
        let solved = self.solve_lower(correlations.to_vec(), 0);
        1.0 + self.noise - sum_of_squares(&solved)
    }

    /// The process that has these values at its points.
    pub(super) fn with_values(&self, values: &DVector<f64>) -> Posterior<'_> {
        let whitened = self.solve_lower(values.as_slice().to_vec(), 0);
        let count = values.len().max(1) as f64;
        Posterior {
            scale: (sum_of_squares(&whitened) / count).max(f64::MIN_POSITIVE),
            factor: self,
            alpha: self.cholesky.solve(values),
            whitened,
        }
    }
}

/// A process with values.
#[derive(Debug)]
pub(super) struct Posterior<'a> {
    factor: &'a Factor,
    /// `L⁻¹ y`.
    whitened: Vec<f64>,
    /// The inverse of the matrix times the values.
    alpha: DVector<f64>,
    /// `s²`.
    scale: f64,
}

impl Posterior<'_> {
    /// The mean where the correlations with the points are these.
    pub(super) fn mean(&self, correlations: &[f64]) -> f64 {
        let pairs = correlations.iter().zip(self.alpha.iter());
        pairs.map(|(c, a)| c * a).sum()
    }

    /// The variance of the function where nothing is known.
    pub(super) fn scale(&self) -> f64 {
        self.scale
    }

    /// What is multiplied by `L⁻¹ k` to give the mean.
    pub(super) fn whitened(&self) -> &[f64] {
        &self.whitened
    }

    /// The deviation of the function itself, without noise, where the points explain so much of the
    /// variance: the sum of squares of `L⁻¹ k`.
    pub(super) fn deviation(&self, explained: f64) -> f64 {
        (self.scale * (1.0 - explained).max(0.0)).sqrt()
    }

    /// Logarithm of the marginal likelihood, up to a constant, at the best scale.
    pub(super) fn log_likelihood(&self) -> f64 {
        let lower = self.factor.cholesky.l_dirty();
        let log_determinant: f64 = (0..lower.nrows()).map(|i| lower[(i, i)].ln()).sum();
        -0.5 * self.alpha.len() as f64 * self.scale.ln() - log_determinant
    }
}

pub(super) fn sum_of_squares(numbers: &[f64]) -> f64 {
    numbers.iter().fold(0.0, |sum, one| sum + one * one)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of each with those before it.
    fn correlations(points: &[f64]) -> Vec<Vec<f64>> {
        let with_those_before = |(count, one): (usize, &f64)| {
            let before = points[..count].iter();
            before.map(|other| correlation(*one, *other)).collect()
        };
        points.iter().enumerate().map(with_those_before).collect()
    }

    fn correlation(a: f64, b: f64) -> f64 {
        (-0.5 * (a - b) * (a - b)).exp()
    }

    #[test]
    fn it_passes_through_what_it_has_seen_and_is_sure_of_it() {
        let points = [-2.0, -0.5, 0.3, 1.7];
        let values = DVector::from_iterator(4, points.iter().map(|x: &f64| x.sin()));
        let factor = Factor::new(&correlations(&points), 1e-8);
        let process = factor.with_values(&values);
        let deviation = |at: &[f64]| {
            let solved = factor.solve_lower(at.to_vec(), 0);
            process.deviation(sum_of_squares(&solved))
        };
        for x in points {
            let at: Vec<f64> = points.iter().map(|p| correlation(x, *p)).collect();
            assert!((process.mean(&at) - x.sin()).abs() < 1e-5);
            assert!(deviation(&at) < 1e-3);
        }
        let far: Vec<f64> = points.iter().map(|p| correlation(50.0, *p)).collect();
        assert!((deviation(&far) - process.scale.sqrt()).abs() < 1e-9);
        assert!(process.mean(&far).abs() < 1e-9);
    }

    #[test]
    fn an_extended_factor_is_the_factor_of_all_points() {
        let points = [-2.0, -0.5, 0.3, 1.7, 0.31, 0.31, 0.31];
        let mut extended = Factor::new(&correlations(&points[..3]), 1e-3);
        for count in 3..points.len() {
            let at: Vec<f64> = points[..count]
                .iter()
                .map(|p| correlation(points[count], *p))
                .collect();
            extended.extend(&at);
        }
        let whole = Factor::new(&correlations(&points), 1e-3);
        let difference = extended.cholesky.l() - whole.cholesky.l();
        assert!(difference.norm() < 1e-9, "{difference}");
    }

    #[test]
    fn copies_without_noise_to_speak_of_do_no_harm() {
        let points = [0.3; 40];
        let factor = Factor::new(&correlations(&points), 1e-14);
        let process = factor.with_values(&DVector::from_element(40, 1.0));
        assert!(process.log_likelihood().is_finite());
        assert!((process.mean(&[1.0; 40]) - 1.0).abs() < 1e-3);
        let mut one = Factor::new(&correlations(&[0.3]), 1e-14);
        (1..40).for_each(|count| one.extend(&vec![1.0; count]));
        assert!(
            one.with_values(&DVector::from_element(40, 1.0))
                .log_likelihood()
                .is_finite()
        );
    }

    #[test]
    fn numbers_solved_in_two_goes_are_those_solved_in_one() {
        let points = [-2.0, -0.5, 0.3, 1.7, 0.4];
        let factor = Factor::new(&correlations(&points), 1e-3);
        let at: Vec<f64> = points.iter().map(|p| correlation(0.9, *p)).collect();
        let whole = factor.solve_lower(at.clone(), 0);
        let mut numbers = factor.solve_lower(at[..2].to_vec(), 0);
        numbers.extend(&at[2..]);
        assert_eq!(factor.solve_lower(numbers, 2), whole);
        let row = factor.row(3);
        let product: f64 = row.iter().zip(&whole).map(|(l, solved)| l * solved).sum();
        assert!((product - at[3]).abs() < 1e-12);
    }
}
