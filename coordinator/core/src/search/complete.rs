//! Decide, for completions: a trial's score, the best trained once more, the test of the best.

use espalier_common::failure::{Failure, FailureDomain, FailureKind};
use espalier_common::ids::{AttemptNumber, TrialNumber, WorkerId};
use espalier_common::job::JobKind;
use espalier_common::metrics::Measurement;

use super::command::{Completion, Drop, Rejection, Reply, WeightsAnswer};
use super::decide::Decision;
use super::event::Event;
use super::state::{LivePhase, OpenTrial, Search, TrialState};

impl Search {
    /// A completion counts whenever its trial is open, even from an attempt whose lease has expired: the
    /// result is as good as any, and the newer attempt is then cancelled.
    pub(super) fn decide_complete(
        &self,
        worker: WorkerId,
        trial: TrialNumber,
        attempt: AttemptNumber,
        completion: Completion,
    ) -> Result<Decision, Rejection> {
        let known = self
            .trial(trial)
            .filter(|known| (1..=known.attempts).contains(&attempt.0));
        let known = known.ok_or(Rejection::UnknownAttempt { trial, attempt })?;
        if let Some(open) = self.open.get(&trial) {
            return self.complete_trial(open, worker, trial, attempt, completion);
        }
        let live = self.live.get(&trial).filter(|live| live.attempt == attempt);
        match live {
            Some(live) if live.phase == LivePhase::Running => match live.job {
                JobKind::Train => self.complete_retraining(trial, attempt, &completion),
                JobKind::Test => self.complete_test(trial, attempt, completion),
            },
            // Said before, and the answer was lost: answer again.
            Some(_) => Ok(weights_decision(Vec::new(), WeightsAnswer::Upload)),
            None if known.state == TrialState::Completed && known.completed_by == Some(attempt) => {
                Ok(weights_decision(Vec::new(), self.late_answer(trial)))
            }
            None => Err(Rejection::NotHeld {
                trial,
                attempt,
                reason: Drop::Closed,
            }),
        }
    }

    fn late_answer(&self, trial: TrialNumber) -> WeightsAnswer {
        match &self.best {
            Some(best) if best.trial == trial && best.stored => WeightsAnswer::Keep,
            _ => WeightsAnswer::Discard,
        }
    }

    fn complete_trial(
        &self,
        open: &OpenTrial,
        worker: WorkerId,
        trial: TrialNumber,
        attempt: AttemptNumber,
        completion: Completion,
    ) -> Result<Decision, Rejection> {
        let reported = open.last.get(&attempt);
        let seen = reported.map_or(0, |measurement| measurement.step);
        let measurements: Vec<Measurement> = completion
            .measurements
            .into_iter()
            .filter(|new| new.step > seen)
            .collect();
        let last = measurements.last().or(reported);
        let metric = &self.objective().metric;
        let (step, score) = match last.map(|last| (last.step, last.metrics.get(metric))) {
            Some((step, Some(score))) => (step, score),
            missing => {
                let message = match missing {
                    None => "the evaluator ended the job without one measurement".to_owned(),
                    Some(_) => format!(
                        "the last measurement has no {metric:?}, which is what the search optimises; \
                         the evaluator must report it, or `objectives:` name another metric"
                    ),
                };
                let failure = Failure::new(FailureDomain::User, FailureKind::Evaluator, message);
                let events = self.decide_fail(trial, attempt, failure)?;
                return Ok(weights_decision(events, WeightsAnswer::Discard));
            }
        };
        let wanted = self
            .is_better(trial, score)
            .then_some(completion.weights)
            .flatten();
        let upload = wanted.is_some() && !completion.weights_stored;
        let mut events = vec![Event::TrialCompleted {
            trial,
            attempt,
            worker,
            measurements,
            score,
            step,
            seconds: completion.seconds,
            weights: completion.weights,
            upload,
        }];
        let answer = match wanted {
            None => WeightsAnswer::Discard,
            Some(_) if upload => WeightsAnswer::Upload,
            Some(weights) => {
                events.push(Event::WeightsStored {
                    trial,
                    attempt,
                    weights,
                });
                WeightsAnswer::Keep
            }
        };
        Ok(weights_decision(events, answer))
    }

    fn complete_retraining(
        &self,
        trial: TrialNumber,
        attempt: AttemptNumber,
        completion: &Completion,
    ) -> Result<Decision, Rejection> {
        let Some(weights) = completion.weights else {
            let message = "the best was trained once more for its weights, and left none";
            let failure = Failure::new(FailureDomain::Worker, FailureKind::Evaluator, message);
            let events = self.decide_fail(trial, attempt, failure)?;
            return Ok(weights_decision(events, WeightsAnswer::Discard));
        };
        let upload = !completion.weights_stored;
        let seconds = completion.seconds;
        let mut events = vec![Event::TrialRetrained {
            trial,
            attempt,
            seconds,
            weights,
            upload,
        }];
        if !upload {
            events.push(Event::WeightsStored {
                trial,
                attempt,
                weights,
            });
        }
        let answer = if upload {
            WeightsAnswer::Upload
        } else {
            WeightsAnswer::Keep
        };
        Ok(weights_decision(events, answer))
    }

    fn complete_test(
        &self,
        trial: TrialNumber,
        attempt: AttemptNumber,
        completion: Completion,
    ) -> Result<Decision, Rejection> {
        if completion.test_metrics.0.is_empty() {
            let message = "the test of the best ended without a metric";
            let failure = Failure::new(FailureDomain::Worker, FailureKind::Evaluator, message);
            return self
                .decide_fail(trial, attempt, failure)
                .map(Decision::done);
        }
        let (metrics, seconds) = (completion.test_metrics, completion.seconds);
        let events = vec![Event::TestCompleted {
            trial,
            attempt,
            metrics,
            seconds,
        }];
        Ok(weights_decision(events, WeightsAnswer::Discard))
    }
}

fn weights_decision(events: Vec<Event>, answer: WeightsAnswer) -> Decision {
    Decision {
        events,
        reply: Reply::Weights(answer),
    }
}
