use proptest::prelude::*;

use super::super::samples::{WIDTH, compute, networks};
use super::super::{Activation, Builder, Pooling};
use smallvec::smallvec;

use super::*;

/// Builds a network over four features from (operation, inputs); the last node is the output.
fn network(nodes: &[(Op, &[usize])]) -> Network {
    on(Shape::features(4), nodes)
}

fn on(input: Shape, nodes: &[(Op, &[usize])]) -> Network {
    let mut builder = Builder::new(input);
    for (op, inputs) in nodes {
        let name = format!("n{}", builder.nodes().len());
        builder.push(name, op.clone(), inputs).unwrap();
    }
    let output = builder.nodes().len() - 1;
    builder.finish(output).unwrap()
}

fn linear(bias: bool) -> Op {
    Op::Linear {
        in_features: 4,
        out_features: 4,
        bias,
    }
}

const RELU: Op = Op::Activation(Activation::Relu);
const TANH: Op = Op::Activation(Activation::Tanh);

/// A simplified network in short: operations with their inputs.
fn short(network: &Network) -> String {
    let simplified = network.simplified();
    simplified.validate().unwrap();
    assert_eq!(simplified.output, simplified.nodes.len() - 1);
    (simplified.nodes.iter().skip(1))
        .map(|node| format!("{}{:?}", node.op.name(), node.inputs))
        .collect::<Vec<_>>()
        .join(" ")
}

#[test]
fn nodes_that_the_output_does_not_depend_on_are_cut() {
    let mut with_dead = network(&[(linear(true), &[0]), (RELU, &[0]), (TANH, &[1])]);
    assert_eq!(short(&with_dead), "linear[0] activation[1]");
    assert_eq!(with_dead.simplified().nodes[2].name, "n3");
    with_dead.output = 0;
    assert_eq!(with_dead.simplified().nodes.len(), 1);
}

#[test]
fn what_changes_nothing_is_merged_with_its_input() {
    let pool = |kernel| {
        Op::MaxPool2d(Pooling {
            kernel,
            stride: 1,
            padding: 0,
        })
    };
    let mean = Op::AvgPool2d(Pooling {
        kernel: 1,
        stride: 1,
        padding: 0,
    });
    let image = on(
        Shape::image(4, 5, 5),
        &[
            (Op::Identity, &[0]),
            (pool(1), &[1]),
            (mean, &[2]),
            (Op::Dropout { rate: 0.0 }, &[3]),
            (Op::Add, &[4]),
            (Op::Concat, &[5]),
            (pool(2), &[6]),
            (Op::Flatten, &[7]),
            (Op::Flatten, &[8]),
        ],
    );
    assert_eq!(short(&image), "max_pool2d[0] flatten[1]");
    let strided = Op::MaxPool2d(Pooling {
        kernel: 1,
        stride: 2,
        padding: 0,
    });
    let image = on(Shape::image(4, 5, 5), &[(strided, &[0])]);
    assert_eq!(short(&image), "max_pool2d[0]");
}

#[test]
fn zeros_go_through_what_maps_zero_to_zero_and_no_further() {
    let after = |op: Op| short(&network(&[(Op::Zero, &[0]), (op, &[1])]));
    assert_eq!(after(RELU), "zero[0]");
    assert_eq!(after(linear(false)), "zero[0]");
    assert_eq!(after(Op::Dropout { rate: 0.3 }), "zero[0]");
    assert_eq!(after(linear(true)), "zero[0] linear[1]");
    assert_eq!(
        after(Op::BatchNorm { channels: 4 }),
        "zero[0] batch_norm[1]"
    );
    let sigmoid = Op::Activation(Activation::Sigmoid);
    assert_eq!(after(sigmoid), "zero[0] activation[1]");
}

#[test]
fn joins_treat_zeros_each_in_its_way() {
    let joined = |op: Op| {
        let nodes: [(Op, &[usize]); 3] = [(Op::Zero, &[0]), (RELU, &[0]), (op, &[1, 2, 0])];
        short(&network(&nodes))
    };
    assert_eq!(joined(Op::Add), "activation[0] add[0, 1]");
    assert_eq!(joined(Op::Multiply), "zero[0]");
    assert_eq!(joined(Op::Concat), "zero[0] activation[0] concat[1, 2, 0]");
    let one_left = network(&[(Op::Zero, &[0]), (Op::Add, &[0, 1]), (RELU, &[2])]);
    assert_eq!(short(&one_left), "activation[0]");
    let none_left = network(&[(Op::Zero, &[0]), (Op::Add, &[1, 1]), (Op::Concat, &[2, 1])]);
    assert_eq!(short(&none_left), "zero[0] add[1, 1] concat[2, 1] zero[3]");
}

#[test]
fn a_zero_of_a_shape_that_nothing_else_has_stands_on_what_made_it() {
    let wide = Op::Linear {
        in_features: 4,
        out_features: 7,
        bias: false,
    };
    let nodes: [(Op, &[usize]); 4] = [
        (linear(true), &[0]),
        (wide, &[1]),
        (Op::Zero, &[2]),
        (Op::BatchNorm { channels: 7 }, &[3]),
    ];
    let built = network(&nodes);
    assert_eq!(short(&built), "linear[0] linear[1] zero[2] batch_norm[3]");
    assert_eq!(short(&built.simplified()), short(&built));
}

#[test]
fn the_input_stays_where_nothing_depends_on_it() {
    let unread = network(&[
        (linear(true), &[0]),
        (Op::Zero, &[1]),
        (linear(true), &[2]),
        (Op::Add, &[3, 3]),
        (Op::Add, &[4, 3]),
    ]);
    assert_eq!(short(&unread), "zero[0] linear[1] add[2, 2, 2]");
}

#[test]
fn joins_within_joins_are_one_when_nothing_else_reads_the_inner_one() {
    let nested = |op: &Op| {
        network(&[
            (TANH, &[0]),
            (RELU, &[0]),
            (op.clone(), &[1, 2]),
            (op.clone(), &[0, 3]),
        ])
    };
    assert_eq!(
        short(&nested(&Op::Add)),
        "activation[0] activation[0] add[0, 1, 2]"
    );
    assert!(short(&nested(&Op::Concat)).ends_with("concat[0, 1, 2]"));
    let read_twice = network(&[(TANH, &[0]), (Op::Add, &[0, 1]), (Op::Add, &[2, 2])]);
    assert_eq!(short(&read_twice), "activation[0] add[0, 1] add[2, 2]");
    let mixed = network(&[(TANH, &[0]), (Op::Multiply, &[0, 1]), (Op::Add, &[0, 2])]);
    assert_eq!(short(&mixed), "activation[0] multiply[0, 1] add[0, 2]");
}

#[test]
fn equal_operations_without_parameters_are_one_node() {
    let twice = |op: &Op| {
        short(&network(&[
            (op.clone(), &[0]),
            (op.clone(), &[0]),
            (Op::Concat, &[1, 2]),
        ]))
    };
    assert_eq!(twice(&RELU), "activation[0] concat[1, 1]");
    assert_eq!(twice(&linear(true)), "linear[0] linear[0] concat[1, 2]");
    let dropout = Op::Dropout { rate: 0.5 };
    assert_eq!(twice(&dropout), "dropout[0] dropout[0] concat[1, 2]");
    let norm = Op::BatchNorm { channels: 4 };
    assert_eq!(twice(&norm), "batch_norm[0] batch_norm[0] concat[1, 2]");
    let swapped = network(&[
        (TANH, &[0]),
        (Op::Multiply, &[0, 1]),
        (Op::Multiply, &[1, 0]),
        (Op::Add, &[2, 3]),
    ]);
    assert_eq!(short(&swapped), "activation[0] multiply[0, 1] add[2, 2]");
}

#[test]
fn a_network_out_of_order_is_returned_as_it_is() {
    let good = network(&[(TANH, &[0]), (Op::Add, &[0, 1])]);
    let spoil: [fn(&mut Network); 6] = [
        |n| n.nodes[1].inputs = smallvec![2],
        |n| n.nodes[1].inputs = smallvec![],
        |n| n.nodes[2].inputs = smallvec![usize::MAX],
        |n| n.output = 3,
        |n| n.nodes[1].op = Op::Input,
        |n| n.nodes.clear(),
    ];
    for spoil in spoil {
        let mut network = good.clone();
        spoil(&mut network);
        assert_eq!(network.simplified(), network);
        assert_ne!(network.network_id(), good.network_id());
    }
}

proptest! {
    #[test]
    fn simplification_keeps_what_is_computed(network in networks(14), seed in 0_u64..1_000) {
        let input: Vec<f64> = (0..WIDTH)
            .map(|at| ((seed + 37 * at) % 100) as f64 / 50.0 - 1.0)
            .collect();
        let simplified = network.simplified();
        prop_assert!(simplified.validate().is_ok(), "{:?}", simplified.validate());
        let (before, after) = (compute(&network, &input), compute(&simplified, &input));
        prop_assert_eq!(before.len(), after.len());
        for (a, b) in before.iter().zip(&after) {
            let scale = a.abs().max(1.0);
            prop_assert!(!a.is_finite() || (a - b).abs() <= 1e-6 * scale, "{} became {}", a, b);
        }
    }

    #[test]
    fn a_simplified_network_is_as_simple_as_it_gets(network in networks(14)) {
        let once = network.simplified();
        prop_assert!(once.nodes.len() <= 2 * network.nodes.len());
        prop_assert!(once.parameters() <= network.parameters());
        prop_assert_eq!(&once.simplified(), &once);
    }
}
