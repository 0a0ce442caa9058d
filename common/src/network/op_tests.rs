//! Every operation: its name, its shapes over every kind of input, what it counts and what it refuses.

use super::*;

fn conv1d(in_channels: u64, out_channels: u64, kernel: u64, stride: u64, groups: u64) -> Op {
    Op::Conv1d(Convolution {
        in_channels,
        out_channels,
        kernel,
        stride,
        padding: kernel / 2,
        dilation: 1,
        groups,
        bias: true,
    })
}

fn recurrent(in_features: u64, bidirectional: bool, output: RecurrentOutput) -> Recurrent {
    Recurrent {
        in_features,
        hidden: 5,
        layers: 2,
        bidirectional,
        output,
    }
}

fn attention(features: u64, heads: u64) -> Op {
    Op::Attention {
        features,
        heads,
        dropout: 0.1,
        qkv_bias: true,
    }
}

/// One of each operation, whether or not they would fit together.
fn all() -> Vec<Op> {
    let window = (3, 2, 1);
    let (kernel, stride, padding) = window;
    vec![
        Op::Input,
        conv1d(1, 1, 1, 1, 1),
        Op::Conv2d(Convolution {
            in_channels: 1,
            out_channels: 1,
            kernel,
            stride,
            padding,
            dilation: 1,
            groups: 1,
            bias: true,
        }),
        Op::Linear {
            in_features: 1,
            out_features: 1,
            bias: true,
        },
        Op::BatchNorm { channels: 1 },
        Op::LayerNorm { channels: 2 },
        Op::GroupNorm {
            groups: 1,
            channels: 2,
        },
        Op::Activation(Activation::Relu),
        Op::Prelu { channels: 1 },
        Op::MaxPool1d(Pooling {
            kernel,
            stride,
            padding,
        }),
        Op::MaxPool2d(Pooling {
            kernel,
            stride,
            padding,
        }),
        Op::AvgPool1d(Pooling {
            kernel,
            stride,
            padding,
        }),
        Op::AvgPool2d(Pooling {
            kernel,
            stride,
            padding,
        }),
        Op::AdaptiveMaxPool { size: 2 },
        Op::AdaptiveAvgPool { size: 2 },
        Op::GlobalMaxPool,
        Op::GlobalAvgPool,
        Op::Dropout { rate: 0.5 },
        Op::DropPath { rate: 0.5 },
        Op::SqueezeExcite {
            channels: 4,
            squeezed: 1,
        },
        Op::Flatten,
        Op::ToSequence,
        Op::Embedding {
            vocabulary: 10,
            features: 4,
        },
        Op::PositionalEncoding {
            kind: Positions::Learned,
            length: 3,
            features: 4,
        },
        Op::PositionalEncoding {
            kind: Positions::Sinusoidal,
            length: 3,
            features: 4,
        },
        attention(4, 2),
        Op::Lstm(recurrent(4, true, RecurrentOutput::Last)),
        Op::Gru(recurrent(4, false, RecurrentOutput::Sequence)),
        Op::Add,
        Op::Multiply,
        Op::Concat,
        Op::Zero,
        Op::Zeros {
            channels: 2,
            stride: 2,
        },
        Op::Identity,
    ]
}

/// The shape after one operation, or why there is none.
fn after(input: Shape, op: Op) -> Result<Shape, String> {
    let mut builder = Builder::new(input);
    match builder.push("x".to_owned(), op, vec![0]) {
        Ok(id) => Ok(builder.shape(id).unwrap().clone()),
        Err(error) => Err(error.to_string()),
    }
}

fn shape(input: Shape, op: Op) -> Shape {
    after(input, op).unwrap()
}

fn refusal(input: Shape, op: Op) -> String {
    after(input, op).unwrap_err()
}

/// Parameters and multiply-accumulates of one operation.
fn counts(input: Shape, op: Op) -> (u64, u64) {
    let mut builder = Builder::new(input);
    let id = builder.push("x".to_owned(), op, vec![0]).unwrap();
    let network = builder.finish(id).unwrap();
    network.validate().unwrap();
    (network.parameters(), network.macs())
}

#[test]
fn an_operation_is_named_as_in_json_and_survives_it() {
    for op in all() {
        let json = serde_json::to_value(&op).unwrap();
        let key = json
            .as_str()
            .or_else(|| json.as_object()?.keys().next().map(String::as_str));
        assert_eq!(key, Some(op.name()));
        assert_eq!(serde_json::from_value::<Op>(json).unwrap(), op);
    }
}

#[test]
fn operations_have_different_labels() {
    let mut labels: Vec<Vec<u64>> = Vec::new();
    for op in all().iter().filter(|op| !matches!(op, Op::Zeros { .. })) {
        let mut words = Vec::new();
        label::label(op, &Shape::features(4), &mut words);
        assert!(!words.is_empty(), "{op:?}");
        assert!(!labels.contains(&words), "{op:?}");
        labels.push(words);
    }
}

#[test]
fn windows_slide_over_the_time_of_signals_and_sequences() {
    assert_eq!(
        shape(Shape::signal(4, 10), conv1d(4, 6, 3, 2, 1)),
        Shape::signal(6, 5)
    );
    assert_eq!(
        shape(Shape::sequence(10, 4), conv1d(4, 6, 3, 2, 2)),
        Shape::sequence(5, 6)
    );
    let pool = Op::MaxPool1d(Pooling {
        kernel: 2,
        stride: 2,
        padding: 0,
    });
    assert_eq!(
        shape(Shape::signal(4, 9), pool.clone()),
        Shape::signal(4, 4)
    );
    assert_eq!(shape(Shape::sequence(9, 4), pool), Shape::sequence(4, 4));
    let adaptive = Op::AdaptiveAvgPool { size: 3 };
    assert_eq!(
        shape(Shape::image(4, 9, 5), adaptive.clone()),
        Shape::image(4, 3, 3)
    );
    assert_eq!(
        shape(Shape::sequence(9, 4), adaptive),
        Shape::sequence(3, 4)
    );
    for input in [
        Shape::image(4, 9, 5),
        Shape::signal(4, 9),
        Shape::sequence(9, 4),
    ] {
        assert_eq!(shape(input.clone(), Op::GlobalMaxPool), Shape::features(4));
        assert_eq!(shape(input, Op::GlobalAvgPool), Shape::features(4));
    }
}

#[test]
fn sequences_come_from_images_signals_and_tokens() {
    assert_eq!(
        shape(Shape::image(8, 3, 5), Op::ToSequence),
        Shape::sequence(15, 8)
    );
    assert_eq!(
        shape(Shape::signal(8, 3), Op::ToSequence),
        Shape::sequence(3, 8)
    );
    let embedding = Op::Embedding {
        vocabulary: 100,
        features: 16,
    };
    assert_eq!(
        shape(Shape::tokens(7), embedding.clone()),
        Shape::sequence(7, 16)
    );
    assert_eq!(counts(Shape::tokens(7), embedding), (1600, 0));
    let lstm = |both, output| Op::Lstm(recurrent(4, both, output));
    let steps = Shape::sequence(7, 4);
    assert_eq!(
        shape(steps.clone(), lstm(true, RecurrentOutput::Sequence)),
        Shape::sequence(7, 10)
    );
    assert_eq!(
        shape(steps, lstm(false, RecurrentOutput::Last)),
        Shape::features(5)
    );
}

#[test]
fn zeros_have_the_size_of_a_convolution_with_their_stride() {
    let zeros = |channels, stride| Op::Zeros { channels, stride };
    assert_eq!(
        shape(Shape::image(4, 9, 5), zeros(8, 2)),
        Shape::image(8, 5, 3)
    );
    assert_eq!(
        shape(Shape::sequence(9, 4), zeros(8, 3)),
        Shape::sequence(3, 8)
    );
    assert_eq!(shape(Shape::features(4), zeros(2, 1)), Shape::features(2));
    assert!(refusal(Shape::image(4, 9, 5), zeros(0, 1)).contains("is 0"));
}

#[test]
fn counts_are_those_worked_out_by_hand() {
    let steps = Shape::sequence(7, 4);
    // 6 * 4 * 3 weights, 6 biases, at 7 places.
    assert_eq!(counts(steps.clone(), conv1d(4, 6, 3, 1, 1)), (78, 72 * 7));
    assert_eq!(counts(steps.clone(), Op::Prelu { channels: 4 }), (4, 0));
    assert_eq!(counts(steps.clone(), Op::LayerNorm { channels: 4 }), (8, 0));
    let excite = Op::SqueezeExcite {
        channels: 4,
        squeezed: 2,
    };
    assert_eq!(counts(steps.clone(), excite), (8 + 2 + 8 + 4, 16));
    // Four 4x4 maps with biases; at 7 steps, and two products of 7x7 weights with 4 features.
    let heads = attention(4, 2);
    assert_eq!(
        counts(steps.clone(), heads),
        (64 + 16, 7 * 64 + 2 * 7 * 7 * 4)
    );
    // First layer: 4 gates * 5 * (4 + 5); second, on both directions: 4 * 5 * (10 + 5); twice.
    let lstm = Op::Lstm(recurrent(4, true, RecurrentOutput::Last));
    let products = 2 * (4 * 5 * (4 + 5) + 4 * 5 * (10 + 5));
    let biases = 2 * 2 * 2 * 4 * 5;
    assert_eq!(
        counts(steps.clone(), lstm),
        (products + biases, products * 7)
    );
    let gru = Op::Gru(recurrent(4, false, RecurrentOutput::Sequence));
    let products = 3 * 5 * (4 + 5) + 3 * 5 * (5 + 5);
    assert_eq!(counts(steps, gru), (products + 2 * 2 * 15, products * 7));
}

#[test]
fn what_does_not_fit_is_refused_with_the_shapes_that_met() {
    let image = || Shape::image(4, 8, 8);
    let steps = || Shape::sequence(7, 4);
    let refusals = [
        refusal(image(), conv1d(4, 4, 3, 1, 1)),
        refusal(steps(), conv1d(5, 4, 3, 1, 1)),
        refusal(Shape::features(4), Op::GlobalMaxPool),
        refusal(Shape::features(4), Op::AdaptiveAvgPool { size: 2 }),
        refusal(image(), Op::AdaptiveMaxPool { size: 0 }),
        refusal(image(), attention(4, 2)),
        refusal(steps(), attention(4, 3)),
        refusal(steps(), attention(5, 1)),
        refusal(Shape::sequence(1 << 21, 4), attention(4, 2)),
        refusal(image(), Op::Lstm(recurrent(4, true, RecurrentOutput::Last))),
        refusal(
            steps(),
            Op::Gru(Recurrent {
                layers: 65,
                ..recurrent(4, false, RecurrentOutput::Last)
            }),
        ),
        refusal(
            steps(),
            Op::Lstm(Recurrent {
                hidden: u64::MAX,
                ..recurrent(4, true, RecurrentOutput::Last)
            }),
        ),
        refusal(steps(), Op::ToSequence),
        refusal(
            steps(),
            Op::PositionalEncoding {
                kind: Positions::Learned,
                length: 6,
                features: 4,
            },
        ),
        refusal(
            steps(),
            Op::Embedding {
                vocabulary: 9,
                features: 4,
            },
        ),
        refusal(Shape::tokens(7), Op::Activation(Activation::Relu)),
        refusal(Shape::tokens(7), Op::Flatten),
        refusal(Shape::image(1, 8, 8), Op::LayerNorm { channels: 1 }),
        refusal(
            Shape::features(4),
            Op::GroupNorm {
                groups: 4,
                channels: 4,
            },
        ),
        refusal(
            image(),
            Op::GroupNorm {
                groups: 3,
                channels: 4,
            },
        ),
        refusal(image(), Op::DropPath { rate: 1.0 }),
        refusal(
            Shape::features(4),
            Op::SqueezeExcite {
                channels: 4,
                squeezed: 1,
            },
        ),
        refusal(image(), Op::Prelu { channels: 3 }),
    ];
    insta::assert_snapshot!(refusals.join("\n"), @r#"
        x (conv1d): it takes a signal (channels × time) or a sequence (time × features), but its input is 4 channels × 8 height × 8 width
        x (conv1d): it is made for 5 features, but its input is 7 time × 4 features
        x (global_max_pool): it takes an image (channels × height × width), a signal (channels × time) or a sequence (time × features), but its input is 4 features
        x (adaptive_avg_pool): it takes an image (channels × height × width), a signal (channels × time) or a sequence (time × features), but its input is 4 features
        x (adaptive_max_pool): its size is 0, but must be at least 1
        x (attention): it takes a sequence (time × features; `to_sequence` and `patches` make one of an image, `embedding` of tokens), but its input is 4 channels × 8 height × 8 width
        x (attention): its 3 heads must divide its 4 features
        x (attention): it is made for 5 features, but its input is 7 time × 4 features
        x (attention): from 2097152 time × 4 features, one of its tensors would have more than 2^40 elements
        x (lstm): it takes a sequence (time × features; `to_sequence` and `patches` make one of an image, `embedding` of tokens), but its input is 4 channels × 8 height × 8 width
        x (gru): it has 65 layers, but may have 64
        x (lstm): from 7 time × 4 features, one of its tensors would have more than 2^40 elements
        x (to_sequence): it takes an image (channels × height × width) or a signal (channels × time), but its input is 7 time × 4 features
        x (positional_encoding): it is made for 6 time, but its input is 7 time × 4 features
        x (embedding): it takes tokens (time alone), but its input is 7 time × 4 features
        x (activation): its input is 7 time of tokens; put an `embedding` before it
        x (flatten): its input is 7 time of tokens; put an `embedding` before it
        x (layer_norm): of 1 channels × 8 height × 8 width it would normalise single values, which makes every one of them 0
        x (group_norm): of 4 features it would normalise single values, which makes every one of them 0
        x (group_norm): its 3 groups must divide its 4 channels
        x (drop_path): its rate is 1, but must be at least 0 and less than 1
        x (squeeze_excite): it takes an image (channels × height × width), a signal (channels × time) or a sequence (time × features), but its input is 4 features
        x (prelu): it is made for 3 channels, but its input is 4 channels × 8 height × 8 width
        "#);
}

#[test]
fn zeros_are_simplified_like_any_zero() {
    let zeros = Op::Zeros {
        channels: 4,
        stride: 2,
    };
    let mut b = Builder::new(Shape::image(2, 8, 8));
    let nothing = b.push("nothing".to_owned(), zeros, vec![0]).unwrap();
    let pool = Op::Conv2d(Convolution {
        in_channels: 2,
        out_channels: 4,
        kernel: 1,
        stride: 2,
        padding: 0,
        dilation: 1,
        groups: 1,
        bias: true,
    });
    let something = b.push("something".to_owned(), pool, vec![0]).unwrap();
    let without = b.clone().finish(something).unwrap();
    let sum = b.push("sum".to_owned(), Op::Add, vec![nothing, something]);
    let with = b.clone().finish(sum.unwrap()).unwrap();
    assert_eq!(with.network_id(), without.network_id());
    assert_eq!(with.simplified().nodes.len(), 2);

    let product = b.push("product".to_owned(), Op::Multiply, vec![nothing, something]);
    let product = b.clone().finish(product.unwrap()).unwrap();
    let zero = b.finish(nothing).unwrap();
    assert_eq!(product.network_id(), zero.network_id());
    for network in [product, zero] {
        let simple = network.simplified();
        simple.validate().unwrap();
        assert_eq!(simple.network_id(), network.network_id());
        assert_eq!(simple.nodes[simple.output].shape, Shape::image(4, 4, 4));
        assert_eq!(simple.simplified(), simple);
    }
}

#[test]
fn a_batch_of_one_is_not_enough_for_a_batch_norm_of_single_values() {
    let after = |input, op| {
        let mut builder = Builder::new(input);
        let id = builder.push("norm".to_owned(), op, vec![0]).unwrap();
        builder.finish(id).unwrap()
    };
    let norm = Op::BatchNorm { channels: 4 };
    let single = after(Shape::image(4, 1, 1), norm.clone());
    assert_eq!(single.needs_larger_batches().unwrap().name, "norm");
    let vector = after(Shape::features(4), norm.clone());
    assert!(vector.needs_larger_batches().is_some());
    let image = after(Shape::image(4, 1, 2), norm);
    assert!(image.needs_larger_batches().is_none());
    let other = after(Shape::features(4), Op::LayerNorm { channels: 4 });
    assert!(other.needs_larger_batches().is_none());
}

#[test]
fn activations_are_kept_once_however_many_read_them() {
    let conv = |in_channels, out_channels| {
        Op::Conv2d(Convolution {
            in_channels,
            out_channels,
            kernel: 3,
            stride: 1,
            padding: 1,
            dilation: 1,
            groups: 1,
            bias: true,
        })
    };
    let mut b = Builder::new(Shape::image(2, 4, 4));
    let first = b.push("a".to_owned(), conv(2, 3), vec![0]).unwrap();
    let relu = Op::Activation(Activation::Relu);
    let active = b.push("b".to_owned(), relu, vec![first]).unwrap();
    let one = b.push("c".to_owned(), conv(3, 3), vec![active]).unwrap();
    let two = b.push("d".to_owned(), conv(3, 3), vec![active]).unwrap();
    let sum = b.push("e".to_owned(), Op::Add, vec![one, two]).unwrap();
    let network = b.finish(sum).unwrap();
    // The input, and what the relu gives; not what goes into it, nor into the sum.
    assert_eq!(network.activation_bytes(), (2 * 16 + 3 * 16) * 4);
}
