//! Lowering: one fold over the nodes of a network makes the libtorch calls that compute it.

use espalier_common::network::{Activation, Axis, Network, Node, Op, Shape};
use tch::{Device, TchError, Tensor};

use crate::error::JobError;
use crate::parameters::Parameters;

/// As in PyTorch, and as the network IR promises.
const BATCH_NORM_MOMENTUM: f64 = 0.1;
const BATCH_NORM_EPSILON: f64 = 1e-5;

/// A network that can be computed and trained.
pub struct Model {
    steps: Vec<Step>,
    nodes: usize,
    output: usize,
    parameters: Parameters,
}

/// One node: what it computes from which values, and which values nobody needs after it.
struct Step {
    node: usize,
    layer: Layer,
    inputs: Vec<usize>,
    frees: Vec<usize>,
}

/// A node's computation with its tensors.
enum Layer {
    Input,
    Conv2d {
        weight: Tensor,
        bias: Option<Tensor>,
        stride: i64,
        padding: i64,
        dilation: i64,
        groups: i64,
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
    },
    Activation(Activation),
    MaxPool2d(Window),
    AvgPool2d(Window),
    GlobalAvgPool,
    Dropout(f64),
    Flatten,
    Add,
    Multiply,
    Concat(i64),
    Zero,
    Identity,
}

#[derive(Clone, Copy)]
struct Window {
    kernel: i64,
    stride: i64,
    padding: i64,
}

impl Model {
    /// Builds the network on a device. Weights start as PyTorch's defaults, drawn from libtorch's generator:
    /// seed it first.
    ///
    /// # Errors
    /// [`JobError::Build`] for a network that is not consistent; [`JobError::Torch`] when libtorch refuses,
    /// as for want of memory.
    pub fn new(network: &Network, device: Device) -> Result<Self, JobError> {
        network
            .validate()
            .map_err(|error| JobError::Build(format!("the network cannot be built: {error}")))?;
        let last_uses = last_uses(network);
        let mut frees = frees(&last_uses);
        let mut parameters = Parameters::new(device);
        let mut steps = Vec::new();
        for (id, node) in network.nodes.iter().enumerate() {
            // What does not lead to the output is not computed. The input always has its place.
            if last_uses[id].is_none() && id != 0 {
                continue;
            }
            steps.push(Step {
                node: id,
                layer: layer(node, network, &mut parameters)?,
                inputs: node.inputs.clone(),
                frees: std::mem::take(&mut frees[id]),
            });
        }
        Ok(Self {
            steps,
            nodes: network.nodes.len(),
            output: network.output,
            parameters,
        })
    }

    /// The weights and running statistics.
    #[must_use]
    pub fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// The output for a batch of inputs. `training` switches dropout on, and batch normalisation to the
    /// statistics of the batch.
    ///
    /// # Errors
    /// What libtorch says.
    pub fn forward(&self, input: Tensor, training: bool) -> Result<Tensor, TchError> {
        let mut values: Vec<Option<Tensor>> = Vec::new();
        values.resize_with(self.nodes, || None);
        values[0] = Some(input);
        for step in &self.steps {
            if !matches!(step.layer, Layer::Input) {
                let inputs = gather(&step.inputs, &values)?;
                values[step.node] = Some(step.layer.forward(&inputs, training)?);
            }
            for &free in &step.frees {
                values[free] = None;
            }
        }
        values[self.output]
            .take()
            .ok_or_else(|| missing(self.output))
    }
}

fn gather<'a>(ids: &[usize], values: &'a [Option<Tensor>]) -> Result<Vec<&'a Tensor>, TchError> {
    ids.iter()
        .map(|&id| values[id].as_ref().ok_or_else(|| missing(id)))
        .collect()
}

/// A validated network never gets here: every input is computed before its use and freed after the last.
fn missing(id: usize) -> TchError {
    TchError::Shape(format!(
        "the value of node {id} is not there when it is used"
    ))
}

/// For every node the last node that reads it; `None` when the output does not depend on it. The output
/// itself counts as read by nobody yet kept: its last use is beyond the end.
fn last_uses(network: &Network) -> Vec<Option<usize>> {
    let mut last = vec![None; network.nodes.len()];
    last[network.output] = Some(network.nodes.len());
    for (id, node) in network.nodes.iter().enumerate().rev() {
        if last[id].is_none() {
            continue;
        }
        for &input in &node.inputs {
            last[input] = last[input].max(Some(id));
        }
    }
    last
}

/// For every node the values that nobody reads after it.
fn frees(last_uses: &[Option<usize>]) -> Vec<Vec<usize>> {
    let mut frees = vec![Vec::new(); last_uses.len()];
    for (id, last) in last_uses.iter().enumerate() {
        if let Some(free) = last.and_then(|last| frees.get_mut(last)) {
            free.push(id);
        }
    }
    frees
}

/// A size from outside as libtorch takes it. `validate` bounds what becomes a tensor, not every setting.
fn size(value: u64) -> Result<i64, JobError> {
    i64::try_from(value).map_err(|_| JobError::Build(format!("{value} is too large for libtorch")))
}

fn window(kernel: u64, stride: u64, padding: u64) -> Result<Window, JobError> {
    Ok(Window {
        kernel: size(kernel)?,
        stride: size(stride)?,
        padding: size(padding)?,
    })
}

fn layer(node: &Node, network: &Network, parameters: &mut Parameters) -> Result<Layer, JobError> {
    Ok(match &node.op {
        Op::Input => Layer::Input,
        Op::Conv2d { .. } => conv2d(node, parameters)?,
        &Op::Linear {
            in_features,
            out_features,
            bias,
        } => {
            let (inputs, outputs) = (size(in_features)?, size(out_features)?);
            let (weight, bias) = affine(
                &node.name,
                &[outputs, inputs],
                in_features,
                bias,
                parameters,
            )?;
            Layer::Linear { weight, bias }
        }
        &Op::BatchNorm { channels } => batch_norm(&node.name, size(channels)?, parameters)?,
        &Op::Activation(activation) => Layer::Activation(activation),
        &Op::MaxPool2d {
            kernel,
            stride,
            padding,
        } => Layer::MaxPool2d(window(kernel, stride, padding)?),
        &Op::AvgPool2d {
            kernel,
            stride,
            padding,
        } => Layer::AvgPool2d(window(kernel, stride, padding)?),
        Op::GlobalAvgPool => Layer::GlobalAvgPool,
        &Op::Dropout { rate } => Layer::Dropout(rate),
        Op::Flatten => Layer::Flatten,
        Op::Add => Layer::Add,
        Op::Multiply => Layer::Multiply,
        Op::Concat => Layer::Concat(joined_dimension(&network.nodes[node.inputs[0]].shape)?),
        Op::Zero => Layer::Zero,
        Op::Identity => Layer::Identity,
    })
}

/// The dimension of a tensor along which `Concat` joins; dimension 0 is the batch.
fn joined_dimension(shape: &Shape) -> Result<i64, JobError> {
    let along = |axis| shape.0.iter().position(|&(other, _)| other == axis);
    along(Axis::Channels)
        .or_else(|| along(Axis::Features))
        .map(|place| place as i64 + 1)
        .ok_or_else(|| JobError::Build(format!("{shape} cannot be joined")))
}

fn conv2d(node: &Node, parameters: &mut Parameters) -> Result<Layer, JobError> {
    let &Op::Conv2d {
        in_channels,
        out_channels,
        kernel,
        stride,
        padding,
        dilation,
        groups,
        bias,
    } = &node.op
    else {
        return Err(JobError::Build(format!("{} is no convolution", node.name)));
    };
    // `validate` has seen that groups divide the channels and that the kernel's size fits 2^40.
    let of_a_group = in_channels / groups;
    let side = size(kernel)?;
    let shape = [size(out_channels)?, size(of_a_group)?, side, side];
    let fan_in = of_a_group.saturating_mul(kernel).saturating_mul(kernel);
    let (weight, bias) = affine(&node.name, &shape, fan_in, bias, parameters)?;
    Ok(Layer::Conv2d {
        weight,
        bias,
        stride: size(stride)?,
        padding: size(padding)?,
        dilation: size(dilation)?,
        groups: size(groups)?,
    })
}

/// Weight and bias of a convolution or an affine map as PyTorch starts them: `kaiming_uniform` with
/// `a = sqrt(5)` is uniform within `1 / sqrt(fan_in)`, and so is the bias.
fn affine(
    name: &str,
    shape: &[i64],
    fan_in: u64,
    bias: bool,
    parameters: &mut Parameters,
) -> Result<(Tensor, Option<Tensor>), JobError> {
    let bound = 1.0 / (fan_in as f64).sqrt();
    let weight = parameters.uniform(format!("{name}.weight"), shape, bound)?;
    let bias = if bias {
        Some(parameters.uniform(format!("{name}.bias"), &shape[..1], bound)?)
    } else {
        None
    };
    Ok((weight, bias))
}

fn batch_norm(name: &str, channels: i64, parameters: &mut Parameters) -> Result<Layer, JobError> {
    let mut constant = |what: &str, value, trained| {
        parameters.constant(format!("{name}.{what}"), &[channels], value, trained)
    };
    Ok(Layer::BatchNorm {
        weight: constant("weight", 1.0, true)?,
        bias: constant("bias", 0.0, true)?,
        mean: constant("running_mean", 0.0, false)?,
        variance: constant("running_var", 1.0, false)?,
    })
}

impl Layer {
    fn forward(&self, inputs: &[&Tensor], training: bool) -> Result<Tensor, TchError> {
        let &[first, ref others @ ..] = inputs else {
            return Err(TchError::Shape("a node without inputs".to_owned()));
        };
        match self {
            Self::Input | Self::Identity => Ok(first.shallow_clone()),
            Self::Conv2d {
                weight,
                bias,
                stride,
                padding,
                dilation,
                groups,
            } => first.f_conv2d(
                weight,
                bias.as_ref(),
                [*stride, *stride],
                [*padding, *padding],
                [*dilation, *dilation],
                *groups,
            ),
            Self::Linear { weight, bias } => first.f_linear(weight, bias.as_ref()),
            Self::BatchNorm {
                weight,
                bias,
                mean,
                variance,
            } => first.f_batch_norm(
                Some(weight),
                Some(bias),
                Some(mean),
                Some(variance),
                training,
                BATCH_NORM_MOMENTUM,
                BATCH_NORM_EPSILON,
                true,
            ),
            Self::Activation(activation) => activate(*activation, first),
            &Self::MaxPool2d(Window {
                kernel: k,
                stride: s,
                padding: p,
            }) => first.f_max_pool2d([k, k], [s, s], [p, p], [1, 1], false),
            &Self::AvgPool2d(Window {
                kernel: k,
                stride: s,
                padding: p,
            }) => first.f_avg_pool2d([k, k], [s, s], [p, p], false, false, None),
            Self::GlobalAvgPool => first.f_mean_dim([2_i64, 3].as_slice(), false, None),
            Self::Dropout(rate) => first.f_dropout(*rate, training),
            Self::Flatten => first.f_flatten(1, -1),
            Self::Add => fold(first, others, Tensor::f_add),
            Self::Multiply => fold(first, others, Tensor::f_mul),
            Self::Concat(dimension) => Tensor::f_cat(inputs, *dimension),
            Self::Zero => first.f_zeros_like(),
        }
    }
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
    }
}
