//! Weights in files: every parameter and running statistic under its name, in the safetensors format.

use std::path::Path;

use tch::TchError;

use crate::error::JobError;
use crate::parameters::Parameters;
use crate::tensor_file::{self, Stored};

/// The name of the file in a job's scratch folder.
pub const FILE_NAME: &str = "weights.safetensors";

/// Writes the parameters to a file in `folder`, complete or not at all, and returns its name.
///
/// # Errors
/// [`JobError::Disk`] when it cannot be written.
pub fn save(parameters: &Parameters, folder: &Path) -> Result<String, JobError> {
    let plain = parameters
        .entries()
        .iter()
        .map(|entry| Ok((entry.name.clone(), tensor_file::plain(&entry.tensor)?)))
        .collect::<Result<Vec<_>, TchError>>()?;
    tensor_file::write(&plain, folder, FILE_NAME)?;
    Ok(FILE_NAME.to_owned())
}

/// Reads a file into the parameters. Names, kinds and shapes must be exactly those of the network.
///
/// # Errors
/// [`JobError::Weights`] says what does not fit.
pub fn load(parameters: &Parameters, path: &Path) -> Result<(), JobError> {
    let targets = || {
        let entries = parameters.entries().iter();
        entries.map(|entry| (entry.name.clone(), &entry.tensor))
    };
    let mut stored = Stored::read(path, targets().map(|(_, tensor)| tensor))?;
    stored.restore(targets())?;
    stored.end()
}
