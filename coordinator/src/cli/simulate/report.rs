//! What is said of the searches. Its JSON is what `--output json` prints. May import the core's simulator.

use std::collections::BTreeMap;

use espalier_common::metrics::{Direction, Objective};
use espalier_core::simulate::{Among, Cluster, Ended, Optimum, test_metric};
use serde::Serialize;

use super::Curves;
use super::curve::Curve;
use super::differences::{Difference, differences};
use super::summary::Summary;

/// What was simulated.
pub(super) struct Setting<'a> {
    pub(super) name: &'a str,
    pub(super) table: &'a str,
    pub(super) rows: u64,
    pub(super) objective: &'a Objective,
    pub(super) optimum: Optimum,
    /// What of the spec means nothing here.
    pub(super) notes: &'a [String],
    pub(super) labels: Vec<&'a str>,
    pub(super) cluster: Cluster,
    pub(super) seed: u64,
    pub(super) seeds: u32,
    pub(super) trials: u32,
    pub(super) checkpoints: &'a [u32],
    pub(super) targets: &'a [f64],
}

#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub(super) search: String,
    pub(super) trials: u32,
    pub(super) seeds: u32,
    pub(super) first_seed: u64,
    pub(super) cluster: ClusterReport,
    pub(super) table: TableReport,
    pub(super) metric: String,
    pub(super) maximize: bool,
    /// What whoever reads the numbers must know.
    pub(super) notes: Vec<String>,
    pub(super) searchers: Vec<SearcherReport>,
    pub(super) comparisons: Vec<Comparison>,
}

#[derive(Debug, Serialize)]
pub(super) struct ClusterReport {
    pub(super) workers: u32,
    pub(super) speed_spread: f64,
    pub(super) failure_rate: f64,
}

#[derive(Debug, Serialize)]
pub(super) struct TableReport {
    pub(super) path: String,
    pub(super) rows: u64,
    pub(super) best_score: f64,
    pub(super) best_test: Option<f64>,
    /// Of what they are the best.
    pub(super) best_of: Among,
}

#[derive(Debug, Serialize)]
pub(super) struct SearcherReport {
    pub(super) searcher: String,
    pub(super) searches: usize,
    pub(super) checkpoints: Vec<CheckpointReport>,
    pub(super) targets: Vec<TargetReport>,
    /// Of each search: ended trials, those that failed, refused proposals, lost attempts.
    pub(super) evaluations: Summary,
    pub(super) failed: Summary,
    pub(super) infeasible: Summary,
    pub(super) duplicates: Summary,
    pub(super) lost_attempts: Summary,
    /// The share of the time that workers were busy.
    pub(super) busy: Summary,
    /// Virtual time.
    pub(super) seconds: Summary,
    /// Real milliseconds of an ask, with the tells before it.
    pub(super) thinking_ms: Option<Thinking>,
    /// How many searches ended in which way.
    pub(super) ended: BTreeMap<String, usize>,
    /// Why the first trial that failed did.
    pub(super) first_failure: Option<String>,
    /// Searches that neither ended nor could go on.
    pub(super) broken: usize,
}

#[derive(Debug, Serialize)]
pub(super) struct CheckpointReport {
    pub(super) evaluations: u32,
    pub(super) best: Summary,
    pub(super) regret: Summary,
    /// Of the candidate that is the best on validation.
    pub(super) test: Option<Summary>,
    pub(super) test_regret: Option<Summary>,
}

#[derive(Debug, Serialize)]
pub(super) struct TargetReport {
    pub(super) regret: f64,
    pub(super) reached: f64,
    pub(super) evaluations: Summary,
    pub(super) seconds: Summary,
}

#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Thinking {
    pub(super) p50: f64,
    pub(super) p99: f64,
}

/// Searchers side by side in one respect; places are those of `searchers`.
#[derive(Debug, Serialize)]
pub(super) struct Comparison {
    /// By the regret after so many evaluations.
    pub(super) after: Option<u32>,
    /// By the evaluations until the regret is at most so much.
    pub(super) until: Option<f64>,
    pub(super) differences: Vec<Difference>,
}

impl Report {
    pub(super) fn of(setting: &Setting<'_>, curves: &Curves) -> Self {
        let labelled = setting.labels.iter().zip(curves);
        Self {
            search: setting.name.to_owned(),
            trials: setting.trials,
            seeds: setting.seeds,
            first_seed: setting.seed,
            cluster: ClusterReport {
                workers: setting.cluster.workers,
                speed_spread: setting.cluster.speed_spread,
                failure_rate: setting.cluster.failure_rate,
            },
            table: TableReport {
                path: setting.table.to_owned(),
                rows: setting.rows,
                best_score: setting.optimum.score,
                best_test: setting.optimum.test,
                best_of: setting.optimum.of,
            },
            metric: setting.objective.metric.clone(),
            maximize: setting.objective.direction == Direction::Maximize,
            notes: notes(setting),
            searchers: labelled
                .map(|(label, curves)| SearcherReport::of(setting, label, curves))
                .collect(),
            comparisons: comparisons(setting, curves),
        }
    }

    /// The name of the metric on the test split.
    pub(super) fn test_metric(&self) -> String {
        test_metric(&Objective {
            metric: self.metric.clone(),
            direction: Direction::Maximize,
        })
    }

    /// Whether the searches are worth anything: the way to a failing exit code.
    pub(super) fn sound(&self) -> Result<(), String> {
        let broken = self.searchers.iter().find(|one| one.broken > 0);
        if let Some(one) = broken {
            return Err(format!(
                "{} of {} searches by {} did not come to an end: {}",
                one.broken,
                one.searches,
                one.searcher,
                one.ended.keys().cloned().collect::<Vec<_>>().join("; ")
            ));
        }
        let scored = |one: &SearcherReport| one.evaluations.mean > one.failed.mean;
        if self.searchers.iter().any(scored) {
            return Ok(());
        }
        let why = self
            .searchers
            .iter()
            .find_map(|one| one.first_failure.clone());
        Err(format!(
            "no search has a completed trial{}",
            why.map_or_else(String::new, |why| format!("; the first failure: {why}"))
        ))
    }
}

impl SearcherReport {
    fn of(setting: &Setting<'_>, label: &str, curves: &[Curve]) -> Self {
        let each = |number: &dyn Fn(&Curve) -> f64| -> Vec<f64> {
            curves.iter().map(number).collect::<Vec<f64>>()
        };
        let count =
            |number: &dyn Fn(&Curve) -> u32| Summary::of(&each(&|one| f64::from(number(one))));
        let mut ended = BTreeMap::new();
        for one in curves {
            *ended.entry(ended_text(&one.run.ended)).or_default() += 1;
        }
        let is_broken = |one: &&Curve| !matches!(one.run.ended, Ended::Finished(_));
        Self {
            searcher: label.to_owned(),
            searches: curves.len(),
            checkpoints: checkpoints(setting, curves),
            targets: targets(setting, curves),
            evaluations: Summary::of(&each(&|one| one.run.evaluations.len() as f64)),
            failed: count(&|one| one.run.counts.failed),
            infeasible: count(&|one| one.run.counts.infeasible),
            duplicates: count(&|one| one.run.counts.duplicates),
            lost_attempts: count(&|one| one.run.lost),
            busy: Summary::of(&each(&|one| one.run.busy)),
            seconds: Summary::of(&each(&|one| one.run.seconds)),
            thinking_ms: Thinking::of(curves),
            ended,
            first_failure: curves.iter().find_map(|one| one.run.failure.clone()),
            broken: curves.iter().filter(is_broken).count(),
        }
    }
}

/// What regret is measured from where that is not what a search can find, and what of the spec means nothing.
fn notes(setting: &Setting<'_>) -> Vec<String> {
    let measured = match setting.optimum.of {
        Among::Feasible => None,
        Among::Candidates => Some(
            "regret is measured from the best of all candidates, whether they can be built and keep the constraints \
             or not: too many would have to be built to tell",
        ),
        Among::Rows => Some(
            "regret is measured from the best row of the table, whether it is a candidate that may be trained or \
             not: the space has too many to look them all up",
        ),
    };
    let measured = measured.map(str::to_owned);
    measured
        .into_iter()
        .chain(setting.notes.iter().cloned())
        .collect()
}

fn checkpoints(setting: &Setting<'_>, curves: &[Curve]) -> Vec<CheckpointReport> {
    let at = |&evaluations: &u32| {
        let points: Vec<_> = curves.iter().map(|one| one.after(evaluations)).collect();
        let bests = points.iter().map(|point| point.best);
        let bests: Vec<f64> = bests.filter(|best| best.is_finite()).collect();
        let regrets: Vec<f64> = points.iter().map(|point| point.regret).collect();
        let tests = points.iter().map(|point| point.test);
        let tests: Vec<f64> = tests.filter(|test| test.is_finite()).collect();
        let test_regrets: Vec<f64> = points.iter().map(|point| point.test_regret).collect();
        let tested = setting.optimum.test.is_some();
        CheckpointReport {
            evaluations,
            best: Summary::of(&bests),
            regret: Summary::of_mean(&regrets),
            test: tested.then(|| Summary::of(&tests)),
            test_regret: tested.then(|| Summary::of_mean(&test_regrets)),
        }
    };
    setting.checkpoints.iter().map(at).collect()
}

fn targets(setting: &Setting<'_>, curves: &[Curve]) -> Vec<TargetReport> {
    let of = |&regret: &f64| {
        let reached: Vec<(f64, f64)> = curves.iter().map(|one| one.reached(regret)).collect();
        let evaluations: Vec<f64> = reached
            .iter()
            .map(|&(evaluations, _)| evaluations)
            .collect();
        let seconds: Vec<f64> = reached.iter().map(|&(_, seconds)| seconds).collect();
        let count = evaluations.iter().filter(|value| value.is_finite()).count();
        TargetReport {
            regret,
            reached: count as f64 / curves.len().max(1) as f64,
            evaluations: Summary::of_median(&evaluations),
            seconds: Summary::of(&seconds),
        }
    };
    setting.targets.iter().map(of).collect()
}

/// Side by side after each checkpoint, and until each target.
fn comparisons(setting: &Setting<'_>, curves: &Curves) -> Vec<Comparison> {
    if curves.len() < 2 {
        return Vec::new();
    }
    let sample = |number: &dyn Fn(&Curve) -> f64| -> Vec<Vec<f64>> {
        let of_one = |curves: &Vec<Curve>| curves.iter().map(number).collect();
        curves.iter().map(of_one).collect()
    };
    let after = setting.checkpoints.iter().map(|&at| Comparison {
        after: Some(at),
        until: None,
        differences: differences(&sample(&|one| one.after(at).regret)),
    });
    let until = setting.targets.iter().map(|&target| Comparison {
        after: None,
        until: Some(target),
        differences: differences(&sample(&|one| one.reached(target).0)),
    });
    after.chain(until).collect()
}

fn ended_text(ended: &Ended) -> String {
    match ended {
        Ended::Finished(reason) => reason.to_string(),
        Ended::Paused(reason) => reason.to_string(),
        Ended::Stuck => "nothing was under way and nothing more began".to_owned(),
        Ended::Interrupted => "interrupted".to_owned(),
    }
}

impl Thinking {
    fn of(curves: &[Curve]) -> Option<Self> {
        let all = curves.iter().flat_map(|one| &one.thinking_ms);
        let mut all: Vec<f32> = all.copied().collect();
        all.sort_by(f32::total_cmp);
        let at = |share: f64| {
            let place = (share * all.len() as f64) as usize;
            all.get(place.min(all.len().saturating_sub(1))).copied()
        };
        Some(Self {
            p50: f64::from(at(0.5)?),
            p99: f64::from(at(0.99)?),
        })
    }
}
