//! What defines a search: everything the user submitted, resolved. The first event of its stream.

use espalier_common::dataset::DatasetInfo;
use espalier_common::ids::{Digest, SearchId, TrialNumber};
use espalier_common::job::TRAINER;
use espalier_common::known::Known;
use espalier_common::spec::{EvaluatorSpec, Spec, WarmStart};
use espalier_common::table::{TABLE, TableInfo};
use serde::{Deserialize, Serialize};

/// What defines a search.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Definition {
    /// The spec, parsed.
    pub spec: Spec,
    /// The spec as the user wrote it.
    pub text: String,
    /// What was found where the data lie; absent when the evaluator brings its own.
    pub dataset: Option<DatasetInfo>,
    /// What was found where the table of results lies; absent when there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub table: Option<TableInfo>,
    /// The release of Espalier that runs it: another one may train the same candidate otherwise. Empty for a
    /// search of before this was recorded.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub release: String,
    /// Candidates that the search begins with: what its `warm_start` came to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub known: Vec<Known>,
    /// The search that it was forked from, if it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forked: Option<Forked>,
}

/// Where a search was forked from another one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forked {
    /// The other search.
    pub from: SearchId,
    /// It begins with what the other one's trials up to this had found.
    pub at: TrialNumber,
    /// Who forked it, in words; absent when nobody said so, and in searches of before it was recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// So many candidates were banned in the other search, and are in this one from the beginning.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub bans: u32,
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

impl Forked {
    /// Whether another fork begins with the same, whoever wanted it and whatever was banned by then.
    fn is_of(&self, other: &Self) -> bool {
        (self.from, self.at) == (other.from, other.at)
    }
}

impl Definition {
    /// The definition of a search that this release runs.
    #[must_use]
    pub fn new(
        spec: Spec,
        text: String,
        dataset: Option<DatasetInfo>,
        table: Option<TableInfo>,
    ) -> Self {
        Self {
            spec,
            text,
            dataset,
            table,
            release: env!("CARGO_PKG_VERSION").to_owned(),
            known: Vec::new(),
            forked: None,
        }
    }

    /// The same, beginning with these candidates.
    #[must_use]
    pub fn with_known(self, known: Vec<Known>) -> Self {
        Self { known, ..self }
    }

    /// Whether another definition was submitted in the same words with the same data.
    #[must_use]
    pub fn is_submitted_as(&self, other: &Self) -> bool {
        let forked = match (&self.forked, &other.forked) {
            (Some(own), Some(others)) => own.is_of(others),
            (own, others) => own.is_none() && others.is_none(),
        };
        self.spec == other.spec
            && self.text == other.text
            && self.dataset == other.dataset
            && self.table == other.table
            // An earlier search may have gone on since; what came of it first stays.
            && forked
            && (self.known == other.known
                || self.forked.is_some()
                || matches!(self.spec.warm_start, Some(WarmStart::Search(_))))
    }

    /// Whether the best is measured on the test split at the end: there is such a split, and the built-in
    /// trainer, which can read it.
    #[must_use]
    pub fn tests_the_best(&self) -> bool {
        let trainer = matches!(&self.spec.evaluator, EvaluatorSpec::Named(name) if name == TRAINER);
        trainer
            && self
                .dataset
                .as_ref()
                .is_some_and(|dataset| dataset.test > 0)
    }

    /// The name of the evaluator that runs this search's jobs. An inline command has been given a name
    /// before a search is created.
    #[must_use]
    pub fn evaluator(&self) -> &str {
        match &self.spec.evaluator {
            EvaluatorSpec::Named(name) => name,
            EvaluatorSpec::Command(_) => INLINE_EVALUATOR,
            EvaluatorSpec::Table(_) => TABLE,
        }
    }

    /// Fingerprint of what a worker must have to run this search's jobs.
    #[must_use]
    pub fn needs(&self) -> Option<Digest> {
        match &self.table {
            // The data behind a table are not read again.
            Some(table) => Some(table.fingerprint),
            None => self.dataset.as_ref().map(|data| data.fingerprint),
        }
    }
}

/// The name under which `espalier run` offers a spec's inline `command:` to its own workers.
pub const INLINE_EVALUATOR: &str = "inline";
