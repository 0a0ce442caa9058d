//! Where to begin: before anything is known, and as long as too little is, the candidate whose result would say the
//! most about all the others is tried. That is the one which leaves the least variance in a Gaussian process with
//! the settings that it starts with, in the mean over candidates drawn at random (active learning after Cohn 1996;
//! Seo et al. 2000, "Gaussian Process Regression: Active Data Selection and Test Point Rejection"). It needs no
//! results, so many workers begin with candidates that complement one another. May import what describing does.

use std::sync::Arc;

use rand_chacha::ChaCha8Rng;

use super::fit;
use super::gaussian::{Factor, Settings, sum_of_squares};
use crate::features::Postings;
use crate::searcher::describe::{Described, Describer};

/// Candidates at random that stand for the space, among which the next is chosen: describing more would take
/// longer than it gains.
pub(super) const SAMPLES: usize = 256;
/// Draws for each, of which one must be buildable.
const DRAWS: usize = 10;
/// With so many known ones what comes next makes little difference, and costs the more.
const MOST_KNOWN: usize = 256;

/// Candidates that stand for a space.
#[derive(Debug)]
pub(super) struct Design {
    samples: Vec<Described>,
    /// What the samples have in each group.
    features: Vec<Postings>,
    /// The correlations of each sample with all of them.
    between: Vec<Vec<f64>>,
    settings: Settings,
}

impl Design {
    /// A design that chooses among `samples`.
    pub(super) fn new(samples: Vec<Described>, settings: Settings) -> Self {
        let mut features = vec![Postings::default(); settings.weights.len()];
        for sample in &samples {
            for (group, vector) in features.iter_mut().zip(&sample.features) {
                group.push(vector);
            }
        }
        let mut design = Self {
            samples,
            features,
            between: Vec::new(),
            settings,
        };
        let samples = design.samples.iter();
        design.between = samples.map(|one| design.with_samples(one)).collect();
        design
    }

    /// A design for a space, whose samples are drawn from `rng`.
    pub(super) fn of(describer: &Describer, rng: &mut ChaCha8Rng) -> Self {
        let samples = (0..SAMPLES).filter_map(|_| describer.sample(rng, DRAWS));
        Self::new(samples.collect(), fit::centre(describer))
    }

    /// The candidate that says the most about the others when those in `known` are known or on their way; `None`
    /// when none of its candidates is new.
    pub(super) fn next(
        &self,
        known: &[Arc<Described>],
        is_new: &dyn Fn(&Described) -> bool,
    ) -> Option<&Described> {
        if known.len() > MOST_KNOWN {
            return None;
        }
        let mut factor = Factor::new(&[], self.settings.noise);
        for (count, one) in known.iter().enumerate() {
            factor.extend(&self.correlations(one, &known[..count]));
        }
        let correlations: Vec<Vec<f64>> = known.iter().map(|one| self.with_samples(one)).collect();
        // What those known explain of each sample: the products of two are how much of their covariance.
        let explain = |place: usize| {
            let known = correlations.iter().map(|of_known| of_known[place]);
            factor.solve_lower(known.collect(), 0)
        };
        let explained: Vec<Vec<f64>> = (0..self.samples.len()).map(explain).collect();
        let mut chosen: Option<(f64, &Described)> = None;
        for (place, one) in self.samples.iter().enumerate() {
            if !is_new(one) {
                continue;
            }
            let gain = self.gain(place, &explained);
            if chosen.is_none_or(|(most, _)| gain > most) {
                chosen = Some((gain, one));
            }
        }
        chosen.map(|(_, one)| one)
    }

    /// How much variance a result of this one would take from all of them.
    fn gain(&self, place: usize, explained: &[Vec<f64>]) -> f64 {
        let own = &explained[place];
        let left = 1.0 + self.settings.noise - sum_of_squares(own);
        let others = self.between[place].iter().zip(explained);
        let covariances = others.map(|(correlation, theirs)| {
            let known = own.iter().zip(theirs).map(|(a, b)| a * b);
            correlation - known.sum::<f64>()
        });
        covariances.map(|one| one * one).sum::<f64>() / left.max(self.settings.noise)
    }

    /// The correlations of one with all samples.
    fn with_samples(&self, one: &Described) -> Vec<f64> {
        let groups = self.features.iter().zip(&one.features);
        let distances = groups.map(|(of, vector)| of.squared_distances(vector).into_iter());
        self.settings.correlations(self.samples.len(), distances)
    }

    /// The correlations of one with others.
    fn correlations(&self, one: &Described, others: &[Arc<Described>]) -> Vec<f64> {
        let others = others.iter();
        others
            .map(|other| self.settings.correlation(one.distances(other)))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use espalier_common::spec::Kernel;
    use rand::{RngExt, SeedableRng};

    use super::*;
    use crate::search::Definition;

    fn design() -> Design {
        let text = "name: toy\nhyperparameters:\n  a: {range: [0.0, 1.0]}\n  b: {choice: [x, y, z]}\n\
                    evaluator: own\nobjectives: [{maximize: score}]\nbudget: {trials: 9}\n";
        let spec = espalier_common::spec::read(text, "toy.yaml").expect("a spec");
        let definition = Arc::new(Definition::new(spec, text.to_owned(), None, None));
        let describer = Describer::new(&definition, Kernel::Network, &Arc::default());
        Design::of(&describer, &mut ChaCha8Rng::seed_from_u64(1))
    }

    /// How much of the variance of all samples results of these would leave.
    fn left(design: &Design, known: &[Arc<Described>]) -> f64 {
        let mut factor = Factor::new(&[], design.settings.noise);
        for (count, one) in known.iter().enumerate() {
            factor.extend(&design.correlations(one, &known[..count]));
        }
        let samples = design.samples.iter();
        samples
            .map(|one| {
                let solved = factor.solve_lower(design.correlations(one, known), 0);
                1.0 - sum_of_squares(&solved)
            })
            .sum()
    }

    #[test]
    fn each_leaves_less_variance_than_any_other_would() {
        let design = design();
        let mut known: Vec<Arc<Described>> = Vec::new();
        for _ in 0..5 {
            let next = design.next(&known, &|_| true).expect("one").clone();
            let with = |one: &Described| {
                let mut known = known.clone();
                known.push(Arc::new(one.clone()));
                left(&design, &known)
            };
            let least = with(&next);
            for one in &design.samples {
                assert!(with(one) >= least - 1e-9);
            }
            known.push(Arc::new(next));
        }
        let mut rng = ChaCha8Rng::seed_from_u64(2);
        for _ in 0..20 {
            let drawn = (0..5).map(|_| {
                let place = rng.random_range(0..design.samples.len());
                Arc::new(design.samples[place].clone())
            });
            assert!(left(&design, &known) < left(&design, &drawn.collect::<Vec<_>>()));
        }
    }

    #[test]
    fn what_is_not_new_is_not_chosen() {
        let design = design();
        let first = design.next(&[], &|_| true).expect("one").id;
        let second = design.next(&[], &|one| one.id != first).expect("one").id;
        assert_ne!(first, second);
        assert!(design.next(&[], &|_| false).is_none());
    }
}
