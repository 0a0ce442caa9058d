//! The dispatcher's choice: which search gets the next slot of which waiting worker, and why a search's
//! jobs wait. Pure; may import `espalier-common` only.

mod explain;
mod health;
mod leases;

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use espalier_common::ids::{Digest, SearchId, TrialNumber, WorkerId};
use espalier_common::job::{Abilities, JobKind};
use espalier_common::labels::Labels;

pub use explain::{Waiting, explain};
pub use health::{Health, retry_wait_ms};
pub use leases::{BEFORE_START, LeaseTable, Look, NO_CALL, Renewal};

/// A worker, as far as the choice needs to know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// The worker's instance.
    pub worker: WorkerId,
    /// Slots that are free.
    pub slots: u32,
    /// Slots that hold no lease, and for which it does not ask for a job.
    pub unasked: u32,
    /// The evaluators it offers, with what each can do.
    pub evaluators: BTreeMap<String, Abilities>,
    /// Fingerprints of data sets it was found to lack.
    pub missing: BTreeSet<Digest>,
    /// What its operator says of it.
    pub labels: Labels,
    /// It rests after failures of its own: nothing is leased to it until the rest is over.
    pub resting: bool,
}

/// A search, as far as the choice needs to know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Demand {
    /// The search.
    pub search: SearchId,
    /// Training jobs that could be leased now, to any worker that fits.
    pub training: u32,
    /// Whether the job that tests the best could be leased now, to any worker that fits.
    pub test: bool,
    /// Jobs that could be leased now, but failed on some worker before. They come first.
    pub retries: Vec<Retry>,
    /// Jobs that run.
    pub running: u32,
    /// The most jobs that may run at one time.
    pub parallel: Option<u32>,
    /// Its share of the workers beside other searches, at least 1.
    pub weight: u32,
    /// The evaluator that runs its jobs.
    pub evaluator: String,
    /// Labels that a worker must have.
    pub labels: Labels,
    /// Fingerprint of the data set its jobs need.
    pub dataset: Option<Digest>,
}

/// A job that failed on some worker before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retry {
    /// The trial.
    pub trial: TrialNumber,
    /// Whether it is the test of the best.
    pub test: bool,
    /// Workers on which it failed.
    pub failed_on: BTreeSet<WorkerId>,
    /// Whether some other worker that could run it is there, with or without a free slot now.
    pub elsewhere: bool,
    /// Whether it has waited long enough to be tried again where it failed.
    pub rested: bool,
}

impl Retry {
    /// Whether `worker` may get it: one on which it failed only when there is no other and it has waited.
    fn allows(&self, worker: WorkerId) -> bool {
        !self.failed_on.contains(&worker) || (!self.elsewhere && self.rested)
    }
}

/// Slots of a worker for a search.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The worker.
    pub worker: WorkerId,
    /// The search.
    pub search: SearchId,
    /// So many slots.
    pub slots: u32,
    /// Whether the worker's evaluator can run the job that tests the best.
    pub can_test: bool,
    /// Whether it goes on from checkpoints.
    pub can_resume: bool,
    /// The retries that are among them.
    pub retries: BTreeSet<TrialNumber>,
}

/// What a worker can do for a search.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Fit {
    can_test: bool,
    can_resume: bool,
}

impl Demand {
    /// Jobs that may be granted now.
    fn jobs(&self) -> u32 {
        let retries = u32::try_from(self.retries.len()).unwrap_or(u32::MAX);
        let waiting = self.training.saturating_add(u32::from(self.test));
        waiting.saturating_add(retries).min(self.room())
    }

    /// Whether there is a job for a worker that fits.
    fn has_job_for(&self, offer: &Offer, fit: Fit) -> bool {
        let kind = |test: bool| fit.can_test || !test;
        let retry = |retry: &Retry| kind(retry.test) && retry.allows(offer.worker);
        self.training > 0 || (self.test && kind(true)) || self.retries.iter().any(retry)
    }

    fn room(&self) -> u32 {
        self.parallel
            .map_or(u32::MAX, |limit| limit.saturating_sub(self.running))
    }

    /// What `offer` can do for this search; `None` when it can do nothing. Every search trains, so an
    /// evaluator that does not train is of no use to it.
    fn fit(&self, offer: &Offer) -> Option<Fit> {
        if self.lacks_data(offer) || !offer.labels.meet(&self.labels) {
            return None;
        }
        let able = offer.evaluators.get(&self.evaluator)?;
        able.runs(JobKind::Train).then(|| Fit {
            can_test: able.runs(JobKind::Test),
            can_resume: able.checkpoints,
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
/// Slots go one by one to the search with the fewest running jobs for its weight (the older of equals), so
/// searches of one weight share the workers evenly whatever their sizes, and one of weight 3 gets three times the
/// slots of one of weight 1 (D'Hondt's rule). Of the workers that fit it, the slot comes from the one that
/// fits the fewest searches, so that one which could serve others is left to them; then from the one that
/// was granted the least, so that scarce jobs spread over machines; then from the one that waits longest.
#[must_use]
pub fn pick(offers: &[Offer], demands: &[Demand]) -> Vec<Grant> {
    let mut searches: Vec<Share> = demands.iter().map(Share::of).collect();
    let mut workers: Vec<Slots> = offers
        .iter()
        .map(|offer| Slots::of(offer, demands))
        .collect();
    let mut granted: BTreeMap<(usize, usize), (u32, BTreeSet<TrialNumber>)> = BTreeMap::new();
    while let Some(search) = next_search(&searches) {
        let share = &mut searches[search];
        let Some((worker, retry)) = share.place(search, &workers) else {
            share.give_up();
            continue;
        };
        workers[worker].free -= 1;
        workers[worker].granted += 1;
        let (slots, retries) = granted.entry((worker, search)).or_default();
        *slots += 1;
        retries.extend(retry);
    }
    granted
        .into_iter()
        .filter_map(|((worker, search), (slots, retries))| {
            let fit = workers[worker].fits[search]?;
            Some(Grant {
                worker: offers[worker].worker,
                search: demands[search].search,
                slots,
                can_test: fit.can_test,
                can_resume: fit.can_resume,
                retries,
            })
        })
        .collect()
}

/// What a search can still be granted.
struct Share<'a> {
    retries: VecDeque<&'a Retry>,
    training: u32,
    test: bool,
    running: u32,
    weight: u32,
    room: u32,
}

impl<'a> Share<'a> {
    fn of(demand: &'a Demand) -> Self {
        Self {
            retries: demand.retries.iter().collect(),
            training: demand.training,
            test: demand.test,
            running: demand.running,
            weight: demand.weight.max(1),
            room: demand.room(),
        }
    }

    /// Whether the next slot is rather its own than the other's: the quotients of jobs and weight, compared without
    /// a division.
    fn compare(&self, other: &Self) -> Ordering {
        let quotient =
            |share: &Self, by: &Self| (u64::from(share.running) + 1) * u64::from(by.weight);
        quotient(self, other).cmp(&quotient(other, self))
    }

    fn wants(&self) -> bool {
        self.room > 0 && (self.training > 0 || self.test || !self.retries.is_empty())
    }

    /// Takes a slot for the next job that a worker is there for: retries first, the test last. Answers with
    /// the worker and the retry, if it is one.
    fn place(&mut self, search: usize, workers: &[Slots]) -> Option<(usize, Option<TrialNumber>)> {
        while let Some(retry) = self.retries.pop_front() {
            // Workers only lose slots while slots are given out, so a retry is looked at once.
            let allowed = |worker: &Slots| retry.allows(worker.id);
            if let Some(worker) = next_worker(workers, search, retry.test, allowed) {
                return Some((self.took(worker), Some(retry.trial)));
            }
        }
        let test = self.training == 0;
        if test && !self.test {
            return None;
        }
        let worker = next_worker(workers, search, test, |_| true)?;
        if test {
            self.test = false;
        } else {
            self.training -= 1;
        }
        Some((self.took(worker), None))
    }

    fn took(&mut self, worker: usize) -> usize {
        self.running = self.running.saturating_add(1);
        self.room -= 1;
        worker
    }

    /// No worker is left for the next job. A worker that tests also trains, so there is none for the test
    /// either.
    fn give_up(&mut self) {
        self.room = 0;
    }
}

/// What a worker can still give.
struct Slots {
    id: WorkerId,
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
            id: offer.worker,
            free: if offer.resting { 0 } else { offer.slots },
            granted: 0,
            choices: fits.iter().flatten().count(),
            fits,
        }
    }
}

fn next_search(searches: &[Share<'_>]) -> Option<usize> {
    let wanting = searches
        .iter()
        .enumerate()
        .filter(|(_, share)| share.wants());
    wanting
        .min_by(|(_, one), (_, other)| one.compare(other))
        .map(|(index, _)| index)
}

fn next_worker(
    workers: &[Slots],
    search: usize,
    test: bool,
    allowed: impl Fn(&Slots) -> bool,
) -> Option<usize> {
    let fitting = workers.iter().enumerate().filter(|(_, worker)| {
        let fits = worker.fits[search].is_some_and(|fit| fit.can_test || !test);
        worker.free > 0 && fits && allowed(worker)
    });
    fitting
        .min_by_key(|(index, worker)| (worker.choices, worker.granted, *index))
        .map(|(index, _)| index)
}
