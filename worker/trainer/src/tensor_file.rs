//! Named tensors in a file of the safetensors format: written whole or not at all, and read as something that may hold
//! anything.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use tch::{Device, TchError, Tensor, no_grad_guard};

use crate::error::JobError;

/// The most bytes that the header of a file has for each tensor: its name, which JSON may lengthen six
/// times, and its kind, shape and place.
const HEADER_BYTES_EACH: u64 = 8 * 1024;
/// The most bytes of a number: `double` and `int64`.
const MOST_BYTES_EACH: u64 = 8;

/// A tensor as others expect it in a file: on the CPU, its dimensions stored in their order.
///
/// # Errors
/// What libtorch says.
pub(crate) fn plain(tensor: &Tensor) -> Result<Tensor, TchError> {
    tensor.f_detach()?.f_to_device(Device::Cpu)?.f_contiguous()
}

/// Writes a file into `folder`.
///
/// # Errors
/// [`JobError::Disk`] when it cannot be written.
pub(crate) fn write(
    tensors: &[(String, Tensor)],
    folder: &Path,
    name: &str,
) -> Result<(), JobError> {
    let disk = |path: &Path, why: String| JobError::Disk {
        path: path.to_owned(),
        why,
    };
    let unfinished = folder.join(format!(".{name}.unfinished"));
    Tensor::write_safetensors(tensors, &unfinished)
        .map_err(|error| disk(&unfinished, error.to_string()))?;
    let path = folder.join(name);
    std::fs::rename(&unfinished, &path).map_err(|error| disk(&path, error.to_string()))
}

/// What a file holds and nobody has taken yet.
pub(crate) struct Stored {
    path: PathBuf,
    tensors: HashMap<String, Tensor>,
}

impl Stored {
    /// Reads a file that is to hold values for these tensors, and no more.
    ///
    /// # Errors
    /// [`JobError::Weights`]: it cannot be read, or is too long for that.
    pub(crate) fn read<'a>(
        path: &Path,
        expected: impl Iterator<Item = &'a Tensor>,
    ) -> Result<Self, JobError> {
        let bad = |why: String| JobError::Weights {
            path: path.to_owned(),
            why,
        };
        let length = std::fs::metadata(path)
            .map_err(|error| bad(error.to_string()))?
            .len();
        let most = expected
            .map(|tensor| tensor.numel() as u64 * MOST_BYTES_EACH + HEADER_BYTES_EACH)
            .sum::<u64>()
            + HEADER_BYTES_EACH;
        if length > most {
            return Err(bad(format!(
                "it has {length} bytes, and this network's has at most {most}"
            )));
        }
        let tensors = Tensor::read_safetensors(path).map_err(|error| bad(error.to_string()))?;
        Ok(Self {
            path: path.to_owned(),
            tensors: tensors.into_iter().collect(),
        })
    }

    /// Copies values into these tensors. Kinds and shapes must be the same.
    ///
    /// # Errors
    /// [`JobError::Weights`] says what does not fit.
    pub(crate) fn restore<'a>(
        &mut self,
        targets: impl Iterator<Item = (String, &'a Tensor)>,
    ) -> Result<(), JobError> {
        let _guard = no_grad_guard();
        for (name, target) in targets {
            let Some(tensor) = self.tensors.remove(&name) else {
                return Err(self.bad(format!("it has no {name:?}")));
            };
            let (kind, wanted) = (tensor.f_kind()?, target.f_kind()?);
            if kind != wanted || tensor.size() != target.size() {
                return Err(self.bad(format!(
                    "{name:?} is {kind:?} {:?}, and the network has {wanted:?} {:?}",
                    tensor.size(),
                    target.size()
                )));
            }
            target.shallow_clone().f_copy_(&tensor)?;
        }
        Ok(())
    }

    /// Everything has been taken.
    ///
    /// # Errors
    /// [`JobError::Weights`] names what has not.
    pub(crate) fn end(self) -> Result<(), JobError> {
        match self.tensors.keys().next() {
            None => Ok(()),
            Some(name) => Err(self.bad(format!(
                "it has {:?}, which the network does not have",
                name.chars().take(200).collect::<String>()
            ))),
        }
    }

    /// The file is not what it should be.
    pub(crate) fn bad(&self, why: String) -> JobError {
        JobError::Weights {
            path: self.path.clone(),
            why,
        }
    }
}
