//! From a candidate to the cells of its row.

use std::collections::{BTreeMap, BTreeSet};

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use super::TableSpec;
use super::rows::Table;
use crate::candidate::{Candidate, DecisionPath, Value};
use crate::space::{Chooser, Domain, Space, names_of};

/// Candidates drawn to see which decisions a space has: one in a hundred is found almost surely.
const SAMPLES: u64 = 1_000;
/// Blocks expanded for them at the most: bounds the time to about a second.
const SAMPLED_BLOCKS: u64 = 1_000_000;

/// What stands in a decision's column in the row of a candidate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cell {
    /// Nothing: the candidate does not take the branch that the decision is in.
    Empty,
    /// This, as the spec's `values` say.
    Exactly(String),
    /// This number, however it is written.
    Number(f64),
    /// True or false; as numbers 1 or 0.
    Flag(bool),
    /// This name, or in a column of numbers the place of the alternative.
    Named {
        /// The alternative's name.
        name: String,
        /// Its place in the spec, from 0.
        index: u32,
    },
}

/// Why a table does not fit a space.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Mismatch {
    /// A column's decision is in none of the candidates that were drawn.
    #[error(
        "the column {column:?} stands for the decision {decision:?}, which none of {drawn} candidates drawn at random has{}",
        .nearest.as_ref().map_or_else(String::new, |path| format!("; did you mean {path:?}?"))
    )]
    NoDecision {
        /// The column.
        column: String,
        /// What the spec says.
        decision: String,
        /// Candidates drawn.
        drawn: usize,
        /// The decision meant, perhaps.
        nearest: Option<String>,
    },
    /// A decision has no column: its value would make no difference.
    #[error(
        "no column stands for the decision {0}: candidates that differ in it would all get the same row. Give it a column under `decisions`, or make it a fixed value"
    )]
    NoColumn(DecisionPath),
    /// None of the candidates that were drawn has a row.
    #[error(
        "the table has a row for none of {drawn} candidates drawn at random; the first would be {cells}. Check what stands in the columns of `decisions`; `values` say what stands there for a value"
    )]
    NoRows {
        /// Candidates drawn.
        drawn: usize,
        /// The cells of the first one's row.
        cells: String,
    },
}

impl TableSpec {
    /// The cells that the row of a candidate has, by column. `decisions` may hold fixed hyperparameters
    /// beside the decisions.
    #[must_use]
    pub fn cells(&self, space: &Space, decisions: &Candidate) -> BTreeMap<String, Cell> {
        let mut places = None;
        let mut place_of = |path: &DecisionPath| {
            // Only names have places, and finding them costs a walk through the space.
            let places = places.get_or_insert_with(|| Places::of(space, decisions));
            places.get(path).copied().unwrap_or(0)
        };
        let mut cell = |column: &super::DecisionColumn| {
            let Some(value) = decisions.get(&column.decision) else {
                return Cell::Empty;
            };
            if let Some(text) = column.values.get(&value.to_string()) {
                return Cell::Exactly(text.clone());
            }
            match value {
                Value::Boolean(flag) => Cell::Flag(*flag),
                Value::Integer(number) => Cell::Number(*number as f64),
                Value::Real(number) => Cell::Number(*number),
                Value::Text(name) => Cell::Named {
                    name: name.clone(),
                    index: place_of(&column.decision),
                },
            }
        };
        let mut cells = BTreeMap::new();
        for (name, column) in &self.decisions {
            cells.insert(name.clone(), cell(column));
        }
        cells
    }

    /// The cells that the row of a candidate has, with the hyperparameters that the spec fixes.
    #[must_use]
    pub fn cells_of(&self, space: &Space, candidate: &Candidate) -> BTreeMap<String, Cell> {
        let mut decisions = candidate.clone();
        // The evaluator reads fixed ones in the same place.
        let hyperparameters = space.resolve(candidate).map(|known| known.hyperparameters);
        for (name, value) in hyperparameters.unwrap_or_default() {
            let path = DecisionPath(format!("hyperparameters.{name}"));
            decisions.0.entry(path).or_insert(value);
        }
        self.cells(space, &decisions)
    }

    /// Whether the columns stand for the decisions of `space`, as far as candidates drawn at random show.
    ///
    /// # Errors
    /// [`Mismatch`] names the first column without a decision, or decision without a column.
    pub fn check(&self, space: &Space) -> Result<(), Mismatch> {
        let candidates = drawn(space);
        let seen: BTreeSet<&DecisionPath> = candidates
            .iter()
            .flat_map(|candidate| candidate.0.keys())
            .collect();
        let fixed = names_of(&space.hyperparameters)
            .into_iter()
            .map(|name| DecisionPath(format!("hyperparameters.{name}")));
        let known: BTreeSet<DecisionPath> = fixed.chain(seen.iter().copied().cloned()).collect();
        for (column, decision) in &self.decisions {
            let path = &decision.decision;
            if !known.contains(path) {
                // A hyperparameter is known by its name alone, too.
                let names = known
                    .iter()
                    .flat_map(|path| [path.0.strip_prefix("hyperparameters."), Some(&path.0)])
                    .flatten();
                return Err(Mismatch::NoDecision {
                    column: column.clone(),
                    decision: path.0.clone(),
                    drawn: candidates.len(),
                    nearest: crate::spec::nearest(&path.0, names),
                });
            }
        }
        let named: BTreeSet<&DecisionPath> = self
            .decisions
            .values()
            .map(|column| &column.decision)
            .collect();
        match seen.iter().find(|path| !named.contains(**path)) {
            Some(&path) => Err(Mismatch::NoColumn(path.clone())),
            None => Ok(()),
        }
    }

    /// Whether the table has results for candidates of `space`, as far as candidates drawn at random show.
    ///
    /// # Errors
    /// [`Mismatch`] when it has a row for none of them.
    pub fn check_rows(&self, table: &Table, space: &Space) -> Result<(), Mismatch> {
        let candidates = drawn(space);
        if candidates
            .iter()
            .any(|candidate| table.find(&self.cells_of(space, candidate)).is_some())
        {
            return Ok(());
        }
        Err(Mismatch::NoRows {
            drawn: candidates.len(),
            cells: super::answer::row_text(&self.cells_of(space, &space.first())),
        })
    }
}

/// The first candidate and some at random, always the same ones.
fn drawn(space: &Space) -> Vec<Candidate> {
    let more = (SAMPLED_BLOCKS / space.count().blocks.max(1)).clamp(1, SAMPLES);
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    let sampled = (0..more).map(|_| space.sample(&mut rng));
    std::iter::once(space.first()).chain(sampled).collect()
}

/// The place of every decision's value among its alternatives.
struct Places<'c> {
    candidate: &'c Candidate,
    places: BTreeMap<DecisionPath, u32>,
}

impl Places<'_> {
    fn of(space: &Space, candidate: &Candidate) -> BTreeMap<DecisionPath, u32> {
        let mut places = Places {
            candidate,
            places: BTreeMap::new(),
        };
        space.expand(&mut places);
        places.places
    }
}

impl Chooser for Places<'_> {
    fn choose(&mut self, path: &DecisionPath, domain: &Domain) -> Value {
        let value = self.candidate.get(path);
        if let (Some(values), Some(value)) = (domain.values(), value)
            && let Some(place) = values.iter().position(|other| other == value)
        {
            let place = u32::try_from(place).unwrap_or(u32::MAX);
            self.places.insert(path.clone(), place);
        }
        value.cloned().unwrap_or_else(|| domain.first())
    }
}
