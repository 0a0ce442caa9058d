//! Measuring a network on a split: accuracy and mean loss, without a gradient.

use tch::{Kind, Reduction, Tensor, no_grad_guard};

use crate::error::JobError;
use crate::feed::Feed;
use crate::lower::Model;

/// Examples in a forward pass: large enough that the overhead of a call does not matter, small enough
/// that activations stay in the processor's caches.
const BATCH: usize = 256;
/// A larger batch on a GPU, which has no such cache but wants more work at a time.
const GPU_BATCH: usize = 2048;

/// What was measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Score {
    /// Share of examples whose class has the greatest output.
    pub accuracy: f64,
    /// Mean cross entropy, without label smoothing.
    pub loss: f64,
}

/// Measures the network on all examples of a feed; `between` is called before every batch and may end
/// the work.
///
/// # Errors
/// [`JobError::Diverged`] for a loss that is not finite; what libtorch or `between` says.
pub fn measure(
    model: &Model,
    feed: &Feed,
    mut between: impl FnMut(f64) -> Result<(), JobError>,
) -> Result<Score, JobError> {
    let _guard = no_grad_guard();
    let device = model.parameters().device();
    let at_once = if device.is_cuda() { GPU_BATCH } else { BATCH };
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
