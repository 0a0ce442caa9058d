//! A spec on disk with the data it names: read, inspected and checked here, before anything is started or
//! created. May import the reader of specs and the data sets.

use std::path::{Path, PathBuf};

use espalier_common::dataset::{DatasetInfo, DatasetReference};
use espalier_common::known::Known;
use espalier_common::spec::{self, EvaluatorSpec, Spec, SpecError, WarmStart};
use espalier_common::table::{Table, TableInfo, TableSpec};
use espalier_proto::v1;
use uuid::Uuid;

use super::error::CliError;
use super::warm_file;

/// The largest spec that is read: a thousand times what a person writes.
const MAX_SPEC_BYTES: u64 = 1024 * 1024;

/// Reads the text of a spec, of a file that errors call by this name.
type Reader = fn(&str, &str) -> Result<(Spec, Vec<SpecError>), spec::SpecErrors>;

/// A spec that can be submitted.
#[derive(Debug)]
pub(super) struct SpecFile {
    /// What the user called it.
    pub(super) path: PathBuf,
    /// As it was written.
    pub(super) text: String,
    /// As it was understood.
    pub(super) spec: Spec,
    /// What is right in it and yet looks like a mistake.
    pub(super) warnings: Vec<SpecError>,
    /// What lies where its data set is; absent when the evaluator brings its own.
    pub(super) dataset: Option<DatasetInfo>,
    /// What lies where its table of results is, with its rows; absent when it has none.
    pub(super) table: Option<(TableInfo, Table)>,
    /// The candidates of its list, or of the file, that a search of it begins with.
    pub(super) known: Vec<Known>,
}

impl SpecFile {
    /// Reads the spec, inspects its data, and makes sure that at least one candidate may be trained.
    pub(super) fn load(path: &Path, data_root: &Path) -> Result<Self, CliError> {
        Self::load_by(spec::read_warned, path, data_root, |reference| {
            inspected(data_root, reference)
        })
    }

    /// As `load`, for whoever puts another searcher in the place of the spec's, and checks that one.
    pub(super) fn load_without_searcher(path: &Path, data_root: &Path) -> Result<Self, CliError> {
        Self::load_by(spec::read_without_searcher, path, data_root, |reference| {
            inspected(data_root, reference)
        })
    }

    /// As [`Self::load`], with data described by `inspect`.
    pub(super) fn load_with(
        path: &Path,
        data_root: &Path,
        inspect: impl FnOnce(&DatasetReference) -> Result<DatasetInfo, String>,
    ) -> Result<Self, CliError> {
        Self::load_by(spec::read_warned, path, data_root, inspect)
    }

    fn load_by(
        reader: Reader,
        path: &Path,
        data_root: &Path,
        inspect: impl FnOnce(&DatasetReference) -> Result<DatasetInfo, String>,
    ) -> Result<Self, CliError> {
        let file = Self::read_by(reader, path, inspect)?;
        let table = match file.spec.evaluator.table() {
            None => None,
            Some(columns) => Some(table(path, data_root, &file.spec, columns)?),
        };
        let known = match &file.spec.warm_start {
            Some(WarmStart::Candidates(list)) => list.clone(),
            Some(WarmStart::Csv(csv)) => {
                let beside = path.parent().unwrap_or(Path::new(""));
                warm_file::read(&beside.join(csv), &file.spec)?
            }
            // The coordinator asks its own journal.
            Some(WarmStart::Search(_)) | None => Vec::new(),
        };
        let file = Self {
            table,
            known,
            ..file
        };
        file.spec
            .first_feasible(file.dataset.as_ref())
            .map_err(|none| CliError::Spec(format!("{}: {none}", path.display())))?;
        Ok(file)
    }

    /// Reads the spec, and describes its data by `inspect`.
    pub(super) fn read(
        path: &Path,
        inspect: impl FnOnce(&DatasetReference) -> Result<DatasetInfo, String>,
    ) -> Result<Self, CliError> {
        Self::read_by(spec::read_warned, path, inspect)
    }

    fn read_by(
        reader: Reader,
        path: &Path,
        inspect: impl FnOnce(&DatasetReference) -> Result<DatasetInfo, String>,
    ) -> Result<Self, CliError> {
        let text = read_text(path)?;
        let (spec, warnings) = reader(&text, &path.display().to_string())
            .map_err(|errors| CliError::Spec(errors.to_string()))?;
        let dataset = spec
            .dataset
            .as_ref()
            .map(inspect)
            .transpose()
            .map_err(|problem| CliError::Spec(format!("{}: {problem}", path.display())))?;
        // Of the data behind a table only the shapes may be known.
        let dataset = dataset.or_else(|| spec.evaluator.table()?.described_data());
        Ok(Self {
            path: path.to_owned(),
            text,
            spec,
            warnings,
            dataset,
            table: None,
            known: Vec::new(),
        })
    }

    /// The program of an inline `evaluator: {command: …}`.
    pub(super) fn command(&self) -> Option<&[String]> {
        match &self.spec.evaluator {
            EvaluatorSpec::Command(command) => Some(command),
            EvaluatorSpec::Named(_) | EvaluatorSpec::Table(_) => None,
        }
    }

    /// The request that creates this search, with `text` as its spec.
    pub(super) fn request(&self, id: Uuid, text: String) -> Result<v1::CreateRequest, CliError> {
        let table = self.table.as_ref().map(|(info, _)| info);
        // What was only said by the spec is known to whoever reads it.
        let described = self.spec.dataset.is_none();
        let dataset = self.dataset.as_ref().filter(|_| !described);
        let of_a_file = matches!(self.spec.warm_start, Some(WarmStart::Csv(_)));
        let known = Some(&self.known).filter(|_| of_a_file);
        Ok(v1::CreateRequest {
            warm_start_json: json("the candidates of warm_start", known)?,
            spec: text,
            file: self.path.display().to_string(),
            dataset_json: json("the data set", dataset)?,
            id: espalier_proto::uuid_to_wire(id),
            table_json: json("the table", table)?,
        })
    }
}

fn json(what: &str, value: Option<&impl serde::Serialize>) -> Result<String, CliError> {
    let Some(value) = value else {
        return Ok(String::new());
    };
    serde_json::to_string(value).map_err(|error| CliError::Failed(format!("{what}: {error}")))
}

/// Reads the table of a spec, and makes sure that it and the space belong together.
fn table(
    path: &Path,
    data_root: &Path,
    spec: &Spec,
    columns: &TableSpec,
) -> Result<(TableInfo, Table), CliError> {
    let wrong = |error: &dyn std::fmt::Display| {
        CliError::Spec(format!("{}: evaluator.table: {error}", path.display()))
    };
    // Before the rows: where a decision has no column, rows that differ in it look like one candidate's.
    columns.check(&spec.space).map_err(|error| wrong(&error))?;
    let beside = path.parent().unwrap_or(Path::new(""));
    let (info, table) =
        espalier_data::inspect_table(data_root, beside, columns).map_err(|error| wrong(&error))?;
    columns
        .check_rows(&table, &spec.space)
        .map_err(|error| wrong(&error))?;
    Ok((info, table))
}

/// Looks at what lies where a data set should be.
pub(super) fn inspected(
    data_root: &Path,
    reference: &DatasetReference,
) -> Result<DatasetInfo, String> {
    espalier_data::inspect(data_root, reference).map_err(|error| {
        format!(
            "dataset.path {:?}: {error}; relative paths start at --data-root {}",
            reference.path,
            data_root.display()
        )
    })
}

/// The text of a spec.
pub(super) fn read_text(path: &Path) -> Result<String, CliError> {
    use std::io::Read as _;

    let wrong = |error: &dyn std::fmt::Display| {
        CliError::Spec(format!("{}: cannot read the spec: {error}", path.display()))
    };
    let file = std::fs::File::open(path).map_err(|error| wrong(&error))?;
    let mut text = String::new();
    file.take(MAX_SPEC_BYTES + 1)
        .read_to_string(&mut text)
        .map_err(|error| wrong(&error))?;
    if text.len() as u64 > MAX_SPEC_BYTES {
        return Err(wrong(&format!("it is larger than {MAX_SPEC_BYTES} bytes")));
    }
    Ok(text)
}
