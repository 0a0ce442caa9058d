//! What is known when somebody asks, and looking with it: through a pool, and beyond it by a climb on expected
//! improvement.

use std::sync::Arc;

use rand_chacha::ChaCha8Rng;

use super::acquisition::{Bounded, Estimate, expected_improvement};
use super::correlations::Correlations;
use super::gaussian::Posterior;
use super::model::Model;
use crate::searcher::describe::Described;

/// The climb starts at so many candidates of the pool, …
const STARTS: usize = 4;
/// … and in each of so many rounds …
const ROUNDS: usize = 3;
/// … looks at so many neighbours of each.
const LOOKS: usize = 4;

/// What is known when somebody asks.
pub(super) struct View<'a> {
    pub(super) model: &'a Model,
    pub(super) posterior: Posterior<'a>,
    /// Observed ones, then pending ones.
    pub(super) points: Vec<Arc<Described>>,
    /// The greatest observed value.
    pub(super) best: f64,
}

impl View<'_> {
    /// The new ones among `items`, with their means and bounds.
    pub(super) fn bounds(
        &self,
        items: &[Described],
        correlations: &Correlations,
        is_new: &dyn Fn(&Described) -> bool,
    ) -> Vec<Bounded> {
        let mut means = vec![0.0; items.len()];
        let mut largest = vec![0.0_f32; items.len()];
        for (point, weight) in self.points.iter().zip(self.posterior.weights()) {
            let places = means.iter_mut().zip(&mut largest);
            for ((mean, largest), &correlation) in places.zip(correlations.column(point)) {
                *mean += weight * f64::from(correlation);
                *largest = largest.max(correlation);
            }
        }
        let new = items.iter().enumerate().filter(|(_, item)| is_new(item));
        new.map(|(index, _)| {
            let largest = f64::from(largest[index]);
            let deviation = self.posterior.variance_bound(largest).sqrt();
            let mean = means[index];
            Bounded {
                index,
                mean,
                bound: expected_improvement(mean, deviation, self.best),
            }
        })
        .collect()
    }

    /// The deviation where the correlations with the points are these.
    pub(super) fn deviation(&self, correlations: &[f64]) -> f64 {
        self.posterior.variance(correlations).sqrt()
    }

    /// How good a candidate outside the pool looks.
    fn judge(&self, described: &Described) -> Estimate {
        let to = |point: &Arc<Described>| self.model.correlation(described, point);
        let correlations: Vec<f64> = self.points.iter().map(to).collect();
        let mean = self.posterior.mean(correlations.iter().copied());
        Estimate::new(mean, self.deviation(&correlations), self.best)
    }

    /// Climbs from each start through new neighbours; gives where each climb ended.
    pub(super) fn climb(
        &self,
        starts: Vec<Described>,
        neighbour: impl Fn(&Described, &mut ChaCha8Rng) -> Option<Described>,
        is_new: &dyn Fn(&Described) -> bool,
        rng: &mut ChaCha8Rng,
    ) -> Vec<(Described, Estimate)> {
        let judged = |start: Described| {
            let estimate = self.judge(&start);
            (start, estimate)
        };
        let mut heads: Vec<_> = starts.into_iter().map(judged).collect();
        for _ in 0..ROUNDS {
            for head in &mut heads {
                for _ in 0..LOOKS {
                    let Some(next) = neighbour(&head.0, rng).filter(is_new) else {
                        continue;
                    };
                    let next = judged(next);
                    if next.1.improvement > head.1.improvement {
                        *head = next;
                    }
                }
            }
        }
        heads
    }
}

/// Places of the candidates with the greatest bounds, from which a climb starts.
pub(super) fn most_promising(bounded: &[Bounded]) -> Vec<usize> {
    let mut order: Vec<&Bounded> = bounded.iter().collect();
    order.sort_by(|a, b| a.before(b));
    let first = order.iter().take(STARTS);
    first.map(|bounded| bounded.index).collect()
}
