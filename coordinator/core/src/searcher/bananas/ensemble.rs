//! An ensemble of boosted trees over sparse features: each model sees its own sample of the rows, and where they
//! disagree the ensemble is unsure.

use std::collections::BTreeMap;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::trees::Boosted;
use crate::features::Sparse;

/// Models: enough to tell doubt from noise.
const MODELS: usize = 7;
/// The most columns of the table: features that the most rows have. What few have cannot be learned.
const MOST_COLUMNS: usize = 400;

/// A fitted ensemble.
#[derive(Clone, Debug)]
pub(super) struct Ensemble {
    /// The column of each group's coordinate.
    columns: BTreeMap<(usize, u64), usize>,
    models: Vec<Boosted>,
}

impl Ensemble {
    /// Fits an ensemble to features and their targets. `seed` and the number of rows determine what is drawn.
    pub(super) fn fit(rows: &[&[Sparse]], targets: &[f64], seed: u64) -> Self {
        let columns = columns(rows);
        let table: Vec<Vec<f64>> = rows.iter().map(|row| dense(&columns, row)).collect();
        let mut rng = ChaCha8Rng::seed_from_u64(seed ^ (rows.len() as u64).rotate_left(40));
        let models = (0..MODELS)
            .map(|_| {
                let sample: Vec<usize> = (0..rows.len())
                    .map(|_| rng.random_range(0..rows.len()))
                    .collect();
                Boosted::fit(&table, targets, &sample, &mut rng)
            })
            .collect();
        Self { columns, models }
    }

    /// Mean and standard deviation of what the models predict.
    pub(super) fn predict(&self, features: &[Sparse]) -> (f64, f64) {
        let row = dense(&self.columns, features);
        let predicted: Vec<f64> = self
            .models
            .iter()
            .map(|model| model.predict(&row))
            .collect();
        let count = predicted.len().max(1) as f64;
        let mean = predicted.iter().sum::<f64>() / count;
        let spread = predicted
            .iter()
            .map(|one| (one - mean).powi(2))
            .sum::<f64>()
            / count;
        (mean, spread.sqrt())
    }
}

/// The coordinates that the most rows have and that are not equal in all of them.
fn columns(rows: &[&[Sparse]]) -> BTreeMap<(usize, u64), usize> {
    let mut counts: BTreeMap<(usize, u64), (usize, f64, f64)> = BTreeMap::new();
    for row in rows {
        for (group, features) in row.iter().enumerate() {
            for &(coordinate, value) in features.entries() {
                let seen = counts
                    .entry((group, coordinate))
                    .or_insert((0, value, value));
                *seen = (seen.0 + 1, seen.1.min(value), seen.2.max(value));
            }
        }
    }
    let differs = |seen: &(usize, f64, f64)| seen.0 < rows.len() || seen.1 < seen.2;
    let mut useful: Vec<_> = counts
        .into_iter()
        .filter(|(_, seen)| differs(seen))
        .collect();
    // The sort is stable, so equals stay in the order of their coordinates.
    useful.sort_by_key(|(_, (count, _, _))| std::cmp::Reverse(*count));
    useful.truncate(MOST_COLUMNS);
    let columns = useful.into_iter().enumerate();
    columns.map(|(index, (key, _))| (key, index)).collect()
}

fn dense(columns: &BTreeMap<(usize, u64), usize>, features: &[Sparse]) -> Vec<f64> {
    let mut row = vec![0.0; columns.len()];
    for (group, features) in features.iter().enumerate() {
        for &(coordinate, value) in features.entries() {
            if let Some(&column) = columns.get(&(group, coordinate)) {
                row[column] = value;
            }
        }
    }
    row
}
