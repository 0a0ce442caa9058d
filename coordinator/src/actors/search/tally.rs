//! What a search adds up to, for the metrics: written by its actor after every batch and read without asking it,
//! so that a scrape neither waits for the journal nor costs the actor anything. May import the core.

use std::sync::{Arc, Mutex, PoisonError};

use espalier_core::search::{Phase, Search};

/// What counts as wanted of a search that neither its budget of trials nor `parallel` bounds: it takes what there
/// is, and what scales by this number has a bound of its own.
const WANTED_WITHOUT_BOUND: u32 = 1_024;

/// The counts of one search.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SearchTally {
    pub(crate) phase: &'static str,
    pub(crate) queued: u32,
    pub(crate) running: u32,
    pub(crate) completed: u32,
    pub(crate) failed: u32,
    pub(crate) infeasible: u32,
    pub(crate) cancelled: u32,
    /// Leases whose job is done and whose weights are on their way.
    pub(crate) uploading: u32,
    /// Slots that it could fill, with those that it fills.
    pub(crate) wanted: u32,
}

impl SearchTally {
    fn of(search: &Search) -> Self {
        let counts = search.counts();
        // A lease that does not run is held for an upload. Leases are at most as many as trials, whose numbers have
        // 32 bits.
        let held = u32::try_from(search.live().len()).unwrap_or(u32::MAX);
        let uploading = held.saturating_sub(search.running());
        Self {
            phase: search.phase().name(),
            queued: search.queued(),
            running: search.running(),
            completed: counts.completed,
            failed: counts.failed,
            infeasible: counts.infeasible,
            cancelled: counts.cancelled,
            uploading,
            // Weights that are under way are lost with their worker.
            wanted: slots_wanted(search).saturating_add(uploading),
        }
    }
}

/// Jobs that could run side by side, those that run among them: what is left of the budget, and `parallel` at most.
fn slots_wanted(search: &Search) -> u32 {
    let running = search.running();
    let waiting = match search.phase() {
        Phase::Running => search.queued().saturating_add(search.proposals_wanted()),
        // What runs goes on, and nothing else begins.
        Phase::Paused(_) => 0,
        Phase::Finishing(_) => {
            let waiting = search.waiting();
            let retries = u32::try_from(waiting.retries.len()).unwrap_or(u32::MAX);
            let rest = waiting.training.saturating_add(u32::from(waiting.test));
            rest.saturating_add(retries)
        }
        Phase::Finished(_) => return 0,
    };
    let limits = search.limits();
    let bound = match (limits.parallel, limits.budget.trials) {
        (Some(parallel), _) => parallel,
        (None, Some(_)) => u32::MAX,
        (None, None) => WANTED_WITHOUT_BOUND,
    };
    // `parallel` may have been all there is to take while more runs already.
    running.saturating_add(waiting).min(bound.max(running))
}

/// The counts, as its actor wrote them last.
#[derive(Clone, Debug)]
pub(super) struct Tally(Arc<Mutex<SearchTally>>);

impl Tally {
    pub(super) fn of(search: &Search) -> Self {
        Self(Arc::new(Mutex::new(SearchTally::of(search))))
    }

    pub(super) fn update(&self, search: &Search) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = SearchTally::of(search);
    }

    pub(super) fn read(&self) -> SearchTally {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use espalier_common::ids::{AttemptNumber, SearchId, TrialNumber, WorkerId};
    use espalier_core::search::{Command, Definition, Event, ReleaseReason, Steer, step};
    use espalier_core::searcher::Proposer;
    use uuid::Uuid;

    use super::*;

    fn search(budget: &str, parallel: &str) -> Search {
        let text = format!(
            "name: some\nhyperparameters: {{x: {{range: [0.0, 1.0]}}}}\nevaluator: mine\n\
             objectives: [{{maximize: score}}]\nbudget: {{{budget}}}\n{parallel}\n"
        );
        let spec = espalier_common::spec::read(&text, "spec.yaml").unwrap();
        let definition = Box::new(Definition::new(spec, text, None, None));
        let created = Event::SearchCreated { definition };
        Search::from_first_event(SearchId(Uuid::from_u128(1)), &created, 0).unwrap()
    }

    /// Proposes and leases so many trials.
    fn lease(search: &mut Search, slots: u32) {
        let mut proposer = Proposer::new(search.definition());
        for ask in 1..=u64::from(slots) {
            let outcome = step(search, proposer.ask(ask).into(), 0).unwrap();
            for event in &outcome.events {
                proposer.recorded(event);
            }
        }
        let lease = Command::LeaseJobs {
            worker: WorkerId(Uuid::from_u128(2)),
            slots,
            can_test: false,
            can_resume: false,
            retries: Default::default(),
        };
        step(search, lease, 0).unwrap();
        assert_eq!(search.running(), slots);
    }

    #[test]
    fn slots_are_wanted_for_what_is_left_of_the_budget_and_no_more_than_run_side_by_side() {
        assert_eq!(SearchTally::of(&search("trials: 9", "")).wanted, 9);
        assert_eq!(
            SearchTally::of(&search("trials: 9", "parallel: 4")).wanted,
            4
        );
        let mut some = search("trials: 5", "parallel: 4");
        lease(&mut some, 2);
        let tally = SearchTally::of(&some);
        assert_eq!((tally.running, tally.wanted), (2, 4));
    }

    #[test]
    fn a_search_bounded_by_time_alone_wants_a_bounded_number() {
        let tally = SearchTally::of(&search("time: 1h", ""));
        assert_eq!(tally.wanted, WANTED_WITHOUT_BOUND);
        assert_eq!(
            SearchTally::of(&search("time: 1h", "parallel: 5000")).wanted,
            5_000
        );
    }

    #[test]
    fn a_paused_search_keeps_what_runs_and_one_that_has_ended_wants_nothing() {
        let mut some = search("trials: 9", "");
        lease(&mut some, 3);
        step(&mut some, Steer::Pause.into(), 1).unwrap();
        assert_eq!(SearchTally::of(&some).wanted, 3);
        let release = Command::ReleaseJob {
            trial: TrialNumber(1),
            attempt: AttemptNumber(1),
            reason: ReleaseReason::WorkerLeft,
        };
        step(&mut some, release, 1).unwrap();
        assert_eq!(SearchTally::of(&some).wanted, 2);
        step(&mut some, Steer::Stop.into(), 2).unwrap();
        let tally = SearchTally::of(&some);
        assert_eq!((tally.phase, tally.wanted), ("finished", 0));
    }
}
