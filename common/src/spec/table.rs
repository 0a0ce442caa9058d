//! Reads `evaluator: {table: …}`, and settles what only shows with the rest of the spec: which decisions its
//! columns stand for, and at which fidelity its metrics are.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::EvaluatorSpec;
use super::reader::{At, Fields, Reader};
use super::scalar::Kind;
use super::words;
use crate::candidate::{DecisionPath, Value};
use crate::metrics::{MAX_METRICS, Objective};
use crate::network::Shape;
use crate::space::{Space, names_of};
use crate::table::{CostColumn, DecisionColumn, MAX_CELL, TableInput, TableSpec};

/// Stands for the full fidelity until that is known; no fidelity of a spec is 0.
const FULL: u32 = 0;

impl Reader<'_> {
    pub(super) fn table(&mut self, at: &At<'_>) -> Option<TableSpec> {
        let fields = self.fields(at, &words::TABLE);
        let path = self.text(&fields, "path");
        if let (Some(path), Some(at)) = (&path, fields.get("path"))
            && path.split(['/', '\\']).any(|part| part == "..")
        {
            self.wrong(at, "a path below the data root has no `..` in it");
        }
        let decisions = match fields.get("decisions") {
            Some(at) => self.table_decisions(at),
            None => BTreeMap::new(),
        };
        let metrics = match fields.get("metrics") {
            Some(at) => self.table_metrics(at),
            None => BTreeMap::new(),
        };
        let cost = fields.get("cost").and_then(|at| {
            let fields = self.fields(at, &words::TABLE_COST);
            Some(CostColumn {
                column: self.text(&fields, "column")?,
                at: self.small(&fields, "at").unwrap_or(FULL),
            })
        });
        Some(TableSpec {
            path: path?,
            decisions,
            metrics,
            cost,
            input: self.table_input(&fields),
        })
    }

    fn table_decisions(&mut self, at: &At<'_>) -> BTreeMap<String, DecisionColumn> {
        let mut all = BTreeMap::new();
        for (column, entry) in self.columns(at, "a decision, as {kernel: \"network[0].kernel\"}") {
            let (decision, values) = if entry.entries().is_some() {
                let fields = self.fields(&entry, &words::TABLE_DECISION);
                let values = match fields.get("values") {
                    Some(at) => self.table_values(at),
                    None => BTreeMap::new(),
                };
                (self.text(&fields, "decision"), values)
            } else {
                match self.value(&entry, Kind::Text) {
                    Some(Value::Text(path)) => (Some(path), BTreeMap::new()),
                    _ => (None, BTreeMap::new()),
                }
            };
            if let Some(decision) = decision {
                let decision = DecisionPath(decision);
                all.insert(column, DecisionColumn { decision, values });
            }
        }
        all
    }

    fn table_values(&mut self, at: &At<'_>) -> BTreeMap<String, String> {
        let mut values = BTreeMap::new();
        for (value, entry) in self.columns(at, "a cell of the column, as {none: 0, skip: 1}") {
            if let Some(cell) = self.value(&entry, Kind::Any) {
                values.insert(value, cell.to_string());
            }
        }
        values
    }

    fn table_metrics(&mut self, at: &At<'_>) -> BTreeMap<String, BTreeMap<u32, String>> {
        let mut all = BTreeMap::new();
        let what = "a column, or columns by epochs, as {accuracy: {12: val_12, 200: val_200}}";
        for (metric, entry) in self.columns(at, what) {
            if let Err(message) = super::scalar::is_name(&metric) {
                self.wrong(&entry, message);
                continue;
            }
            let columns = if entry.entries().is_some() {
                self.columns_by_epochs(&entry)
            } else {
                match self.value(&entry, Kind::Text) {
                    Some(Value::Text(column)) => BTreeMap::from([(FULL, column)]),
                    _ => continue,
                }
            };
            all.insert(metric, columns);
        }
        if all.len() > MAX_METRICS {
            self.wrong(at, format!("at most {MAX_METRICS} metrics are read"));
        }
        all
    }

    fn columns_by_epochs(&mut self, at: &At<'_>) -> BTreeMap<u32, String> {
        let mut columns = BTreeMap::new();
        for (epochs, entry) in self.columns(at, "a column, as {12: val_12, 200: val_200}") {
            let number = words::EPOCHS.read(&epochs, true);
            let Ok(Value::Integer(number)) = number else {
                self.wrong(
                    &entry,
                    format!("{} is no number of epochs", super::scalar::shown(&epochs)),
                );
                continue;
            };
            if let Some(Value::Text(column)) = self.value(&entry, Kind::Text) {
                columns.insert(u32::try_from(number).unwrap_or(u32::MAX), column);
            }
        }
        columns
    }

    /// The entries of a map from columns (or what else has no fixed words) to `what`.
    fn columns<'n>(&mut self, at: &At<'n>, what: &str) -> Vec<(String, At<'n>)> {
        let entries = self.some_entries(at, &format!("entries are expected here, each {what}"));
        let mut columns = Vec::with_capacity(entries.len());
        for (key, entry) in entries {
            if key.text.is_empty() || key.text.len() > MAX_CELL {
                self.wrong(&entry, format!("its name must have 1 to {MAX_CELL} bytes"));
            } else {
                columns.push((key.text.to_string(), entry));
            }
        }
        columns
    }

    fn table_input(&mut self, fields: &Fields<'_>) -> Option<TableInput> {
        let classes = self.small(fields, "classes");
        let Some(at) = fields.get("input") else {
            if let Some(at) = fields.get("classes") {
                self.wrong(
                    at,
                    "`classes` stands beside `input`, the shape of one example",
                );
            }
            return None;
        };
        let items = at.items().unwrap_or_default();
        let mut lengths = Vec::new();
        for item in &items {
            if let Some(Value::Integer(length)) = self.value(item, words::LENGTH) {
                lengths.push(length.unsigned_abs());
            }
        }
        let shape = match lengths.as_slice() {
            [features] if items.len() == 1 => Shape::features(*features),
            [channels, height, width] if items.len() == 3 => {
                Shape::image(*channels, *height, *width)
            }
            _ => {
                self.wrong(
                    at,
                    "the shape of one example is expected here: [channels, height, width], or [features]",
                );
                return None;
            }
        };
        if classes.is_none() {
            self.wrong(at, "`classes` is missing beside it: the number of classes");
        }
        let classes = classes?;
        Some(TableInput { shape, classes })
    }

    /// Settles what a table leaves to the rest of the spec.
    pub(super) fn settle_table(
        &mut self,
        fields: &Fields<'_>,
        evaluator: Option<&mut EvaluatorSpec>,
        space: &mut Space,
        objective: Option<&Objective>,
    ) {
        let (Some(EvaluatorSpec::Table(table)), Some(at)) = (evaluator, fields.get("evaluator"))
        else {
            return;
        };
        let table = Arc::make_mut(table);
        let given = fields
            .get("training")
            .and_then(At::entries)
            .is_some_and(|entries| entries.iter().any(|(key, _)| key.text == "epochs"));
        let named = table
            .metrics
            .values()
            .flat_map(BTreeMap::keys)
            .chain(table.cost.iter().map(|cost| &cost.at))
            .copied()
            .filter(|&epochs| epochs != FULL)
            .max();
        if !given {
            space.training.epochs = named.unwrap_or(1);
        }
        let full = named.unwrap_or(space.training.epochs);
        for columns in table.metrics.values_mut() {
            if let Some(column) = columns.remove(&FULL) {
                columns.insert(full, column);
            }
        }
        if let Some(cost) = table.cost.as_mut().filter(|cost| cost.at == FULL) {
            cost.at = full;
        }
        let names = names_of(&space.hyperparameters);
        for column in table.decisions.values_mut() {
            let DecisionPath(path) = &mut column.decision;
            if names.contains(path.as_str()) {
                *path = format!("hyperparameters.{path}");
            }
        }
        // Without metrics a mistake is recorded already.
        if let Some(objective) = objective.filter(|_| !table.metrics.is_empty()) {
            self.check_metrics(at, table, objective, space.training.epochs);
        }
    }

    fn check_metrics(
        &mut self,
        at: &At<'_>,
        table: &TableSpec,
        objective: &Objective,
        epochs: u32,
    ) {
        let metric = &objective.metric;
        let Some(columns) = table.metrics.get(metric) else {
            let known = table.metrics.keys().map(String::as_str);
            let suggestion = super::error::nearest(metric, known.clone());
            let known: Vec<_> = known.collect();
            let message = format!(
                "the table has no metric `{metric}`, which `objectives` names, only {}",
                known.join(", ")
            );
            self.error_near(at.place, &at.path, message, suggestion);
            return;
        };
        if table.scored_by(objective, epochs).is_none() {
            self.wrong(
                at,
                format!("the table has no column of `{metric}` for {epochs} epochs or fewer"),
            );
        }
        let scored: BTreeSet<&u32> = columns.keys().collect();
        for (other, columns) in &table.metrics {
            if let Some(alone) = columns.keys().find(|epochs| !scored.contains(epochs)) {
                self.wrong(
                    at,
                    format!("`{other}` has a column for {alone} epochs, where `{metric}` has none"),
                );
            }
        }
    }
}
