//! The best result that a table has for a space: what regret is measured from.

use espalier_common::job::Job;
use espalier_common::spec::Spec;
use espalier_common::table::{Table, TableSpec};

use crate::searcher::MAX_ENUMERATED;

/// The best score that a search of `spec` could find in `table`: of the space's candidates where they are few
/// enough to be looked up one by one, else of all rows. `None` when there is no score at all.
#[must_use]
pub fn optimum(spec: &Spec, columns: &TableSpec, table: &Table) -> Option<f64> {
    let objective = &spec.objective;
    let epochs = spec.space.training.epochs;
    let (_, column) = columns.scored_by(objective, epochs)?;
    let mut best: Option<f64> = None;
    let mut see = |score: f64| {
        if best.is_none_or(|best| objective.better(score, best)) {
            best = Some(score);
        }
    };
    // Candidates that break a constraint are not told apart here, since they would have to be built; then,
    // as in a space without end, the rows say what there is.
    let counted = spec.constraints.is_empty()
        && spec.space.visit(MAX_ENUMERATED, |candidate| {
            let job = Job::Train {
                from: 0,
                to: epochs,
            };
            let cells = columns.cells_of(&spec.space, &candidate);
            let answer = columns.answer(table, &cells, &job, objective);
            let last = answer
                .ok()
                .and_then(|answer| answer.measurements.into_iter().last());
            if let Some(score) = last.and_then(|last| last.metrics.get(&objective.metric)) {
                see(score);
            }
        });
    if !counted {
        let scores = table.column(column).iter().copied().flatten();
        scores.filter(|score| score.is_finite()).for_each(see);
    }
    best
}
