//! Why a search's jobs wait, in words.

use std::fmt;

use espalier_common::ids::Digest;
use espalier_common::job::JobKind;
use espalier_common::labels::Labels;

use super::{Demand, Fit, Offer};

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
    /// No worker that offers the evaluator has the labels.
    NoLabels {
        /// So many workers offer the evaluator.
        of: usize,
        /// What is asked for.
        labels: Labels,
    },
    /// No worker that has evaluator and data can run the test of the best.
    NoTest(String),
    /// Workers with free slots that fit are paused after failures of their own.
    Resting {
        /// So many workers.
        workers: usize,
    },
    /// What waits has failed on every worker with a free slot that fits: it waits for another, or, should
    /// there be none, for a while.
    Retries {
        /// So many jobs.
        jobs: usize,
    },
    /// Slots that fit hold no job, and their workers do not ask for one yet.
    NotReady {
        /// So many workers.
        workers: usize,
    },
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
            Self::NoLabels { of, labels } => write!(
                f,
                "none of {of} workers has the labels {labels}; start one with --label"
            ),
            Self::NoTest(name) => {
                write!(
                    f,
                    "no worker's evaluator '{name}' runs the test of the best"
                )
            }
            Self::Resting { workers } => write!(
                f,
                "{workers} of the workers that fit are paused for a while, since jobs kept failing on them; \
                 their logs say why"
            ),
            Self::Retries { jobs } => write!(
                f,
                "{jobs} failed on the workers that are free, and wait for another worker or a second try"
            ),
            Self::NotReady { workers } => write!(
                f,
                "{workers} of the workers that fit have a slot without a job and do not ask for one: they still end \
                 another job, or their program does not start, which their logs say"
            ),
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
    if demand.training == 0 && !demand.test && demand.retries.is_empty() {
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
            let able = worker.evaluators.get(&demand.evaluator);
            able.is_some_and(|able| able.runs(JobKind::Train))
        })
        .collect();
    if offering.is_empty() {
        return vec![Waiting::NoEvaluator(demand.evaluator.clone())];
    }
    let offers = offering.len();
    let offering: Vec<&Offer> = offering
        .into_iter()
        .filter(|worker| worker.labels.meet(&demand.labels))
        .collect();
    if offering.is_empty() {
        return vec![Waiting::NoLabels {
            of: offers,
            labels: demand.labels.clone(),
        }];
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
    let trains = demand.training > 0 || demand.retries.iter().any(|retry| !retry.test);
    let fitting: Vec<(&Offer, Fit)> = able
        .iter()
        .filter(|(_, fit)| fit.can_test || trains)
        .copied()
        .collect();
    let idle = |offer: &Offer| offer.slots > 0 && !offer.resting;
    if fitting
        .iter()
        .any(|(offer, fit)| idle(offer) && demand.has_job_for(offer, *fit))
    {
        return Vec::new();
    }
    if !fitting.is_empty() {
        reasons.insert(0, why_not_taken(demand, &fitting));
    } else if !able.is_empty() {
        reasons.insert(0, Waiting::NoTest(demand.evaluator.clone()));
    }
    reasons
}

/// Why none of the workers that fit takes a job.
fn why_not_taken(demand: &Demand, fitting: &[(&Offer, Fit)]) -> Waiting {
    let free = |resting: bool| {
        let free = fitting.iter().map(|(offer, _)| offer);
        free.filter(|offer| offer.slots > 0 && offer.resting == resting)
            .count()
    };
    let workers = free(true);
    let not_ready = fitting
        .iter()
        .filter(|(offer, _)| offer.unasked > 0)
        .count();
    if free(false) > 0 && !demand.retries.is_empty() {
        let jobs = demand.retries.len();
        Waiting::Retries { jobs }
    } else if workers > 0 {
        Waiting::Resting { workers }
    } else if not_ready > 0 {
        let workers = not_ready;
        Waiting::NotReady { workers }
    } else {
        let workers = fitting.len();
        Waiting::Busy { workers }
    }
}
