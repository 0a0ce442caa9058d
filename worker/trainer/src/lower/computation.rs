//! A node's computation with its tensors. Imports libtorch.

use espalier_common::network::Activation;
use tch::{TchError, Tensor};

use super::sequence::{Attention, Recurrence};

/// As in PyTorch, and as the network IR promises.
const BATCH_NORM_MOMENTUM: f64 = 0.1;
const EPSILON: f64 = 1e-5;

/// A node's computation with its tensors. What treats dimension 1 as channels has `last: true` for sequences,
/// whose channels are the last dimension.
pub(super) enum Computation {
    Input,
    Conv {
        weight: Tensor,
        bias: Option<Tensor>,
        window: Window,
        groups: i64,
        last: bool,
    },
    Linear {
        weight: Tensor,
        bias: Option<Tensor>,
    },
    BatchNorm {
        weight: Tensor,
        bias: Tensor,
        mean: Tensor,
        variance: Tensor,
        last: bool,
    },
    LayerNorm {
        weight: Tensor,
        bias: Tensor,
        last: bool,
    },
    GroupNorm {
        weight: Tensor,
        bias: Tensor,
        groups: i64,
        last: bool,
    },
    Activation(Activation),
    Prelu {
        weight: Tensor,
        last: bool,
    },
    MaxPool {
        window: Window,
        last: bool,
    },
    AvgPool {
        window: Window,
        last: bool,
    },
    AdaptivePool {
        maximum: bool,
        size: Vec<i64>,
        last: bool,
    },
    GlobalPool {
        maximum: bool,
        places: Vec<i64>,
    },
    Dropout(f64),
    DropPath(f64),
    SqueezeExcite {
        reduce: (Tensor, Tensor),
        expand: (Tensor, Tensor),
        places: Vec<i64>,
        last: bool,
    },
    Flatten,
    ToSequence,
    Embedding(Tensor),
    Positions(Tensor),
    Attention(Attention),
    Recurrence(Recurrence),
    Add,
    Multiply,
    Concat(i64),
    Zero,
    Zeros(Vec<i64>),
    Identity,
}

/// A window over one dimension or two.
pub(super) struct Window {
    pub(super) kernel: Vec<i64>,
    pub(super) stride: Vec<i64>,
    pub(super) padding: Vec<i64>,
    pub(super) dilation: Vec<i64>,
}

/// Computes with channels in dimension 1.
fn channels_second(
    input: &Tensor,
    last: bool,
    compute: impl FnOnce(&Tensor) -> Result<Tensor, TchError>,
) -> Result<Tensor, TchError> {
    if !last {
        return compute(input);
    }
    compute(&input.f_transpose(1, -1)?)?.f_transpose(1, -1)
}

impl Computation {
    pub(super) fn forward(&self, inputs: &[&Tensor], training: bool) -> Result<Tensor, TchError> {
        let &[first, ref others @ ..] = inputs else {
            return Err(TchError::Shape("a node without inputs".to_owned()));
        };
        match self {
            Self::Input | Self::Identity => Ok(first.shallow_clone()),
            Self::Conv {
                weight,
                bias,
                window,
                groups,
                last,
            } => channels_second(first, *last, |x| {
                convolve(x, weight, bias.as_ref(), window, *groups)
            }),
            Self::Linear { weight, bias } => first.f_linear(weight, bias.as_ref()),
            Self::BatchNorm { .. } | Self::LayerNorm { .. } | Self::GroupNorm { .. } => {
                self.normalise(first, training)
            }
            Self::Activation(activation) => activate(*activation, first),
            Self::Prelu { weight, last } => channels_second(first, *last, |x| x.f_prelu(weight)),
            Self::MaxPool { .. }
            | Self::AvgPool { .. }
            | Self::AdaptivePool { .. }
            | Self::GlobalPool { .. } => self.pool(first),
            Self::Dropout(rate) => first.f_dropout(*rate, training),
            Self::DropPath(rate) => drop_path(first, *rate, training),
            Self::SqueezeExcite {
                reduce,
                expand,
                places,
                last,
            } => squeeze_excite(first, reduce, expand, places, *last),
            Self::Flatten => first.f_flatten(1, -1),
            Self::ToSequence => first.f_flatten(2, -1)?.f_transpose(1, 2),
            Self::Embedding(weight) => Tensor::f_embedding(weight, first, -1, false, false),
            Self::Positions(values) => first.f_add(values),
            Self::Attention(attention) => attention.forward(first, training),
            Self::Recurrence(recurrence) => recurrence.forward(first, training),
            Self::Add => fold(first, others, Tensor::f_add),
            Self::Multiply => fold(first, others, Tensor::f_mul),
            Self::Concat(dimension) => Tensor::f_cat(inputs, *dimension),
            Self::Zero => first.f_zeros_like(),
            Self::Zeros(size) => {
                let batch = first.size().first().copied().unwrap_or(0);
                let size: Vec<i64> = std::iter::once(batch).chain(size.iter().copied()).collect();
                first.f_new_zeros(size, (first.f_kind()?, first.device()))
            }
        }
    }

    fn normalise(&self, input: &Tensor, training: bool) -> Result<Tensor, TchError> {
        match self {
            Self::BatchNorm {
                weight,
                bias,
                mean,
                variance,
                last,
            } => channels_second(input, *last, |x| {
                x.f_batch_norm(
                    Some(weight),
                    Some(bias),
                    Some(mean),
                    Some(variance),
                    training,
                    BATCH_NORM_MOMENTUM,
                    EPSILON,
                    true,
                )
            }),
            // Layer normalisation works on the last dimension.
            Self::LayerNorm { weight, bias, last } => channels_second(input, !last, |x| {
                x.f_layer_norm(weight.size(), Some(weight), Some(bias), EPSILON, true)
            }),
            Self::GroupNorm {
                weight,
                bias,
                groups,
                last,
            } => channels_second(input, *last, |x| {
                x.f_group_norm(*groups, Some(weight), Some(bias), EPSILON, true)
            }),
            _ => Ok(input.shallow_clone()),
        }
    }

    fn pool(&self, input: &Tensor) -> Result<Tensor, TchError> {
        match self {
            Self::MaxPool { window, last } => channels_second(input, *last, |x| {
                let Window {
                    kernel: k,
                    stride: s,
                    padding: p,
                    dilation: d,
                } = window;
                match k.len() {
                    1 => x.f_max_pool1d(k, s, p, d, false),
                    _ => x.f_max_pool2d(k, s, p, d, false),
                }
            }),
            Self::AvgPool { window, last } => channels_second(input, *last, |x| {
                let Window {
                    kernel: k,
                    stride: s,
                    padding: p,
                    ..
                } = window;
                match k.len() {
                    1 => x.f_avg_pool1d(k, s, p, false, false),
                    _ => x.f_avg_pool2d(k, s, p, false, false, None),
                }
            }),
            Self::AdaptivePool {
                maximum,
                size,
                last,
            } => channels_second(input, *last, |x| match (maximum, size.len()) {
                (true, 1) => x.f_adaptive_max_pool1d(size).map(|(values, _)| values),
                (true, _) => x.f_adaptive_max_pool2d(size).map(|(values, _)| values),
                (false, 1) => x.f_adaptive_avg_pool1d(size),
                (false, _) => x.f_adaptive_avg_pool2d(size),
            }),
            Self::GlobalPool {
                maximum: true,
                places,
            } => input.f_amax(places, false),
            Self::GlobalPool {
                maximum: false,
                places,
            } => input.f_mean_dim(places.as_slice(), false, None),
            _ => Ok(input.shallow_clone()),
        }
    }
}

fn convolve(
    input: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    window: &Window,
    groups: i64,
) -> Result<Tensor, TchError> {
    let Window {
        stride,
        padding,
        dilation,
        ..
    } = window;
    match stride.len() {
        1 => input.f_conv1d(weight, bias, stride, padding, dilation, groups),
        _ => input.f_conv2d(weight, bias, stride, padding, dilation, groups),
    }
}

/// Zeroes whole examples, and scales the others so that the mean stays.
fn drop_path(input: &Tensor, rate: f64, training: bool) -> Result<Tensor, TchError> {
    if !training || rate == 0.0 {
        return Ok(input.shallow_clone());
    }
    let mut size = vec![1; input.dim()];
    if let (Some(batch), Some(given)) = (size.first_mut(), input.size().first()) {
        *batch = *given;
    }
    let mut kept = input.f_new_empty(size, (input.f_kind()?, input.device()))?;
    let _ = kept.f_bernoulli_float_(1.0 - rate)?;
    input.f_mul(&kept.f_div_scalar(1.0 - rate)?)
}

fn squeeze_excite(
    input: &Tensor,
    reduce: &(Tensor, Tensor),
    expand: &(Tensor, Tensor),
    places: &[i64],
    last: bool,
) -> Result<Tensor, TchError> {
    let means = input.f_mean_dim(places, false, None)?;
    let squeezed = means.f_linear(&reduce.0, Some(&reduce.1))?.f_relu()?;
    let mut scales = squeezed.f_linear(&expand.0, Some(&expand.1))?.f_sigmoid()?;
    for _ in places {
        scales = scales.f_unsqueeze(if last { 1 } else { -1 })?;
    }
    input.f_mul(&scales)
}

fn fold(
    first: &Tensor,
    others: &[&Tensor],
    join: fn(&Tensor, &Tensor) -> Result<Tensor, TchError>,
) -> Result<Tensor, TchError> {
    others
        .iter()
        .try_fold(first.shallow_clone(), |sum, other| join(&sum, other))
}

fn activate(activation: Activation, input: &Tensor) -> Result<Tensor, TchError> {
    match activation {
        Activation::Relu => input.f_relu(),
        Activation::Relu6 => input.f_relu6(),
        Activation::LeakyRelu => input.f_leaky_relu(),
        Activation::Gelu => input.f_gelu("none"),
        Activation::Silu => input.f_silu(),
        Activation::HardSwish => input.f_hardswish(),
        Activation::Tanh => input.f_tanh(),
        Activation::Sigmoid => input.f_sigmoid(),
        Activation::Elu => input.f_elu(),
        Activation::Mish => input.f_mish(),
        Activation::Softplus => input.f_softplus(),
        Activation::Selu => input.f_selu(),
        Activation::HardSigmoid => input.f_hardsigmoid(),
    }
}
