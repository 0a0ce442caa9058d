//! What is about sequences: attention, recurrence, and the encoding of places. Imports libtorch.

use espalier_common::network::{Recurrent, RecurrentOutput};
use tch::{Cuda, Device, Kind, TchError, Tensor, no_grad_guard};

use super::build::{affine, size};
use crate::error::JobError;
use crate::parameters::Parameters;

/// Multi-head self-attention, with the tensors of PyTorch's `MultiheadAttention`.
pub(super) struct Attention {
    in_weight: Tensor,
    in_bias: Option<Tensor>,
    out_weight: Tensor,
    out_bias: Tensor,
    heads: i64,
    dropout: f64,
}

impl Attention {
    /// Starts as PyTorch starts it: Xavier-uniform maps of the input, biases of zero.
    pub(super) fn new(
        name: &str,
        features: u64,
        heads: u64,
        dropout: f64,
        qkv_bias: bool,
        parameters: &mut Parameters,
    ) -> Result<Self, JobError> {
        let (width, heads) = (size(features)?, size(heads)?);
        // Xavier of a matrix with `features` columns and three times as many rows.
        let bound = (6.0 / (4.0 * features as f64)).sqrt();
        let in_weight =
            parameters.uniform(format!("{name}.in_proj_weight"), &[3 * width, width], bound)?;
        let mut zeros = |what: &str, length| {
            parameters.constant(format!("{name}.{what}"), &[length], 0.0, true)
        };
        let in_bias = if qkv_bias {
            Some(zeros("in_proj_bias", 3 * width)?)
        } else {
            None
        };
        let out_name = format!("{name}.out_proj");
        let (out_weight, _) = affine(&out_name, &[width, width], features, false, parameters)?;
        let out_bias = parameters.constant(format!("{out_name}.bias"), &[width], 0.0, true)?;
        Ok(Self {
            in_weight,
            in_bias,
            out_weight,
            out_bias,
            heads,
            dropout,
        })
    }

    pub(super) fn forward(&self, input: &Tensor, training: bool) -> Result<Tensor, TchError> {
        let (batch, time, features) = input.size3()?;
        let size = [batch, time, 3, self.heads, features / self.heads];
        let parts = input
            .f_linear(&self.in_weight, self.in_bias.as_ref())?
            .f_view(size)?
            // Three of batch × heads × time × features of a head.
            .f_permute([2, 0, 3, 1, 4])?;
        let part = |index| parts.f_select(0, index);
        let rate = if training { self.dropout } else { 0.0 };
        Tensor::f_scaled_dot_product_attention::<Tensor>(
            &part(0)?,
            &part(1)?,
            &part(2)?,
            None,
            rate,
            false,
            None,
            false,
        )?
        .f_transpose(1, 2)?
        .f_reshape([batch, time, features])?
        .f_linear(&self.out_weight, Some(&self.out_bias))
    }
}

/// Which cell a recurrence has.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Cell {
    Lstm,
    Gru,
}

/// An LSTM or GRU, with the tensors of PyTorch's modules.
pub(super) struct Recurrence {
    cell: Cell,
    settings: Recurrent,
    weights: Vec<Tensor>,
    hidden: i64,
    layers: i64,
}

impl Recurrence {
    /// Starts as PyTorch starts it: everything uniform within `1 / sqrt(hidden)`.
    pub(super) fn new(
        name: &str,
        cell: Cell,
        settings: Recurrent,
        parameters: &mut Parameters,
    ) -> Result<Self, JobError> {
        let (inputs, hidden) = (size(settings.in_features)?, size(settings.hidden)?);
        let (layers, directions) = (size(settings.layers)?, size(settings.directions())?);
        let gates = match cell {
            Cell::Lstm => 4,
            Cell::Gru => 3,
        };
        let bound = 1.0 / (settings.hidden as f64).sqrt();
        let mut weights = Vec::new();
        for layer in 0..layers {
            let inputs = if layer == 0 {
                inputs
            } else {
                directions * hidden
            };
            for direction in ["", "_reverse"].iter().take(directions as usize) {
                let mut add = |what: &str, size: &[i64]| {
                    let name = format!("{name}.{what}_l{layer}{direction}");
                    parameters.uniform(name, size, bound)
                };
                weights.push(add("weight_ih", &[gates * hidden, inputs])?);
                weights.push(add("weight_hh", &[gates * hidden, hidden])?);
                weights.push(add("bias_ih", &[gates * hidden])?);
                weights.push(add("bias_hh", &[gates * hidden])?);
            }
        }
        let recurrence = Self {
            cell,
            settings,
            weights,
            hidden,
            layers,
        };
        if parameters.device().is_cuda() && Cuda::cudnn_is_available() {
            recurrence.flatten(inputs);
        }
        Ok(recurrence)
    }

    /// Moves the weights into one piece of memory, as cuDNN wants them: else it copies them together in every pass,
    /// and libtorch warns of it each time.
    fn flatten(&self, inputs: i64) {
        let mode = match self.cell {
            Cell::Lstm => 2,
            Cell::Gru => 3,
        };
        let tensors_of_a_layer = 4;
        let _guard = no_grad_guard();
        // The tensors become views of what is returned, which they keep alive. Where it does not work they stay as
        // they are, and are computed with all the same.
        let _ = Tensor::f_internal_cudnn_rnn_flatten_weight(
            &self.weights,
            tensors_of_a_layer,
            inputs,
            mode,
            self.hidden,
            0,
            self.layers,
            true,
            self.settings.bidirectional,
        );
    }

    pub(super) fn forward(&self, input: &Tensor, training: bool) -> Result<Tensor, TchError> {
        let batch = input.size().first().copied().unwrap_or(0);
        let bidirectional = self.settings.bidirectional;
        let directions = if bidirectional { 2 } else { 1 };
        let start = input.f_new_zeros(
            [self.layers * directions, batch, self.hidden],
            (input.f_kind()?, input.device()),
        )?;
        let (steps, last) = match self.cell {
            Cell::Lstm => {
                let start = [start.shallow_clone(), start];
                let (steps, last, _) = input.f_lstm(
                    &start,
                    &self.weights,
                    true,
                    self.layers,
                    0.0,
                    training,
                    bidirectional,
                    true,
                )?;
                (steps, last)
            }
            Cell::Gru => input.f_gru(
                &start,
                &self.weights,
                true,
                self.layers,
                0.0,
                training,
                bidirectional,
                true,
            )?,
        };
        match self.settings.output {
            RecurrentOutput::Sequence => Ok(steps),
            // The states of the uppermost layer, one after another.
            RecurrentOutput::Last => last
                .f_narrow(0, (self.layers - 1) * directions, directions)?
                .f_transpose(0, 1)?
                .f_reshape([batch, directions * self.hidden]),
        }
    }
}

/// The vectors of the sinusoidal encoding: sine of `place / 10000^(i / features)` at even features `i`, and
/// cosine of the same at the odd ones after them.
pub(super) fn sinusoids(length: u64, features: u64, device: Device) -> Result<Tensor, JobError> {
    let (length, features) = (size(length)?, size(features)?);
    let pairs = (features + 1) / 2;
    let options = (Kind::Double, Device::Cpu);
    let even = Tensor::f_arange(pairs, options)?.f_mul_scalar(2.0)?;
    let rates = even
        .f_mul_scalar(-(10_000_f64.ln()) / features as f64)?
        .f_exp()?;
    let angles = Tensor::f_arange(length, options)?
        .f_unsqueeze(1)?
        .f_mul(&rates)?;
    // Sines and cosines by turns; of an odd number of features the last cosine is left out.
    let values = Tensor::f_stack(&[angles.f_sin()?, angles.f_cos()?], 2)?
        .f_flatten(1, 2)?
        .f_narrow(1, 0, features)?;
    Ok(values.f_to_kind(Kind::Float)?.f_to_device(device)?)
}
