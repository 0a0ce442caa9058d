//! What the commands that look at spaces and candidates share: specs read for looking, sizes in words.
//! May import the reader of specs and the data sets.

use std::path::Path;

use espalier_common::dataset::{DatasetInfo, DatasetReference};
use espalier_common::ids::Digest;
use espalier_common::space::Built;

use super::args::LookArgs;
use super::candidate_file::CandidateFile;
use super::error::CliError;
use super::render::quantity;
use super::spec_file::{SpecFile, inspected};

/// Reads a spec to look at its space: unlike a search, even when nothing in it can be built.
pub(super) fn read_spec(path: &Path, look: &LookArgs) -> Result<SpecFile, CliError> {
    SpecFile::read(path, |reference| data_of(look, reference))
}

/// Reads a spec and makes sure that at least one candidate may be trained.
pub(super) fn load_spec(path: &Path, look: &LookArgs) -> Result<SpecFile, CliError> {
    let data_root = &look.data.data_root;
    SpecFile::load_with(path, data_root, |reference| data_of(look, reference))
}

/// The data of a spec, looked at or assumed.
fn data_of(look: &LookArgs, reference: &DatasetReference) -> Result<DatasetInfo, String> {
    let Some(assumed) = &look.assume_data else {
        let data_root = &look.data.data_root;
        return inspected(data_root, reference)
            .map_err(|error| format!("{error}; --assume-data 3x32x32:10 goes without the data"));
    };
    Ok(DatasetInfo {
        reference: reference.clone(),
        fingerprint: Digest::of(b"assumed"),
        input: assumed.input.clone(),
        classes: assumed.classes,
        vocabulary: assumed.vocabulary,
        train: 0,
        validation: 0,
        test: 0,
    })
}

/// What the decisions of a candidate build in the space of a spec.
pub(super) fn built(file: &SpecFile, candidate: &CandidateFile) -> Result<Built, CliError> {
    let of_spec = |problem: String| {
        CliError::Spec(format!(
            "{}: not a candidate of {}: {problem}",
            candidate.name,
            file.path.display()
        ))
    };
    // A constraint is the search's business: what breaks it can still be looked at.
    file.spec
        .space
        .build(&candidate.decisions, file.dataset.as_ref())
        .map_err(|error| of_spec(error.to_string()))
}

/// `84.2k parameters, 3.14M MACs`.
pub(super) fn sizes(parameters: Option<u64>, macs: Option<u64>) -> Vec<String> {
    let part =
        |count: Option<u64>, word: &str| count.map(|count| format!("{} {word}", quantity(count)));
    [part(parameters, "parameters"), part(macs, "MACs")]
        .into_iter()
        .flatten()
        .collect()
}

/// `network 1f3a9c2b77aa`: enough of its identity to tell two apart.
pub(super) fn network_text(id: Digest) -> String {
    format!("network {:.12}", id.to_string())
}
