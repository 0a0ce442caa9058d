//! The best results that a table has for a space: what regret is measured from.

use espalier_common::candidate::Candidate;
use espalier_common::dataset::DatasetInfo;
use espalier_common::job::Job;
use espalier_common::metrics::Objective;
use espalier_common::spec::Spec;
use espalier_common::table::{Table, TableSpec};
use serde::Serialize;

use crate::searcher::MAX_ENUMERATED;

/// The most candidates that are built to see whether they may be trained.
const MOST_BUILT: u64 = 20_000;
/// Blocks that are expanded for that at the most, over all of them: bounds the time to about a second.
const BUILT_BLOCKS: u64 = 500_000;

/// The best that a search could find.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Optimum {
    /// The best score.
    pub score: f64,
    /// The best value of the metric measured on the test split, which is seldom the best score's; absent where the table has
    /// no such metric.
    pub test: Option<f64>,
    /// Of what it is the best.
    pub of: Among,
}

/// What the best of a table is the best of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Among {
    /// The candidates of the space that can be built and keep the constraints: a search can find it.
    Feasible,
    /// All candidates of the space: so many are better than the best that may be trained that they were not all built.
    Candidates,
    /// All rows of the table: the candidates of the space are too many to be looked up.
    Rows,
}

/// The name under which a table has the objective's metric as measured on the test split.
#[must_use]
pub fn test_metric(objective: &Objective) -> String {
    format!("test_{}", objective.metric)
}

/// The best that a search of `spec` could find in `table`: of the candidates that may be trained where the space
/// is small enough to be looked up one by one, else of all rows. `None` when there is no score at all.
#[must_use]
pub fn optimum(
    spec: &Spec,
    dataset: Option<&DatasetInfo>,
    columns: &TableSpec,
    table: &Table,
) -> Option<Optimum> {
    if let Some(found) = of_space(spec, dataset, columns, table) {
        return found;
    }
    let step = columns.scored_by(&spec.objective, spec.space.training.epochs);
    let (step, column) = step?;
    let tests = columns.metrics.get(&test_metric(&spec.objective));
    let test = tests.and_then(|columns| columns.get(&step));
    Some(Optimum {
        score: of_rows(&spec.objective, table, column)?,
        test: test.and_then(|column| of_rows(&spec.objective, table, column)),
        of: Among::Rows,
    })
}

/// The best score and test metric.
#[derive(Clone, Copy, Default)]
struct Best {
    score: Option<f64>,
    test: Option<f64>,
}

impl Best {
    fn with(self, objective: &Objective, other: Self) -> Self {
        Self {
            score: better(objective, self.score, other.score),
            test: better(objective, self.test, other.test),
        }
    }

    fn optimum(self, of: Among) -> Option<Optimum> {
        let score = self.score?;
        let test = self.test;
        Some(Optimum { score, test, of })
    }
}

/// The best of the space; `None` where its candidates are too many to be looked up. Only those that are better
/// than the best so far are built, which are few: with nothing infeasible, about the logarithm of all.
fn of_space(
    spec: &Spec,
    dataset: Option<&DatasetInfo>,
    columns: &TableSpec,
    table: &Table,
) -> Option<Option<Optimum>> {
    let objective = &spec.objective;
    let most = (BUILT_BLOCKS / spec.space.count().blocks.max(1)).clamp(1, MOST_BUILT);
    let (mut any, mut feasible) = (Best::default(), Best::default());
    let (mut built, mut cut) = (0, false);
    let counted = spec.space.visit(MAX_ENUMERATED, |candidate| {
        let found = found(spec, columns, table, &candidate);
        any = any.with(objective, found);
        let with = feasible.with(objective, found);
        let gains = (with.score, with.test) != (feasible.score, feasible.test);
        if !gains || cut {
            return;
        }
        cut = built == most;
        built += 1;
        if spec.check(&candidate, dataset).is_ok() {
            feasible = with;
        }
    });
    counted.then(|| {
        if cut {
            any.optimum(Among::Candidates)
        } else {
            feasible.optimum(Among::Feasible)
        }
    })
}

/// What a trial of a candidate would come to.
fn found(spec: &Spec, columns: &TableSpec, table: &Table, candidate: &Candidate) -> Best {
    let cells = columns.cells_of(&spec.space, candidate);
    let job = Job::train(spec.space.training.epochs);
    let answer = columns.answer(table, &cells, &job, &spec.objective).ok();
    let last = answer.and_then(|answer| answer.measurements.into_iter().next_back());
    let get = |name: &str| last.as_ref().and_then(|last| last.metrics.get(name));
    Best {
        score: get(&spec.objective.metric),
        test: get(&test_metric(&spec.objective)),
    }
}

fn of_rows(objective: &Objective, table: &Table, column: &str) -> Option<f64> {
    let values = table.column(column).iter().copied().flatten();
    let finite = values.filter(|value| value.is_finite());
    finite.fold(None, |best, value| better(objective, best, Some(value)))
}

/// The better of two.
fn better(objective: &Objective, best: Option<f64>, other: Option<f64>) -> Option<f64> {
    match (best, other) {
        (Some(best), Some(other)) if objective.better(other, best) => Some(other),
        (Some(best), _) => Some(best),
        (None, other) => other,
    }
}
