//! Tree-structured Parzen estimator (Bergstra et al. 2011, "Algorithms for Hyper-Parameter Optimization";
//! multivariate as in Falkner et al. 2018, "BOHB", and in Optuna): a density over whole candidates for the
//! good ones seen, one for the others, and a proposal where their ratio is high. May import
//! `espalier-common`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use espalier_common::candidate::{Candidate, DecisionPath, Value};
use espalier_common::ids::{Digest, TrialNumber};
use espalier_common::observation::{Observation, Origin, Outcome, Proposal, Rank};
use espalier_common::space::{Chooser, Domain, Space};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::book::assignment_id;
use super::{AskContext, Searcher, random};

const NAME: &str = "tpe";
/// The most candidates that count as good: more would include mediocre ones in a long search.
const MOST_GOOD: usize = 25;
/// The most others the second density is made of. Its kernels are wide, so a part of them tells as much as
/// all of them, and an ask does not become slower as the search grows.
const MOST_OTHERS: usize = 256;
/// The most failed and infeasible candidates that are remembered, the youngest.
const MOST_WITHOUT_SCORE: usize = 256;
/// How often a candidate may be drawn again when it is known already, for each one that is wanted.
const DRAWS_FOR_ONE: u32 = 4;
/// Width of a kernel on a range before the number of candidates narrows it, as a share of the range.
const WIDTH: f64 = 0.2;

/// The settings of the estimator.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TpeSettings {
    /// The share of scored candidates that counts as good.
    pub gamma: f64,
    /// Candidates drawn from the density of the good ones, of which the best is proposed.
    pub candidates: u32,
    /// Trials at random before the estimator begins.
    pub start: u32,
}

/// Tree-structured Parzen estimator.
///
/// Both densities are mixtures: one kernel around each candidate, and a uniform one. A kernel gives every
/// decision its probability in the order of the space: around the value of its candidate where that has the
/// decision, uniform where it is not active there. So decisions are drawn jointly, and the tree of the space
/// is the tree of the estimator. What is pending, failed or cannot be built counts among the others, so that
/// parallel workers do not get the same.
#[derive(Clone, Debug)]
pub struct Tpe {
    space: Arc<Space>,
    settings: TpeSettings,
    /// Scored candidates, best first; of equals the older one.
    scored: Vec<Scored>,
    /// Failed and infeasible candidates, youngest last.
    without_score: Vec<Candidate>,
    /// Every assignment that was told.
    known: BTreeSet<Digest>,
    /// Trials that ended with a score or by their own fault.
    ended: u32,
}

#[derive(Clone, Debug)]
struct Scored {
    candidate: Candidate,
    trial: Option<TrialNumber>,
    utility: f64,
}

impl Tpe {
    /// An estimator for this space that has seen nothing yet.
    #[must_use]
    pub fn new(space: Arc<Space>, settings: TpeSettings) -> Self {
        Self {
            space,
            settings,
            scored: Vec::new(),
            without_score: Vec::new(),
            known: BTreeSet::new(),
            ended: 0,
        }
    }

    fn good(&self) -> usize {
        let share = (self.settings.gamma * self.scored.len() as f64).ceil() as usize;
        share.clamp(1, MOST_GOOD).min(self.scored.len())
    }

    /// Everything that does not count as good, thinned evenly where it is much.
    fn others<'a>(&'a self, context: &AskContext<'a>) -> Vec<&'a Candidate> {
        let rest = self.scored.get(self.good()..).unwrap_or_default();
        let stride = rest.len().div_ceil(MOST_OTHERS).max(1);
        let untold = context.refused.iter().filter_map(|refused| {
            matches!(refused.outcome, Outcome::Infeasible).then_some(&refused.candidate)
        });
        rest.iter()
            .step_by(stride)
            .map(|scored| &scored.candidate)
            .chain(&self.without_score)
            .chain(context.pending.iter().copied())
            .chain(untold)
            .collect()
    }

    /// Candidates that are worth comparing: drawn from the density of the good ones, new and different.
    fn draw(
        &self,
        good: &Mixture<'_>,
        context: &AskContext<'_>,
        rng: &mut ChaCha8Rng,
    ) -> Vec<(Candidate, Option<usize>)> {
        let refused = context.refused.iter().map(|refused| &refused.candidate);
        let mut out: BTreeSet<Digest> = context
            .pending
            .iter()
            .copied()
            .chain(refused)
            .map(assignment_id)
            .collect();
        let mut drawn = Vec::new();
        let wanted = self.settings.candidates.max(1);
        for _ in 0..wanted.saturating_mul(DRAWS_FOR_ONE) {
            if drawn.len() >= wanted as usize {
                break;
            }
            let (candidate, from) = good.sample(&self.space, rng);
            let assignment = assignment_id(&candidate);
            if !self.known.contains(&assignment) && out.insert(assignment) {
                drawn.push((candidate, from));
            }
        }
        drawn
    }
}

impl Searcher for Tpe {
    fn name(&self) -> &'static str {
        NAME
    }

    fn tell(&mut self, observation: &Observation) {
        self.known.insert(assignment_id(&observation.candidate));
        // A duplicate adds nothing: its twin is in one of the densities already.
        if observation.trial.is_none() && observation.outcome != Outcome::Infeasible {
            return;
        }
        match observation.outcome {
            Outcome::Scored { utility, .. } => {
                self.ended += 1;
                let scored = Scored {
                    candidate: observation.candidate.clone(),
                    trial: observation.trial,
                    utility,
                };
                let place = self.scored.partition_point(|one| one.utility >= utility);
                self.scored.insert(place, scored);
            }
            Outcome::Failed | Outcome::Infeasible => {
                self.ended += u32::from(observation.outcome == Outcome::Failed);
                self.without_score.push(observation.candidate.clone());
                if self.without_score.len() > MOST_WITHOUT_SCORE {
                    self.without_score.remove(0);
                }
            }
            Outcome::Cancelled => {}
        }
    }

    fn ask(&self, context: &AskContext<'_>, rng: &mut ChaCha8Rng) -> Proposal {
        if self.ended < self.settings.start || self.scored.is_empty() {
            return random::draw(context.space, rng);
        }
        let members = &self.scored[..self.good()];
        let mut good = Mixture::of(members.iter().map(|one| &one.candidate).collect());
        let mut others = Mixture::of(self.others(context));
        let mut best: Option<(Candidate, Option<usize>, f64)> = None;
        let drawn = self.draw(&good, context, rng);
        let among = u32::try_from(drawn.len()).unwrap_or(u32::MAX);
        for (candidate, from) in drawn {
            let decisions = context.space.open_decisions(&candidate);
            let ratio = good.log_density(&candidate, &decisions)
                - others.log_density(&candidate, &decisions);
            if best.as_ref().is_none_or(|(_, _, most)| ratio > *most) {
                best = Some((candidate, from, ratio));
            }
        }
        let Some((candidate, from, ratio)) = best else {
            return random::draw(context.space, rng);
        };
        let parent = from.and_then(|index| members.get(index)?.trial);
        Proposal {
            candidate,
            origin: Origin {
                searcher: NAME.to_owned(),
                method: "density".to_owned(),
                parents: parent.into_iter().collect(),
                mutated: None,
                predicted: None,
                acquisition: Some(ratio),
                improvement: None,
                rank: Some(Rank { place: 1, among }),
            },
            memo: None,
        }
    }
}

/// A mixture of kernels around candidates, and a uniform one.
struct Mixture<'a> {
    members: Vec<&'a Candidate>,
    /// What each member has for a decision, of those that were asked for: looked up once for all candidates
    /// whose density is wanted.
    columns: BTreeMap<DecisionPath, Vec<Option<&'a Value>>>,
}

impl<'a> Mixture<'a> {
    fn of(members: Vec<&'a Candidate>) -> Self {
        Self {
            members,
            columns: BTreeMap::new(),
        }
    }

    /// Kernels, the uniform one included.
    fn kernels(&self) -> f64 {
        self.members.len() as f64 + 1.0
    }

    /// A candidate drawn from the mixture, and the member around which, if it was one.
    fn sample(&self, space: &Space, rng: &mut ChaCha8Rng) -> (Candidate, Option<usize>) {
        let index = rng.random_range(0..=self.members.len());
        let Some(member) = self.members.get(index) else {
            return (space.sample(rng), None);
        };
        let mut around = Around {
            member,
            kernel: self.kernel(member.0.len()),
            rng,
        };
        (space.expand(&mut around).candidate, Some(index))
    }

    /// The kernel in a space of so many decisions (Scott's rule for the width).
    fn kernel(&self, decisions: usize) -> Kernel {
        let members = self.members.len().max(1) as f64;
        Kernel {
            width: WIDTH * members.powf(-1.0 / (decisions as f64 + 4.0)),
            count: self.kernels(),
        }
    }

    /// The logarithm of the density at `candidate`, whose open decisions are given.
    fn log_density(&mut self, candidate: &Candidate, decisions: &[(DecisionPath, Domain)]) -> f64 {
        let kernel = self.kernel(candidate.0.len());
        let everywhere: f64 = decisions.iter().map(|(_, domain)| uniform(domain)).sum();
        let mut terms = vec![everywhere; self.members.len() + 1];
        for (path, domain) in decisions {
            let Some(value) = candidate.get(path) else {
                continue;
            };
            let flat = uniform(domain);
            if !self.columns.contains_key(path) {
                let column = self.members.iter().map(|member| member.get(path));
                self.columns.insert(path.clone(), column.collect());
            }
            let column = self.columns.get(path).into_iter().flatten();
            for (term, center) in terms.iter_mut().zip(column) {
                if let Some(center) = center {
                    *term += kernel.log_density(domain, center, value) - flat;
                }
            }
        }
        let largest = terms.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = terms.iter().map(|term| (term - largest).exp()).sum();
        largest + sum.ln() - self.kernels().ln()
    }
}

/// The logarithm of the uniform density of a decision; a range is as long as 1.
fn uniform(domain: &Domain) -> f64 {
    if domain.is_range() {
        0.0
    } else {
        -(domain.count().unwrap_or(1).max(1) as f64).ln()
    }
}

/// What a member of a mixture says about one decision.
#[derive(Clone, Copy)]
struct Kernel {
    /// Standard deviation on a range, as a share of it.
    width: f64,
    /// Kernels in the mixture: the more there are, the more each keeps to its own value.
    count: f64,
}

impl Kernel {
    fn log_density(self, domain: &Domain, center: &Value, value: &Value) -> f64 {
        if let (Some(center), Some(value)) = (domain.share(center), domain.share(value)) {
            let width = self.width_on(domain);
            let distance = (value - center) / width;
            let inside = normal_cdf((1.0 - center) / width) - normal_cdf(-center / width);
            return -0.5 * distance * distance
                - (width * std::f64::consts::TAU.sqrt() * inside.max(1e-12)).ln();
        }
        let values = domain.count().unwrap_or(1).max(1) as f64;
        let own = if center == value { 1.0 } else { 0.0 };
        ((own + 1.0 / self.count) / (1.0 + values / self.count)).ln()
    }

    fn sample(self, domain: &Domain, center: &Value, rng: &mut ChaCha8Rng) -> Value {
        let Some(center_share) = domain.share(center) else {
            let values = domain.count().unwrap_or(1).max(1) as f64;
            let spread = values / self.count / (1.0 + values / self.count);
            if rng.random::<f64>() >= spread {
                return center.clone();
            }
            // Uniform, its own value included: the weights of a choice are in the uniform kernel alone.
            let index = rng.random_range(0..domain.count().unwrap_or(1).max(1));
            return domain.nth(index).unwrap_or_else(|| center.clone());
        };
        let width = self.width_on(domain);
        // At least half of the normal's mass on one side lies inside, so this ends soon; the bound is for
        // damaged domains.
        for _ in 0..64 {
            let share = center_share + width * random::normal(rng);
            if (0.0..=1.0).contains(&share) {
                return domain.at(share);
            }
        }
        center.clone()
    }

    /// The width on this range: never so narrow that the next value of a grid is out of reach.
    fn width_on(self, domain: &Domain) -> f64 {
        let floor = domain
            .count()
            .filter(|count| *count > 1)
            .map_or(0.01, |count| 0.5 / (count - 1) as f64);
        self.width.max(floor.clamp(0.01, 0.5))
    }
}

struct Around<'a> {
    member: &'a Candidate,
    kernel: Kernel,
    rng: &'a mut ChaCha8Rng,
}

impl Chooser for Around<'_> {
    fn choose(&mut self, path: &DecisionPath, domain: &Domain) -> Value {
        let center = self
            .member
            .get(path)
            .and_then(|value| domain.canonical(value));
        match center {
            Some(center) => self.kernel.sample(domain, &center, self.rng),
            None => domain.sample(self.rng),
        }
    }
}

/// The standard normal distribution function, to 1e-7 (Abramowitz and Stegun 26.2.17).
fn normal_cdf(x: f64) -> f64 {
    let t = 1.0 / (1.0 + 0.231_641_9 * x.abs());
    let polynomial = t
        * (0.319_381_530
            + t * (-0.356_563_782
                + t * (1.781_477_937 + t * (-1.821_255_978 + t * 1.330_274_429))));
    let tail = (-0.5 * x * x).exp() / std::f64::consts::TAU.sqrt() * polynomial;
    if x >= 0.0 { 1.0 - tail } else { tail }
}

#[cfg(test)]
mod tests {
    use espalier_common::spec;
    use rand::SeedableRng;

    use super::*;

    const SPEC: &str = "
name: tree
hyperparameters: {rate: {range: [0.0, 1.0]}, width: {range: [1, 4]}}
training: {optimizer: {choice: {sgd: {learning_rate: 0.1, momentum: {choice: [0, 0.9]}}, adamw: {}}}}
evaluator: mine
objectives: [{maximize: score}]
budget: {trials: 10}
";

    #[test]
    fn a_density_over_a_tree_adds_up_to_one() {
        let space = spec::read(SPEC, "tree").unwrap().space;
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let members: Vec<Candidate> = (0..3).map(|_| space.sample(&mut rng)).collect();
        let mut mixture = Mixture::of(members.iter().collect());
        // The mean of density over uniform density, under uniform draws, estimates the integral; every
        // range is as long as 1, so nothing else is to be weighed.
        let draws = 20_000;
        let mut sum = 0.0;
        for _ in 0..draws {
            let candidate = space.sample(&mut rng);
            let decisions = space.open_decisions(&candidate);
            let flat: f64 = decisions.iter().map(|(_, domain)| uniform(domain)).sum();
            sum += (mixture.log_density(&candidate, &decisions) - flat).exp();
        }
        let integral = sum / f64::from(draws);
        // The whole numbers are few points on a smooth kernel, hence the tolerance.
        assert!((integral - 1.0).abs() < 0.15, "{integral}");
    }

    #[test]
    fn the_distribution_function_is_that_of_the_normal() {
        for (x, expected) in [(0.0, 0.5), (1.0, 0.841_344_7), (-1.959_964, 0.025)] {
            assert!((normal_cdf(x) - expected).abs() < 1e-6, "{x}");
        }
    }
}
