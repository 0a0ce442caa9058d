//! Batches from the mapped data: bytes are gathered as they lie, and become normalised floats on the
//! device.

use std::marker::PhantomData;

use espalier_data::{MappedDataset, Split};
use tch::{Device, Kind, TchError, Tensor};

/// Splits up to this size are copied to a GPU once; larger ones go over batch by batch.
const RESIDENT_BYTES: usize = 4 << 30;

/// One split of a data set, ready to give batches.
pub struct Feed<'a> {
    /// Bytes, one image after another. On the CPU this is the mapped file itself.
    images: Tensor,
    labels: Tensor,
    scale: Tensor,
    shift: Tensor,
    device: Device,
    /// `images` may point into the map.
    map: PhantomData<&'a MappedDataset>,
}

/// Inputs and their classes.
pub struct Batch {
    /// Normalised images.
    pub inputs: Tensor,
    /// Classes, from 0.
    pub labels: Tensor,
}

impl<'a> Feed<'a> {
    /// The feed of a split for training or measuring on a device.
    ///
    /// # Errors
    /// What libtorch says.
    pub fn new(data: &'a MappedDataset, split: Split, device: Device) -> Result<Self, TchError> {
        let images = bytes_of(data, split)?;
        let resident = data.images(split).len() <= RESIDENT_BYTES;
        let home = if resident { device } else { Device::Cpu };
        let labels = Tensor::f_from_slice(data.labels(split))?.f_to_kind(Kind::Int64)?;
        let (scale, shift): (Vec<f32>, Vec<f32>) = data
            .mean()
            .iter()
            .zip(data.deviation())
            // (pixel / 255 - mean) / deviation, as one product and one sum.
            .map(|(mean, deviation)| {
                (
                    (1.0 / (255.0 * deviation)) as f32,
                    (-mean / deviation) as f32,
                )
            })
            .unzip();
        let of_channels = |values: &[f32]| {
            Tensor::f_from_slice(values)?
                .f_reshape([-1, 1, 1])?
                .f_to_device(device)
        };
        Ok(Self {
            images: images.f_to_device(home)?,
            labels: labels.f_to_device(home)?,
            scale: of_channels(&scale)?,
            shift: of_channels(&shift)?,
            device,
            map: PhantomData,
        })
    }

    /// Number of examples.
    #[must_use]
    pub fn len(&self) -> usize {
        self.labels.numel()
    }

    /// Whether there are no examples.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// An order of examples where [`Feed::gather`] takes it from.
    ///
    /// # Errors
    /// What libtorch says.
    pub fn order(&self, order: &[u32]) -> Result<Tensor, TchError> {
        let order: Vec<i64> = order.iter().map(|&example| i64::from(example)).collect();
        Tensor::f_from_slice(&order)?.f_to_device(self.images.device())
    }

    /// The examples at these places.
    ///
    /// # Errors
    /// What libtorch says.
    pub fn gather(&self, places: &Tensor) -> Result<Batch, TchError> {
        self.batch(
            &self.images.f_index_select(0, places)?,
            &self.labels.f_index_select(0, places)?,
        )
    }

    /// `count` examples from `start` on.
    ///
    /// # Errors
    /// What libtorch says.
    pub fn slice(&self, start: usize, count: usize) -> Result<Batch, TchError> {
        let (start, count) = (start as i64, count as i64);
        self.batch(
            &self.images.f_narrow(0, start, count)?,
            &self.labels.f_narrow(0, start, count)?,
        )
    }

    fn batch(&self, images: &Tensor, labels: &Tensor) -> Result<Batch, TchError> {
        // Bytes become floats by a copy, so what follows changes the copy and never the data.
        let mut inputs = images.f_to_device(self.device)?.f_to_kind(Kind::Float)?;
        let _ = inputs.f_mul_(&self.scale)?;
        let _ = inputs.f_add_(&self.shift)?;
        Ok(Batch {
            inputs,
            labels: labels.f_to_device(self.device)?,
        })
    }
}

/// The images of a split as a tensor over the mapped file, without a copy.
#[allow(unsafe_code)]
fn bytes_of(data: &MappedDataset, split: Split) -> Result<Tensor, TchError> {
    let bytes = data.images(split);
    let size: Vec<i64> = std::iter::once(data.count(split) as i64)
        .chain(data.info().input.0.iter().map(|&(_, length)| length as i64))
        .collect();
    // SAFETY: `bytes` holds exactly the product of `size`, which the data crate has checked. The tensor
    // stays inside `Feed`, which borrows the data set, and is never written: `Feed` reads it by copies.
    unsafe { Tensor::f_from_blob(bytes.as_ptr(), &size, &[], Kind::Uint8, Device::Cpu) }
}
