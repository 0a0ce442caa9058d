use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::Value;

use super::super::samples::{brute_force_form, from_choices, networks, renumbered};
use super::super::{Activation, Builder, Convolution, Pooling, Shape};
use super::*;

/// A network with every operation that has settings, and no symmetry.
fn varied() -> Network {
    let mut b = Builder::new(Shape::image(4, 12, 12));
    let mut push = |op: Op, inputs: &[usize]| {
        let name = format!("n{}", b.nodes().len());
        b.push(name, op, inputs).unwrap()
    };
    let conv = |stride, groups, bias| {
        Op::Conv2d(Convolution {
            in_channels: 4,
            out_channels: 4,
            kernel: 3,
            stride,
            padding: 1,
            dilation: 1,
            groups,
            bias,
        })
    };
    let relu = Op::Activation(Activation::Relu);
    let stem = push(conv(1, 1, true), &[0]);
    let norm = push(Op::BatchNorm { channels: 4 }, &[stem]);
    let act = push(relu, &[norm]);
    let depthwise = push(conv(1, 4, false), &[act]);
    let sum = push(Op::Add, &[depthwise, act, stem]);
    let pool = Op::MaxPool2d(Pooling {
        kernel: 3,
        stride: 2,
        padding: 1,
    });
    let left = push(pool, &[sum]);
    let right = push(conv(2, 2, true), &[sum]);
    let gate = push(Op::Activation(Activation::Sigmoid), &[right]);
    let product = push(Op::Multiply, &[left, gate]);
    let joined = push(Op::Concat, &[product, right, left]);
    let pool = Op::AvgPool2d(Pooling {
        kernel: 2,
        stride: 1,
        padding: 0,
    });
    let pooled = push(pool, &[joined]);
    let drop = push(Op::Dropout { rate: 0.25 }, &[pooled]);
    let global = push(Op::GlobalAvgPool, &[drop]);
    let head = Op::Linear {
        in_features: 12,
        out_features: 10,
        bias: true,
    };
    let output = push(head, &[global]);
    b.finish(output).unwrap()
}

/// `count` equal branches of a convolution-like node, `length` deep, on `start`, joined by `add`.
fn branches(b: &mut Builder, start: usize, count: usize, length: usize) -> usize {
    let ends: Vec<usize> = (0..count)
        .map(|_| {
            (0..length).fold(start, |at, step| {
                push(b, if step % 2 == 0 { linear() } else { RELU }, &[at])
            })
        })
        .collect();
    let name = format!("n{}", b.nodes().len());
    b.push(name, Op::Add, ends).unwrap()
}

const RELU: Op = Op::Activation(Activation::Relu);

fn linear() -> Op {
    Op::Linear {
        in_features: 3,
        out_features: 3,
        bias: true,
    }
}

fn push(b: &mut Builder, op: Op, inputs: &[usize]) -> usize {
    let name = format!("n{}", b.nodes().len());
    b.push(name, op, inputs).unwrap()
}

fn features() -> Builder {
    Builder::new(Shape::features(3))
}

#[test]
fn the_id_of_a_network_stays_the_same_from_version_to_version() {
    // Stored results are found by it. If this fails, results of older versions are no longer reused: change
    // the text that ids start with, and say so in the changes.
    assert_eq!(
        varied().network_id().to_string(),
        "bdfe38523349653c5f744926dc8e17355793c7025c5c8462ffb09d67db2ad7d0"
    );
}

#[test]
fn every_setting_of_every_operation_changes_the_id() {
    let network = varied();
    let id = network.network_id();
    let mut changed = 0;
    for (index, node) in network.nodes.iter().enumerate() {
        let Value::Object(op) = serde_json::to_value(&node.op).unwrap() else {
            continue;
        };
        let (kind, settings) = op.iter().next().unwrap();
        let variants: Vec<Value> = match settings {
            Value::Object(settings) => (settings.iter())
                .map(|(key, value)| {
                    let mut settings = settings.clone();
                    settings[key] = match value {
                        Value::Bool(flag) => Value::from(!flag),
                        Value::Number(number) if number.is_f64() => Value::from(0.5),
                        number => Value::from(number.as_u64().unwrap() + 1),
                    };
                    Value::Object(settings)
                })
                .collect(),
            _ => vec![Value::from("tanh"), Value::from("elu")],
        };
        for variant in variants {
            let mut other = network.clone();
            other.nodes[index].op =
                serde_json::from_value(serde_json::json!({ kind: variant })).unwrap();
            assert_ne!(
                other.network_id(),
                id,
                "{kind}: {:?}",
                other.nodes[index].op
            );
            changed += 1;
        }
    }
    assert!(changed > 30, "{changed} settings");
    let mut other = network.clone();
    other.nodes[0].shape = Shape::image(4, 12, 13);
    assert_ne!(other.network_id(), id);
}

#[test]
fn every_edge_counts() {
    let network = varied();
    let id = network.network_id();
    for (index, node) in network.nodes.iter().enumerate() {
        for place in 0..node.inputs.len() {
            for input in (0..index).filter(|&input| input != node.inputs[place]) {
                let mut other = network.clone();
                other.nodes[index].inputs[place] = input;
                assert_ne!(other.network_id(), id, "{} reads {input}", node.name);
            }
        }
        if node.inputs.len() > 1 {
            let mut other = network.clone();
            other.nodes[index].inputs.pop();
            assert_ne!(other.network_id(), id, "{} reads less", node.name);
        }
    }
}

#[test]
fn the_order_of_inputs_counts_for_concat_alone() {
    let swapped = |op: &Op, inputs: [usize; 2]| {
        let mut b = features();
        push(&mut b, linear(), &[0]);
        push(&mut b, RELU, &[0]);
        let output = push(&mut b, op.clone(), &inputs);
        b.finish(output).unwrap().network_id()
    };
    assert_eq!(swapped(&Op::Add, [1, 2]), swapped(&Op::Add, [2, 1]));
    assert_eq!(
        swapped(&Op::Multiply, [1, 2]),
        swapped(&Op::Multiply, [2, 1])
    );
    assert_ne!(swapped(&Op::Concat, [1, 2]), swapped(&Op::Concat, [2, 1]));
}

#[test]
fn two_weights_are_not_one_weight_twice() {
    let mut b = features();
    let (first, second) = (push(&mut b, linear(), &[0]), push(&mut b, linear(), &[0]));
    let mut twice = b.clone();
    let sum = push(&mut b, Op::Add, &[first, second]);
    let doubled = push(&mut twice, Op::Add, &[first, first]);
    assert_ne!(
        b.finish(sum).unwrap().network_id(),
        twice.finish(doubled).unwrap().network_id()
    );
}

#[test]
fn skipping_by_another_way_is_the_same_network() {
    let mut plain = features();
    let end = push(&mut plain, linear(), &[0]);
    let id = plain.finish(end).unwrap().network_id();

    let mut winding = features();
    let same = push(&mut winding, Op::Identity, &[0]);
    let zero = push(&mut winding, Op::Zero, &[same]);
    let none = push(&mut winding, RELU, &[zero]);
    let sum = push(&mut winding, Op::Add, &[none, same]);
    push(&mut winding, linear(), &[sum]);
    let end = push(&mut winding, linear(), &[sum]);
    assert_eq!(winding.finish(end).unwrap().network_id(), id);
}

#[test]
fn what_a_zero_stands_on_does_not_count() {
    let built = |layers: usize| {
        let mut b = features();
        let end = (0..layers).fold(0, |at, _| push(&mut b, linear(), &[at]));
        let zero = push(&mut b, Op::Zero, &[end]);
        let output = push(&mut b, Op::BatchNorm { channels: 3 }, &[zero]);
        b.finish(output).unwrap().network_id()
    };
    assert_eq!(built(0), built(2));
}

#[test]
fn rings_of_branches_that_look_alike_from_everywhere_have_two_ids() {
    let rings = |sizes: &[usize]| {
        let mut b = features();
        let mut joined = Vec::new();
        for &size in sizes {
            let ring: Vec<usize> = (0..size).map(|_| push(&mut b, linear(), &[0])).collect();
            for at in 0..size {
                let sum = push(&mut b, Op::Add, &[ring[at], ring[(at + 1) % size]]);
                joined.push(push(&mut b, RELU, &[sum]));
            }
        }
        let output = push(&mut b, Op::Add, &joined);
        b.finish(output).unwrap()
    };
    let (one, two) = (rings(&[8]), rings(&[4, 4]));
    assert_ne!(one.network_id(), two.network_id());
    assert_eq!(one.network_id(), renumbered(&one, 3).network_id());
    // Without work for a search only colours are left, and they are equal: this is what is lost.
    let all_visits = 20 * one.nodes.len() as u64;
    assert_eq!(
        one.network_id_within(all_visits),
        two.network_id_within(all_visits)
    );
    assert_ne!(one.network_id_within(all_visits), one.network_id());
}

#[test]
fn many_equal_branches_are_identified_without_a_search() {
    let built = |widths: &[usize]| {
        let mut b = features();
        let end = (widths.iter()).fold(0, |at, &width| branches(&mut b, at, width, 4));
        b.finish(end).unwrap()
    };
    let network = built(&[8; 40]);
    let visits = 12 * 2 * network.nodes.len() as u64;
    let id = network.network_id_within(visits);
    assert_eq!(id, network.network_id(), "a search was needed");
    assert_eq!(id, renumbered(&network, 11).network_id());
    assert_ne!(
        built(&[8, 7, 8]).network_id(),
        built(&[8, 8, 7]).network_id()
    );
}

#[test]
fn wiring_beyond_the_bound_still_has_an_id_that_ignores_the_numbering() {
    let mut b = features();
    let ends: Vec<usize> = (0..12).map(|_| push(&mut b, linear(), &[0])).collect();
    let mut pairs = Vec::new();
    for &one in &ends {
        for &other in ends.iter().take_while(|&&other| other != one) {
            let product = push(&mut b, Op::Multiply, &[one, other]);
            pairs.push(push(&mut b, RELU, &[product]));
        }
    }
    let output = push(&mut b, Op::Add, &pairs);
    let network = b.finish(output).unwrap();
    assert_eq!(network.network_id(), renumbered(&network, 5).network_id());
    let mut other = network.clone();
    other.nodes[14].op = Op::Activation(Activation::Tanh);
    assert_ne!(other.network_id(), network.network_id());
}

/// Checks on every network of `choices` that ids agree exactly when a search over all numberings does.
fn check_against_brute_force(all: impl Iterator<Item = Vec<(u8, usize, usize)>>) -> usize {
    let (mut id_of, mut form_of) = (BTreeMap::new(), BTreeMap::new());
    for choices in all {
        let network = from_choices(&choices);
        let id = network.network_id();
        let form = brute_force_form(&network.simplified());
        let known = id_of.entry(form.clone()).or_insert(id);
        assert_eq!(*known, id, "two ids for {choices:?}");
        let known = form_of.entry(id).or_insert_with(|| form.clone());
        assert_eq!(*known, form, "one id for two networks: {choices:?}");
    }
    form_of.len()
}

/// All choices of `length` nodes with these operations.
fn all_choices(kinds: &[u8], length: usize) -> Vec<Vec<(u8, usize, usize)>> {
    (0..length).fold(vec![vec![]], |shorter, nodes| {
        let step = |choices: &Vec<(u8, usize, usize)>| {
            let mut longer = Vec::new();
            for &kind in kinds {
                // Joins read two nodes, the others one.
                let seconds = if kind >= 10 { nodes + 1 } else { 1 };
                for (a, b) in (0..=nodes).flat_map(|a| (0..seconds).map(move |b| (a, b))) {
                    let mut choices = choices.clone();
                    choices.push((kind, a, b));
                    longer.push(choices);
                }
            }
            longer
        };
        shorter.iter().flat_map(step).collect()
    })
}

#[test]
fn ids_of_all_networks_of_three_nodes_agree_with_brute_force() {
    let all = all_choices(&[0, 1, 2, 4, 6, 8, 10, 11, 17], 3);
    assert!(check_against_brute_force(all.into_iter()) > 500);
}

#[test]
fn ids_of_all_networks_of_four_nodes_and_few_operations_agree_with_brute_force() {
    let all = all_choices(&[0, 2, 17], 4);
    assert!(check_against_brute_force(all.into_iter()) > 200);
}

proptest! {
    #[test]
    fn the_numbering_and_names_do_not_matter(network in networks(16), seed: u64) {
        let other = renumbered(&network, seed);
        prop_assert!(other.validate().is_ok());
        prop_assert_eq!(other.network_id(), network.network_id());
        prop_assert_eq!(other.simplified().network_id(), network.network_id());
    }
}

#[test]
fn a_network_of_the_greatest_size_is_identified() {
    let chain = |special: usize| {
        let mut b = features();
        for id in 1..super::super::MAX_NODES {
            let op = if id % 2 == 0 || id == special {
                RELU
            } else {
                linear()
            };
            push(&mut b, op, &[id - 1]);
        }
        let output = b.nodes().len() - 1;
        b.finish(output).unwrap()
    };
    let network = chain(0);
    let visits = 4 * network.nodes.len() as u64;
    assert_eq!(network.network_id_within(visits), network.network_id());
    assert_ne!(chain(5_001).network_id(), chain(5_003).network_id());
}
