//! Every operation computes a tensor of the shape that the network says, and the right numbers where
//! they are easily known.
#![allow(clippy::unwrap_used)] // The helpers of a test may end it too.

mod common;

use common::{chain, conv, input, linear};
use espalier_common::network::{Activation, Builder, Convolution, Network, Op, Pooling, Shape};
use espalier_trainer::lower::Model;
use tch::{Device, Kind, Tensor};

const BATCH: i64 = 3;

fn batch() -> Tensor {
    Tensor::arange(BATCH * 64, (Kind::Float, Device::Cpu)).reshape([BATCH, 1, 8, 8]) / 64.0
}

fn size_of(shape: &Shape) -> Vec<i64> {
    std::iter::once(BATCH)
        .chain(shape.0.iter().map(|&(_, length)| length as i64))
        .collect()
}

fn forward(network: &Network, training: bool) -> Tensor {
    let model = Model::new(network, Device::Cpu).unwrap();
    let output = model.forward(batch(), training).unwrap();
    assert_eq!(
        output.size(),
        size_of(&network.nodes[network.output].shape),
        "{network:?}"
    );
    output
}

/// Two branches of the same shape, joined.
fn joined(op: Op) -> Network {
    let mut builder = Builder::new(input());
    let one = builder.push("one".to_owned(), conv(1, 4), vec![0]).unwrap();
    let two = builder.push("two".to_owned(), conv(1, 4), vec![0]).unwrap();
    let both = builder
        .push("both".to_owned(), op, vec![one, two, one])
        .unwrap();
    builder.finish(both).unwrap()
}

#[test]
fn every_operation_gives_the_inferred_shape_in_training_and_in_use() {
    let _turn = common::turn();
    let pool = |kernel, stride, padding| {
        Op::MaxPool2d(Pooling {
            kernel,
            stride,
            padding,
        })
    };
    let average = |kernel, stride, padding| {
        Op::AvgPool2d(Pooling {
            kernel,
            stride,
            padding,
        })
    };
    let wide = |kernel, stride, padding, dilation, groups, bias| {
        Op::Conv2d(Convolution {
            in_channels: 4,
            out_channels: 8,
            kernel,
            stride,
            padding,
            dilation,
            groups,
            bias,
        })
    };
    let networks = [
        chain(vec![Op::Identity]),
        chain(vec![Op::Zero]),
        chain(vec![Op::Dropout { rate: 0.5 }]),
        chain(vec![conv(1, 4), wide(3, 2, 1, 1, 1, false)]),
        chain(vec![conv(1, 4), wide(3, 1, 2, 2, 2, true)]),
        chain(vec![conv(1, 4), wide(5, 3, 0, 1, 4, true)]),
        chain(vec![conv(1, 4), wide(1, 1, 0, 1, 1, false)]),
        chain(vec![conv(1, 4), Op::BatchNorm { channels: 4 }]),
        chain(vec![conv(1, 4), pool(3, 2, 1), average(2, 2, 0)]),
        chain(vec![conv(1, 4), average(3, 2, 1), pool(2, 1, 0)]),
        chain(vec![conv(1, 4), Op::GlobalAvgPool, linear(4, 5)]),
        chain(vec![
            conv(1, 4),
            Op::Flatten,
            Op::BatchNorm { channels: 256 },
        ]),
        joined(Op::Add),
        joined(Op::Multiply),
        joined(Op::Concat),
    ];
    for network in networks {
        let _ = forward(&network, true);
        let _ = forward(&network, false);
    }
}

#[test]
fn activations_are_those_of_pytorch() {
    let _turn = common::turn();
    // At 1.5 and, through a negative weight, at -1.5; the values of PyTorch 2.11.
    let expected = [
        (Activation::Relu, 1.5, 0.0),
        (Activation::Relu6, 1.5, 0.0),
        (Activation::LeakyRelu, 1.5, -0.015),
        (Activation::Gelu, 1.399_789_2, -0.100_210_8),
        (Activation::Silu, 1.226_361_7, -0.273_638_3),
        (Activation::HardSwish, 1.125, -0.375),
        (Activation::Tanh, 0.905_148_3, -0.905_148_3),
        (Activation::Sigmoid, 0.817_574_5, 0.182_425_5),
        (Activation::Elu, 1.5, -0.776_869_8),
        (Activation::Mish, 1.403_378_3, -0.298_099_8),
        (Activation::Softplus, 1.701_413_3, 0.201_413_3),
        (Activation::Selu, 1.576_051_5, -1.365_814_8),
        (Activation::HardSigmoid, 0.75, 0.25),
    ];
    for (activation, positive, negative) in expected {
        let model = Model::new(&chain(vec![Op::Activation(activation)]), Device::Cpu).unwrap();
        for (value, wanted) in [(1.5, positive), (-1.5, negative)] {
            let input = Tensor::full([1, 1, 8, 8], value, (Kind::Float, Device::Cpu));
            let output = model
                .forward(input, true)
                .unwrap()
                .double_value(&[0, 0, 0, 0]);
            assert!(
                (output - wanted).abs() < 1e-5,
                "{activation:?}({value}) = {output}"
            );
        }
    }
}

#[test]
fn joins_compute_what_they_say() {
    let _turn = common::turn();
    let join = |op| {
        let mut builder = Builder::new(input());
        let same = builder
            .push("same".to_owned(), Op::Identity, vec![0])
            .unwrap();
        let both = builder.push("both".to_owned(), op, vec![0, same]).unwrap();
        forward(&builder.finish(both).unwrap(), true)
    };
    let x = batch();
    assert!(join(Op::Add).allclose(&(&x * 2.0), 1e-6, 1e-6, false));
    assert!(join(Op::Multiply).allclose(&(&x * &x), 1e-6, 1e-6, false));
    let concatenated = Tensor::cat(&[&x, &x], 1);
    assert!(join(Op::Concat).allclose(&concatenated, 1e-6, 1e-6, false));
}

#[test]
fn average_pooling_does_not_count_its_padding() {
    let _turn = common::turn();
    let network = chain(vec![Op::AvgPool2d(Pooling {
        kernel: 3,
        stride: 2,
        padding: 1,
    })]);
    let model = Model::new(&network, Device::Cpu).unwrap();
    let ones = Tensor::ones([BATCH, 1, 8, 8], (Kind::Float, Device::Cpu));
    let output = model.forward(ones, false).unwrap();
    assert_eq!(
        (
            output.min().double_value(&[]),
            output.max().double_value(&[])
        ),
        (1.0, 1.0)
    );
}

#[test]
fn weights_start_within_pytorchs_bounds_and_depend_on_the_seed() {
    let _turn = common::turn();
    let network = chain(vec![
        conv(1, 64),
        conv(64, 64),
        Op::BatchNorm { channels: 64 },
    ]);
    let sum = |seed| {
        tch::manual_seed(seed);
        let model = Model::new(&network, Device::Cpu).unwrap();
        let entries = model.parameters().entries();
        let names: Vec<&str> = entries.iter().map(|entry| entry.name.as_str()).collect();
        assert_eq!(
            names,
            [
                "network[0].weight",
                "network[0].bias",
                "network[1].weight",
                "network[1].bias",
                "network[2].weight",
                "network[2].bias",
                "network[2].running_mean",
                "network[2].running_var",
            ]
        );
        // 1 / sqrt(64 * 9).
        let greatest = entries[2].tensor.abs().max().double_value(&[]);
        assert!(
            greatest <= 1.0 / 24.0 && greatest > 0.95 / 24.0,
            "{greatest}"
        );
        entries[2].tensor.sum(Kind::Double).double_value(&[])
    };
    assert_eq!(sum(1), sum(1));
    assert_ne!(sum(1), sum(2));
}

#[test]
fn the_number_of_weights_is_the_one_that_the_network_says() {
    let _turn = common::turn();
    let network = common::network();
    let model = Model::new(&network, Device::Cpu).unwrap();
    let count: usize = model.parameters().trained().map(Tensor::numel).sum();
    assert_eq!(count as u64, network.parameters());
}

#[test]
fn what_does_not_lead_to_the_output_is_not_built() {
    let _turn = common::turn();
    let mut builder = Builder::new(input());
    builder
        .push("dead".to_owned(), conv(1, 4), vec![0])
        .unwrap();
    let live = builder
        .push("live".to_owned(), conv(1, 2), vec![0])
        .unwrap();
    let network = builder.finish(live).unwrap();
    let model = Model::new(&network, Device::Cpu).unwrap();
    assert!(
        model
            .parameters()
            .entries()
            .iter()
            .all(|entry| entry.name.starts_with("live"))
    );
    let _ = forward(&network, true);
}

#[test]
fn dropout_is_off_in_use() {
    let _turn = common::turn();
    let network = chain(vec![Op::Dropout { rate: 0.5 }]);
    assert_eq!(forward(&network, false), batch());
    assert_ne!(forward(&network, true), batch());
}

#[test]
fn one_step_down_the_gradient_lowers_the_loss() {
    let _turn = common::turn();
    use espalier_trainer::optimizer::Optimizer;
    tch::manual_seed(3);
    let model = Model::new(&common::network(), Device::Cpu).unwrap();
    let labels = Tensor::from_slice(&[0_i64, 1, 2]);
    // The same mask of dropout before and after.
    let loss = || {
        tch::manual_seed(4);
        model
            .forward(batch(), true)
            .unwrap()
            .cross_entropy_for_logits(&labels)
    };
    let before = loss();
    let mut optimizer = Optimizer::new(&common::sgd(0.01), model.parameters()).unwrap();
    optimizer.step(&before, 0.01).unwrap();
    assert!(loss().double_value(&[]) < before.double_value(&[]));
}
