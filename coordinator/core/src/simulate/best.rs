//! The best results that a table has for a space: what regret is measured from.

use espalier_common::job::Job;
use espalier_common::metrics::{Metrics, Objective};
use espalier_common::spec::Spec;
use espalier_common::table::{Table, TableSpec};

use crate::searcher::MAX_ENUMERATED;

/// The best that a search could find.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Optimum {
    /// The best score.
    pub score: f64,
    /// The best value of the metric measured on the test split, which is seldom the best score's; absent where the table has
    /// no such metric.
    pub test: Option<f64>,
}

/// The name under which a table has the objective's metric as measured on the test split.
#[must_use]
pub fn test_metric(objective: &Objective) -> String {
    format!("test_{}", objective.metric)
}

/// The best that a search of `spec` could find in `table`: of the space's candidates where they are few
/// enough to be looked up one by one, else of all rows. `None` when there is no score at all.
#[must_use]
pub fn optimum(spec: &Spec, columns: &TableSpec, table: &Table) -> Option<Optimum> {
    let (score, test) = of_space(spec, columns, table).unwrap_or_else(|| {
        let epochs = spec.space.training.epochs;
        let Some((step, column)) = columns.scored_by(&spec.objective, epochs) else {
            return (None, None);
        };
        let tests = columns.metrics.get(&test_metric(&spec.objective));
        let best = |column: &str| of_rows(&spec.objective, table, column);
        let test = tests.and_then(|columns| columns.get(&step));
        (best(column), test.and_then(|column| best(column)))
    });
    Some(Optimum {
        score: score?,
        test,
    })
}

/// The best score and test metric of all candidates; `None` where they are too many to be looked up. Candidates
/// that break a constraint are not told apart here, since they would have to be built; then, as in a space
/// without end, the rows say what there is.
fn of_space(spec: &Spec, columns: &TableSpec, table: &Table) -> Option<(Option<f64>, Option<f64>)> {
    if !spec.constraints.is_empty() {
        return None;
    }
    let objective = &spec.objective;
    let test_metric = test_metric(objective);
    let job = Job::train(spec.space.training.epochs);
    let (mut score, mut test) = (None, None);
    let counted = spec.space.visit(MAX_ENUMERATED, |candidate| {
        let cells = columns.cells_of(&spec.space, &candidate);
        if let Ok(answer) = columns.answer(table, &cells, &job, objective)
            && let Some(last) = answer.measurements.last()
        {
            let of = |metrics: &Metrics, name: &str| metrics.get(name);
            score = better(objective, score, of(&last.metrics, &objective.metric));
            test = better(objective, test, of(&last.metrics, &test_metric));
        }
    });
    counted.then_some((score, test))
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
