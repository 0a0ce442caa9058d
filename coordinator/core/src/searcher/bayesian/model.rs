//! The model: the points it knows, what it has learned, and its factor. Bounded: beyond a number of points
//! it keeps the best, the latest and some of the others.

use std::sync::Arc;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::fit::{self, Distances};
use super::gaussian::{Factor, Settings};
use super::target::Warp;
use crate::features::Postings;
use crate::searcher::describe::Described;

/// The most points of a model; one more, and it is thinned out.
const MOST: usize = 384;
/// What thinning leaves of each kind: the best, the latest, and others at random. What these say of a pool is then
/// computed anew in one ask, which grows with their square.
const THINNED: [usize; 3] = [96, 96, 96];
/// What learning looks at, of each kind: it needs dozens of factorisations, whose cost grows with the cube.
const LEARNED_FROM: [usize; 3] = [96, 80, 80];
/// Up to so many points the model learns anew with every one of them: that is when it changes most.
const EVERY_POINT: usize = 40;
/// From then on whenever there are so many times more.
const GROWTH: f64 = 1.3;

/// A trial that ended.
#[derive(Clone, Debug)]
pub(super) struct Point {
    pub(super) described: Arc<Described>,
    /// Its utility; `None` when it failed by its own fault.
    pub(super) utility: Option<f64>,
}

/// A model of some points.
#[derive(Debug)]
pub(super) struct Model {
    points: Vec<Point>,
    /// What they have in each group.
    features: Vec<Postings>,
    centre: Settings,
    settings: Settings,
    /// For each point its correlations with those before it.
    correlations: Vec<Vec<f64>>,
    factor: Factor,
    /// Points seen, also those no longer kept.
    seen: usize,
    /// When it learns again.
    learn_at: usize,
    /// Grows whenever correlations computed before are no longer right.
    version: u64,
    /// Grows whenever it has learned.
    learned: u64,
}

impl Model {
    /// A model without points. `centre` is what it holds likely before it has seen any.
    pub(super) fn new(centre: Settings) -> Self {
        Self {
            points: Vec::new(),
            features: vec![Postings::default(); centre.weights.len()],
            settings: centre.clone(),
            correlations: Vec::new(),
            factor: Factor::new(&[], centre.noise),
            centre,
            seen: 0,
            learn_at: 2,
            version: 0,
            learned: 0,
        }
    }

    pub(super) fn points(&self) -> &[Point] {
        &self.points
    }

    /// What it has learned so far.
    pub(super) fn settings(&self) -> &Settings {
        &self.settings
    }

    pub(super) fn factor(&self) -> &Factor {
        &self.factor
    }

    /// Changes whenever correlations computed before are no longer right.
    pub(super) fn version(&self) -> u64 {
        self.version
    }

    /// Changes whenever correlations of two candidates do.
    pub(super) fn learned(&self) -> u64 {
        self.learned
    }

    /// Points seen, also those no longer kept.
    pub(super) fn seen(&self) -> usize {
        self.seen
    }

    /// The utilities of its points. A failed one counts as the worst.
    pub(super) fn utilities(&self) -> Vec<f64> {
        let scored = self.points.iter().filter_map(|point| point.utility);
        let worst = scored.fold(f64::INFINITY, f64::min);
        // All failed: alike, whatever the number.
        let worst = if worst.is_finite() { worst } else { 0.0 };
        let utilities = self
            .points
            .iter()
            .map(|point| point.utility.unwrap_or(worst));
        utilities.collect()
    }

    /// Correlation of two candidates.
    pub(super) fn correlation(&self, a: &Described, b: &Described) -> f64 {
        self.settings.correlation(a.distances(b))
    }

    /// Correlations of a candidate with each of the points.
    pub(super) fn correlations(&self, one: &Described) -> Vec<f64> {
        let distances = self.squared_distances(one).map(Vec::into_iter);
        self.settings.correlations(self.points.len(), distances)
    }

    /// Squared distances of a candidate from each of the points, group by group.
    fn squared_distances(&self, one: &Described) -> impl Iterator<Item = Vec<f64>> {
        let groups = self.features.iter().zip(&one.features);
        groups.map(|(points, vector)| points.squared_distances(vector))
    }

    /// Takes in a point. `rng` decides which points are kept and looked at when there are too many.
    pub(super) fn add(&mut self, point: Point, rng: &mut ChaCha8Rng) {
        let correlations = self.correlations(&point.described);
        self.push(point);
        self.correlations.push(correlations);
        self.seen += 1;
        let learns = self.seen >= self.learn_at;
        let thins = self.points.len() > MOST;
        if thins {
            self.thin_out(rng);
        }
        if learns {
            self.learn(rng);
            self.learned += 1;
            let grown = (self.seen as f64 * GROWTH).ceil() as usize;
            self.learn_at = if self.seen < EVERY_POINT {
                self.seen + 1
            } else {
                grown
            };
            self.correlate_anew();
        }
        if learns || thins {
            self.version += 1;
            self.factor = Factor::new(&self.correlations, self.settings.noise);
        } else if let Some(correlations) = self.correlations.last() {
            self.factor.extend(correlations);
        }
    }

    /// Computes the correlations of the points by what was learned.
    fn correlate_anew(&mut self) {
        let all: Vec<usize> = (0..self.points.len()).collect();
        self.correlations = fit::correlations(&self.distances(&all), &self.settings);
    }

    fn push(&mut self, point: Point) {
        for (points, vector) in self.features.iter_mut().zip(&point.described.features) {
            points.push(vector);
        }
        self.points.push(point);
    }

    fn thin_out(&mut self, rng: &mut ChaCha8Rng) {
        let kept = self.choose(THINNED, rng);
        let all = std::mem::take(&mut self.points);
        self.features.fill(Postings::default());
        let correlations = std::mem::take(&mut self.correlations);
        for (count, &place) in kept.iter().enumerate() {
            self.push(all[place].clone());
            let with_kept = kept[..count]
                .iter()
                .map(|&other| correlations[place][other]);
            self.correlations.push(with_kept.collect());
        }
    }

    fn learn(&mut self, rng: &mut ChaCha8Rng) {
        let places = self.choose(LEARNED_FROM, rng);
        let all = self.utilities();
        let utilities: Vec<f64> = places.iter().map(|&place| all[place]).collect();
        let values = Warp::new(&utilities).values(&utilities);
        if values.iter().all(|value| *value == 0.0) {
            return; // constant scores teach nothing about what makes them differ
        }
        let distances = self.distances(&places);
        self.settings = fit::fit(&distances, &values, &self.centre, &self.settings);
    }

    fn distances(&self, places: &[usize]) -> Distances {
        let from_those_before = |(count, &place): (usize, &usize)| {
            let groups = self.squared_distances(&self.points[place].described);
            let chosen =
                groups.map(|all| places[..count].iter().map(|&other| all[other]).collect());
            chosen.collect()
        };
        places.iter().enumerate().map(from_those_before).collect()
    }

    /// Places of the best, the latest and some other points, in their order; all, if there are not more.
    fn choose(&self, [best, latest, others]: [usize; 3], rng: &mut ChaCha8Rng) -> Vec<usize> {
        let count = self.points.len();
        if count <= best + latest + others {
            return (0..count).collect();
        }
        let mut chosen = vec![false; count];
        chosen[count - latest..].fill(true);
        let utilities = self.utilities();
        let mut ranking: Vec<usize> = (0..count).collect();
        ranking.sort_by(|&a, &b| utilities[b].total_cmp(&utilities[a]).then(a.cmp(&b)));
        ranking
            .iter()
            .take(best)
            .for_each(|&place| chosen[place] = true);
        let mut rest: Vec<usize> = (0..count).filter(|&place| !chosen[place]).collect();
        for _ in 0..others.min(rest.len()) {
            let place = rest.swap_remove(rng.random_range(0..rest.len()));
            chosen[place] = true;
        }
        (0..count).filter(|&place| chosen[place]).collect()
    }
}
