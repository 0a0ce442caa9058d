//! Operations over signals and sequences, and what has noise or weights of its own: shapes, names, and numbers
//! where they are easily known. What PyTorch computes is compared in `goldens.rs` and by `make test-parity`.
#![allow(clippy::unwrap_used)] // The helpers of a test may end it too.

mod common;

use common::chain_on;
use espalier_common::network::{
    Convolution, Network, Op, Pooling, Positions, Recurrent, RecurrentOutput, Shape,
};
use espalier_trainer::lower::Model;
use tch::{Device, Kind, Tensor};

const BATCH: i64 = 3;

fn size_of(shape: &Shape) -> Vec<i64> {
    std::iter::once(BATCH)
        .chain(shape.0.iter().map(|&(_, length)| length as i64))
        .collect()
}

/// A batch that fits the network's input: whole numbers for tokens.
fn batch(network: &Network) -> Tensor {
    let shape = &network.nodes[0].shape;
    let count: i64 = size_of(shape).iter().product();
    let numbers = Tensor::arange(count, (Kind::Float, Device::Cpu)).reshape(size_of(shape));
    if shape.as_tokens().is_some() {
        numbers.to_kind(Kind::Int64).remainder(5)
    } else {
        (numbers * 0.7).sin()
    }
}

/// Computes the network, checks the shape, and that every weight gets a gradient in training.
fn forward(network: &Network, training: bool) -> Tensor {
    tch::manual_seed(1);
    let model = Model::new(network, Device::Cpu).unwrap();
    let output = model.forward(batch(network), training).unwrap();
    assert_eq!(
        output.size(),
        size_of(&network.nodes[network.output].shape),
        "{network:?}"
    );
    assert_eq!(output.isfinite().all().int64_value(&[]), 1, "{network:?}");
    if training && output.requires_grad() {
        output.square().sum(Kind::Float).backward();
        for entry in model.parameters().entries().iter().filter(|e| e.trained) {
            assert!(entry.tensor.grad().defined(), "{}", entry.name);
        }
    }
    output
}

fn recurrent(bidirectional: bool, layers: u64, output: RecurrentOutput) -> Recurrent {
    Recurrent {
        in_features: 6,
        hidden: 4,
        layers,
        bidirectional,
        output,
    }
}

fn conv1d(channels: u64, groups: u64) -> Op {
    Op::Conv1d(Convolution {
        in_channels: channels,
        out_channels: 2 * channels,
        kernel: 3,
        stride: 2,
        padding: 1,
        dilation: 1,
        groups,
        bias: true,
    })
}

fn attention(dropout: f64, qkv_bias: bool) -> Op {
    Op::Attention {
        features: 6,
        heads: 3,
        dropout,
        qkv_bias,
    }
}

/// What works over places, for `channels` channels.
fn over_places(channels: u64) -> Vec<Vec<Op>> {
    let (kernel, stride, padding) = (3, 2, 1);
    vec![
        vec![conv1d(channels, 1)],
        vec![conv1d(channels, channels)],
        vec![Op::MaxPool1d(Pooling {
            kernel,
            stride,
            padding,
        })],
        vec![Op::AvgPool1d(Pooling {
            kernel,
            stride,
            padding,
        })],
    ]
}

/// What works on channels wherever they are.
fn over_channels(channels: u64) -> Vec<Vec<Op>> {
    vec![
        vec![Op::BatchNorm { channels }],
        vec![Op::LayerNorm { channels }],
        vec![Op::GroupNorm {
            groups: 2,
            channels,
        }],
        vec![Op::Prelu { channels }],
        vec![Op::SqueezeExcite {
            channels,
            squeezed: 2,
        }],
        vec![Op::AdaptiveMaxPool { size: 2 }],
        vec![Op::AdaptiveAvgPool { size: 3 }],
        vec![Op::GlobalMaxPool],
        vec![Op::GlobalAvgPool],
        vec![Op::DropPath { rate: 0.5 }],
        vec![Op::Zeros {
            channels: 5,
            stride: 2,
        }],
        vec![Op::Concat],
        vec![Op::Flatten, Op::LayerNorm { channels: 0 }],
    ]
}

/// The networks of [`over_channels`] on an input; the last one needs the number of all elements.
fn on(input: &Shape, chains: Vec<Vec<Op>>) -> Vec<Network> {
    let all = input.elements().unwrap();
    let fit = |op| match op {
        Op::LayerNorm { channels: 0 } => Op::LayerNorm { channels: all },
        other => other,
    };
    let networks = chains.into_iter().map(|ops| {
        let ops = ops.into_iter().map(fit).collect();
        chain_on(input.clone(), ops)
    });
    networks.collect()
}

#[test]
fn every_operation_gives_the_inferred_shape_on_every_layout() {
    let _turn = common::turn();
    let sequence = Shape::sequence(7, 6);
    let mut networks = Vec::new();
    for input in [Shape::signal(6, 7), sequence.clone()] {
        networks.extend(on(&input, over_places(6)));
    }
    for input in [Shape::image(6, 7, 5), Shape::signal(6, 7), sequence.clone()] {
        networks.extend(on(&input, over_channels(6)));
    }
    networks.extend(on(&Shape::image(6, 7, 5), vec![vec![Op::ToSequence]]));
    networks.extend(on(&Shape::signal(6, 7), vec![vec![Op::ToSequence]]));
    networks.extend(on(
        &Shape::features(6),
        vec![
            vec![Op::Prelu { channels: 6 }],
            vec![Op::LayerNorm { channels: 6 }],
            vec![Op::Zeros {
                channels: 2,
                stride: 1,
            }],
        ],
    ));
    let embedding = Op::Embedding {
        vocabulary: 5,
        features: 6,
    };
    networks.push(chain_on(Shape::tokens(7), vec![embedding]));
    let mut ops = vec![attention(0.0, true), attention(0.5, false)];
    for kind in [Positions::Learned, Positions::Sinusoidal] {
        ops.push(Op::PositionalEncoding {
            kind,
            length: 7,
            features: 6,
        });
    }
    for output in [RecurrentOutput::Sequence, RecurrentOutput::Last] {
        for (both, layers) in [(false, 1), (true, 2)] {
            ops.push(Op::Lstm(recurrent(both, layers, output)));
            ops.push(Op::Gru(recurrent(both, layers, output)));
        }
    }
    networks.extend(
        ops.into_iter()
            .map(|op| chain_on(sequence.clone(), vec![op])),
    );
    for network in networks {
        let _ = forward(&network, true);
        let _ = forward(&network, false);
    }
}

#[test]
fn the_weights_are_as_many_as_the_network_says_and_named_as_in_pytorch() {
    let _turn = common::turn();
    let names = |op: Op| {
        let network = chain_on(Shape::sequence(7, 6), vec![op]);
        let model = Model::new(&network, Device::Cpu).unwrap();
        let count: usize = model.parameters().trained().map(Tensor::numel).sum();
        assert_eq!(count as u64, network.parameters());
        let entries = model.parameters().entries();
        let names = entries
            .iter()
            .map(|entry| entry.name.trim_start_matches("network[0].").to_owned());
        names.collect::<Vec<_>>().join(" ")
    };
    assert_eq!(
        names(attention(0.0, true)),
        "in_proj_weight in_proj_bias out_proj.weight out_proj.bias"
    );
    assert_eq!(
        names(Op::Lstm(recurrent(true, 1, RecurrentOutput::Last))),
        "weight_ih_l0 weight_hh_l0 bias_ih_l0 bias_hh_l0 weight_ih_l0_reverse \
         weight_hh_l0_reverse bias_ih_l0_reverse bias_hh_l0_reverse"
    );
    assert_eq!(
        names(Op::Gru(recurrent(false, 2, RecurrentOutput::Last))),
        "weight_ih_l0 weight_hh_l0 bias_ih_l0 bias_hh_l0 weight_ih_l1 weight_hh_l1 bias_ih_l1 \
         bias_hh_l1"
    );
    assert_eq!(
        names(Op::SqueezeExcite {
            channels: 6,
            squeezed: 2
        }),
        "reduce.weight reduce.bias expand.weight expand.bias"
    );
    assert_eq!(names(Op::Prelu { channels: 6 }), "weight");
    // Sinusoids are no weights.
    let sinusoids = Op::PositionalEncoding {
        kind: Positions::Sinusoidal,
        length: 7,
        features: 6,
    };
    assert_eq!(names(sinusoids), "");
}

#[test]
fn drop_path_drops_whole_examples_in_training_only_and_keeps_the_mean() {
    let _turn = common::turn();
    let network = chain_on(Shape::sequence(2, 3), vec![Op::DropPath { rate: 0.25 }]);
    let model = Model::new(&network, Device::Cpu).unwrap();
    let ones = || Tensor::ones([4000, 2, 3], (Kind::Float, Device::Cpu));
    assert_eq!(model.forward(ones(), false).unwrap(), ones());
    tch::manual_seed(2);
    let dropped = model.forward(ones(), true).unwrap().flatten(1, 2);
    let (least, greatest) = (dropped.amin(1, false), dropped.amax(1, false));
    assert_eq!(least, greatest, "an example is dropped as a whole");
    let mean = dropped.mean(Kind::Double).double_value(&[]);
    // Standard deviation 0.009.
    assert!((mean - 1.0).abs() < 0.04, "{mean}");
    let zeros = greatest.eq(0.0).sum(Kind::Int64).int64_value(&[]);
    assert!((880..1120).contains(&zeros), "{zeros}");
}

#[test]
fn the_last_output_of_a_recurrence_is_where_each_direction_ends() {
    let _turn = common::turn();
    for cell in [Op::Lstm, Op::Gru] {
        let of = |output| {
            let op = cell(recurrent(true, 2, output));
            forward(&chain_on(Shape::sequence(7, 6), vec![op]), false)
        };
        let (steps, last) = (of(RecurrentOutput::Sequence), of(RecurrentOutput::Last));
        let forwards = steps.select(1, 6).narrow(1, 0, 4);
        let backwards = steps.select(1, 0).narrow(1, 4, 4);
        let expected = Tensor::cat(&[forwards, backwards], 1);
        assert!(last.allclose(&expected, 1e-6, 1e-6, false));
    }
}

#[test]
fn a_sequence_is_convolved_like_the_signal_it_is() {
    let _turn = common::turn();
    let of = |input, batch: &Tensor| {
        tch::manual_seed(5);
        let model = Model::new(&chain_on(input, vec![conv1d(6, 2)]), Device::Cpu).unwrap();
        model.forward(batch.shallow_clone(), false).unwrap()
    };
    let signal = Tensor::randn([BATCH, 6, 7], (Kind::Float, Device::Cpu));
    let as_signal = of(Shape::signal(6, 7), &signal);
    let as_sequence = of(Shape::sequence(7, 6), &signal.transpose(1, 2));
    assert!(as_sequence.allclose(&as_signal.transpose(1, 2), 1e-6, 1e-6, false));
}

#[test]
fn sinusoids_are_those_of_the_paper() {
    let _turn = common::turn();
    let op = Op::PositionalEncoding {
        kind: Positions::Sinusoidal,
        length: 4,
        features: 5,
    };
    let network = chain_on(Shape::sequence(4, 5), vec![op]);
    let model = Model::new(&network, Device::Cpu).unwrap();
    let zeros = Tensor::zeros([1, 4, 5], (Kind::Float, Device::Cpu));
    let output = model.forward(zeros, false).unwrap();
    for place in 0..4 {
        for feature in 0..5 {
            let even = feature - feature % 2;
            let angle = place as f64 / 10_000_f64.powf(even as f64 / 5.0);
            let wanted = if feature % 2 == 0 {
                angle.sin()
            } else {
                angle.cos()
            };
            let value = output.double_value(&[0, place, feature]);
            assert!((value - wanted).abs() < 1e-6, "{place} {feature}: {value}");
        }
    }
}

#[test]
fn normalisation_of_places_and_of_groups_is_what_it_says() {
    let _turn = common::turn();
    let images = Tensor::randn([BATCH, 4, 5, 5], (Kind::Float, Device::Cpu)) * 3.0 + 1.0;
    let of = |op| {
        let model = Model::new(&chain_on(Shape::image(4, 5, 5), vec![op]), Device::Cpu).unwrap();
        model.forward(images.shallow_clone(), true).unwrap()
    };
    let near = |tensor: Tensor, value: f64| {
        let off = (tensor - value).abs().max().double_value(&[]);
        assert!(off < 1e-3, "{off}");
    };
    let layer = of(Op::LayerNorm { channels: 4 });
    near(layer.mean_dim(1, false, Kind::Float), 0.0);
    near(layer.square().mean_dim(1, false, Kind::Float), 1.0);
    let group = of(Op::GroupNorm {
        groups: 2,
        channels: 4,
    });
    let group = group.reshape([BATCH, 2, 50]);
    near(group.mean_dim(2, false, Kind::Float), 0.0);
    near(group.square().mean_dim(2, false, Kind::Float), 1.0);
}
