//! What a table says about a job: measurements at its fidelities, and the seconds they took.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::cells::Cell;
use super::rows::Table;
use super::{CostColumn, TableInfo, TableSpec};
use crate::candidate::Candidate;
use crate::failure::{Failure, FailureDomain, FailureKind};
use crate::job::Job;
use crate::metrics::{Measurement, Metrics, Objective};
use crate::space::Space;

/// What a lease carries for a table: everything a worker needs to look the result up.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TableJob {
    /// The table, as whoever submitted the search found it.
    pub info: TableInfo,
    /// What the spec says of it: which columns are read.
    pub spec: Arc<TableSpec>,
    /// The cells of the row.
    pub row: BTreeMap<String, Cell>,
}

/// What a table says about a job.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// In the order of steps; at least one.
    pub measurements: Vec<Measurement>,
    /// The time that it took where it was measured.
    pub seconds: f64,
}

impl TableJob {
    /// The job of a candidate. `decisions` may hold fixed hyperparameters beside the decisions.
    #[must_use]
    pub fn of(
        info: &TableInfo,
        spec: &Arc<TableSpec>,
        space: &Space,
        decisions: &Candidate,
    ) -> Self {
        Self {
            info: info.clone(),
            spec: Arc::clone(spec),
            row: spec.cells(space, decisions),
        }
    }

    /// Looks the result up.
    ///
    /// # Errors
    /// `Candidate` when the table has no result for it, or one that is not finite; `Internal` for a job that
    /// tables do not do.
    pub fn answer(
        &self,
        table: &Table,
        job: &Job,
        objective: &Objective,
    ) -> Result<Answer, Failure> {
        self.spec.answer(table, &self.row, job, objective)
    }
}

impl TableSpec {
    /// Looks a result up by the cells of its row.
    ///
    /// # Errors
    /// As of [`TableJob::answer`].
    pub fn answer(
        &self,
        table: &Table,
        cells: &BTreeMap<String, Cell>,
        job: &Job,
        objective: &Objective,
    ) -> Result<Answer, Failure> {
        let Job::Train { from, to, .. } = *job else {
            return Err(Failure::new(
                FailureDomain::Internal,
                FailureKind::Unsupported,
                "a table cannot measure weights",
            ));
        };
        let row = table.find(cells).ok_or_else(|| no_result(cells, None))?;
        let columns = self.metrics.get(&objective.metric);
        let steps = columns.into_iter().flatten();
        let mut measurements = Vec::new();
        for (&step, column) in steps.filter(|&(&step, _)| step > from && step <= to) {
            let score = table
                .number(column, row)
                .ok_or_else(|| no_result(cells, Some(column)))?;
            let mut metrics = Metrics::default();
            metrics.0.insert(objective.metric.clone(), score);
            let others = self.metrics.iter().filter_map(|(name, columns)| {
                let value = table.number(columns.get(&step)?, row)?;
                Some((name.clone(), value))
            });
            metrics.0.extend(others);
            metrics.check().map_err(|error| {
                let (domain, kind) = (FailureDomain::Candidate, FailureKind::Diverged);
                Failure::new(domain, kind, format!("in the table: {error}"))
            })?;
            measurements.push(Measurement { step, metrics });
        }
        if measurements.is_empty() {
            let message = format!(
                "the table has no column for `{}` after epoch {from} and up to epoch {to}",
                objective.metric
            );
            let (domain, kind) = (FailureDomain::User, FailureKind::Data);
            return Err(Failure::new(domain, kind, message));
        }
        let seconds = seconds(self.cost.as_ref(), table, row, from, to);
        Ok(Answer {
            measurements,
            seconds,
        })
    }
}

/// How long training takes that leads to no result, in a model of it: on a worker a look-up takes no time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FailureCost {
    /// The mean of the column of seconds; absent where it has none.
    mean: Option<f64>,
}

impl FailureCost {
    /// Of the candidates of a table.
    #[must_use]
    pub fn of(spec: &TableSpec, table: &Table) -> Self {
        let column = spec.cost.as_ref().map(|cost| table.column(&cost.column));
        let (mut sum, mut count) = (0.0, 0.0);
        for seconds in column.into_iter().flatten().copied().flatten() {
            sum += seconds;
            count += 1.0;
        }
        Self {
            mean: (count > 0.0).then(|| sum / count),
        }
    }

    /// The seconds of a job whose candidate has no result: those of its row, else the mean of all rows, for the
    /// epochs that were asked for; one second where the table has no times.
    #[must_use]
    pub fn seconds(&self, about: &TableJob, table: &Table, job: &Job) -> f64 {
        let (Some(cost), Job::Train { from, to, .. }) = (about.spec.cost.as_ref(), job) else {
            return 1.0;
        };
        let row = table.find(&about.row);
        let known = row.and_then(|row| table.number(&cost.column, row));
        let seconds = known.or(self.mean);
        seconds.map_or(1.0, |seconds| share(seconds, cost, *from, *to))
    }
}

/// The seconds of a row's epochs. An empty cell, like a table without times, counts one second.
fn seconds(cost: Option<&CostColumn>, table: &Table, row: u32, from: u32, to: u32) -> f64 {
    let Some(cost) = cost else {
        return 1.0;
    };
    let seconds = table.number(&cost.column, row);
    seconds.map_or(1.0, |seconds| share(seconds, cost, from, to))
}

/// Of the seconds that the column is about those of some epochs.
fn share(seconds: f64, cost: &CostColumn, from: u32, to: u32) -> f64 {
    seconds * f64::from(to.saturating_sub(from)) / f64::from(cost.at.max(1))
}

/// The cells of a row as an error shows them.
pub(super) fn row_text(cells: &BTreeMap<String, Cell>) -> String {
    let row: Vec<String> = cells
        .iter()
        .take(40)
        .map(|(column, cell)| format!("{column}={}", shown(cell)))
        .collect();
    row.join(" ")
}

fn no_result(cells: &BTreeMap<String, Cell>, column: Option<&str>) -> Failure {
    let row = row_text(cells);
    let message = match column {
        None => format!("the table has no row for this candidate ({row})"),
        Some(column) => {
            format!("the table's column {column:?} is empty for this candidate ({row})")
        }
    };
    Failure::new(FailureDomain::Candidate, FailureKind::Data, message).bounded()
}

fn shown(cell: &Cell) -> String {
    match cell {
        Cell::Empty => "(empty)".to_owned(),
        Cell::Exactly(text) => text.clone(),
        Cell::Number(number) => number.to_string(),
        Cell::Flag(flag) => flag.to_string(),
        Cell::Named { name, index } => format!("{name} or {index}"),
    }
}
