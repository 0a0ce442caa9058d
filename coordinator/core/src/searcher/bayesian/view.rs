//! What is known when somebody asks, and looking with it: through a pool, and beyond it by a climb on expected
//! improvement.

use std::sync::Arc;

use rand_chacha::ChaCha8Rng;

use super::acquisition::{Bounded, Estimate, expected_improvement};
use super::explained::Explained;
use super::gaussian::{Factor, Posterior, sum_of_squares};
use super::model::Model;
use super::outlook::{self, Leader};
use super::target::Warp;
use crate::searcher::describe::Described;

/// The climb starts at so many candidates of the pool (neighbours of the best are there already), …
pub(super) const STARTS: usize = 2;
/// … and in each of so many rounds …
const ROUNDS: usize = 3;
/// … looks at so many neighbours of each.
const LOOKS: usize = 4;

/// What is known when somebody asks.
///
/// Pending candidates count as observed with the mean that is predicted for them. That changes no mean
/// anywhere, only what is left of the variance: without them it is an upper bound.
pub(super) struct View<'a> {
    pub(super) model: &'a Model,
    /// What the observed ones say.
    pub(super) posterior: Posterior<'a>,
    pub(super) pending: Vec<Arc<Described>>,
    /// The factor with the pending ones behind those observed.
    pub(super) joint: Factor,
    /// The greatest observed value.
    pub(super) best: f64,
}

impl<'a> View<'a> {
    pub(super) fn new(
        model: &'a Model,
        posterior: Posterior<'a>,
        pending: Vec<Arc<Described>>,
        best: f64,
    ) -> Self {
        let mut view = Self {
            model,
            posterior,
            pending: Vec::with_capacity(pending.len()),
            joint: model.factor().clone(),
            best,
        };
        for one in pending {
            let mut column = model.correlations(&one);
            column.extend(view.with_pending(&one));
            view.joint.extend(&column);
            view.pending.push(one);
        }
        view
    }

    /// Correlations with those pending.
    fn with_pending(&self, one: &Described) -> impl Iterator<Item = f64> {
        let pending = self.pending.iter();
        pending.map(|pending| self.model.correlation(one, pending))
    }

    /// The new ones among `items`, with their means and bounds.
    pub(super) fn bounds(
        &self,
        items: &[Described],
        explained: &Explained,
        is_new: &dyn Fn(&Described) -> bool,
    ) -> Vec<Bounded> {
        let means = explained.means(self.posterior.whitened());
        let sums = explained.sums();
        let new = items.iter().enumerate().filter(|(_, item)| is_new(item));
        new.map(|(index, _)| {
            let (mean, deviation) = (means[index], self.posterior.deviation(sums[index]));
            Bounded {
                index,
                mean,
                bound: expected_improvement(mean, deviation, self.best),
            }
        })
        .collect()
    }

    /// The deviation of a candidate for which `solved` is known of those observed.
    pub(super) fn deviation(&self, one: &Described, solved: Vec<f64>) -> f64 {
        let solved = self.with_pending_solved(one, solved);
        self.posterior.deviation(sum_of_squares(&solved))
    }

    /// What is known of those observed, and of those pending behind it.
    fn with_pending_solved(&self, one: &Described, mut solved: Vec<f64>) -> Vec<f64> {
        let observed = solved.len();
        solved.extend(self.with_pending(one));
        self.joint.solve_lower(solved, observed)
    }

    /// By how much the best of the leaders, of which is known what those observed explain, and of the candidate that
    /// was found is expected to be better than the best one known.
    pub(super) fn gain<'d>(
        &self,
        leaders: impl Iterator<Item = (&'d Described, Leader)>,
        found: &'d Described,
        warp: &Warp,
        rng: &mut ChaCha8Rng,
    ) -> Option<f64> {
        let (mut candidates, mut leaders): (Vec<_>, Vec<_>) = leaders.unzip();
        if candidates.iter().all(|one| one.id != found.id) {
            candidates.push(found);
            leaders.push(self.leader(found));
        }
        for (one, leader) in candidates.iter().zip(&mut leaders) {
            let observed = std::mem::take(&mut leader.explained);
            leader.explained = self.with_pending_solved(one, observed);
        }
        let correlation =
            |one: usize, other: usize| (self.model).correlation(candidates[one], candidates[other]);
        outlook::gain(&leaders, correlation, self.posterior.scale(), warp, rng)
    }

    /// What those observed say of a candidate outside the pool.
    fn leader(&self, described: &Described) -> Leader {
        let correlations = self.model.correlations(described);
        Leader {
            mean: self.posterior.mean(&correlations),
            explained: self.model.factor().solve_lower(correlations, 0),
        }
    }

    /// How good a candidate outside the pool looks.
    fn judge(&self, described: &Described) -> Estimate {
        let Leader { mean, explained } = self.leader(described);
        Estimate::new(mean, self.deviation(described, explained), self.best)
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

/// The candidates with the greatest bounds, in their order.
pub(super) fn most_promising(bounded: &[Bounded], count: usize) -> Vec<Bounded> {
    let mut order = bounded.to_vec();
    if count < order.len() {
        let _ = order.select_nth_unstable_by(count, Bounded::before);
        order.truncate(count);
    }
    order.sort_by(Bounded::before);
    order
}
