//! The folder of a run: which search it holds, and whether this spec may go on with it.
//!
//! ```text
//! search.json   which search this is, from which spec and data
//! spec.yaml     the spec, for people
//! coordinator/  journal and artifacts
//! workers/      scratch of each worker
//! logs/         coordinator.log, worker-1.log, …
//! best/         weights.safetensors and candidate.json, at the end
//! ```

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use espalier_common::dataset::DatasetInfo;
use espalier_common::spec;
use espalier_common::table::TableInfo;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::super::error::CliError;
use super::super::spec_file::SpecFile;

/// The file that makes a folder a run's.
const RECORD: &str = "search.json";
/// The spec, for people.
const SPEC: &str = "spec.yaml";
/// What a file is called until it is whole, instead of its own extension.
const PART: &str = "part";
/// The largest such file that is read: the largest spec, escaped, and more.
const MAX_RECORD_BYTES: u64 = 8 * 1024 * 1024;
/// Lines of each side of a difference that are shown.
const DIFFERENT_LINES: usize = 8;

/// A run's folder.
#[derive(Debug)]
pub(super) struct RunFolder {
    path: PathBuf,
    id: Uuid,
}

/// What `search.json` holds.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    id: Uuid,
    spec: String,
    dataset: Option<DatasetInfo>,
    #[serde(default)]
    table: Option<TableInfo>,
}

impl RunFolder {
    /// Makes a folder for a new search, or with `resume` opens that of an earlier one.
    pub(super) fn open(path: &Path, file: &SpecFile, resume: bool) -> Result<Self, CliError> {
        remove_parts(path)?;
        let record = read_record(path)?;
        match (record, resume) {
            (None, false) => Self::create(path, file),
            (Some(record), true) => {
                same_search(path, &record, file)?;
                Self::with_folders(path, record.id)
            }
            (None, true) => Err(CliError::Refused(format!(
                "there is no search in {} to go on with; leave --resume out to start one, or say with \
                 --data-dir where it lies",
                path.display()
            ))),
            (Some(record), false) => Err(CliError::Refused(format!(
                "{} holds search {} already; go on with it with --resume, or give the new one another \
                 folder with --data-dir",
                path.display(),
                record.id
            ))),
        }
    }

    fn create(path: &Path, file: &SpecFile) -> Result<Self, CliError> {
        refuse_strangers(path)?;
        let folder = Self::with_folders(path, Uuid::new_v4())?;
        write(&path.join(SPEC), file.text.as_bytes())?;
        let record = Record {
            id: folder.id,
            spec: file.text.clone(),
            dataset: file.dataset.clone(),
            table: file.table.as_ref().map(|(info, _)| info.clone()),
        };
        let json = serde_json::to_vec_pretty(&record)
            .map_err(|error| CliError::Failed(format!("{RECORD}: {error}")))?;
        // The last thing written, so that a folder with a record is whole.
        write(&path.join(RECORD), &json)?;
        Ok(folder)
    }

    fn with_folders(path: &Path, id: Uuid) -> Result<Self, CliError> {
        let folder = Self {
            path: std::path::absolute(path).map_err(|error| CliError::io("find", path, &error))?,
            id,
        };
        for needed in [folder.coordinator(), folder.logs()] {
            std::fs::create_dir_all(&needed)
                .map_err(|error| CliError::io("make", &needed, &error))?;
        }
        Ok(folder)
    }

    /// The coordinator refused the search: nothing is in this folder to go on with.
    pub(super) fn forget(&self) -> Result<(), CliError> {
        let record = self.path.join(RECORD);
        std::fs::remove_file(&record).map_err(|error| CliError::io("remove", &record, &error))
    }

    /// The search's id.
    pub(super) fn id(&self) -> Uuid {
        self.id
    }

    /// The folder itself.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Journal and artifacts.
    pub(super) fn coordinator(&self) -> PathBuf {
        self.path.join("coordinator")
    }

    /// Log files.
    pub(super) fn logs(&self) -> PathBuf {
        self.path.join("logs")
    }

    /// The best network.
    pub(super) fn best(&self) -> PathBuf {
        self.path.join("best")
    }

    /// The log of a worker.
    pub(super) fn worker_log(&self, name: &str) -> PathBuf {
        self.logs().join(format!("{name}.log"))
    }

    /// The scratch folder of a worker.
    pub(super) fn worker(&self, name: &str) -> PathBuf {
        self.path.join("workers").join(name)
    }
}

fn read_record(folder: &Path) -> Result<Option<Record>, CliError> {
    use std::io::Read as _;

    let path = folder.join(RECORD);
    let file = match std::fs::File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(CliError::io("read", &path, &error)),
    };
    let mut text = String::new();
    file.take(MAX_RECORD_BYTES)
        .read_to_string(&mut text)
        .map_err(|error| CliError::io("read", &path, &error))?;
    serde_json::from_str(&text).map(Some).map_err(|error| {
        CliError::Refused(format!(
            "{} is damaged or of another version: {error}; the search itself is in {}",
            path.display(),
            folder.join("coordinator").display()
        ))
    })
}

/// Removes what a run that ended in the middle of writing left of its own files.
fn remove_parts(folder: &Path) -> Result<(), CliError> {
    for name in [RECORD, SPEC] {
        let part = folder.join(name).with_extension(PART);
        match std::fs::remove_file(&part) {
            Err(error)
                if !matches!(
                    error.kind(),
                    std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory
                ) =>
            {
                return Err(CliError::io("remove", &part, &error));
            }
            _ => {}
        }
    }
    Ok(())
}

/// A run fills its folder with files of its own; it does not do that between a user's.
fn refuse_strangers(path: &Path) -> Result<(), CliError> {
    let mut entries = match std::fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(CliError::io("read", path, &error)),
    };
    // What a run makes before its record: left by one that ended right there.
    let own = [SPEC, "coordinator", "logs", "workers"];
    let stranger = entries.find_map(|entry| {
        let name = entry.ok()?.file_name();
        (!own.iter().any(|own| name == *own)).then_some(name)
    });
    match stranger {
        None => Ok(()),
        Some(name) => Err(CliError::Refused(format!(
            "{} is not empty ({} is in it) and holds no search; name a new folder with --data-dir",
            path.display(),
            Path::new(&name).display()
        ))),
    }
}

/// Whether `file` defines the search that is recorded. Comments and layout of the spec may differ.
fn same_search(folder: &Path, record: &Record, file: &SpecFile) -> Result<(), CliError> {
    let recorded =
        spec::read(&record.spec, &folder.join(RECORD).display().to_string()).map_err(|errors| {
            CliError::Refused(format!(
                "the search in {} was made from a spec that this version does not read:\n{errors}",
                folder.display()
            ))
        })?;
    if recorded != file.spec {
        return Err(CliError::Refused(format!(
            "{} defines another search than the one in {}; take the old spec ({}), or give the new one \
             another folder with --data-dir\n{}",
            file.path.display(),
            folder.display(),
            folder.join(SPEC).display(),
            differences(&record.spec, &file.text)
        )));
    }
    if record.dataset != file.dataset {
        return Err(CliError::Refused(format!(
            "the data have changed since the search in {} was started: they were {}, they are {}; scores of \
             different data cannot be compared, so bring the old data back, or start a new search with \
             --data-dir",
            folder.display(),
            data_text(record.dataset.as_ref()),
            data_text(file.dataset.as_ref())
        )));
    }
    let found = file.table.as_ref().map(|(info, _)| info.fingerprint);
    if record.table.as_ref().map(|info| info.fingerprint) != found {
        return Err(CliError::Refused(format!(
            "the table of results has changed since the search in {} was started; bring the old one back, or \
             start a new search with --data-dir",
            folder.display(),
        )));
    }
    Ok(())
}

fn data_text(dataset: Option<&DatasetInfo>) -> String {
    dataset.map_or_else(
        || "absent".to_owned(),
        |dataset| {
            format!(
                "{} with {} training examples",
                dataset.fingerprint.short(),
                dataset.train
            )
        },
    )
}

/// The lines between the common beginning and the common end of two texts.
fn differences(old: &str, new: &str) -> String {
    let (old, new): (Vec<_>, Vec<_>) = (old.lines().collect(), new.lines().collect());
    let start = old
        .iter()
        .zip(&new)
        .take_while(|(old, new)| old == new)
        .count();
    let end = old[start..]
        .iter()
        .rev()
        .zip(new[start..].iter().rev())
        .take_while(|(old, new)| old == new)
        .count();
    let mut text = format!("from line {}:", start + 1);
    for (sign, lines) in [
        ('-', &old[start..old.len() - end]),
        ('+', &new[start..new.len() - end]),
    ] {
        for line in lines.iter().take(DIFFERENT_LINES) {
            // Writing to a String does not fail.
            let _ = write!(text, "\n  {sign} {line}");
        }
        if lines.len() > DIFFERENT_LINES {
            let _ = write!(
                text,
                "\n  {sign} … {} lines more",
                lines.len() - DIFFERENT_LINES
            );
        }
    }
    text
}

/// Writes a file that is there as a whole or not at all.
fn write(path: &Path, bytes: &[u8]) -> Result<(), CliError> {
    use std::io::Write as _;

    let failed = |error: std::io::Error| CliError::io("write", path, &error);
    let part = path.with_extension(PART);
    let mut file = std::fs::File::create(&part).map_err(failed)?;
    file.write_all(bytes).map_err(failed)?;
    file.sync_all().map_err(failed)?;
    std::fs::rename(&part, path).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TINY: &str = "\
name: tiny
hyperparameters: {x: {range: [0.0, 1.0]}}
evaluator: mine
objectives: [{minimize: loss}]
budget: {trials: 3}
";

    fn spec_file(text: &str) -> SpecFile {
        SpecFile {
            table: None,
            known: Vec::new(),
            path: PathBuf::from("tiny.yaml"),
            text: text.to_owned(),
            spec: spec::read(text, "tiny.yaml").unwrap(),
            warnings: Vec::new(),
            dataset: None,
        }
    }

    #[test]
    fn a_run_is_resumed_in_its_folder_with_the_same_id() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("run");
        let first = RunFolder::open(&path, &spec_file(TINY), false).unwrap();
        let commented = format!("# a comment\n{TINY}");
        let again = RunFolder::open(&path, &spec_file(&commented), true).unwrap();
        assert_eq!(first.id(), again.id());
        assert_eq!(
            std::fs::read_to_string(path.join("spec.yaml")).unwrap(),
            TINY
        );
    }

    #[test]
    fn a_folder_with_a_search_is_not_started_in_again() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("run");
        RunFolder::open(&path, &spec_file(TINY), false).unwrap();
        let error = RunFolder::open(&path, &spec_file(TINY), false).unwrap_err();
        assert_eq!(error.code(), 5);
        assert!(error.to_string().contains("--resume"), "{error}");
    }

    #[test]
    fn another_spec_does_not_go_on_with_a_search_and_is_told_where_it_differs() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("run");
        RunFolder::open(&path, &spec_file(TINY), false).unwrap();
        let other = TINY.replace("trials: 3", "trials: 4");
        let error = RunFolder::open(&path, &spec_file(&other), true).unwrap_err();
        assert_eq!(error.code(), 5);
        let text = error.to_string();
        assert!(
            text.contains("from line 5:\n  - budget: {trials: 3}\n  + budget: {trials: 4}"),
            "{text}"
        );
    }

    #[test]
    fn nothing_to_resume_is_said_and_a_forgotten_search_is_gone() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("run");
        let error = RunFolder::open(&path, &spec_file(TINY), true).unwrap_err();
        assert_eq!(error.code(), 5);
        let folder = RunFolder::open(&path, &spec_file(TINY), false).unwrap();
        folder.forget().unwrap();
        RunFolder::open(&path, &spec_file(TINY), false).unwrap();
    }

    #[test]
    fn what_a_run_left_half_written_does_not_block_its_folder() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("run");
        std::fs::create_dir(&path).unwrap();
        for left in ["spec.part", "search.part"] {
            std::fs::write(path.join(left), "{").unwrap();
        }
        RunFolder::open(&path, &spec_file(TINY), false).unwrap();
        std::fs::write(path.join("search.part"), "{").unwrap();
        RunFolder::open(&path, &spec_file(TINY), true).unwrap();
        assert!(!path.join("search.part").exists());
        assert!(!path.join("spec.part").exists());
    }

    #[test]
    fn a_folder_with_other_files_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("thesis.tex"), "x").unwrap();
        let error = RunFolder::open(folder.path(), &spec_file(TINY), false).unwrap_err();
        assert!(error.to_string().contains("thesis.tex"), "{error}");
        assert!(!folder.path().join("search.json").exists());
    }

    #[test]
    fn differences_are_the_lines_between_what_is_common() {
        assert_eq!(
            differences("a\nb\nc", "a\nx\ny\nc"),
            "from line 2:\n  - b\n  + x\n  + y"
        );
        assert_eq!(differences("a", "a\nb"), "from line 2:\n  + b");
        let long: String = (0..20).map(|n| format!("{n}\n")).collect();
        assert!(differences("", &long).ends_with("+ … 12 lines more"));
    }
}
