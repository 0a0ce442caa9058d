//! Networks for tests: drawn at random, renumbered, and computed with numbers in the place of weights.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// Features of the input of [`networks`].
pub(super) const WIDTH: u64 = 3;

/// A well-spread number for each pair of numbers.
pub(super) fn draw(seed: u64, value: u64) -> u64 {
    super::canonical::mix(seed, value)
}

/// Builds a network over features from a list of choices: an operation and two nodes it may read.
pub(super) fn from_choices(choices: &[(u8, usize, usize)]) -> Network {
    let mut builder = Builder::new(Shape::features(WIDTH));
    for (index, &(kind, a, b)) in choices.iter().enumerate() {
        let nodes = builder.nodes().len();
        // The latest nodes are likelier, so that most of the network is alive.
        let a = nodes - 1 - a % nodes;
        let shape = builder.shape(a).unwrap().clone();
        let equal: Vec<usize> = (0..nodes)
            .filter(|&id| builder.shape(id) == Some(&shape))
            .collect();
        let b = equal[equal.len() - 1 - b % equal.len()];
        let features = shape.as_features().unwrap();
        let linear = |bias| Op::Linear {
            in_features: features,
            out_features: WIDTH,
            bias,
        };
        let (op, inputs) = match kind {
            0 => (linear(true), vec![a]),
            1 => (linear(false), vec![a]),
            2 => (Op::Activation(Activation::Tanh), vec![a]),
            3 => (Op::Activation(Activation::Sigmoid), vec![a]),
            4 => (Op::Zero, vec![a]),
            5 => (Op::Identity, vec![a]),
            6 => (Op::Dropout { rate: 0.5 }, vec![a]),
            7 => (Op::Dropout { rate: 0.0 }, vec![a]),
            8 => (Op::BatchNorm { channels: features }, vec![a]),
            9 => (Op::Flatten, vec![a]),
            10 => (Op::Multiply, vec![a, b]),
            11 | 12 if features < 30 => (Op::Concat, vec![a, b]),
            13 => (Op::Add, vec![a]),
            _ => (Op::Add, vec![a, b]),
        };
        builder.push(format!("n{index}"), op, inputs).unwrap();
    }
    let output = builder.nodes().len() - 1;
    builder.finish(output).unwrap()
}

/// Random networks of up to `most` nodes beside the input.
pub(super) fn networks(most: usize) -> impl Strategy<Value = Network> {
    proptest::collection::vec((0_u8..18, 0_usize..5, 0_usize..5), 1..=most)
        .prop_map(|choices| from_choices(&choices))
}

/// The same network with its nodes in another topological order and under other names, and the inputs of
/// `add` and `multiply` in another order.
pub(super) fn renumbered(network: &Network, seed: u64) -> Network {
    let count = network.nodes.len();
    let mut new: Vec<Option<usize>> = vec![None; count];
    new[0] = Some(0);
    let mut nodes = vec![network.nodes[0].clone()];
    while nodes.len() < count {
        let ready = |id: &usize| {
            new[*id].is_none() && network.nodes[*id].inputs.iter().all(|&i| new[i].is_some())
        };
        let id = (0..count)
            .filter(ready)
            .max_by_key(|&id| draw(seed, id as u64))
            .unwrap();
        let mut node = network.nodes[id].clone();
        node.name = format!("renamed{id}");
        if matches!(node.op, Op::Add | Op::Multiply) {
            node.inputs.sort_by_key(|&i| draw(seed ^ 1, i as u64));
        }
        for input in &mut node.inputs {
            *input = new[*input].unwrap();
        }
        new[id] = Some(nodes.len());
        nodes.push(node);
    }
    Network {
        nodes,
        output: new[network.output].unwrap(),
    }
}

/// Computes a network over features. Weights and dropout masks follow from the node's name, so a network
/// and its simplified form, which keeps the names, compute with the same ones.
pub(super) fn compute(network: &Network, input: &[f64]) -> Vec<f64> {
    let mut values: Vec<Vec<f64>> = Vec::new();
    for node in &network.nodes {
        let weight = |at: usize| {
            let seed = node
                .name
                .bytes()
                .fold(5, |seed, b| draw(seed, u64::from(b)));
            (draw(seed, at as u64) % 2_001) as f64 / 1_000.0 - 1.0
        };
        let first: &[f64] = match node.inputs.first() {
            Some(&id) => &values[id],
            None => input,
        };
        let each = |f: &dyn Fn(usize, f64) -> f64| -> Vec<f64> {
            first.iter().enumerate().map(|(at, &x)| f(at, x)).collect()
        };
        let zip = |f: fn(f64, f64) -> f64| {
            (node.inputs[1..].iter()).fold(first.to_vec(), |sum, &id| {
                sum.iter()
                    .zip(&values[id])
                    .map(|(&a, &b)| f(a, b))
                    .collect()
            })
        };
        let value = match &node.op {
            Op::Input | Op::Identity | Op::Flatten => first.to_vec(),
            Op::Linear {
                out_features, bias, ..
            } => (0..*out_features as usize)
                .map(|row| {
                    let products =
                        (first.iter().enumerate()).map(|(at, x)| x * weight(row * 100 + at));
                    products.sum::<f64>() + if *bias { weight(9_000 + row) } else { 0.0 }
                })
                .collect(),
            Op::BatchNorm { .. } => each(&|at, x| x * weight(at) + weight(100 + at)),
            Op::Activation(Activation::Tanh) => each(&|_, x| x.tanh()),
            Op::Activation(Activation::Sigmoid) => each(&|_, x| 1.0 / (1.0 + (-x).exp())),
            Op::Dropout { rate } if *rate > 0.0 => each(&|at, x| {
                if weight(at) > 0.0 {
                    x / (1.0 - rate)
                } else {
                    0.0
                }
            }),
            Op::Dropout { .. } => first.to_vec(),
            Op::Zero => each(&|_, _| 0.0),
            Op::Add => zip(|a, b| a + b),
            Op::Multiply => zip(|a, b| a * b),
            Op::Concat => node
                .inputs
                .iter()
                .flat_map(|&id| values[id].clone())
                .collect(),
            other => panic!("{other:?} is not drawn"),
        };
        values.push(value);
    }
    values.swap_remove(network.output)
}

/// A form that two networks share exactly when they are isomorphic, found by trying every numbering: labels
/// are the operations' JSON. What a zero stands on, and only that, is left out.
pub(super) fn brute_force_form(network: &Network) -> Vec<(String, Vec<usize>)> {
    let used = used_without_bases(network);
    let nodes: Vec<usize> = (0..network.nodes.len()).filter(|&id| used[id]).collect();
    let mut best: Option<Vec<(String, Vec<usize>)>> = None;
    let mut order = nodes.clone();
    each_permutation(&mut order, 0, &mut |order| {
        let place: BTreeMap<usize, usize> = order
            .iter()
            .enumerate()
            .map(|(place, &id)| (id, place))
            .collect();
        let form: Vec<_> = (order.iter())
            .map(|&id| {
                let node = &network.nodes[id];
                let mut label = serde_json::to_string(&node.op).unwrap();
                let mut inputs = Vec::new();
                match node.op {
                    Op::Input | Op::Zero => label += &node.shape.to_string(),
                    _ => inputs.extend(node.inputs.iter().map(|id| place[id])),
                }
                if !matches!(node.op, Op::Concat) {
                    inputs.sort_unstable();
                }
                (label, inputs)
            })
            .collect();
        if best.as_ref().is_none_or(|best| form < *best) {
            best = Some(form);
        }
    });
    best.unwrap_or_default()
}

fn used_without_bases(network: &Network) -> Vec<bool> {
    let mut used = vec![false; network.nodes.len()];
    used[network.output] = true;
    for id in (0..network.nodes.len()).rev() {
        if used[id] && !matches!(network.nodes[id].op, Op::Zero) {
            for &input in &network.nodes[id].inputs {
                used[input] = true;
            }
        }
    }
    used
}

fn each_permutation(items: &mut Vec<usize>, from: usize, visit: &mut dyn FnMut(&[usize])) {
    if from == items.len() {
        visit(items);
        return;
    }
    for at in from..items.len() {
        items.swap(from, at);
        each_permutation(items, from + 1, visit);
        items.swap(from, at);
    }
}
