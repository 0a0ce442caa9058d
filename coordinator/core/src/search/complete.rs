//! Decide, for completions: a trial's score, the best trained once more, the test of the best.

use espalier_common::failure::{Failure, FailureDomain, FailureKind};
use espalier_common::ids::{AttemptNumber, TrialNumber, WorkerId};
use espalier_common::job::JobKind;
use espalier_common::metrics::Measurement;

use super::command::{Completion, Drop, Rejection, Reply, WeightsAnswer};
use super::decide::Decision;
use super::event::Event;
use super::state::{LivePhase, OpenTrial, Search};

impl Search {
    /// A completion counts whenever its trial is open, even from an attempt whose lease has expired: the
    /// result is as good as any, and the newer attempt is then cancelled. Only one of before the trial was taken up
    /// again does not: that attempt was given up, and its compute is counted.
    pub(super) fn decide_complete(
        &self,
        worker: WorkerId,
        trial: TrialNumber,
        attempt: AttemptNumber,
        completion: Completion,
    ) -> Result<Decision, Rejection> {
        self.known(trial, attempt)?;
        if let Some(open) = self.open.get(&trial) {
            if attempt < open.first {
                let reason = Drop::Stale;
                return Err(Rejection::NotHeld {
                    trial,
                    attempt,
                    reason,
                });
            }
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
            None => self.complete_late(worker, trial, attempt, &completion),
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
        let reported = open.attempts.get(&attempt);
        let reported = reported.and_then(|record| record.last.as_ref());
        let seen = reported.map_or(0, |measurement| measurement.step);
        let measurements: Vec<Measurement> = completion
            .measurements
            .into_iter()
            .filter(|new| new.step > seen)
            .collect();
        let last = measurements.last().or(reported);
        let (step, score) = match self.score_of(last) {
            Ok(scored) => scored,
            Err(failure) => {
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

    /// The step and the score of a last measurement. What is wrong with it would be wrong with every trial's.
    fn score_of(&self, last: Option<&Measurement>) -> Result<(u32, f64), Failure> {
        let wrong =
            |message: String| Failure::new(FailureDomain::User, FailureKind::Evaluator, message);
        let Some(last) = last else {
            return Err(wrong(
                "the evaluator ended the job without one measurement".to_owned(),
            ));
        };
        let metric = &self.objective().metric;
        let score = last.metrics.get(metric).ok_or_else(|| {
            wrong(format!(
                "the last measurement has no {metric:?}, which is what the search optimises; \
                 the evaluator must report it, or `objectives:` name another metric"
            ))
        })?;
        Ok((last.step, score))
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

pub(super) fn weights_decision(events: Vec<Event>, answer: WeightsAnswer) -> Decision {
    Decision {
        events,
        reply: Reply::Weights(answer),
    }
}
