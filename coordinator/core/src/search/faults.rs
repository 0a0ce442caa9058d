//! What went wrong so far with one piece of work: a trial, or the job that ends a search. Bounded, however
//! many attempts there were.

use std::collections::VecDeque;

use espalier_common::ids::{AttemptNumber, WorkerId};

/// The most workers and attempts remembered: far more than the attempts of a usual spec. Of more, the oldest
/// are forgotten, and then a job may go to such a worker again.
const REMEMBERED: usize = 16;

/// What went wrong with a piece of work.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Faults {
    counted: u32,
    workers: VecDeque<WorkerId>,
    reported: VecDeque<AttemptNumber>,
}

/// How an attempt ended without a result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Fault {
    /// It counts against the cap of attempts.
    pub(super) costs: bool,
    /// The machine may be at fault: the work is tried elsewhere.
    pub(super) of_worker: bool,
    /// The worker said so, and may say it again.
    pub(super) reported: bool,
}

impl Faults {
    /// Notes how an attempt on `worker` ended.
    pub(super) fn note(&mut self, attempt: AttemptNumber, worker: Option<WorkerId>, fault: Fault) {
        self.counted += u32::from(fault.costs);
        if fault.reported {
            remember(&mut self.reported, attempt);
        }
        if let Some(worker) = worker.filter(|_| fault.of_worker) {
            self.workers.retain(|known| *known != worker);
            remember(&mut self.workers, worker);
        }
    }

    /// Attempts that count against the cap.
    pub(super) fn counted(&self) -> u32 {
        self.counted
    }

    /// Workers on which it failed, the latest last.
    pub(super) fn workers(&self) -> impl Iterator<Item = WorkerId> + '_ {
        self.workers.iter().copied()
    }

    /// Whether it failed on some worker.
    pub(super) fn are_of_workers(&self) -> bool {
        !self.workers.is_empty()
    }

    /// Whether the worker of this attempt said that it failed.
    pub(super) fn were_reported_by(&self, attempt: AttemptNumber) -> bool {
        self.reported.contains(&attempt)
    }

    /// The last attempt whose worker said that it failed.
    pub(super) fn last_reported(&self) -> Option<AttemptNumber> {
        self.reported.back().copied()
    }
}

fn remember<T>(known: &mut VecDeque<T>, new: T) {
    if known.len() >= REMEMBERED {
        known.pop_front();
    }
    known.push_back(new);
}
