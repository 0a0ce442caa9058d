//! Tables: results that somebody measured before, one row a candidate, looked up by decisions instead of
//! trained again. Pure: who reads a file hands in its fields (see `espalier-data`).
//!
//! [`TableSpec`] is what a spec says, [`TableInfo`] what was found where the file lies, [`TableJob`] what a
//! lease carries, and [`Table`] the rows.

mod answer;
mod cells;
mod rows;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

pub use answer::{Answer, FailureCost, TableJob};
pub use cells::{Cell, Mismatch};
pub use rows::{MAX_CELL, MAX_CELLS, MAX_COLUMNS, MAX_ROWS, Table, TableBuilder, TableError};

use crate::candidate::DecisionPath;
use crate::dataset::{DatasetFormat, DatasetInfo, DatasetReference};
use crate::ids::Digest;
use crate::metrics::Objective;
use crate::network::Shape;

/// The name of the evaluator that looks results up. Every worker has it.
pub const TABLE: &str = "table";

/// A table of results as a spec names it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TableSpec {
    /// A CSV file, maybe compressed (`.gz`): below the data root, beside the spec, or absolute.
    pub path: String,
    /// The columns that say which candidate a row is about.
    pub decisions: BTreeMap<String, DecisionColumn>,
    /// The columns of each metric, by fidelity in epochs.
    pub metrics: BTreeMap<String, BTreeMap<u32, String>>,
    /// The column of seconds; absent: every candidate takes one second.
    pub cost: Option<CostColumn>,
    /// Shapes of the data that the rows were measured on, for a network without a data set.
    pub input: Option<TableInput>,
}

/// A column that says which candidate a row is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DecisionColumn {
    /// The decision whose values are in it.
    pub decision: DecisionPath,
    /// What stands in the column for a value of the decision; a value that is not here stands for itself.
    pub values: BTreeMap<String, String>,
}

/// The column of seconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CostColumn {
    /// Its name.
    pub column: String,
    /// The epochs that take so long; others take their share.
    pub at: u32,
}

/// Shapes of data that are not there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TableInput {
    /// Shape of one example.
    pub shape: Shape,
    /// Number of classes.
    pub classes: u32,
}

/// What was found where a table lies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TableInfo {
    /// Where workers look: a path below their data root, or an absolute one.
    pub path: String,
    /// BLAKE3 of the file's bytes.
    pub fingerprint: Digest,
    /// Its rows.
    pub rows: u64,
}

impl TableSpec {
    /// Every column that is read, each once.
    #[must_use]
    pub fn columns(&self) -> BTreeSet<&str> {
        let metrics = self.metrics.values().flat_map(BTreeMap::values);
        let cost = self.cost.iter().map(|cost| &cost.column);
        let decisions = self.decisions.keys();
        decisions
            .chain(metrics)
            .chain(cost)
            .map(String::as_str)
            .collect()
    }

    /// The highest fidelity of `objective`'s metric that is not above `epochs`, with its column.
    #[must_use]
    pub fn scored_by(&self, objective: &Objective, epochs: u32) -> Option<(u32, &str)> {
        let columns = self.metrics.get(&objective.metric)?;
        let (&fidelity, column) = columns.range(..=epochs).next_back()?;
        Some((fidelity, column))
    }

    /// A description of the data that are not there, for the shapes of a network.
    #[must_use]
    pub fn described_data(&self) -> Option<DatasetInfo> {
        let TableInput { shape, classes } = self.input.clone()?;
        let said = format!("espalier shapes alone\n{shape}\n{classes}");
        Some(DatasetInfo {
            reference: DatasetReference {
                format: DatasetFormat::Described,
                path: self.path.clone(),
                train: None,
                validation: 0,
                split_seed: 0,
            },
            fingerprint: Digest::of(said.as_bytes()),
            input: shape,
            classes,
            vocabulary: None,
            train: 0,
            validation: 0,
            test: 0,
        })
    }
}
