//! What the points of a model say of a pool's candidates: a cache. For each point and each place of the pool
//! it keeps one number of `L⁻¹ k`, where `L` is the model's factor and `k` are the place's correlations with the
//! points: the sum of their squares is how much of the variance at the place is explained, their product with
//! `L⁻¹ y` the mean. A new point adds a row, a changed place changes a column; all is computed anew when the
//! model has learned. Either way every number comes from the same operations in the same order, so that what was
//! asked before does not matter.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use espalier_common::ids::Digest;

use super::gaussian::Factor;
use super::model::Model;
use super::pool::Pool;
use crate::searcher::catalogue::Catalogue;
use crate::searcher::describe::Described;

/// So many places are worked on at a time: their rows stay in the processor's cache.
const BLOCK: usize = 512;

/// The cache.
#[derive(Debug, Default)]
pub(super) struct Explained {
    version: u64,
    /// The settings that the correlations in `known` belong to.
    learned: u64,
    /// Correlations of each place with the points, by what stands for a point's decisions: when the model is thinned
    /// out, they are still right. Kept where the pool is not the whole space, which would take too much memory.
    known: BTreeMap<Digest, Vec<f64>>,
    /// Places of the pool that were there when somebody asked last.
    places: usize,
    /// For each point of the model a number for each place of the pool.
    rows: Vec<Vec<f64>>,
    /// For each place the sum of their squares.
    sums: Vec<f64>,
}

impl Explained {
    /// Computes what is missing.
    pub(super) fn bring_up_to_date(&mut self, model: &Model, pool: &mut Pool) {
        let changed = pool.take_changed();
        if self.version != model.version() || self.sums.is_empty() {
            self.version = model.version();
            self.rows.clear();
            self.sums = vec![0.0; pool.items().len()];
            self.forget(model);
        }
        let factor = model.factor();
        let behind = self.places..pool.items().len();
        self.places = pool.items().len();
        for place in changed.into_iter().chain(behind) {
            let column = model.correlations(&pool.items()[place]);
            self.know_place(model, &column, place);
            self.compute_place(factor, column, place);
        }
        let before = self.rows.len();
        for point in &model.points()[before..] {
            let row = self.correlations(&point.described, model, pool);
            self.rows.push(row);
        }
        self.compute_rows(factor, before);
    }

    /// Forgets correlations that are no longer right or needed.
    fn forget(&mut self, model: &Model) {
        if self.learned != model.learned() {
            self.learned = model.learned();
            self.known.clear();
        }
        let points = model.points().iter();
        let kept: BTreeSet<Digest> = points.map(|point| point.described.assignment).collect();
        self.known.retain(|assignment, _| kept.contains(assignment));
    }

    /// Takes in the correlations of a place with the points.
    fn know_place(&mut self, model: &Model, column: &[f64], place: usize) {
        for (point, correlation) in model.points().iter().zip(column) {
            if let Some(row) = self.known.get_mut(&point.described.assignment) {
                put(row, place, *correlation);
            }
        }
    }

    /// The correlations of every place with a point.
    fn correlations(&mut self, point: &Described, model: &Model, pool: &Pool) -> Vec<f64> {
        let anew = || correlations(point, pool.catalogue(), model);
        if pool.is_whole() {
            return anew();
        }
        let known = self.known.entry(point.assignment);
        known.or_insert_with(anew).clone()
    }

    /// Turns the rows from this one on, which hold correlations, into what they are to hold.
    fn compute_rows(&mut self, factor: &Factor, from: usize) {
        let lower: Vec<Vec<f64>> = (from..self.rows.len()).map(|row| factor.row(row)).collect();
        for start in (0..self.sums.len()).step_by(BLOCK) {
            let block = start..(start + BLOCK).min(self.sums.len());
            for (row, lower) in (from..).zip(&lower) {
                let (known, rest) = self.rows.split_at_mut(row);
                let own = &mut rest[0][block.clone()];
                take_away(own, known, &lower[..row], block.clone());
                for (own, sum) in own.iter_mut().zip(&mut self.sums[block.clone()]) {
                    *own /= lower[row];
                    *sum += *own * *own;
                }
            }
        }
    }

    /// Computes the column of a place that is new or holds another candidate; `column` has its correlations with the
    /// points.
    fn compute_place(&mut self, factor: &Factor, mut column: Vec<f64>, place: usize) {
        column.truncate(self.rows.len());
        let column = factor.solve_lower(column, 0);
        let sum = column.iter().fold(0.0, |sum, one| sum + one * one);
        for (row, number) in self.rows.iter_mut().zip(column) {
            put(row, place, number);
        }
        put(&mut self.sums, place, sum);
    }

    /// For each place the sum of its numbers, each times its point's `weight`.
    pub(super) fn means(&self, weights: &[f64]) -> Vec<f64> {
        let mut means = vec![0.0; self.sums.len()];
        for (row, weight) in self.rows.iter().zip(weights) {
            for (mean, number) in means.iter_mut().zip(row) {
                *mean += weight * number;
            }
        }
        means
    }

    /// How much of the variance at each place is explained.
    pub(super) fn sums(&self) -> &[f64] {
        &self.sums
    }

    /// The numbers of a place, one for each point.
    pub(super) fn column(&self, place: usize) -> Vec<f64> {
        self.rows.iter().map(|row| row[place]).collect()
    }
}

/// Puts a number in its place, which may be the next one.
fn put(numbers: &mut Vec<f64>, place: usize, number: f64) {
    match numbers.get_mut(place) {
        Some(old) => *old = number,
        None => numbers.push(number),
    }
}

/// Takes from `own` these places of the rows in `known`, each times its factor. Four rows at a time, so that `own` is
/// read and written a fourth as often; each number is the same as one by one.
fn take_away(own: &mut [f64], known: &[Vec<f64>], factors: &[f64], places: Range<usize>) {
    let (mut fours, mut by) = (known.chunks_exact(4), factors.chunks_exact(4));
    for (rows, factors) in fours.by_ref().zip(by.by_ref()) {
        let [a, b, c, d] = [0, 1, 2, 3].map(|row: usize| &rows[row][places.clone()]);
        for ((((own, a), b), c), d) in own.iter_mut().zip(a).zip(b).zip(c).zip(d) {
            *own = *own - factors[0] * a - factors[1] * b - factors[2] * c - factors[3] * d;
        }
    }
    for (row, factor) in fours.remainder().iter().zip(by.remainder()) {
        for (own, known) in own.iter_mut().zip(&row[places.clone()]) {
            *own -= factor * known;
        }
    }
}

/// Correlations of every place of the pool with a point: distances to the different vectors first.
fn correlations(point: &Described, pool: &Catalogue, model: &Model) -> Vec<f64> {
    let groups = pool.groups().iter().zip(&point.features);
    let distances = groups.map(|(group, vector)| {
        let of = group.vectors().squared_distances(vector);
        group.of().iter().map(move |&number| of[number as usize])
    });
    model.settings().correlations(pool.items().len(), distances)
}
