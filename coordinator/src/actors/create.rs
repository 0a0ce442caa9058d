//! From what a user submits to the definition of a search: everything is checked here, before anything is
//! created. May import common and the core.

use espalier_common::dataset::DatasetInfo;
use espalier_common::job::TRAINER;
use espalier_common::known::{Known, MAX_KNOWN, MAX_KNOWN_BYTES};
use espalier_common::spec::{EvaluatorSpec, Spec, WarmStart};
use espalier_common::table::{TABLE, TableInfo};
use espalier_core::search::{Definition, INLINE_EVALUATOR};

use super::error::CallError;

/// The longest spec, in bytes: a hundred times a long one.
const MAX_SPEC_BYTES: usize = 1024 * 1024;

/// What a user submits.
#[derive(Debug)]
pub(crate) struct NewSearch {
    /// The spec, YAML.
    pub(crate) text: String,
    /// Its file's name, for messages.
    pub(crate) file: String,
    /// What was found where the data lie, as JSON; empty when there are none.
    pub(crate) dataset: String,
    /// What was found where the table of results lies, as JSON; empty when there is none.
    pub(crate) table: String,
    /// The candidates of the file that the spec names to begin with, as JSON; empty when it names none.
    pub(crate) warm_start: String,
}

impl NewSearch {
    /// The definition of the search, if all of it is right.
    ///
    /// # Errors
    /// What is wrong, and where.
    pub(crate) fn check(self, allow_inline_commands: bool) -> Result<Definition, CallError> {
        if self.text.len() > MAX_SPEC_BYTES {
            return Err(CallError::BadSpec(format!(
                "the spec has {} bytes; at most {MAX_SPEC_BYTES} are taken",
                self.text.len()
            )));
        }
        let spec = espalier_common::spec::read(&self.text, &self.file)
            .map_err(|errors| CallError::BadSpec(errors.to_string()))?;
        let dataset = dataset(&spec, &self.dataset)?;
        let table = table(&spec, &self.table)?;
        check_evaluator(&spec, allow_inline_commands)?;
        spec.first_feasible(dataset.as_ref())
            .map_err(|none| CallError::BadSpec(format!("{}: {none}", self.file)))?;
        let known = known(&spec, &self.warm_start)?;
        Ok(Definition::new(spec, self.text, dataset, table).with_known(known))
    }
}

fn dataset(spec: &Spec, json: &str) -> Result<Option<DatasetInfo>, CallError> {
    let info: Option<DatasetInfo> = if json.is_empty() {
        None
    } else {
        let parsed = serde_json::from_str(json);
        Some(parsed.map_err(|error| CallError::Invalid(format!("dataset_json: {error}")))?)
    };
    let trainer = matches!(&spec.evaluator, EvaluatorSpec::Named(name) if name == TRAINER);
    match (&spec.dataset, &info) {
        (Some(reference), Some(info)) if info.reference != *reference => {
            Err(CallError::Invalid(format!(
                "the data set that was inspected ({}) is not the one that the spec names ({}), or \
                 its splits differ",
                info.reference.path, reference.path
            )))
        }
        (Some(reference), None) => Err(CallError::Invalid(format!(
            "the spec names the data set {}, but its description was not sent; submit with \
             `espalier submit`, which inspects it",
            reference.path
        ))),
        (None, Some(info)) => Err(CallError::Invalid(format!(
            "a description of the data set {} was sent, but the spec has no `dataset:`",
            info.reference.path
        ))),
        (None, None) if trainer => Err(CallError::Invalid(
            "the built-in trainer needs data: add a `dataset:` to the spec, or name another \
             `evaluator:`"
                .to_owned(),
        )),
        // Of the data behind a table only the shapes may be known, which the spec says itself.
        _ => Ok(info.or_else(|| spec.evaluator.table()?.described_data())),
    }
}

fn table(spec: &Spec, json: &str) -> Result<Option<TableInfo>, CallError> {
    let info: Option<TableInfo> = if json.is_empty() {
        None
    } else {
        let parsed = serde_json::from_str(json);
        Some(parsed.map_err(|error| CallError::Invalid(format!("table_json: {error}")))?)
    };
    match (spec.evaluator.table(), info) {
        (Some(table), None) => Err(CallError::Invalid(format!(
            "the spec names the table {}, but its description was not sent; submit with `espalier \
             submit`, which inspects it",
            table.path
        ))),
        (None, Some(_)) => Err(CallError::Invalid(
            "a description of a table was sent, but the spec's evaluator is none".to_owned(),
        )),
        (Some(table), Some(info)) => {
            table
                .check(&spec.space)
                .map_err(|mismatch| CallError::BadSpec(format!("evaluator.table: {mismatch}")))?;
            Ok(Some(info))
        }
        (None, None) => Ok(None),
    }
}

/// What the search begins with, as far as the spec or its file says; an earlier search is asked later.
fn known(spec: &Spec, json: &str) -> Result<Vec<Known>, CallError> {
    match (&spec.warm_start, json.is_empty()) {
        (Some(WarmStart::Candidates(list)), true) => bounded(list.clone()),
        (None | Some(WarmStart::Search(_)), true) => Ok(Vec::new()),
        (Some(WarmStart::Csv(path)), true) => Err(CallError::Invalid(format!(
            "the spec names the file of candidates {path}, but what is in it was not sent; submit with \
             `espalier submit`, which reads it"
        ))),
        (Some(WarmStart::Csv(_)), false) if json.len() <= MAX_KNOWN_BYTES => {
            let parsed: Vec<Known> = serde_json::from_str(json)
                .map_err(|error| CallError::Invalid(format!("warm_start_json: {error}")))?;
            if parsed.len() > MAX_KNOWN {
                let message = format!("warm_start: at most {MAX_KNOWN} candidates are taken");
                return Err(CallError::BadSpec(message));
            }
            let of_space = |(number, known): (usize, &Known)| {
                known.of_space(&spec.space).map_err(|problem| {
                    CallError::BadSpec(format!("warm_start: candidate {}: {problem}", number + 1))
                })
            };
            parsed.iter().enumerate().map(of_space).collect()
        }
        (Some(WarmStart::Csv(_)), false) => Err(too_large()),
        (_, false) => Err(CallError::Invalid(
            "candidates of a file were sent, but the spec's warm_start names none".to_owned(),
        )),
    }
}

/// Candidates that fit the first event of a search.
pub(crate) fn bounded(known: Vec<Known>) -> Result<Vec<Known>, CallError> {
    let json = serde_json::to_string(&known)
        .map_err(|error| CallError::Internal(format!("candidates have no JSON form: {error}")))?;
    if json.len() > MAX_KNOWN_BYTES {
        return Err(too_large());
    }
    Ok(known)
}

fn too_large() -> CallError {
    CallError::BadSpec(format!(
        "warm_start: its candidates take more than {MAX_KNOWN_BYTES} bytes; give fewer of them"
    ))
}

fn check_evaluator(spec: &Spec, allow_inline_commands: bool) -> Result<(), CallError> {
    match &spec.evaluator {
        EvaluatorSpec::Command(_) if !allow_inline_commands => Err(CallError::Invalid(
            "an inline `command:` works only in `espalier run`; name the program when you start \
             the workers (espalier-worker --evaluator mine='...') and say `evaluator: mine`"
                .to_owned(),
        )),
        EvaluatorSpec::Named(name) if name == INLINE_EVALUATOR => Err(CallError::Invalid(format!(
            "the evaluator's name {INLINE_EVALUATOR:?} stands for an inline command; give it another"
        ))),
        EvaluatorSpec::Named(name) if name == TABLE => Err(CallError::Invalid(format!(
            "the evaluator's name {TABLE:?} stands for tables of results: write `evaluator: {{table: ...}}`, \
             or give your program another name"
        ))),
        EvaluatorSpec::Command(_) | EvaluatorSpec::Named(_) | EvaluatorSpec::Table(_) => Ok(()),
    }
}
