//! One job in one evaluator: hands it over, checks what comes back, and ends with what to tell the
//! coordinator. May import common, tokio.

mod parts;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::pin::pin;
use std::time::Duration;

use espalier_common::evaluator::{Done, Evaluate, FromEvaluator, checked_metrics};
use espalier_common::failure::{Failure, FailureDomain, FailureKind};
use espalier_common::ids::AttemptKey;
use espalier_common::job::Job;
use espalier_common::metrics::{Measurement, Metrics, Objective};
use espalier_runtime::logging::millis;
use tokio::time::{Instant, sleep_until};

use crate::config::Limits;
use crate::delivery::{MAX_WAITING, Reporter};
use crate::evaluator::{Evaluator, Heard};
use crate::limits;
use crate::stop::{Stop, StopSignal};
use parts::{Part, parts};

/// How a job ended.
#[derive(Debug)]
pub(crate) enum JobEnd {
    /// Well.
    Done {
        /// Of a test job.
        test_metrics: Metrics,
        /// The weights' file as the evaluator named it.
        weights: Option<String>,
        /// Spent in the evaluator.
        seconds: f64,
    },
    /// Badly.
    Failed(Failure),
    /// It was stopped from outside.
    Stopped(Stop),
    /// It was broken off, since the worker ends, and can be gone on with.
    BrokenOff {
        /// The checkpoint's file as the evaluator named it.
        checkpoint: String,
        /// Epochs that are finished.
        step: u32,
        /// When the worker began to end.
        asked: Instant,
    },
}

/// How long things may take, and what an evaluator may use.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// Silence that is a hang.
    pub(crate) silence: Duration,
    /// For a checkpoint, when the worker ends.
    pub(crate) checkpoint: Duration,
    /// Of one job.
    pub(crate) limits: Limits,
}

/// Runs a job. Afterwards the evaluator can take another one, or is ended.
pub(crate) async fn run(
    evaluator: &mut Evaluator,
    evaluate: Evaluate,
    stop: &mut StopSignal,
    reporter: &Reporter,
    bounds: Bounds,
) -> JobEnd {
    let key = evaluate.job.key();
    let scratch = PathBuf::from(&evaluate.scratch);
    let checker = Checker::new(evaluate.job.job.clone(), evaluate.job.objective.clone());
    let began = Instant::now();
    if let Err(failure) = evaluator.begin(evaluate, bounds.silence).await {
        evaluator.kill().await;
        return JobEnd::Failed(failure);
    }
    let mut running = Running {
        key,
        evaluator,
        reporter,
        checker,
        began,
        measured: began,
        asked: None,
    };
    let mut exceeded = pin!(limits::exceeded(bounds.limits, began, scratch));
    let end = loop {
        let checkpoint_due = running.asked.map(|asked| asked + bounds.checkpoint);
        let end = tokio::select! {
            heard = running.evaluator.hear(began, bounds.silence) => running.heard(heard, bounds).await,
            failure = &mut exceeded => Some(running.exceeded(failure).await),
            why = stop.more_than(running.asked.map(|_| Stop::Drain)) => running.stop(why).await,
            () = due(checkpoint_due) => {
                running.evaluator.terminate().await;
                Some(JobEnd::Stopped(Stop::Drain))
            }
        };
        if let Some(end) = end {
            break end;
        }
    };
    running.evaluator.end_job();
    end
}

async fn due(when: Option<Instant>) {
    match when {
        Some(when) => sleep_until(when).await,
        None => std::future::pending().await,
    }
}

/// A job that runs.
struct Running<'a> {
    key: AttemptKey,
    evaluator: &'a mut Evaluator,
    reporter: &'a Reporter,
    checker: Checker,
    began: Instant,
    /// When the last measurement came.
    measured: Instant,
    /// When the worker began to end and asked for a checkpoint.
    asked: Option<Instant>,
}

impl Running<'_> {
    /// Stops the job; `None` while its checkpoint is waited for.
    async fn stop(&mut self, why: Stop) -> Option<JobEnd> {
        match why {
            Stop::Dropped => self.evaluator.stop_job(self.key).await,
            Stop::Drain => {
                let trains = matches!(self.checker.job, Job::Train { .. });
                if trains
                    && self.evaluator.knows_checkpoints()
                    && self.evaluator.ask_for_checkpoint(self.key).await.is_ok()
                {
                    self.asked = Some(Instant::now());
                    return None;
                }
                // The worker ends, so the process has to end too.
                self.evaluator.terminate().await;
            }
        }
        Some(JobEnd::Stopped(why))
    }

    /// The job takes more than it may.
    async fn exceeded(&mut self, failure: Failure) -> JobEnd {
        let failure = self.evaluator.with_tail(failure);
        self.evaluator.stop_job(self.key).await;
        self.lost(failure)
    }

    /// What is heard of the evaluator; the end of the job, if it is one.
    async fn heard(&mut self, heard: Heard, bounds: Bounds) -> Option<JobEnd> {
        let failure = match heard {
            Heard::Message(message) => match self.message(message).await {
                Ok(end) => return end,
                Err(failure) => failure,
            },
            Heard::Wrong(failure) => failure,
            Heard::Silent => {
                let failure = self.evaluator.hung(bounds.silence);
                self.evaluator.kill().await;
                return Some(self.lost(failure));
            }
            Heard::Exited(status) => {
                let failure = self.evaluator.crashed(status).await;
                self.evaluator.kill().await;
                return Some(self.lost(failure));
            }
        };
        // The evaluator does not know yet that its job has failed.
        let failure = self.evaluator.with_tail(failure);
        self.evaluator.stop_job(self.key).await;
        Some(JobEnd::Failed(failure))
    }

    /// A job that has failed, unless the worker ends: there may be nothing to go on from, no room for a checkpoint, or
    /// whoever ends the worker has ended its evaluators too. Then the job is handed back as it began.
    fn lost(&self, failure: Failure) -> JobEnd {
        if self.asked.is_some() && failure.domain != FailureDomain::Candidate {
            return JobEnd::Stopped(Stop::Drain);
        }
        JobEnd::Failed(failure)
    }

    /// What a message means; a failure when it does not fit the job.
    async fn message(&mut self, message: FromEvaluator) -> Result<Option<JobEnd>, Failure> {
        Ok(match message {
            FromEvaluator::Measurement {
                step,
                metrics,
                seconds,
            } => {
                let measurement = self.checker.measurement(step, &metrics)?;
                let reported = self.reporter.report(measurement);
                reported.map_err(|_| too_many_waiting())?;
                let (key, took) = (self.key, self.measured.elapsed());
                tracing::debug!(search = %key.search, trial = key.trial.0, attempt = key.attempt.0, step,
                    span = "step", duration_ms = millis(took), "measured by the evaluator");
                for Part { name, took, before } in parts(&seconds, took) {
                    tracing::debug!(search = %key.search, trial = key.trial.0, attempt = key.attempt.0, step,
                        span = name, duration_ms = millis(took), ended_ms_ago = millis(before),
                        "part of a step, as the evaluator says");
                }
                self.measured = Instant::now();
                None
            }
            FromEvaluator::Done(done) => Some(match self.checker.done(&done) {
                Ok(test_metrics) => JobEnd::Done {
                    test_metrics,
                    weights: done.weights,
                    seconds: self.began.elapsed().as_secs_f64(),
                },
                Err(failure) => JobEnd::Failed(self.evaluator.with_tail(failure)),
            }),
            FromEvaluator::Checkpoint { path, step } => {
                let asked = self.asked.ok_or_else(|| {
                    wrong("the evaluator sent a checkpoint, and was not asked for one".to_owned())
                })?;
                self.checker.broken_off(step)?;
                Some(JobEnd::BrokenOff {
                    checkpoint: path,
                    step,
                    asked,
                })
            }
            FromEvaluator::Failed { failure } => {
                let failure = self
                    .evaluator
                    .with_tail(failure.with_resources_told_apart());
                if failure.spoils_the_process() {
                    self.evaluator.kill().await;
                }
                Some(self.lost(failure))
            }
            // `ready` again does no harm; the others are not handed on.
            FromEvaluator::Ready(_)
            | FromEvaluator::Progress { .. }
            | FromEvaluator::Log { .. } => None,
        })
    }
}

/// What an evaluator says about a job must fit the job.
struct Checker {
    job: Job,
    objective: Objective,
    last_step: u32,
    measured: bool,
}

impl Checker {
    fn new(job: Job, objective: Objective) -> Self {
        Self {
            job,
            objective,
            // Also of one that goes on from a checkpoint: should that be unreadable, the evaluator begins anew.
            last_step: 0,
            measured: false,
        }
    }

    fn measurement(
        &mut self,
        step: u32,
        raw: &BTreeMap<String, Option<f64>>,
    ) -> Result<Measurement, Failure> {
        let metrics = checked_metrics(raw)?;
        let Job::Train { to, .. } = self.job else {
            return Err(wrong(
                "the evaluator sent a measurement during a test job; its metrics belong into `done`".to_owned(),
            ));
        };
        let last = self.last_step;
        if step <= last || step > to {
            return Err(wrong(format!(
                "the evaluator measured step {step} after step {last} in a job that ends with step {to}; \
                 steps count the epochs finished and grow"
            )));
        }
        self.require_objective(&metrics)?;
        self.last_step = step;
        self.measured = true;
        Ok(Measurement { step, metrics })
    }

    fn done(&self, done: &Done) -> Result<Metrics, Failure> {
        match self.job {
            Job::Train { .. } if !self.measured => Err(wrong(format!(
                "the evaluator finished without a measurement; it must report {:?} at least once",
                self.objective.metric
            ))),
            // The last measurement counts.
            Job::Train { .. } => Ok(Metrics::default()),
            Job::Test { .. } => {
                let metrics = checked_metrics(&done.metrics)?;
                self.require_objective(&metrics)?;
                Ok(metrics)
            }
        }
    }

    /// A checkpoint must leave something to do, and lie behind what was measured.
    fn broken_off(&self, step: u32) -> Result<(), Failure> {
        let Job::Train { to, .. } = self.job else {
            return Err(wrong(
                "the evaluator sent a checkpoint of a test job".to_owned(),
            ));
        };
        if step >= to || step < self.last_step {
            return Err(wrong(format!(
                "the evaluator sent a checkpoint after {step} epochs in a job that ends with {to} and had measured \
                 {}; its step is the number of finished epochs",
                self.last_step
            )));
        }
        Ok(())
    }

    fn require_objective(&self, metrics: &Metrics) -> Result<(), Failure> {
        let wanted = &self.objective.metric;
        if metrics.get(wanted).is_some() {
            return Ok(());
        }
        let came: Vec<&str> = metrics.0.keys().map(String::as_str).collect();
        Err(wrong(format!(
            "the search optimises {wanted:?}, which the evaluator did not report; it reported {came:?}"
        )))
    }
}

fn wrong(message: String) -> Failure {
    Failure::new(FailureDomain::User, FailureKind::Evaluator, message)
}

pub(crate) fn too_many_waiting() -> Failure {
    Failure::new(
        FailureDomain::Worker,
        FailureKind::Evaluator,
        format!(
            "more than {MAX_WAITING} measurements of this attempt wait for the coordinator; the evaluator \
             measures faster than they can be delivered"
        ),
    )
}

#[cfg(test)]
mod tests {
    use espalier_common::ids::Digest;
    use espalier_common::metrics::Direction;

    use super::*;

    fn checker(job: Job) -> Checker {
        let objective = Objective {
            metric: "accuracy".to_owned(),
            direction: Direction::Maximize,
        };
        Checker::new(job, objective)
    }

    fn raw(name: &str, value: f64) -> BTreeMap<String, Option<f64>> {
        BTreeMap::from([(name.to_owned(), Some(value))])
    }

    #[test]
    fn steps_grow_and_stay_within_the_job() {
        let mut checker = checker(Job::Train {
            from: 2,
            to: 5,
            checkpoint: None,
        });
        for (step, fits) in [
            (0, false),
            (1, true),
            (3, true),
            (3, false),
            (5, true),
            (6, false),
        ] {
            let answer = checker.measurement(step, &raw("accuracy", 0.5));
            assert_eq!(answer.is_ok(), fits, "step {step}: {answer:?}");
        }
        assert!(checker.done(&Done::default()).is_ok());
    }

    #[test]
    fn the_metric_that_is_optimised_must_come_and_others_are_named() {
        let mut checker = checker(Job::train(5));
        let failure = checker.measurement(1, &raw("loss", 0.5)).unwrap_err();
        assert_eq!(failure.domain, FailureDomain::User);
        assert!(failure.message.contains("\"accuracy\"") && failure.message.contains("\"loss\""));
        assert!(checker.done(&Done::default()).is_err());
    }

    #[test]
    fn a_test_job_brings_its_metrics_at_the_end() {
        let mut checker = checker(Job::Test {
            weights: Digest::of(b"w"),
        });
        assert!(checker.measurement(1, &raw("accuracy", 0.5)).is_err());
        let done = Done {
            metrics: raw("accuracy", 0.75),
            weights: None,
        };
        assert_eq!(checker.done(&done).unwrap().get("accuracy"), Some(0.75));
        assert!(checker.done(&Done::default()).is_err());
    }
}
