//! The dispatcher's choice: which search gets the next slot of which waiting worker, and why a search's
//! jobs wait. Pure; may import `espalier-common` only.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use espalier_common::ids::{Digest, SearchId, WorkerId};
use espalier_common::job::JobKind;

/// A worker, as far as the choice needs to know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// The worker's instance.
    pub worker: WorkerId,
    /// Slots that are free.
    pub slots: u32,
    /// The evaluators it offers, with the kinds of jobs each runs.
    pub evaluators: BTreeMap<String, BTreeSet<JobKind>>,
    /// Fingerprints of data sets it was found to lack.
    pub missing: BTreeSet<Digest>,
}

/// A search, as far as the choice needs to know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Demand {
    /// The search.
    pub search: SearchId,
    /// Training jobs that could be leased now.
    pub training: u32,
    /// Whether the job that tests the best could be leased now.
    pub test: bool,
    /// Jobs that run.
    pub running: u32,
    /// The most jobs that may run at one time.
    pub parallel: Option<u32>,
    /// The evaluator that runs its jobs.
    pub evaluator: String,
    /// Fingerprint of the data set its jobs need.
    pub dataset: Option<Digest>,
}

/// Slots of a worker for a search.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The worker.
    pub worker: WorkerId,
    /// The search.
    pub search: SearchId,
    /// So many slots.
    pub slots: u32,
    /// Whether the worker's evaluator can run the job that tests the best.
    pub can_test: bool,
}

/// What a worker can do for a search.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Fit {
    can_test: bool,
}

impl Demand {
    /// Jobs that may be granted now.
    fn jobs(&self) -> u32 {
        let waiting = self.training.saturating_add(u32::from(self.test));
        waiting.min(self.room())
    }

    fn room(&self) -> u32 {
        self.parallel
            .map_or(u32::MAX, |limit| limit.saturating_sub(self.running))
    }

    /// What `offer` can do for this search; `None` when it can do nothing. Every search trains, so an
    /// evaluator that does not train is of no use to it.
    fn fit(&self, offer: &Offer) -> Option<Fit> {
        if self.lacks_data(offer) {
            return None;
        }
        let kinds = offer.evaluators.get(&self.evaluator)?;
        kinds.contains(&JobKind::Train).then(|| Fit {
            can_test: kinds.contains(&JobKind::Test),
        })
    }

    fn lacks_data(&self, offer: &Offer) -> bool {
        self.dataset
            .is_some_and(|fingerprint| offer.missing.contains(&fingerprint))
    }
}

/// Chooses. `offers` in the order in which the workers began to wait, `demands` in the order in which the
/// searches were created.
///
/// Slots go one by one to the search with the fewest running jobs (the older of equals), so searches share
/// the workers evenly whatever their sizes. Of the workers that fit it, the slot comes from the one that
/// fits the fewest searches, so that one which could serve others is left to them; then from the one that
/// was granted the least, so that scarce jobs spread over machines; then from the one that waits longest.
#[must_use]
pub fn pick(offers: &[Offer], demands: &[Demand]) -> Vec<Grant> {
    let mut searches: Vec<Share> = demands.iter().map(Share::of).collect();
    let mut workers: Vec<Slots> = offers
        .iter()
        .map(|offer| Slots::of(offer, demands))
        .collect();
    let mut granted: BTreeMap<(usize, usize), u32> = BTreeMap::new();
    while let Some(search) = next_search(&searches) {
        let share = &mut searches[search];
        let Some(worker) = next_worker(&workers, search, share.training == 0) else {
            share.give_up();
            continue;
        };
        share.take();
        workers[worker].free -= 1;
        workers[worker].granted += 1;
        *granted.entry((worker, search)).or_default() += 1;
    }
    granted
        .into_iter()
        .filter_map(|((worker, search), slots)| {
            let fit = workers[worker].fits[search]?;
            Some(Grant {
                worker: offers[worker].worker,
                search: demands[search].search,
                slots,
                can_test: fit.can_test,
            })
        })
        .collect()
}

/// What a search can still be granted.
struct Share {
    training: u32,
    test: bool,
    running: u32,
    room: u32,
}

impl Share {
    fn of(demand: &Demand) -> Self {
        Self {
            training: demand.training,
            test: demand.test,
            running: demand.running,
            room: demand.room(),
        }
    }

    fn wants(&self) -> bool {
        self.room > 0 && (self.training > 0 || self.test)
    }

    /// Takes a slot for the next job; training comes first.
    fn take(&mut self) {
        if self.training > 0 {
            self.training -= 1;
        } else {
            self.test = false;
        }
        self.running = self.running.saturating_add(1);
        self.room -= 1;
    }

    /// No worker is left for the next job. A worker that tests also trains, so there is none for the test
    /// either.
    fn give_up(&mut self) {
        self.room = 0;
    }
}

/// What a worker can still give.
struct Slots {
    free: u32,
    granted: u32,
    /// What it can do for each search.
    fits: Vec<Option<Fit>>,
    /// Searches with work that it fits.
    choices: usize,
}

impl Slots {
    fn of(offer: &Offer, demands: &[Demand]) -> Self {
        let fits: Vec<Option<Fit>> = demands
            .iter()
            .map(|demand| demand.fit(offer).filter(|_| demand.jobs() > 0))
            .collect();
        Self {
            free: offer.slots,
            granted: 0,
            choices: fits.iter().flatten().count(),
            fits,
        }
    }
}

fn next_search(searches: &[Share]) -> Option<usize> {
    let wanting = searches
        .iter()
        .enumerate()
        .filter(|(_, share)| share.wants());
    wanting
        .min_by_key(|(index, share)| (share.running, *index))
        .map(|(index, _)| index)
}

fn next_worker(workers: &[Slots], search: usize, test: bool) -> Option<usize> {
    let fitting = workers.iter().enumerate().filter(|(_, worker)| {
        worker.free > 0 && worker.fits[search].is_some_and(|fit| fit.can_test || !test)
    });
    fitting
        .min_by_key(|(index, worker)| (worker.choices, worker.granted, *index))
        .map(|(index, _)| index)
}

/// Why jobs of a search wait.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Waiting {
    /// As many jobs run as the spec allows.
    Parallel(u32),
    /// No worker is connected.
    NoWorker,
    /// No worker offers the evaluator.
    NoEvaluator(String),
    /// Workers that offer the evaluator lack the data.
    NoData {
        /// So many workers.
        workers: usize,
        /// So many offer the evaluator.
        of: usize,
        /// The data set's fingerprint.
        fingerprint: Digest,
    },
    /// No worker that has evaluator and data can run the test of the best.
    NoTest(String),
    /// Every slot that fits is taken.
    Busy {
        /// Workers that fit.
        workers: usize,
    },
}

impl fmt::Display for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Parallel(limit) => write!(f, "parallel limit {limit} reached"),
            Self::NoWorker => {
                f.write_str("no worker is connected; start one with `espalier-worker`")
            }
            Self::NoEvaluator(name) => write!(f, "no worker offers evaluator '{name}'"),
            Self::NoData {
                workers,
                of,
                fingerprint,
            } => write!(
                f,
                "{workers} of {of} workers lack the data set (fingerprint {}); put it under their --data-root",
                fingerprint.short()
            ),
            Self::NoTest(name) => {
                write!(
                    f,
                    "no worker's evaluator '{name}' runs the test of the best"
                )
            }
            Self::Busy { workers: 1 } => {
                f.write_str("all slots of the 1 worker that fits are busy")
            }
            Self::Busy { workers } => {
                write!(f, "all slots of the {workers} workers that fit are busy")
            }
        }
    }
}

/// Why the jobs of a search wait, the main reason first; empty when none waits, or a slot is free for one.
/// `workers` are all that are connected, those without a free slot too.
#[must_use]
pub fn explain(demand: &Demand, workers: &[Offer]) -> Vec<Waiting> {
    if demand.training == 0 && !demand.test {
        return Vec::new();
    }
    if let Some(limit) = demand.parallel.filter(|&limit| demand.running >= limit) {
        return vec![Waiting::Parallel(limit)];
    }
    if workers.is_empty() {
        return vec![Waiting::NoWorker];
    }
    let offering: Vec<&Offer> = workers
        .iter()
        .filter(|worker| {
            let kinds = worker.evaluators.get(&demand.evaluator);
            kinds.is_some_and(|kinds| kinds.contains(&JobKind::Train))
        })
        .collect();
    if offering.is_empty() {
        return vec![Waiting::NoEvaluator(demand.evaluator.clone())];
    }
    let able: Vec<(&Offer, Fit)> = offering
        .iter()
        .filter_map(|&worker| Some((worker, demand.fit(worker)?)))
        .collect();
    let mut reasons = Vec::new();
    if let Some(fingerprint) = demand.dataset.filter(|_| able.len() < offering.len()) {
        reasons.push(Waiting::NoData {
            workers: offering.len() - able.len(),
            of: offering.len(),
            fingerprint,
        });
    }
    let fitting: Vec<&Offer> = able
        .iter()
        .filter(|(_, fit)| fit.can_test || demand.training > 0)
        .map(|&(worker, _)| worker)
        .collect();
    if fitting.iter().any(|worker| worker.slots > 0) {
        return Vec::new();
    }
    if !fitting.is_empty() {
        let workers = fitting.len();
        reasons.insert(0, Waiting::Busy { workers });
    } else if !able.is_empty() {
        reasons.insert(0, Waiting::NoTest(demand.evaluator.clone()));
    }
    reasons
}
