//! Correlations of a pool's candidates with the points of a model: a cache. A point's column is computed
//! once and kept until the model learns again; when a place of the pool changes, only its entries are.

use std::collections::BTreeMap;
use std::sync::Arc;

use espalier_common::ids::Digest;

use super::model::Model;
use super::pool::Pool;
use crate::features::Sparse;
use crate::searcher::describe::Described;

/// The cache. Single precision halves it, and is a hundred times finer than any noise.
#[derive(Debug, Default)]
pub(super) struct Correlations {
    version: u64,
    /// By the decisions of the point; an entry for each place of the pool.
    columns: BTreeMap<Digest, Vec<f32>>,
}

impl Correlations {
    /// Computes what is missing for these points, and forgets all others.
    pub(super) fn bring_up_to_date(
        &mut self,
        points: &[Arc<Described>],
        pool: &mut Pool,
        model: &Model,
    ) {
        if self.version != model.version() {
            self.version = model.version();
            self.columns.clear();
        }
        let changed = pool.take_changed();
        let mut before = std::mem::take(&mut self.columns);
        for point in points {
            let to = |item: &Described| model.correlation(point, item) as f32;
            let column = before.remove(&point.assignment).map(|mut column| {
                for &place in &changed {
                    if let Some(entry) = column.get_mut(place) {
                        *entry = to(&pool.items()[place]);
                    }
                }
                column.extend(pool.items()[column.len()..].iter().map(to));
                column
            });
            let column = column.unwrap_or_else(|| whole_column(point, pool, model));
            self.columns.insert(point.assignment, column);
        }
    }

    /// Correlations of the whole pool with one of the points.
    pub(super) fn column(&self, point: &Described) -> &[f32] {
        self.columns
            .get(&point.assignment)
            .map_or(&[], Vec::as_slice)
    }

    /// Correlations of one place of the pool with these points.
    pub(super) fn of(&self, points: &[Arc<Described>], place: usize) -> Vec<f64> {
        let one = |point: &Arc<Described>| self.column(point).get(place).copied();
        points
            .iter()
            .map(|point| f64::from(one(point).unwrap_or(0.0)))
            .collect()
    }
}

/// Correlations of every place of the pool with a point: distances to the different vectors first.
fn whole_column(point: &Described, pool: &Pool, model: &Model) -> Vec<f32> {
    let mut exponents = vec![0.0_f64; pool.items().len()];
    let weights = model.settings().weights.iter();
    for ((group, vector), weight) in pool.groups().iter().zip(&point.features).zip(weights) {
        let weighted = |other: &Sparse| weight * vector.squared_distance(other);
        let distances: Vec<f64> = group.vectors().iter().map(weighted).collect();
        for (exponent, &number) in exponents.iter_mut().zip(group.of()) {
            *exponent += distances[number as usize];
        }
    }
    exponents
        .iter()
        .map(|sum| (-0.5 * sum).exp() as f32)
        .collect()
}
