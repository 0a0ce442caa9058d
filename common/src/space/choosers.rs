//! The operations on candidates, each a chooser: sample, mutate, cross over, replay, enumerate.

use rand::{Rng, RngExt};

use super::Space;
use super::domain::Domain;
use super::expand::{Chooser, Resolved};
use crate::candidate::{Candidate, DecisionPath, Value};

/// Why a candidate does not belong to a space.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum BadCandidate {
    /// An active decision has no value.
    #[error("the candidate has no value for the decision {path}")]
    Missing {
        /// The decision.
        path: DecisionPath,
    },
    /// A value is given for a decision that is not active, or that the space does not have.
    #[error(
        "the candidate has a value for {path}, which is no decision of this space, or one of a branch that the candidate does not take"
    )]
    Extra {
        /// What is given.
        path: DecisionPath,
    },
    /// A value is not one that its decision may take.
    #[error("the decision {path} cannot be {value}")]
    NotInDomain {
        /// The decision.
        path: DecisionPath,
        /// What is given.
        value: Value,
    },
}

impl Space {
    /// A candidate at random: every active decision sampled from its own domain.
    #[must_use]
    pub fn sample<R: Rng + ?Sized>(&self, rng: &mut R) -> Candidate {
        self.decide(&mut Sampler(rng))
    }

    /// The candidate in which every decision takes its first value.
    #[must_use]
    pub fn first(&self) -> Candidate {
        self.decide(&mut First)
    }

    /// A copy of `parent` in which one active decision takes another value; decisions that this makes
    /// active are sampled. Every active decision with more than one value is equally likely. `None` when
    /// there is no such decision.
    #[must_use]
    pub fn mutate<R: Rng + ?Sized>(
        &self,
        parent: &Candidate,
        rng: &mut R,
    ) -> Option<(Candidate, DecisionPath)> {
        let open = self.open_decisions(parent);
        if open.is_empty() {
            return None;
        }
        let (target, _) = &open[rng.random_range(0..open.len())];
        let mut mutation = Mutation {
            parent,
            target,
            rng,
        };
        Some((self.decide(&mut mutation), target.clone()))
    }

    /// A child that takes each active decision from one parent or the other, where that parent has it
    /// and it is legal, and samples what neither has.
    #[must_use]
    pub fn crossover<R: Rng + ?Sized>(
        &self,
        a: &Candidate,
        b: &Candidate,
        rng: &mut R,
    ) -> Candidate {
        self.decide(&mut Crossover {
            parents: [a, b],
            rng,
        })
    }

    /// What `candidate` means.
    ///
    /// # Errors
    /// [`BadCandidate`] when a decision is missing, superfluous or outside its domain.
    pub fn resolve(&self, candidate: &Candidate) -> Result<Resolved, BadCandidate> {
        let mut replay = Replay {
            candidate,
            bad: None,
        };
        let resolved = self.expand(&mut replay);
        if let Some(bad) = replay.bad {
            return Err(bad);
        }
        // No active decision is missing, so as many are active as are given, or some that are given are not.
        if candidate.0.len() == resolved.candidate.0.len() {
            return Ok(resolved);
        }
        match (candidate.0.keys()).find(|path| resolved.candidate.get(path).is_none()) {
            Some(path) => Err(BadCandidate::Extra { path: path.clone() }),
            None => Ok(resolved),
        }
    }

    /// The active decisions of `candidate` that have more than one value, in the order of the spec. A
    /// missing or illegal value counts as the domain's first one.
    #[must_use]
    pub fn open_decisions(&self, candidate: &Candidate) -> Vec<(DecisionPath, Domain)> {
        let mut listing = Listing {
            candidate,
            open: Vec::new(),
        };
        self.decide(&mut listing);
        listing.open
    }

    /// Every candidate, in the order of the spec; `None` when there are more than `limit`, or a decision
    /// is continuous.
    #[must_use]
    pub fn enumerate(&self, limit: usize) -> Option<Vec<Candidate>> {
        let mut all = Vec::new();
        self.visit(limit, |candidate| all.push(candidate))
            .then_some(all)
    }

    /// Shows every candidate to `see`, in the order of the spec, without holding them all. False when
    /// there are more than `limit`, or a decision is continuous: then `see` has seen only some, or none.
    #[must_use]
    pub fn visit(&self, limit: usize, mut see: impl FnMut(Candidate)) -> bool {
        let size = self.size();
        // The tolerance is for rounding in logarithms; the loop below is exact.
        if size.continuous > 0 || size.log10 > (limit as f64).log10() + 1e-6 {
            return false;
        }
        let mut odometer = Odometer::default();
        for _ in 0..limit {
            odometer.next = 0;
            see(self.decide(&mut odometer));
            odometer.wheels.truncate(odometer.next);
            if !odometer.advance() {
                return true;
            }
        }
        false
    }
}

struct First;

impl Chooser for First {
    fn choose(&mut self, _path: &DecisionPath, domain: &Domain) -> Value {
        domain.first()
    }
}

struct Sampler<'a, R: ?Sized>(&'a mut R);

impl<R: Rng + ?Sized> Chooser for Sampler<'_, R> {
    fn choose(&mut self, _path: &DecisionPath, domain: &Domain) -> Value {
        domain.sample(self.0)
    }
}

struct Mutation<'a, R: ?Sized> {
    parent: &'a Candidate,
    target: &'a DecisionPath,
    rng: &'a mut R,
}

impl<R: Rng + ?Sized> Chooser for Mutation<'_, R> {
    fn choose(&mut self, path: &DecisionPath, domain: &Domain) -> Value {
        let present = self
            .parent
            .get(path)
            .and_then(|value| domain.canonical(value));
        match present {
            Some(value) if path == self.target => domain.neighbour(&value, self.rng),
            Some(value) => value,
            None => domain.sample(self.rng),
        }
    }
}

struct Crossover<'a, R: ?Sized> {
    parents: [&'a Candidate; 2],
    rng: &'a mut R,
}

impl<R: Rng + ?Sized> Chooser for Crossover<'_, R> {
    fn choose(&mut self, path: &DecisionPath, domain: &Domain) -> Value {
        let [a, b] = self
            .parents
            .map(|parent| parent.get(path).and_then(|value| domain.canonical(value)));
        // One draw for every decision, so that what a parent lacks does not shift the ones that follow.
        let (first, second) = if self.rng.random::<bool>() {
            (a, b)
        } else {
            (b, a)
        };
        first.or(second).unwrap_or_else(|| domain.sample(self.rng))
    }
}

struct Replay<'a> {
    candidate: &'a Candidate,
    bad: Option<BadCandidate>,
}

impl Chooser for Replay<'_> {
    fn choose(&mut self, path: &DecisionPath, domain: &Domain) -> Value {
        let given = self.candidate.get(path);
        if let Some(value) = given.and_then(|value| domain.canonical(value)) {
            return value;
        }
        // The first mistake is the one to report: those that follow may come of it.
        self.bad.get_or_insert_with(|| match given {
            None => BadCandidate::Missing { path: path.clone() },
            Some(value) => BadCandidate::NotInDomain {
                path: path.clone(),
                value: value.clone(),
            },
        });
        domain.first()
    }
}

struct Listing<'a> {
    candidate: &'a Candidate,
    open: Vec<(DecisionPath, Domain)>,
}

impl Chooser for Listing<'_> {
    fn choose(&mut self, path: &DecisionPath, domain: &Domain) -> Value {
        if domain.is_open() {
            self.open.push((path.clone(), domain.clone()));
        }
        self.candidate
            .get(path)
            .and_then(|value| domain.canonical(value))
            .unwrap_or_else(|| domain.first())
    }
}

/// Counts through all candidates as an odometer does: one wheel for each active decision, the last one
/// turns fastest, and a wheel that turns drops those after it, since other decisions may follow.
#[derive(Default)]
struct Odometer {
    wheels: Vec<Wheel>,
    next: usize,
}

struct Wheel {
    index: u64,
    count: u64,
}

impl Odometer {
    fn advance(&mut self) -> bool {
        while let Some(wheel) = self.wheels.last_mut() {
            wheel.index += 1;
            if wheel.index < wheel.count {
                return true;
            }
            self.wheels.pop();
        }
        false
    }
}

impl Chooser for Odometer {
    fn choose(&mut self, _path: &DecisionPath, domain: &Domain) -> Value {
        if self.next == self.wheels.len() {
            self.wheels.push(Wheel {
                index: 0,
                count: domain.count().unwrap_or(1),
            });
        }
        let index = self.wheels[self.next].index;
        self.next += 1;
        domain.nth(index).unwrap_or_else(|| domain.first())
    }
}
