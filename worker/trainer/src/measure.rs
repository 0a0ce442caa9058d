//! Measuring a network on a split: accuracy and mean loss, without a gradient.

use tch::{Kind, Reduction, Tensor, no_grad_guard};

use crate::error::JobError;
use crate::feed::Feed;
use crate::lower::Model;

/// The most examples in a forward pass: enough that the overhead of a call does not matter, few enough
/// that activations stay in the processor's caches.
const MOST_AT_ONCE: usize = 256;
/// More on a GPU, which has no such cache but wants more work at a time.
const MOST_AT_ONCE_ON_GPU: usize = 2048;

/// What was measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Score {
    /// Share of examples whose class has the greatest output.
    pub accuracy: f64,
    /// Mean cross entropy, without label smoothing.
    pub loss: f64,
}

/// Examples in a forward pass for a recipe that trains with `batch_size`: never more than that. Training
/// holds the outputs of all layers for the backward pass, so a batch that could be trained on can be
/// measured, and measuring never runs out of memory where training did not.
#[must_use]
pub fn at_once(batch_size: u32, on_gpu: bool) -> usize {
    let most = if on_gpu {
        MOST_AT_ONCE_ON_GPU
    } else {
        MOST_AT_ONCE
    };
    (batch_size as usize).clamp(1, most)
}

/// Measures the network on all examples of a feed, as many at a time as [`at_once`] says for `batch_size`;
/// `between` is called before every batch and may end the work.
///
/// # Errors
/// [`JobError::Diverged`] for a loss that is not finite; what libtorch or `between` says.
pub fn measure(
    model: &Model,
    feed: &Feed,
    batch_size: u32,
    mut between: impl FnMut(f64) -> Result<(), JobError>,
) -> Result<Score, JobError> {
    let _guard = no_grad_guard();
    let device = model.parameters().device();
    let at_once = at_once(batch_size, device.is_cuda());
    // Sums stay on the device: reading one after every batch would make a GPU wait each time.
    let mut correct = Tensor::f_zeros([0; 0], (Kind::Int64, device))?;
    let mut loss = Tensor::f_zeros([0; 0], (Kind::Double, device))?;
    let mut start = 0;
    while start < feed.len() {
        between(start as f64 / feed.len() as f64)?;
        let count = at_once.min(feed.len() - start);
        let batch = feed.slice(start, count)?;
        let outputs = model.forward(batch.inputs, false)?;
        let hits = outputs.f_argmax(-1, false)?.f_eq_tensor(&batch.labels)?;
        let _ = correct.f_add_(&hits.f_sum(Kind::Int64)?)?;
        let sum = outputs.f_cross_entropy_loss::<Tensor>(
            &batch.labels,
            None,
            Reduction::Sum,
            -100,
            0.0,
        )?;
        let _ = loss.f_add_(&sum)?;
        start += count;
    }
    let examples = feed.len() as f64;
    let score = Score {
        accuracy: correct.f_int64_value(&[])? as f64 / examples,
        loss: loss.f_double_value(&[])? / examples,
    };
    if !score.loss.is_finite() {
        return Err(JobError::Diverged(format!(
            "the measured loss is {}",
            score.loss
        )));
    }
    Ok(score)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn measuring_takes_no_larger_batch_than_training_and_no_endless_one() {
        for (recipe, cpu, gpu) in [
            (1, 1, 1),
            (16, 16, 16),
            (256, 256, 256),
            (4096, 256, 2048),
            // A recipe comes from outside.
            (0, 1, 1),
            (u32::MAX, 256, 2048),
        ] {
            assert_eq!((at_once(recipe, false), at_once(recipe, true)), (cpu, gpu));
        }
    }
}
