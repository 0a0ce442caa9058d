//! Bayesian optimisation: a Gaussian process over what candidates are and compute predicts how good the ones
//! not tried yet are, and how surely; the one with the greatest expected improvement is proposed.
//!
//! - The kernel compares decisions, and with `kernel: network` (the default) also the network that they
//!   build: its paths (White et al. 2021), operations and size, in the manner of structured kernels for
//!   architectures (Kandasamy et al. 2018; Ru et al. 2021). How much each counts is learned.
//! - It begins with candidates that say the most about all the others, as long as too few results are there.
//! - Pending candidates count as observed with what is predicted for them ("kriging believer", Ginsbourger
//!   et al. 2010), so that parallel workers get different candidates.
//! - The whole space is looked at where it is small; else candidates at random, the neighbours of the best,
//!   and a climb on expected improvement from the most promising.

mod acquisition;
mod design;
mod explained;
mod fit;
mod gaussian;
mod model;
mod outlook;
mod pool;
mod target;
mod view;

#[cfg(test)]
mod tests;

use std::cell::{OnceCell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use espalier_common::ids::Digest;
use espalier_common::observation::{Observation, Origin, Outcome, Proposal, Rank};
use espalier_common::spec::Kernel;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use self::acquisition::{Estimate, greatest};
use self::design::Design;
use self::explained::Explained;
use self::model::{Model, Point};
use self::outlook::{LEADERS, Leader};
use self::pool::{Pool, neighbour};
use self::target::Warp;
use self::view::{STARTS, View, most_promising};
use super::book::assignment_id;
use super::describe::{Described, Describer};
use super::shared::Shared;
use super::{AskContext, Searcher, random, stream};
use crate::search::Definition;

const NAME: &str = "bayesian";
/// Points of which a model says something; fewer than the trials of the beginning, since what is pending counts as
/// one of those.
const LEAST: usize = 2;
/// A model of fewer points is too sure of what it has not seen to say how much more can be gained.
const TELLING: usize = 20;
/// A point among the best so many brings its neighbours into the pool.
const GOOD: usize = 10;

/// Bayesian optimisation.
#[derive(Debug)]
pub struct Bayesian {
    describer: Describer,
    /// Trials that cover the space before the model chooses.
    initial: usize,
    seed: u64,
    model: Model,
    /// Made when it is first needed; follows from what was told.
    pool: RefCell<Option<Pool>>,
    /// How it begins; made when it is first needed.
    design: OnceCell<Design>,
    /// What the model's points say of the pool's candidates: a cache.
    explained: RefCell<Explained>,
    /// Pending candidates as they were described: a cache.
    pending: RefCell<BTreeMap<Digest, Option<Arc<Described>>>>,
    /// Identities of candidates whose outcome is known.
    known: BTreeSet<Digest>,
}

impl Bayesian {
    /// For a search. The first `initial` trials are to cover the space.
    #[must_use]
    pub fn new(
        definition: &Arc<Definition>,
        kernel: Kernel,
        initial: u32,
        shared: &Arc<Shared>,
    ) -> Self {
        let describer = Describer::new(definition, kernel, shared);
        let centre = fit::centre(&describer);
        Self {
            describer,
            initial: initial.max(1) as usize,
            seed: definition.spec.seed,
            model: Model::new(centre),
            pool: RefCell::new(None),
            design: OnceCell::new(),
            explained: RefCell::default(),
            pending: RefCell::default(),
            known: BTreeSet::new(),
        }
    }

    /// Random numbers for what is done when the so-manieth point comes in.
    fn rng(&self, purpose: u32) -> ChaCha8Rng {
        stream(
            self.seed,
            self.model.seen() as u64,
            purpose,
            b"\0\0\0\0bayesian",
        )
    }

    fn take_in(&mut self, described: Arc<Described>, utility: Option<f64>) {
        self.known.insert(described.id);
        let better = self
            .model
            .points()
            .iter()
            .filter(|point| point.utility >= utility)
            .count();
        if better < GOOD && utility.is_some() && self.describer.whole().is_none() {
            let mut rng = self.rng(1);
            let pool = self.pool.get_mut();
            let pool = pool.get_or_insert_with(|| new_pool(&self.describer, self.seed));
            pool.grow_around(&self.describer, &described, &mut rng);
        }
        let mut rng = self.rng(2);
        self.model.add(Point { described, utility }, &mut rng);
    }

    /// The pending candidates that can be described.
    fn described_pending(&self, context: &AskContext<'_>) -> Vec<Arc<Described>> {
        let mut cache = self.pending.borrow_mut();
        let before = std::mem::take(&mut *cache);
        let mut described = Vec::with_capacity(context.pending.len());
        for candidate in context.pending {
            let assignment = assignment_id(candidate);
            let one = match before.get(&assignment) {
                Some(one) => one.clone(),
                None => self.describer.describe(candidate).map(Arc::new),
            };
            described.extend(one.clone());
            cache.insert(assignment, one);
        }
        described
    }

    /// Says whether a candidate is neither known nor taken: on its way, or refused.
    fn is_new<'a>(
        &'a self,
        pending: &[Arc<Described>],
        context: &AskContext<'_>,
    ) -> impl Fn(&Described) -> bool + use<'a> {
        let refused = context.refused.iter();
        let taken: BTreeSet<Digest> = (pending.iter().map(|one| one.id))
            .chain(refused.map(|refusal| assignment_id(&refusal.candidate)))
            .collect();
        move |one| {
            let ids = [one.id, one.assignment];
            !self.known.contains(&one.id) && ids.iter().all(|id| !taken.contains(id))
        }
    }

    /// The candidate that says the most about the space, beside those known and pending.
    fn begin(&self, context: &AskContext<'_>) -> Option<Proposal> {
        let pending = self.described_pending(context);
        let is_new = self.is_new(&pending, context);
        let points = self.model.points().iter();
        let mut known: Vec<Arc<Described>> =
            points.map(|point| Arc::clone(&point.described)).collect();
        known.extend(pending);
        let design = self.design.get_or_init(|| self.new_design());
        let next = design.next(&known, &is_new)?;
        Some(Proposal {
            candidate: next.candidate.clone(),
            origin: Origin::new(NAME, "covers the space"),
            memo: None,
        })
    }

    fn new_design(&self) -> Design {
        let mut rng = stream(self.seed, 0, 3, b"\0\0\0\0bayesian");
        match self.describer.whole() {
            None => Design::of(&self.describer, &mut rng),
            // They are described there.
            Some(whole) => Design::new(
                whole.some(design::SAMPLES, &mut rng),
                fit::centre(&self.describer),
            ),
        }
    }

    /// The candidate with the greatest expected improvement, if there is one that is new.
    fn best_new(&self, context: &AskContext<'_>, rng: &mut ChaCha8Rng) -> Option<Proposal> {
        let utilities = self.model.utilities();
        let warp = Warp::new(&utilities);
        let values = warp.values(&utilities);
        let posterior = self.model.factor().with_values(&values);
        let pending = self.described_pending(context);
        let is_new = self.is_new(&pending, context);
        let view = View::new(&self.model, posterior, pending, values.max());
        let found = self.look(&view, &warp, &is_new, rng)?;
        let Estimate {
            mean,
            deviation,
            improvement,
        } = found.estimate;
        Some(Proposal {
            candidate: found.described.candidate,
            origin: Origin {
                searcher: NAME.to_owned(),
                method: format!("expected improvement, best of {}", found.among),
                parents: Vec::new(),
                mutated: None,
                predicted: Some(warp.score(mean, deviation)),
                acquisition: Some(improvement),
                improvement: found.gain,
                rank: Some(found.rank),
            },
            memo: None,
        })
    }

    /// Looks through the pool, and beyond it where it is not the whole space.
    fn look(
        &self,
        view: &View<'_>,
        warp: &Warp,
        is_new: &dyn Fn(&Described) -> bool,
        rng: &mut ChaCha8Rng,
    ) -> Option<Found> {
        let mut pool = self.pool.borrow_mut();
        let pool = pool.get_or_insert_with(|| new_pool(&self.describer, self.seed));
        let mut explained = self.explained.borrow_mut();
        explained.bring_up_to_date(&self.model, pool);
        let items = pool.items();
        let bounded = view.bounds(items, &explained, is_new);
        let among = bounded.len();
        let means: Vec<f64> = bounded.iter().map(|one| one.mean).collect();
        let leaders = most_promising(&bounded, LEADERS);
        let in_pool = greatest(bounded, view.best, |index| {
            view.deviation(&items[index], explained.column(index))
        });
        let in_pool = in_pool.map(|(index, estimate)| (items[index].clone(), estimate));
        let found = if pool.is_whole() {
            in_pool
        } else {
            let starts = leaders.iter().take(STARTS);
            let starts: Vec<Described> = starts.map(|one| items[one.index].clone()).collect();
            let beyond = view.climb(
                starts,
                |one, rng| neighbour(&self.describer, one, rng),
                is_new,
                rng,
            );
            beyond.into_iter().fold(in_pool, better)
        };
        let (described, estimate) = found?;
        let leaders = leaders.iter().map(|one| {
            let leader = Leader {
                mean: one.mean,
                explained: explained.column(one.index),
            };
            (&items[one.index], leader)
        });
        let gain = (self.model.seen() >= TELLING)
            .then(|| view.gain(leaders, &described, warp, &mut self.rng(4)))
            .flatten();
        Some(Found {
            gain,
            described,
            rank: Rank::of(estimate.mean, means),
            estimate,
            among,
        })
    }
}

/// What was found worth a training.
struct Found {
    described: Described,
    estimate: Estimate,
    /// How many of the pool it was chosen from.
    among: usize,
    /// Where it stands among those by its mean.
    rank: Rank,
    /// By how much the best of all that look good is expected to be better than the best one known.
    gain: Option<f64>,
}

/// The better of two, the first one of equals.
fn better(
    best: Option<(Described, Estimate)>,
    other: (Described, Estimate),
) -> Option<(Described, Estimate)> {
    match best {
        Some(best) if other.1.improvement <= best.1.improvement => Some(best),
        _ => Some(other),
    }
}

fn new_pool(describer: &Describer, seed: u64) -> Pool {
    Pool::new(describer, &mut ChaCha8Rng::seed_from_u64(seed))
}

impl Searcher for Bayesian {
    fn name(&self) -> &'static str {
        NAME
    }

    fn tell(&mut self, observation: &Observation) {
        // A duplicate has no trial of its own, and brings nothing new.
        if observation.trial.is_none() {
            return;
        }
        let utility = match observation.outcome {
            Outcome::Scored { utility, .. } => Some(utility),
            Outcome::Failed => None,
            // Nothing was learned of how good it is; the proposer does not let it pass again.
            Outcome::Infeasible | Outcome::Cancelled => return,
        };
        if let Some(described) = self.describer.describe(&observation.candidate) {
            self.take_in(Arc::new(described), utility);
        }
    }

    fn ask(&self, context: &AskContext<'_>, rng: &mut ChaCha8Rng) -> Proposal {
        // What is pending counts: parallel workers shall not make the start longer.
        let seen = self.model.seen();
        let begins = seen < LEAST.min(self.initial) || seen + context.pending.len() < self.initial;
        let proposal = if begins {
            self.begin(context)
        } else {
            self.best_new(context, rng)
        };
        proposal.unwrap_or_else(|| random::draw(context.space, rng))
    }
}
