//! One job in one evaluator: hands it over, checks what comes back, and ends with what to tell the
//! coordinator. May import common, tokio.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::pin::pin;
use std::time::Duration;

use espalier_common::evaluator::{Done, Evaluate, FromEvaluator, checked_metrics};
use espalier_common::failure::{Failure, FailureDomain, FailureKind};
use espalier_common::job::Job;
use espalier_common::metrics::{Measurement, Metrics, Objective};
use espalier_runtime::logging::millis;
use tokio::time::Instant;

use crate::config::Limits;
use crate::delivery::{MAX_WAITING, Reporter};
use crate::evaluator::{Evaluator, Heard};
use crate::limits;
use crate::stop::{Stop, StopSignal};

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
}

/// Runs a job. Afterwards the evaluator can take another one, or is ended.
pub(crate) async fn run(
    evaluator: &mut Evaluator,
    evaluate: Evaluate,
    stop: &mut StopSignal,
    reporter: &Reporter,
    (silence, limits): (Duration, Limits),
) -> JobEnd {
    let key = evaluate.job.key();
    let scratch = PathBuf::from(&evaluate.scratch);
    let mut checker = Checker::new(evaluate.job.job.clone(), evaluate.job.objective.clone());
    let began = Instant::now();
    if let Err(failure) = evaluator.begin(evaluate, silence).await {
        evaluator.kill().await;
        return JobEnd::Failed(failure);
    }
    let mut since = began;
    let mut exceeded = pin!(limits::exceeded(limits, began, scratch));
    let end = loop {
        let heard = tokio::select! {
            heard = evaluator.hear(began, silence) => heard,
            failure = &mut exceeded => Heard::Wrong(failure),
            why = stop.stopped() => {
                match why {
                    Stop::Dropped => evaluator.stop_job(key).await,
                    // The worker ends, so the process has to end too.
                    Stop::Drain => evaluator.terminate().await,
                }
                break JobEnd::Stopped(why);
            }
        };
        let failure = match heard {
            Heard::Message(FromEvaluator::Measurement { step, metrics }) => {
                match checker
                    .measurement(step, &metrics)
                    .map(|m| reporter.report(m))
                {
                    Ok(Ok(())) => {
                        tracing::debug!(search = %key.search, trial = key.trial.0, attempt = key.attempt.0, step,
                            span = "step", duration_ms = millis(since.elapsed()), "measured by the evaluator");
                        since = Instant::now();
                        continue;
                    }
                    Ok(Err(_)) => too_many_waiting(),
                    Err(failure) => failure,
                }
            }
            Heard::Message(FromEvaluator::Done(done)) => {
                break match checker.done(&done) {
                    Ok(test_metrics) => JobEnd::Done {
                        test_metrics,
                        weights: done.weights,
                        seconds: began.elapsed().as_secs_f64(),
                    },
                    Err(failure) => JobEnd::Failed(evaluator.with_tail(failure)),
                };
            }
            Heard::Message(FromEvaluator::Failed { failure }) => {
                let failure = evaluator.with_tail(failure.with_resources_told_apart());
                if failure.spoils_the_process() {
                    evaluator.kill().await;
                }
                break JobEnd::Failed(failure);
            }
            // `ready` again does no harm; the others are not handed on.
            Heard::Message(_) => continue,
            Heard::Wrong(failure) => failure,
            Heard::Silent => {
                let failure = evaluator.hung(silence);
                evaluator.kill().await;
                break JobEnd::Failed(failure);
            }
            Heard::Exited(status) => {
                let failure = evaluator.crashed(status).await;
                evaluator.kill().await;
                break JobEnd::Failed(failure);
            }
        };
        // The evaluator does not know yet that its job has failed.
        let failure = evaluator.with_tail(failure);
        evaluator.stop_job(key).await;
        break JobEnd::Failed(failure);
    };
    evaluator.end_job();
    end
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
        let last_step = match job {
            Job::Train { from, .. } => from,
            Job::Test { .. } => 0,
        };
        Self {
            job,
            objective,
            last_step,
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
        let mut checker = checker(Job::Train { from: 2, to: 5 });
        for (step, fits) in [(2, false), (3, true), (3, false), (5, true), (6, false)] {
            let answer = checker.measurement(step, &raw("accuracy", 0.5));
            assert_eq!(answer.is_ok(), fits, "step {step}: {answer:?}");
        }
        assert!(checker.done(&Done::default()).is_ok());
    }

    #[test]
    fn the_metric_that_is_optimised_must_come_and_others_are_named() {
        let mut checker = checker(Job::Train { from: 0, to: 5 });
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
