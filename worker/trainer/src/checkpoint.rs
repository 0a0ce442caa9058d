//! Training that was broken off, in a file: the network, the state of its optimizer, and how far it had come. What goes
//! on from it gives the same numbers as what was never broken off: orders of examples, and what dropout draws, hang on
//! the seed and the place alone.

use std::path::Path;

use tch::{Device, Kind, TchError, Tensor};

use crate::error::JobError;
use crate::optimizer::Optimizer;
use crate::parameters::Parameters;
use crate::tensor_file::{self, Stored};

/// The name of the file in a job's scratch folder.
pub const FILE_NAME: &str = "checkpoint.safetensors";
/// What the file holds beside tensors of the network and the optimizer: its version, epochs, batches, ...
const PLACE: &str = "place";
/// ... and the sum of the losses in the epoch that is not finished.
const LOSS: &str = "loss";
/// Of what is in the file.
const VERSION: i64 = 1;

/// How far training has come.
#[derive(Debug)]
pub struct Place {
    /// Epochs that are finished, their measurements included.
    pub epoch: u32,
    /// Batches of the next epoch that were trained on; all of them, when only the measurement is left.
    pub batch: usize,
    /// The sum of the losses of their examples, where the network is.
    pub loss: Tensor,
}

impl Place {
    /// The beginning.
    ///
    /// # Errors
    /// What libtorch says.
    pub fn start(device: Device) -> Result<Self, TchError> {
        Self::of_epoch(0, device)
    }

    /// The beginning of an epoch, counted from 0.
    ///
    /// # Errors
    /// What libtorch says.
    pub fn of_epoch(epoch: u32, device: Device) -> Result<Self, TchError> {
        Ok(Self {
            epoch,
            batch: 0,
            loss: Tensor::f_zeros([0; 0], (Kind::Double, device))?,
        })
    }
}

/// Writes a checkpoint into `folder`, complete or not at all, and returns the file's name.
///
/// # Errors
/// [`JobError::Disk`] when it cannot be written.
pub fn save(
    parameters: &Parameters,
    optimizer: &Optimizer,
    place: &Place,
    folder: &Path,
) -> Result<String, JobError> {
    let mut tensors = Vec::new();
    for (name, tensor) in targets(parameters, optimizer) {
        tensors.push((name, tensor_file::plain(tensor)?));
    }
    let numbers = [VERSION, i64::from(place.epoch), place.batch as i64];
    tensors.push((PLACE.to_owned(), Tensor::f_from_slice(&numbers)?));
    tensors.push((LOSS.to_owned(), tensor_file::plain(&place.loss)?));
    tensor_file::write(&tensors, folder, FILE_NAME)?;
    Ok(FILE_NAME.to_owned())
}

/// Reads a checkpoint into a network and its optimizer. `batches` is how many an epoch has.
///
/// # Errors
/// [`JobError::Weights`]: it is not of this network, this recipe or these data, or no checkpoint of this release.
pub fn load(
    parameters: &Parameters,
    optimizer: &mut Optimizer,
    batches: usize,
    path: &Path,
) -> Result<Place, JobError> {
    let mut place = Place::start(parameters.device())?;
    let numbers = Tensor::f_zeros([3], (Kind::Int64, Device::Cpu))?;
    let beside = [(PLACE, &numbers), (LOSS, &place.loss)];
    let all = targets(parameters, optimizer).map(|(_, tensor)| tensor);
    let mut stored = Stored::read(path, all.chain(beside.map(|(_, tensor)| tensor)))?;
    stored.restore(
        beside
            .map(|(name, tensor)| (name.to_owned(), tensor))
            .into_iter(),
    )?;
    let read = Vec::<i64>::try_from(&numbers)?;
    let (Some(&VERSION), Some(epoch), Some(batch)) = (
        read.first(),
        read.get(1).and_then(|&epoch| u32::try_from(epoch).ok()),
        read.get(2).and_then(|&batch| usize::try_from(batch).ok()),
    ) else {
        return Err(stored.bad(format!("its place {read:?} is none of this release")));
    };
    if batch > batches {
        return Err(stored.bad(format!(
            "it is after {batch} batches of an epoch, which has {batches}"
        )));
    }
    stored.restore(targets(parameters, optimizer))?;
    stored.end()?;
    optimizer.resume(u64::from(epoch) * batches as u64 + batch as u64);
    (place.epoch, place.batch) = (epoch, batch);
    Ok(place)
}

/// The tensors of a network and of its optimizer, by their names in the file.
fn targets<'a>(
    parameters: &'a Parameters,
    optimizer: &'a Optimizer,
) -> impl Iterator<Item = (String, &'a Tensor)> {
    let entries = parameters.entries();
    let network = entries
        .iter()
        .map(|entry| (format!("network/{}", entry.name), &entry.tensor));
    let trained: Vec<&str> = entries
        .iter()
        .filter(|entry| entry.trained)
        .map(|entry| entry.name.as_str())
        .collect();
    let state = optimizer.state().map(move |(what, index, tensor)| {
        // As many as the optimizer has parameters, which are the trained ones.
        (format!("{what}/{}", trained[index]), tensor)
    });
    network.chain(state)
}
