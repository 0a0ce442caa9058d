//! A second, slower account of a search, kept from its events alone: what the state must agree with.

use std::collections::{BTreeMap, BTreeSet};

use espalier_common::failure::{FailureDomain, FailureKind};
use espalier_common::ids::{AttemptNumber, TrialNumber, WorkerId};
use espalier_common::job::{Checkpoint, Job};
use espalier_core::search::{Effect, Event, Refused, ReleaseReason, Search, TrialState};

/// What the events say.
#[derive(Default)]
pub struct Model {
    states: BTreeMap<TrialNumber, TrialState>,
    /// The lease of every trial that has one.
    live: BTreeMap<TrialNumber, (AttemptNumber, WorkerId)>,
    /// The trials whose attempt goes on from a checkpoint.
    resumed: BTreeSet<TrialNumber>,
    /// What attempts that were broken off have left.
    checkpoints: BTreeMap<TrialNumber, Checkpoint>,
    /// The highest attempt of every trial.
    attempts: BTreeMap<TrialNumber, AttemptNumber>,
    /// The highest attempt of every trial when it was tried again: no result of one before counts.
    given_up: BTreeMap<TrialNumber, AttemptNumber>,
    /// How many attempts of every open trial count against the cap.
    costs: BTreeMap<TrialNumber, u32>,
    /// How many those of a trial were that failed for good since they were used up.
    used_up: BTreeMap<TrialNumber, u32>,
    /// Leases that ended without a message of their worker: it must be told.
    to_drop: Vec<(TrialNumber, AttemptNumber)>,
    told: BTreeSet<TrialNumber>,
    /// Trials with another search's result.
    reused: BTreeSet<TrialNumber>,
    /// The most that users have ever allowed to run at one time.
    most_parallel: u32,
    paused: bool,
    finishing: bool,
    finished: bool,
}

impl Model {
    /// Takes in what one command came to.
    pub fn step(&mut self, events: &[Event], effects: &[Effect]) {
        self.to_drop.clear();
        for event in events {
            assert!(!self.finished, "{event:?} in a finished search");
            self.event(event);
        }
        for effect in effects {
            match effect {
                Effect::Tell(observation) => {
                    let trial = observation.trial.expect("only trials are told by effects");
                    assert!(self.told.insert(trial), "trial {trial} is told twice");
                    assert!(!self.states[&trial].is_open(), "trial {trial} is open");
                }
                Effect::Drop { trial, attempt, .. } => {
                    let known = self
                        .to_drop
                        .iter()
                        .position(|one| *one == (*trial, *attempt));
                    self.to_drop
                        .swap_remove(known.expect("nothing was taken from that worker"));
                }
            }
        }
        assert_eq!(self.to_drop, [], "workers that must drop their jobs");
    }

    fn event(&mut self, event: &Event) {
        match event {
            Event::ProposalRefused { refusal, .. } => {
                if let Refused::Infeasible { trial, .. } = refusal.refused {
                    self.new_trial(trial, TrialState::Infeasible);
                }
            }
            Event::TrialProposed { trial, .. } => self.new_trial(*trial, TrialState::Queued),
            Event::JobLeased {
                trial,
                attempt,
                worker,
                job,
            } => self.lease(*trial, *attempt, *worker, job),
            Event::TrialCompleted {
                trial,
                attempt,
                worker,
                upload,
                ..
            } => {
                let given_up = self.given_up.get(trial).copied().unwrap_or_default();
                assert!(
                    *attempt > given_up,
                    "a result of before trial {trial} was tried again"
                );
                self.close(*trial, TrialState::Completed, Some(*attempt));
                if *upload {
                    self.live.insert(*trial, (*attempt, *worker));
                }
            }
            Event::TrialReused { trial, .. } => {
                assert!(!self.attempts.contains_key(trial), "it was leased before");
                self.reused.insert(*trial);
                self.close(*trial, TrialState::Completed, None);
            }
            Event::TrialFailed { trial, failure } => {
                assert_eq!(failure.domain, FailureDomain::Candidate, "{failure:?}");
                if failure.kind == FailureKind::AttemptsExhausted {
                    let costs = self.costs.get(trial).copied().unwrap_or_default();
                    self.used_up.insert(*trial, costs);
                }
                self.close(*trial, TrialState::Failed, None);
            }
            Event::TrialCancelled { trial } => self.close(*trial, TrialState::Cancelled, None),
            Event::TrialRetrained {
                trial,
                attempt,
                upload,
                ..
            } => {
                assert_eq!(self.live[trial].0, *attempt);
                self.checkpoints.remove(trial);
                if !upload {
                    self.live.remove(trial);
                }
            }
            Event::UploadResumed {
                trial,
                attempt,
                worker,
            } => {
                let before = self.live.insert(*trial, (*attempt, *worker));
                assert_eq!(before, None, "trial {trial} is held twice");
            }
            Event::WeightsStored { trial, attempt, .. } => {
                self.checkpoints.remove(trial);
                if let Some((held, _)) = self.live.get(trial) {
                    assert_eq!(held, attempt);
                }
                self.live.remove(trial);
            }
            Event::TestCompleted { trial, attempt, .. } => self.end(*trial, *attempt),
            Event::CheckpointStored {
                trial,
                attempt,
                checkpoint,
            } => {
                assert_eq!(self.live[trial].0, *attempt);
                let before = self.checkpoints.insert(*trial, *checkpoint);
                assert!(before.is_none_or(|before| before.step <= checkpoint.step));
            }
            Event::AttemptFailed {
                trial,
                attempt,
                failure,
            } => {
                let machine = [FailureKind::OutOfMemory, FailureKind::Disk];
                if self.resumed.contains(trial) && !machine.contains(&failure.kind) {
                    self.checkpoints.remove(trial);
                }
                self.end(*trial, *attempt);
                if failure.domain != FailureDomain::User {
                    self.cost(*trial);
                }
            }
            Event::LeaseExpired { trial, attempt } => {
                self.end(*trial, *attempt);
                self.cost(*trial);
            }
            Event::AttemptReleased {
                trial,
                attempt,
                reason,
            } => {
                self.end(*trial, *attempt);
                match reason {
                    ReleaseReason::Superseded => self.to_drop.push((*trial, *attempt)),
                    ReleaseReason::WorkerRestarted => self.cost(*trial),
                    _ => {}
                }
            }
            Event::TrialRetried { trial, .. } => {
                let before = self.states.insert(*trial, TrialState::Queued);
                assert!(
                    matches!(before, Some(TrialState::Failed | TrialState::Cancelled)),
                    "trial {trial} is tried again out of {before:?}"
                );
                self.told.remove(trial);
                self.used_up.remove(trial);
                let last = self.attempts.get(trial).copied().unwrap_or_default();
                self.given_up.insert(*trial, last);
            }
            Event::TrialPinned { trial } => assert_eq!(self.states[trial], TrialState::Queued),
            Event::LimitsChanged { limits } => {
                let parallel = limits.parallel.unwrap_or(u32::MAX);
                self.most_parallel = self.most_parallel.max(parallel);
            }
            Event::SearchPaused { .. } => self.paused = true,
            Event::SearchResumed => self.paused = false,
            Event::SearchFinishing { .. } => {
                self.paused = false;
                self.finishing = true;
            }
            Event::SearchFinished { .. } => {
                self.finished = true;
                self.checkpoints.clear();
            }
            Event::SearchCreated { .. }
            | Event::SearchRecovered
            | Event::ClockJumped { .. }
            | Event::TimePassed
            | Event::Steered { .. }
            | Event::ProposalsEnded { .. }
            | Event::Measured { .. } => {}
        }
    }

    fn new_trial(&mut self, trial: TrialNumber, state: TrialState) {
        assert_eq!(
            trial.0 as usize,
            self.states.len() + 1,
            "trials have no gaps"
        );
        self.states.insert(trial, state);
    }

    fn lease(&mut self, trial: TrialNumber, attempt: AttemptNumber, worker: WorkerId, job: &Job) {
        assert!(!self.paused, "trial {trial} is leased in a paused search");
        let last = self.attempts.insert(trial, attempt).unwrap_or_default();
        assert!(attempt > last, "fencing numbers grow");
        let before = self.live.insert(trial, (attempt, worker));
        assert_eq!(before, None, "trial {trial} is leased twice");
        self.resumed.remove(&trial);
        if let Job::Train {
            from, checkpoint, ..
        } = *job
        {
            let resumed = checkpoint.map(|artifact| Checkpoint {
                artifact,
                step: from,
            });
            match resumed {
                Some(_) => assert_eq!(resumed.as_ref(), self.checkpoints.get(&trial)),
                None => assert_eq!(from, 0),
            }
            self.resumed.extend(resumed.map(|_| trial));
        }
        let state = self
            .states
            .get_mut(&trial)
            .expect("a leased trial is known");
        if self.finishing {
            assert_eq!(
                *state,
                TrialState::Completed,
                "only the best is leased at the end"
            );
        } else {
            assert_eq!(*state, TrialState::Queued);
            assert!(matches!(job, Job::Train { .. }));
            *state = TrialState::Running;
        }
    }

    /// The lease of an attempt ends by a message of its worker, or since none came.
    fn end(&mut self, trial: TrialNumber, attempt: AttemptNumber) {
        let (held, _) = self
            .live
            .remove(&trial)
            .expect("a lease that ends was held");
        assert_eq!(held, attempt);
        let state = self
            .states
            .get_mut(&trial)
            .expect("a leased trial is known");
        if *state == TrialState::Running {
            *state = TrialState::Queued;
        }
    }

    /// An attempt has ended in a way that a trial may only so often.
    fn cost(&mut self, trial: TrialNumber) {
        if self.states[&trial].is_open() {
            *self.costs.entry(trial).or_default() += 1;
        }
    }

    /// A trial is over; a lease that it has, other than that of `by`, is taken from its worker.
    fn close(&mut self, trial: TrialNumber, state: TrialState, by: Option<AttemptNumber>) {
        self.checkpoints.remove(&trial);
        self.costs.remove(&trial);
        let before = self.states.insert(trial, state);
        assert!(
            before.is_some_and(TrialState::is_open),
            "trial {trial} closes once"
        );
        if let Some((attempt, _)) = self.live.remove(&trial)
            && Some(attempt) != by
        {
            self.to_drop.push((trial, attempt));
        }
    }

    /// Compares the state with this account.
    pub fn check(&self, search: &Search) {
        let states: BTreeMap<_, _> = search
            .trials()
            .map(|(number, trial)| (number, trial.state))
            .collect();
        assert_eq!(states, self.states);
        let live: BTreeMap<_, _> = search
            .live()
            .iter()
            .map(|(trial, live)| (*trial, (live.attempt, live.worker)))
            .collect();
        assert_eq!(live, self.live);
        assert_eq!(*search.checkpoints(), self.checkpoints);
        self.check_counts(search);
        let attempts = search.definition().spec.attempts;
        for (trial, costs) in &self.costs {
            assert!(
                *costs < attempts,
                "trial {trial} is open after {costs} attempts"
            );
        }
        for (trial, costs) in &self.used_up {
            assert_eq!(*costs, attempts, "trial {trial} failed with attempts left");
        }
        for (trial, state) in &self.states {
            if *state == TrialState::Running {
                assert!(
                    self.live.contains_key(trial),
                    "{trial} runs without a lease"
                );
            }
            let told = !state.is_open() && *state != TrialState::Infeasible;
            assert_eq!(self.told.contains(trial), told, "trial {trial}, {state:?}");
        }
        if self.finished {
            assert!(live.is_empty(), "leases outlive the search: {live:?}");
            assert!(states.values().all(|state| !state.is_open()), "{states:?}");
        }
    }

    fn check_counts(&self, search: &Search) {
        let of = |wanted| {
            self.states
                .values()
                .filter(|state| **state == wanted)
                .count() as u32
        };
        let counts = search.counts();
        assert_eq!(search.queued(), of(TrialState::Queued));
        assert_eq!(counts.completed, of(TrialState::Completed));
        assert_eq!(counts.failed, of(TrialState::Failed));
        assert_eq!(counts.cancelled, of(TrialState::Cancelled));
        assert_eq!(counts.infeasible, of(TrialState::Infeasible));
        let accepted = self.states.len() as u32 - counts.infeasible;
        assert_eq!(counts.accepted, accepted);
        let trained = self.attempts.keys();
        let trained = trained.filter(|trial| !self.reused.contains(trial));
        assert_eq!(counts.leased as usize, trained.count());
        assert_eq!(counts.reused as usize, self.reused.len());
        let attempts: u32 = self.attempts.values().map(|last| last.0).sum();
        assert_eq!(counts.attempts, attempts, "fencing numbers have no gaps");
        if let Some(trials) = search.limits().budget.trials {
            assert!(counts.leased <= trials, "the budget is exceeded");
            let never_ran = self.states.iter().filter(|(trial, state)| {
                **state == TrialState::Cancelled && !self.attempts.contains_key(trial)
            });
            let charged = counts.accepted - counts.reused - never_ran.count() as u32;
            assert!(charged <= trials, "more are to run than the budget allows");
        }
        // What runs when the limit is lowered goes on.
        let parallel = search.definition().spec.parallel.unwrap_or(u32::MAX);
        assert!(
            search.running() <= parallel.max(self.most_parallel),
            "more run than `parallel` has allowed at any time"
        );
    }
}
