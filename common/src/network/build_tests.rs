use super::super::{Activation, Axis, Convolution, Pooling};
use smallvec::smallvec;

use super::*;

fn conv(in_channels: u64, out_channels: u64, kernel: u64, stride: u64, padding: u64) -> Op {
    Op::Conv2d(Convolution {
        in_channels,
        out_channels,
        kernel,
        stride,
        padding,
        dilation: 1,
        groups: 1,
        bias: false,
    })
}

fn push(builder: &mut Builder, op: Op, inputs: &[usize]) -> usize {
    let name = format!("n{}", builder.nodes().len());
    builder.push(name, op, inputs).unwrap()
}

/// The error of one operation on one input, as a sentence.
fn refusal(input: Shape, op: Op) -> String {
    let mut builder = Builder::new(input);
    let error = builder.push("body".to_owned(), op, vec![0]).unwrap_err();
    assert_eq!(builder.nodes().len(), 1, "a refused node is not added");
    error.to_string()
}

fn shape_after(input: Shape, op: Op) -> Shape {
    let mut builder = Builder::new(input);
    let id = push(&mut builder, op, &[0]);
    builder.shape(id).unwrap().clone()
}

fn norm_relu(builder: &mut Builder, channels: u64, input: usize) -> usize {
    let norm = push(builder, Op::BatchNorm { channels }, &[input]);
    push(builder, Op::Activation(Activation::Relu), &[norm])
}

/// The basic block of ResNet-18 (He et al. 2016), as torchvision writes it.
fn basic_block(b: &mut Builder, from: u64, to: u64, stride: u64, input: usize) -> usize {
    let first = push(b, conv(from, to, 3, stride, 1), &[input]);
    let first = norm_relu(b, to, first);
    let second = push(b, conv(to, to, 3, 1, 1), &[first]);
    let second = push(b, Op::BatchNorm { channels: to }, &[second]);
    let skip = if from == to {
        input
    } else {
        let skip = push(b, conv(from, to, 1, stride, 0), &[input]);
        push(b, Op::BatchNorm { channels: to }, &[skip])
    };
    let sum = push(b, Op::Add, &[second, skip]);
    push(b, Op::Activation(Activation::Relu), &[sum])
}

fn resnet18() -> Network {
    let mut b = Builder::new(Shape::image(3, 224, 224));
    let stem = push(&mut b, conv(3, 64, 7, 2, 3), &[0]);
    let stem = norm_relu(&mut b, 64, stem);
    let pool = Op::MaxPool2d(Pooling {
        kernel: 3,
        stride: 2,
        padding: 1,
    });
    let mut at = push(&mut b, pool, &[stem]);
    let mut channels = 64;
    for to in [64, 128, 256, 512] {
        at = basic_block(&mut b, channels, to, to / channels, at);
        at = basic_block(&mut b, to, to, 1, at);
        channels = to;
    }
    assert_eq!(b.shape(at), Some(&Shape::image(512, 7, 7)));
    let pooled = push(&mut b, Op::GlobalAvgPool, &[at]);
    let head = Op::Linear {
        in_features: 512,
        out_features: 1000,
        bias: true,
    };
    let output = push(&mut b, head, &[pooled]);
    b.finish(output).unwrap()
}

#[test]
fn resnet18_has_the_parameters_and_macs_that_pytorch_counts() {
    let network = resnet18();
    network.validate().unwrap();
    // torchvision's resnet18 documents 11,689,512 parameters and 1.81 GFLOPS (multiply-accumulates).
    assert_eq!(network.parameters(), 11_689_512);
    assert_eq!(network.macs(), 1_814_073_344);
}

#[test]
fn a_residual_block_with_stride_counts_as_worked_out_by_hand() {
    let mut b = Builder::new(Shape::image(64, 56, 56));
    let output = basic_block(&mut b, 64, 128, 2, 0);
    let network = b.finish(output).unwrap();
    assert_eq!(network.nodes[output].shape, Shape::image(128, 28, 28));
    // 64*128*9 + 128*128*9 + 64*128 weights and three normalisations of 2*128.
    assert_eq!(network.parameters(), 73_728 + 147_456 + 8_192 + 768);
    // Each convolution's weights times its 28*28 positions.
    assert_eq!(network.macs(), (73_728 + 147_456 + 8_192) * 784);
}

#[test]
fn depthwise_and_grouped_convolutions_count_a_group_of_channels_each() {
    let grouped = |groups, out_channels, bias| {
        Op::Conv2d(Convolution {
            in_channels: 32,
            out_channels,
            kernel: 3,
            stride: 1,
            padding: 1,
            dilation: 1,
            groups,
            bias,
        })
    };
    let mut b = Builder::new(Shape::image(32, 112, 112));
    let depthwise = push(&mut b, grouped(32, 32, true), &[0]);
    let quarters = push(&mut b, grouped(4, 64, false), &[depthwise]);
    let network = b.finish(quarters).unwrap();
    let (first, second) = (&network.nodes[1], &network.nodes[2]);
    assert_eq!(first.parameters(), 32 * 9 + 32);
    assert_eq!(
        network.macs_of(depthwise),
        3_612_672,
        "112*112*32*9, the bias not counted"
    );
    assert_eq!(second.parameters(), 64 * 8 * 9);
    assert_eq!(network.macs_of(quarters), 112 * 112 * 64 * 8 * 9);
}

#[test]
fn a_linear_map_counts_its_matrix_for_every_row() {
    let op = Op::Linear {
        in_features: 20,
        out_features: 30,
        bias: true,
    };
    let mut b = Builder::new(Shape(smallvec![(Axis::Time, 7), (Axis::Features, 20)]));
    let id = push(&mut b, op, &[0]);
    let network = b.finish(id).unwrap();
    assert_eq!(network.nodes[id].shape.as_features(), None);
    assert_eq!(network.parameters(), 20 * 30 + 30);
    assert_eq!(network.macs(), 7 * 20 * 30);
}

#[test]
fn windows_follow_pytorchs_formula_in_floor_mode() {
    let side = |size, op| {
        shape_after(Shape::image(1, size, size), op)
            .as_image()
            .unwrap()
            .1
    };
    let dilated = |kernel, stride, padding, dilation| {
        Op::Conv2d(Convolution {
            in_channels: 1,
            out_channels: 1,
            kernel,
            stride,
            padding,
            dilation,
            groups: 1,
            bias: false,
        })
    };
    // floor((size + 2p - d(k-1) - 1)/s) + 1
    assert_eq!(side(28, dilated(3, 2, 1, 1)), 14);
    assert_eq!(side(29, dilated(3, 2, 1, 1)), 15);
    assert_eq!(side(28, dilated(5, 3, 0, 1)), 8);
    assert_eq!(side(28, dilated(3, 1, 2, 2)), 28);
    assert_eq!(side(9, dilated(3, 2, 0, 4)), 1);
    let pool = |kernel, stride, padding| {
        Op::AvgPool2d(Pooling {
            kernel,
            stride,
            padding,
        })
    };
    assert_eq!(side(28, pool(2, 2, 0)), 14);
    assert_eq!(side(7, pool(2, 2, 0)), 3);
    assert_eq!(side(7, pool(3, 2, 1)), 4);
}

#[test]
fn joining_ops_give_the_shapes_they_should() {
    let mut b = Builder::new(Shape::image(3, 8, 6));
    let wide = push(&mut b, conv(3, 5, 1, 1, 0), &[0]);
    let joined = push(&mut b, Op::Concat, &[0, wide, 0]);
    assert_eq!(b.shape(joined), Some(&Shape::image(11, 8, 6)));
    let flat = push(&mut b, Op::Flatten, &[joined]);
    assert_eq!(b.shape(flat), Some(&Shape::features(528)));
    let doubled = push(&mut b, Op::Concat, &[flat, flat]);
    assert_eq!(b.shape(doubled), Some(&Shape::features(1056)));
    assert_eq!(b.shape(99), None);

    let clash = b
        .push("sum".to_owned(), Op::Add, vec![0, wide])
        .unwrap_err();
    assert_eq!(
        clash.to_string(),
        "sum (add): its inputs must have one shape, but 3 channels × 8 height × 6 width meets \
         5 channels × 8 height × 6 width"
    );
    let clash = b
        .push("join".to_owned(), Op::Concat, vec![0, flat])
        .unwrap_err();
    assert!(
        clash
            .to_string()
            .contains("may differ in their channels only"),
        "{clash}"
    );
}

#[test]
fn what_does_not_fit_is_refused_in_a_sentence() {
    let image = || Shape::image(16, 8, 8);
    assert_eq!(
        refusal(image(), conv(3, 8, 3, 1, 1)),
        "body (conv2d): it is made for 3 channels, but its input is 16 channels × 8 height × 8 width"
    );
    assert_eq!(
        refusal(image(), conv(16, 8, 11, 1, 1)),
        "body (conv2d): its window spans 11 cells, but its input is 16 channels × 8 height × 8 \
         width and has only 10 cells on a side with padding 1"
    );
    let linear = Op::Linear {
        in_features: 16,
        out_features: 10,
        bias: true,
    };
    assert_eq!(
        refusal(image(), linear.clone()),
        "body (linear): it takes features (put a flatten or global_avg_pool before it), but its \
         input is 16 channels × 8 height × 8 width"
    );
    assert!(refusal(Shape::features(15), linear).contains("made for 16 features"));
    assert!(refusal(image(), conv(16, 0, 3, 1, 1)).contains("output channels is 0"));
    assert!(refusal(image(), conv(16, 8, 3, 0, 1)).contains("stride is 0"));
    assert!(refusal(image(), Op::BatchNorm { channels: 8 }).contains("made for 8 channels"));
    assert!(refusal(image(), Op::Dropout { rate: 1.0 }).contains("rate is 1"));
    assert!(refusal(image(), Op::Dropout { rate: f64::NAN }).contains("rate is NaN"));
    assert!(refusal(Shape::features(4), Op::GlobalAvgPool).contains("it takes an image"));
    assert!(refusal(image(), Op::Input).contains("node 0, and no other"));
    let pool = Op::MaxPool2d(Pooling {
        kernel: 3,
        stride: 1,
        padding: 2,
    });
    assert!(refusal(image(), pool).contains("more than half of its kernel 3"));
}

#[test]
fn groups_must_divide_the_channels_and_not_be_zero() {
    let grouped = |groups| {
        Op::Conv2d(Convolution {
            in_channels: 16,
            out_channels: 8,
            kernel: 3,
            stride: 1,
            padding: 1,
            dilation: 1,
            groups,
            bias: true,
        })
    };
    let image = || Shape::image(16, 8, 8);
    assert!(refusal(image(), grouped(3)).contains("3 groups must divide both its 16"));
    assert!(refusal(image(), grouped(16)).contains("16 groups must divide"));
    assert!(refusal(image(), grouped(0)).contains("number of groups is 0"));
}

#[test]
fn numbers_beyond_any_machine_are_refused_without_overflow() {
    let huge = u64::MAX;
    let image = || Shape::image(16, 8, 8);
    assert!(refusal(image(), conv(16, huge, 1, 1, 0)).contains("2^40 elements"));
    assert!(refusal(image(), conv(16, 16, 3, 1, huge)).contains("2^40 elements"));
    assert!(refusal(image(), conv(16, 16, 3, huge, 1 << 38)).contains("2^40 elements"));
    assert!(refusal(image(), conv(16, 16, huge, 1, 1)).contains("window spans"));
    let dilated = Op::Conv2d(Convolution {
        in_channels: 16,
        out_channels: 16,
        kernel: 3,
        stride: 1,
        padding: 0,
        dilation: huge,
        groups: 1,
        bias: false,
    });
    assert!(refusal(image(), dilated).contains("window spans"));
    let linear = |in_features, out_features| Op::Linear {
        in_features,
        out_features,
        bias: false,
    };
    let wide = 1 << 30;
    assert!(refusal(Shape::features(wide), linear(wide, wide)).contains("2^40 parameters"));
    assert!(refusal(Shape::features(wide), linear(wide, huge)).contains("2^40 elements"));
}

#[test]
fn an_input_that_is_no_shape_is_refused_at_the_first_use() {
    for shape in [
        Shape(smallvec![]),
        Shape::image(3, 0, 8),
        Shape(smallvec![(Axis::Time, 3), (Axis::Time, 3)]),
        Shape::features(u64::MAX),
    ] {
        let mut builder = Builder::new(shape);
        let error = builder
            .push("a".to_owned(), Op::Identity, vec![0])
            .unwrap_err();
        assert!(error.to_string().starts_with("input (input): a shape has"));
        assert!(builder.finish(0).is_err());
    }
}

#[test]
fn connections_that_cannot_be_are_refused() {
    let mut b = Builder::new(Shape::features(4));
    let mut refused = |op, inputs: Vec<usize>| {
        b.push("body".to_owned(), op, inputs)
            .unwrap_err()
            .to_string()
    };
    assert!(refused(Op::Identity, vec![]).contains("exactly one input, but 0"));
    assert!(refused(Op::Flatten, vec![0, 0]).contains("exactly one input, but 2"));
    assert!(refused(Op::Add, vec![]).contains("at least one input"));
    assert!(refused(Op::Add, vec![0, 1]).contains("reads node 1, but only the 1 nodes"));
    assert!(refused(Op::Add, vec![0; MAX_EDGES + 1]).contains("at most 100000 connections"));
    let long = "x".repeat(MAX_NODE_NAME + 1);
    let error = b.push(long, Op::Identity, vec![0]).unwrap_err();
    assert!(error.to_string().contains("this one has 1025"));
    assert!(b.clone().finish(1).is_err());
    b.push("input".to_owned(), Op::Identity, vec![0]).unwrap();
    let error = b.finish(1).unwrap_err();
    assert_eq!(*error.problem, ShapeProblem::DuplicateName);
}

#[test]
fn a_network_has_a_bounded_number_of_nodes() {
    let mut b = Builder::new(Shape::features(4));
    for id in 1..MAX_NODES {
        b.push(id.to_string(), Op::Identity, vec![id - 1]).unwrap();
    }
    let error = b
        .push("last".to_owned(), Op::Identity, vec![0])
        .unwrap_err();
    assert_eq!(*error.problem, ShapeProblem::TooManyNodes);
}

#[test]
fn a_network_from_outside_is_checked_like_one_built_here() {
    let good = resnet18();
    let json = serde_json::to_string(&good).unwrap();
    let back: Network = serde_json::from_str(&json).unwrap();
    assert_eq!(back, good);
    back.validate().unwrap();

    let spoiled = |spoil: fn(&mut Network)| {
        let mut network = good.clone();
        spoil(&mut network);
        network.validate().unwrap_err().to_string()
    };
    assert!(spoiled(|n| n.nodes.clear()).contains("has no nodes"));
    assert!(spoiled(|n| n.output = 1_000).contains("node 1000 is to be the output"));
    assert!(spoiled(|n| n.nodes[2].inputs = smallvec![2]).contains("reads node 2"));
    assert!(spoiled(|n| n.nodes[2].inputs = smallvec![usize::MAX]).contains("reads node"));
    assert!(spoiled(|n| n.nodes[0].op = Op::Identity).contains("node 0, and no other"));
    assert!(spoiled(|n| n.nodes[5].op = Op::Input).contains("node 0, and no other"));
    assert!(spoiled(|n| n.nodes[3].name = "n2".to_owned()).contains("another node"));
    assert!(spoiled(|n| n.nodes[3].shape.0[0].1 = 1).contains("is said to give 1 channels"));
    assert!(spoiled(|n| n.nodes[0].shape = Shape(smallvec![])).contains("at least one axis"));
}
