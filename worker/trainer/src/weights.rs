//! Weights in files: every parameter and running statistic under its name, in the safetensors format.

use std::collections::HashMap;
use std::path::Path;

use tch::{Device, Kind, TchError, Tensor, no_grad_guard};

use crate::error::JobError;
use crate::parameters::Parameters;

/// The name of the file in a job's scratch folder.
pub const FILE_NAME: &str = "weights.safetensors";

/// The most bytes that the header of a file has for each tensor: its name, which JSON may lengthen six
/// times, and its kind, shape and place.
const HEADER_BYTES_EACH: u64 = 8 * 1024;

/// Writes the parameters to a file in `folder`, complete or not at all, and returns its name.
///
/// # Errors
/// [`JobError::Disk`] when it cannot be written.
pub fn save(parameters: &Parameters, folder: &Path) -> Result<String, JobError> {
    let plain = parameters
        .entries()
        .iter()
        .map(|entry| {
            // Others expect the plain layout, in which dimensions are stored in their order.
            let tensor = entry.tensor.f_detach()?.f_to_device(Device::Cpu)?;
            Ok((entry.name.as_str(), tensor.f_contiguous()?))
        })
        .collect::<Result<Vec<_>, TchError>>()?;
    let unfinished = folder.join(".weights.unfinished");
    let disk = |path: &Path, why: String| JobError::Disk {
        path: path.to_owned(),
        why,
    };
    Tensor::write_safetensors(&plain, &unfinished)
        .map_err(|error| disk(&unfinished, error.to_string()))?;
    let path = folder.join(FILE_NAME);
    std::fs::rename(&unfinished, &path).map_err(|error| disk(&path, error.to_string()))?;
    Ok(FILE_NAME.to_owned())
}

/// Reads a file into the parameters. Names, kinds and shapes must be exactly those of the network.
///
/// # Errors
/// [`JobError::Weights`] says what does not fit.
pub fn load(parameters: &Parameters, path: &Path) -> Result<(), JobError> {
    let bad = |why: String| JobError::Weights {
        path: path.to_owned(),
        why,
    };
    let length = std::fs::metadata(path)
        .map_err(|error| bad(error.to_string()))?
        .len();
    let most = longest(parameters);
    if length > most {
        return Err(bad(format!(
            "it has {length} bytes, and this network's has at most {most}"
        )));
    }
    let stored = Tensor::read_safetensors(path).map_err(|error| bad(error.to_string()))?;
    let mut stored: HashMap<String, Tensor> = stored.into_iter().collect();
    let _guard = no_grad_guard();
    for entry in parameters.entries() {
        let tensor = stored
            .remove(&entry.name)
            .ok_or_else(|| bad(format!("it has no {:?}", entry.name)))?;
        if tensor.f_kind()? != Kind::Float || tensor.size() != entry.tensor.size() {
            return Err(bad(format!(
                "{:?} is {:?} {:?}, and the network has {:?} {:?}",
                entry.name,
                tensor.f_kind()?,
                tensor.size(),
                Kind::Float,
                entry.tensor.size()
            )));
        }
        entry.tensor.shallow_clone().f_copy_(&tensor)?;
    }
    match stored.keys().next() {
        None => Ok(()),
        Some(name) => Err(bad(format!(
            "it has {:?}, which the network does not have",
            name.chars().take(200).collect::<String>()
        ))),
    }
}

fn longest(parameters: &Parameters) -> u64 {
    parameters
        .entries()
        .iter()
        .map(|entry| entry.tensor.numel() as u64 * 4 + HEADER_BYTES_EACH)
        .sum::<u64>()
        + HEADER_BYTES_EACH
}
