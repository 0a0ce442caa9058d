//! Decide: a command against the state. Validates everything; changes nothing.

use espalier_common::ids::{AttemptNumber, Digest, TrialNumber, WorkerId};
use espalier_common::job::Job;
use espalier_common::metrics::Measurement;

use super::command::{Command, Drop, Rejection, Reply};
use super::event::{Event, FinishReason, PauseReason, Prepared, Refusal, Refused, ReleaseReason};
use super::state::{LiveAttempt, LivePhase, Phase, Search};

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
            refused,
            outcome,
        } => Ok(Decision::done(record_proposal(
            search, ask, told, refused, outcome,
        ))),
        Command::LeaseJobs {
            worker,
            slots,
            can_test,
        } => Ok(lease(search, worker, slots, can_test, now_ms)),
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
        Command::ExpireLease { trial, attempt } => {
            search.decide_expire(trial, attempt).map(Decision::done)
        }
        Command::RecordWeights {
            trial,
            attempt,
            weights,
        } => record_weights(search, trial, attempt, weights),
        Command::PauseSearch { reason } => pause(search, reason),
        Command::ResumeSearch => resume(search),
        Command::StopSearch => stop(search),
        Command::Recover => Ok(Decision::done(recover(search))),
        Command::CheckTime => Ok(Decision::done(Vec::new())),
    }
}

/// An answer that comes too late (the search ends, the budget is full, the ask was answered before) changes
/// nothing: the searcher's thread may always be a step behind.
fn record_proposal(
    search: &Search,
    ask: u64,
    told: u64,
    refused: Vec<Refusal>,
    outcome: Result<Box<Prepared>, String>,
) -> Vec<Event> {
    let wanted = matches!(search.phase, Phase::Running | Phase::Paused(_))
        && search.proposals_ended.is_none()
        && search
            .definition
            .spec
            .budget
            .trials
            .is_none_or(|trials| search.counts.accepted < trials);
    if !wanted || ask < search.next_ask {
        return Vec::new();
    }
    let mut number = search.trials.len();
    let mut next_number = || {
        number += 1;
        // A stream of 2^32 trials would have outgrown memory long before.
        TrialNumber(u32::try_from(number).unwrap_or(u32::MAX))
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
    match outcome {
        Ok(proposal) if search.identities.contains_key(&proposal.candidate_id) => {
            // The searcher's side checks identity first; this keeps the promise if it ever errs.
            let of = search.identities[&proposal.candidate_id];
            let Prepared {
                candidate,
                origin,
                memo,
                ..
            } = *proposal;
            let refusal = Refusal {
                candidate,
                origin,
                memo,
                refused: Refused::Duplicate { of },
            };
            events.push(Event::ProposalRefused { ask, refusal });
        }
        Ok(proposal) => {
            events.push(Event::TrialProposed {
                ask,
                told,
                trial: next_number(),
                proposal,
            });
        }
        Err(reason) => events.push(Event::ProposalsEnded { ask, reason }),
    }
    events
}

fn lease(search: &Search, worker: WorkerId, slots: u32, can_test: bool, now_ms: u64) -> Decision {
    let mut work: Vec<(TrialNumber, Job)> = Vec::new();
    if search.phase == Phase::Running && !search.time_is_up(now_ms) {
        let to = search.definition.spec.space.training.epochs;
        let wanted = slots.min(search.leasable()) as usize;
        work.extend(
            search
                .queue
                .iter()
                .take(wanted)
                .map(|&trial| (trial, Job::Train { from: 0, to })),
        );
    } else if slots > 0
        && let Some((trial, job)) = search.final_job()
        && (can_test || !matches!(job, Job::Test { .. }))
    {
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
    let live = search.held(trial, attempt)?;
    if live.worker != worker {
        return Err(Rejection::NotHeld {
            trial,
            attempt,
            reason: Drop::Stale,
        });
    }
    if live.phase != LivePhase::Running || number <= live.reported {
        // Said before, and the acknowledgement was lost: acknowledge again.
        return Ok(Decision::done(Vec::new()));
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

fn record_weights(
    search: &Search,
    trial: TrialNumber,
    attempt: AttemptNumber,
    weights: Digest,
) -> Result<Decision, Rejection> {
    match search.held(trial, attempt) {
        Ok(live) if live.phase == LivePhase::Uploading => {
            Ok(Decision::done(vec![Event::WeightsStored {
                trial,
                attempt,
                weights,
            }]))
        }
        Ok(_) => Err(Rejection::Invalid(format!(
            "attempt {attempt} of trial {trial} was not asked for its weights"
        ))),
        // Uploaded twice, the acknowledgement of the first was lost.
        Err(_)
            if search
                .best
                .as_ref()
                .is_some_and(|best| best.weights == Some(weights) && best.stored) =>
        {
            Ok(Decision::done(Vec::new()))
        }
        Err(rejection) => Err(rejection),
    }
}

fn pause(search: &Search, reason: PauseReason) -> Result<Decision, Rejection> {
    match &search.phase {
        Phase::Running => Ok(Decision::done(vec![Event::SearchPaused { reason }])),
        Phase::Paused(_) => Ok(Decision::done(Vec::new())),
        Phase::Finishing(_) => Err(Rejection::WrongPhase {
            phase: "finishing",
            wanted: "paused",
        }),
        Phase::Finished(reason) => Err(Rejection::Finished(reason.clone())),
    }
}

fn resume(search: &Search) -> Result<Decision, Rejection> {
    match &search.phase {
        Phase::Running | Phase::Finishing(_) => Ok(Decision::done(Vec::new())),
        Phase::Paused(_) => Ok(Decision::done(vec![Event::SearchResumed])),
        Phase::Finished(reason) => Err(Rejection::Finished(reason.clone())),
    }
}

fn stop(search: &Search) -> Result<Decision, Rejection> {
    match &search.phase {
        Phase::Finished(FinishReason::Stopped) | Phase::Finishing(FinishReason::Stopped) => {
            Ok(Decision::done(Vec::new()))
        }
        Phase::Finished(reason) => Err(Rejection::Finished(reason.clone())),
        Phase::Running | Phase::Paused(_) | Phase::Finishing(_) => {
            Ok(Decision::done(vec![Event::SearchFinishing {
                reason: FinishReason::Stopped,
            }]))
        }
    }
}

fn recover(search: &Search) -> Vec<Event> {
    match search.phase {
        // Nothing of a finished search is to be recovered, and its stream stays as it is.
        Phase::Finished(_) => Vec::new(),
        _ => vec![Event::SearchRecovered],
    }
}

impl Search {
    /// The live lease of this attempt.
    pub(super) fn held(
        &self,
        trial: TrialNumber,
        attempt: AttemptNumber,
    ) -> Result<&LiveAttempt, Rejection> {
        let known = self
            .trial(trial)
            .filter(|known| (1..=known.attempts).contains(&attempt.0));
        let known = known.ok_or(Rejection::UnknownAttempt { trial, attempt })?;
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
