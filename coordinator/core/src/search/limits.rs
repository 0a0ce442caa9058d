//! What bounds a search, as it stands: at first what its spec says, later what users have changed it to. May
//! import the words of the spec.

use espalier_common::spec::{Budget, MAX_PARALLEL, MAX_TRIALS, MAX_WEIGHT, Spec, moment_text};
use serde::{Deserialize, Serialize};

use super::command::Rejection;
use super::state::Search;

/// What bounds a search.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Limits {
    /// When it ends.
    pub budget: Budget,
    /// The most trials that run at one time; `None`: as many as there are slots.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parallel: Option<u32>,
    /// Its share of the workers beside other searches.
    pub weight: u32,
}

impl Limits {
    /// Those of a spec.
    #[must_use]
    pub fn of(spec: &Spec) -> Self {
        Self {
            budget: spec.budget,
            parallel: spec.parallel,
            weight: spec.weight,
        }
    }
}

/// How limits are to change; what is `None` stays.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LimitsChange {
    /// To so many trials in all.
    pub trials: Option<u32>,
    /// To so much running time in all, in milliseconds.
    pub time_ms: Option<u64>,
    /// To so much compute in all, in milliseconds of single attempts.
    pub compute_ms: Option<u64>,
    /// To an end at this time, Unix milliseconds.
    pub deadline_ms: Option<u64>,
    /// To an end after so many trials in a row without a better one.
    pub patience: Option<u32>,
    /// To an end when the objective's metric is this good.
    pub target: Option<f64>,
    /// To so many trials at one time; 0 takes the limit away.
    pub parallel: Option<u32>,
    /// To this share of the workers.
    pub weight: Option<u32>,
}

impl LimitsChange {
    fn on(&self, before: Limits) -> Limits {
        let budget = before.budget;
        Limits {
            budget: Budget {
                trials: self.trials.or(budget.trials),
                time_ms: self.time_ms.or(budget.time_ms),
                compute_ms: self.compute_ms.or(budget.compute_ms),
                deadline_ms: self.deadline_ms.or(budget.deadline_ms),
                patience: self.patience.or(budget.patience),
                target: self.target.or(budget.target),
                expected_improvement: budget.expected_improvement,
            },
            parallel: match self.parallel {
                None => before.parallel,
                Some(0) => None,
                limit => limit,
            },
            weight: self.weight.unwrap_or(before.weight),
        }
    }

    /// What is asked for, in words.
    pub(super) fn words(&self) -> String {
        let mut words = Vec::new();
        let mut say = |what: &str, value: Option<String>| {
            words.extend(value.map(|value| format!("{what} {value}")));
        };
        say("trials", self.trials.map(|value| value.to_string()));
        say("time", self.time_ms.map(seconds));
        say("compute", self.compute_ms.map(seconds));
        say("deadline", self.deadline_ms.map(moment_text));
        say("patience", self.patience.map(|value| value.to_string()));
        say("target", self.target.map(|value| value.to_string()));
        let parallel = self.parallel.map(|value| match value {
            0 => "all".to_owned(),
            limit => limit.to_string(),
        });
        say("parallel", parallel);
        say("weight", self.weight.map(|value| value.to_string()));
        words.join(", ")
    }
}

fn seconds(ms: u64) -> String {
    format!("{} s", ms as f64 / 1_000.0)
}

impl Search {
    /// What bounds the search now.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The limits after a change.
    pub(super) fn changed_limits(
        &self,
        change: &LimitsChange,
        now_ms: u64,
    ) -> Result<Limits, Rejection> {
        let used_up = |message: String| Err(Rejection::NotNow(message));
        let between = |what: &str, value: Option<u32>, least: u32, most: u32| match value {
            Some(value) if !(least..=most).contains(&value) => Err(Rejection::Invalid(format!(
                "{what}: {value} is not between {least} and {most}"
            ))),
            _ => Ok(()),
        };
        between("trials", change.trials, 1, MAX_TRIALS)?;
        between("patience", change.patience, 1, MAX_TRIALS)?;
        between("parallel", change.parallel, 0, MAX_PARALLEL)?;
        between("weight", change.weight, 1, MAX_WEIGHT)?;
        let charged = self.charged();
        if change.trials.is_some_and(|trials| trials < charged) {
            return used_up(format!(
                "trials: {charged} have been proposed already, so the budget cannot be less; `espalier stop` \
                 ends the search now"
            ));
        }
        let elapsed = self.elapsed_ms(now_ms);
        if change.time_ms.is_some_and(|time| time <= elapsed) {
            return used_up(format!(
                "time: {} have passed already; `espalier stop` ends the search now",
                seconds(elapsed)
            ));
        }
        let compute = self.compute_seconds;
        // Fits a double's whole numbers for 285,000 years.
        if change
            .compute_ms
            .is_some_and(|budget| compute * 1_000.0 >= budget as f64)
        {
            return used_up(format!(
                "compute: {compute:.1} s are used already; `espalier stop` ends the search now"
            ));
        }
        if change
            .deadline_ms
            .is_some_and(|deadline| deadline <= now_ms)
        {
            return used_up(
                "deadline: that time has passed, by the coordinator's clock; `espalier stop` ends the search now"
                    .to_owned(),
            );
        }
        if change.target.is_some_and(|target| !target.is_finite()) {
            let message = "target: must be a finite number".to_owned();
            return Err(Rejection::Invalid(message));
        }
        Ok(change.on(self.limits))
    }
}
