//! What the features tell apart, and what not.

use espalier_common::candidate::{Candidate, DecisionPath, Value};
use espalier_common::network::{Activation, Builder, Convolution, Network, Op, Pooling, Shape};
use espalier_common::space::Space;

use super::{Layout, Sparse, encode, operations, paths, size};

fn space(text: &str) -> Space {
    let text = format!(
        "name: features\n{text}\nobjectives: [{{maximize: score}}]\nbudget: {{trials: 3}}\n"
    );
    espalier_common::spec::read(&text, "features.yaml")
        .expect("a spec")
        .space
}

fn candidate(values: &[(&str, Value)]) -> Candidate {
    let entries = values
        .iter()
        .map(|(path, value)| (DecisionPath((*path).to_owned()), value.clone()));
    Candidate(entries.collect())
}

fn text(value: &str) -> Value {
    Value::Text(value.to_owned())
}

fn distance(a: &[Sparse], b: &[Sparse]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a.squared_distance(b)).sum()
}

#[test]
fn choices_have_no_order_and_ranges_their_own_scale() {
    let space = space(
        "hyperparameters:\n  c: {choice: [1, 2, 9]}\n  r: {range: [0.001, 1.0], scale: log}\nevaluator: own",
    );
    let layout = Layout::of(&space);
    assert_eq!(layout.groups(), 2);
    let of = |c, r| {
        let values = [
            ("hyperparameters.c", Value::Integer(c)),
            ("hyperparameters.r", Value::Real(r)),
        ];
        encode(&space, &layout, &candidate(&values))
    };
    let close = |a: f64, b: f64| (a - b).abs() < 1e-9;
    assert!(close(distance(&of(1, 0.1), &of(2, 0.1)), 1.0));
    assert!(close(distance(&of(1, 0.1), &of(9, 0.1)), 1.0));
    assert!(close(distance(&of(1, 0.001), &of(1, 1.0)), 1.0));
    let third = 1.0 / 9.0;
    assert!(close(distance(&of(1, 0.001), &of(1, 0.01)), third));
    assert!(close(distance(&of(1, 0.1), &of(1, 0.01)), third));
}

#[test]
fn a_decision_that_is_not_active_is_far_from_each_of_its_values() {
    let space = space(
        "dataset: {format: idx, path: x, validation: 10}\n\
         network: [flatten, {linear: {features: classes}}]\n\
         evaluator: own\n\
         training: {epochs: 1, optimizer: {choice: {sgd: {learning_rate: {range: [0.1, 0.2]}}, adamw: {learning_rate: 0.1}}}}",
    );
    let layout = Layout::of(&space);
    let sgd = |rate| {
        let values = [
            ("training.optimizer", text("sgd")),
            ("training.optimizer.sgd.learning_rate", Value::Real(rate)),
        ];
        encode(&space, &layout, &candidate(&values))
    };
    let adamw = encode(
        &space,
        &layout,
        &candidate(&[("training.optimizer", text("adamw"))]),
    );
    for rate in [0.1, 0.15, 0.2] {
        let far = distance(&sgd(rate), &adamw);
        assert!(far >= 1.5, "{far} at {rate}");
    }
    assert!(distance(&sgd(0.1), &sgd(0.12)) < 0.1);
}

/// Two branches joined by a sum: what each does, by letters: `c` a convolution, `p` a pool, `i` nothing,
/// `z` zeros.
fn branches(pieces: &[(&str, &str)]) -> Network {
    let mut builder = Builder::new(Shape::image(4, 8, 8));
    let mut at = 0;
    for (left, right) in pieces {
        let ends = [left, right].map(|letters| {
            letters.chars().fold(at, |from, letter| {
                let op = match letter {
                    'c' => Op::Conv2d(Convolution {
                        in_channels: 4,
                        out_channels: 4,
                        kernel: 3,
                        stride: 1,
                        padding: 1,
                        dilation: 1,
                        groups: 1,
                        bias: false,
                    }),
                    'p' => Op::AvgPool2d(Pooling {
                        kernel: 3,
                        stride: 1,
                        padding: 1,
                    }),
                    'r' => Op::Activation(Activation::Relu),
                    'z' => Op::Zero,
                    _ => Op::Identity,
                };
                let name = format!("n{}", builder.nodes().len());
                builder.push(name, op, vec![from]).expect("it fits")
            })
        });
        let name = format!("n{}", builder.nodes().len());
        at = builder.push(name, Op::Add, ends).expect("it fits");
    }
    builder.finish(at).expect("names differ").simplified()
}

#[test]
fn networks_that_compute_the_same_have_the_same_features() {
    let one = branches(&[("c", "ip"), ("zc", "ci")]);
    let other = branches(&[("pi", "ic"), ("c", "z")]);
    for features in [paths, operations, size] {
        assert_eq!(features(&one), features(&other));
    }
}

#[test]
fn paths_tell_sequences_apart_that_have_the_same_operations() {
    let (one, other) = (branches(&[("cp", "i")]), branches(&[("pc", "i")]));
    assert_eq!(operations(&one), operations(&other));
    assert_ne!(paths(&one), paths(&other));
    assert_ne!(paths(&one), paths(&branches(&[("c", "p")])));
}

#[test]
fn paths_add_up_over_pieces_and_do_not_multiply() {
    let total = |network| {
        paths(&network)
            .entries()
            .iter()
            .map(|entry| entry.1)
            .sum::<f64>()
    };
    assert_eq!(total(branches(&[("c", "p")])), 2.0);
    assert_eq!(total(branches(&[("c", "p"); 30])), 60.0);
}

#[test]
fn cells_that_read_the_two_before_them_have_no_more_paths_than_they_have_places() {
    let of = |cells: usize| {
        let mut builder = Builder::new(Shape::features(4));
        let (mut before, mut last) = (0, 0);
        for cell in 0..cells {
            let kinds = [Activation::Relu, Activation::Gelu, Activation::Silu];
            let ways = kinds.iter().enumerate().map(|(way, kind)| {
                let input = if way == 0 { before } else { last };
                let name = format!("{cell}.{way}");
                builder
                    .push(name, Op::Activation(*kind), vec![input])
                    .unwrap()
            });
            let ways: Vec<usize> = ways.collect();
            (before, last) = (
                last,
                builder.push(format!("{cell}"), Op::Add, ways).unwrap(),
            );
        }
        paths(&builder.finish(last).unwrap())
    };
    // Ways multiply with every cell; what is counted may only add up.
    let counted = |cells| {
        let all = of(cells);
        all.entries().iter().map(|entry| entry.1).sum::<f64>()
    };
    assert!(counted(40) < 400.0 * 40.0, "{}", counted(40));
    assert!(counted(40) > counted(20));
    assert_ne!(of(40), of(41));
}

#[test]
fn kernels_tell_convolutions_over_a_sequence_apart() {
    let of = |kernel| {
        let mut builder = Builder::new(Shape::signal(4, 16));
        let op = Op::Conv1d(Convolution {
            in_channels: 4,
            out_channels: 4,
            kernel,
            stride: 1,
            padding: kernel / 2,
            dilation: 1,
            groups: 1,
            bias: false,
        });
        let at = builder
            .push("conv".to_owned(), op, vec![0])
            .expect("it fits");
        builder.finish(at).expect("names differ")
    };
    for features in [paths, operations] {
        assert_ne!(features(&of(3)), features(&of(5)));
    }
}
