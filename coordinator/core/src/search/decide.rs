//! Decide: a command against the state. Validates everything; changes nothing.

use std::collections::BTreeSet;

use espalier_common::ids::{AttemptNumber, TrialNumber, WorkerId};
use espalier_common::job::Job;
use espalier_common::metrics::Measurement;

use super::command::{Command, Drop, Rejection, Reply};
use super::event::{Event, Prepared, Refusal, Refused, ReleaseReason};
use super::state::{LiveAttempt, LivePhase, Phase, Search, Trial};

/// What a command comes to, before it is applied.
pub(super) struct Decision {
    pub(super) events: Vec<Event>,
    pub(super) reply: Reply,
}

impl Decision {
    pub(super) fn done(events: Vec<Event>) -> Self {
        Self {
            events,
            reply: Reply::Done,
        }
    }
}

pub(super) fn decide(
    search: &Search,
    command: Command,
    now_ms: u64,
) -> Result<Decision, Rejection> {
    match command {
        Command::RecordProposal {
            ask,
            told,
            heard,
            refused,
            outcome,
            stored,
        } => {
            let place = Place { ask, told, heard };
            let mut events = record_proposal(search, place, refused, outcome);
            if let (Some(Event::TrialProposed { trial, .. }), Some(stored)) =
                (events.last(), stored)
            {
                events.extend(search.decide_reuse(*trial, *stored));
            }
            Ok(Decision::done(events))
        }
        Command::LeaseJobs {
            worker,
            slots,
            can_test,
            can_resume,
            retries,
        } => {
            let able = Able {
                can_test,
                can_resume,
            };
            Ok(lease(search, worker, slots, able, &retries, now_ms))
        }
        Command::ReportMeasurement {
            worker,
            trial,
            attempt,
            number,
            measurement,
        } => report(search, worker, trial, attempt, number, measurement),
        Command::CompleteJob {
            worker,
            trial,
            attempt,
            completion,
        } => search.decide_complete(worker, trial, attempt, completion),
        Command::FailJob {
            trial,
            attempt,
            failure,
        } => search
            .decide_fail(trial, attempt, failure)
            .map(Decision::done),
        Command::ReleaseJob {
            trial,
            attempt,
            reason,
        } => release(search, trial, attempt, reason),
        Command::RecordCheckpoint {
            worker,
            trial,
            attempt,
            checkpoint,
        } => search.decide_checkpoint(worker, trial, attempt, checkpoint),
        Command::ExpireLease { trial, attempt } => {
            search.decide_expire(trial, attempt).map(Decision::done)
        }
        Command::RecordWeights {
            trial,
            attempt,
            weights,
        } => search.decide_weights(trial, attempt, weights),
        Command::Steer { steer, by } => search.decide_steer(steer, by, now_ms),
        Command::Recover => Ok(Decision::done(recover(search))),
        Command::CheckTime => Ok(Decision::done(search.decide_time(now_ms))),
        Command::ClockJumped { by_ms } => Ok(Decision::done(search.decide_jump(by_ms))),
    }
}

/// Which ask an answer is to, and how far its searcher had come.
#[derive(Clone, Copy)]
struct Place {
    ask: u64,
    told: u64,
    heard: u64,
}

/// An answer that comes too late (the search ends, the budget is full, the ask was answered before) changes
/// nothing: the searcher's thread may always be a step behind.
fn record_proposal(
    search: &Search,
    place: Place,
    refused: Vec<Refusal>,
    outcome: Result<Box<Prepared>, String>,
) -> Vec<Event> {
    let ask = place.ask;
    let wanted = matches!(search.phase, Phase::Running | Phase::Paused(_))
        && search.proposals_ended.is_none()
        && !search.trials_used_up()
        && !search.expects_too_little();
    if !wanted || ask < search.next_ask {
        return Vec::new();
    }
    let mut next = search.next_trial();
    let mut next_number = || {
        let following = TrialNumber(next.0.saturating_add(1));
        std::mem::replace(&mut next, following)
    };
    let mut events: Vec<Event> = refused
        .into_iter()
        .map(|mut refusal| {
            if let Refused::Infeasible { trial, .. } = &mut refusal.refused {
                *trial = next_number();
            }
            Event::ProposalRefused { ask, refusal }
        })
        .collect();
    events.push(match outcome {
        Ok(proposal) => proposed(search, place, &mut next_number, proposal),
        Err(reason) => Event::ProposalsEnded {
            ask,
            heard: Some(place.heard),
            reason,
        },
    });
    events
}

/// A proposal that passed, unless it is an earlier trial's candidate: the searcher's side checks identity
/// first, and this keeps the promise if it ever errs.
fn proposed(
    search: &Search,
    Place { ask, told, heard }: Place,
    next_number: impl FnOnce() -> TrialNumber,
    proposal: Box<Prepared>,
) -> Event {
    let Some(&of) = search.identities.get(&proposal.candidate_id) else {
        return Event::TrialProposed {
            ask,
            told,
            heard: Some(heard),
            trial: next_number(),
            proposal,
        };
    };
    let refusal = Refusal {
        candidate: proposal.candidate,
        origin: proposal.origin,
        memo: proposal.memo,
        refused: Refused::Duplicate { of },
    };
    Event::ProposalRefused { ask, refusal }
}

/// What a worker's evaluator can do beside training.
#[derive(Clone, Copy)]
struct Able {
    can_test: bool,
    can_resume: bool,
}

fn lease(
    search: &Search,
    worker: WorkerId,
    slots: u32,
    able: Able,
    retries: &BTreeSet<TrialNumber>,
    now_ms: u64,
) -> Decision {
    let mut work: Vec<(TrialNumber, Job)> = Vec::new();
    if search.phase == Phase::Running
        && !search.time_is_up(now_ms)
        && !search.deadline_has_passed(now_ms)
    {
        let wanted = slots.min(search.free_parallel()) as usize;
        let allowed = search.queue.iter().copied();
        let allowed = allowed.filter(|trial| search.may_lease(*trial, retries));
        work.extend(
            allowed
                .take(wanted)
                .map(|trial| (trial, search.training_job(trial, able.can_resume))),
        );
    } else if slots > 0
        && let Some((trial, job)) = search.final_job()
        && (able.can_test || !matches!(job, Job::Test { .. }))
        && search.may_lease(trial, retries)
    {
        let job = match job {
            Job::Train { .. } => search.training_job(trial, able.can_resume),
            Job::Test { .. } => job,
        };
        work.push((trial, job));
    }
    let mut events = Vec::with_capacity(work.len());
    let mut jobs = Vec::with_capacity(work.len());
    for (trial, job) in work {
        let given = search.trial(trial).map_or(0, |trial| trial.attempts);
        let attempt = AttemptNumber(given + 1);
        match search.leased_job(trial, attempt, &job) {
            Ok(leased) => {
                jobs.push(leased);
                events.push(Event::JobLeased {
                    trial,
                    attempt,
                    worker,
                    job,
                });
            }
            // It was built once before it was accepted, so this is a fault of ours: an open trial must not
            // block the queue, and the work that ends a search must not be tried for ever.
            Err(failure) if search.open.contains_key(&trial) => {
                events.push(Event::TrialFailed { trial, failure });
            }
            Err(failure) => events.push(Event::AttemptFailed {
                trial,
                attempt,
                failure,
            }),
        }
    }
    Decision {
        events,
        reply: Reply::Leased(jobs),
    }
}

fn report(
    search: &Search,
    worker: WorkerId,
    trial: TrialNumber,
    attempt: AttemptNumber,
    number: u32,
    measurement: Measurement,
) -> Result<Decision, Rejection> {
    let live = search.held_by(worker, trial, attempt)?;
    if live.phase != LivePhase::Running || number <= live.reported {
        // Said before, and the acknowledgement was lost: acknowledge again.
        return Ok(Decision::done(Vec::new()));
    }
    if measurement.step <= live.step {
        return Err(Rejection::Invalid(format!(
            "attempt {attempt} of trial {trial} reports step {} after step {}; steps count the epochs \
             finished and must grow",
            measurement.step, live.step
        )));
    }
    Ok(Decision::done(vec![Event::Measured {
        trial,
        attempt,
        number,
        measurement,
    }]))
}

fn release(
    search: &Search,
    trial: TrialNumber,
    attempt: AttemptNumber,
    reason: ReleaseReason,
) -> Result<Decision, Rejection> {
    search.held(trial, attempt)?;
    let mut events = vec![Event::AttemptReleased {
        trial,
        attempt,
        reason,
    }];
    if reason == ReleaseReason::WorkerRestarted {
        // It did not drain, so it died: of this trial, for all that is known.
        events.extend(search.exhausted_by_loss(trial));
    }
    Ok(Decision::done(events))
}

fn recover(search: &Search) -> Vec<Event> {
    match search.phase {
        // Nothing of a finished search is to be recovered, and its stream stays as it is.
        Phase::Finished(_) => Vec::new(),
        _ => vec![Event::SearchRecovered],
    }
}

impl Search {
    /// The trial of this attempt, if there was such an attempt.
    pub(super) fn known(
        &self,
        trial: TrialNumber,
        attempt: AttemptNumber,
    ) -> Result<&Trial, Rejection> {
        let known = self.trial(trial);
        let known = known.filter(|known| (1..=known.attempts).contains(&attempt.0));
        known.ok_or(Rejection::UnknownAttempt { trial, attempt })
    }

    /// The live lease of this attempt, if it is this worker's.
    pub(super) fn held_by(
        &self,
        worker: WorkerId,
        trial: TrialNumber,
        attempt: AttemptNumber,
    ) -> Result<&LiveAttempt, Rejection> {
        let live = self.held(trial, attempt)?;
        if live.worker == worker {
            return Ok(live);
        }
        let reason = Drop::Stale;
        Err(Rejection::NotHeld {
            trial,
            attempt,
            reason,
        })
    }

    /// The live lease of this attempt.
    pub(super) fn held(
        &self,
        trial: TrialNumber,
        attempt: AttemptNumber,
    ) -> Result<&LiveAttempt, Rejection> {
        let known = self.known(trial, attempt)?;
        match self.live.get(&trial) {
            Some(live) if live.attempt == attempt => Ok(live),
            _ => {
                let reason = if known.state.is_open() {
                    Drop::Stale
                } else {
                    Drop::Closed
                };
                Err(Rejection::NotHeld {
                    trial,
                    attempt,
                    reason,
                })
            }
        }
    }
}
