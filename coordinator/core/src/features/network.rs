//! Features of what a network computes, from its simplified graph: so two ways to write one network have
//! the same features, and what the output does not depend on has none.
//!
//! **Paths.** The graph is cut at every node that all ways from the input to the output pass. Between two
//! cuts (one cell, one residual block) the ways are listed as sequences of operations, and counted over all
//! such pieces; sequences alone, whatever their order, are what path encodings (White et al. 2021, BANANAS)
//! compare cells by. Cutting keeps their number small: it adds up over cells instead of multiplying. Where
//! there is no such node (a cell that reads the two before it) a node to which many sequences lead is a cut.
//!
//! **Operations.** How often each operation is there, how deep the network is, and the logarithms of its
//! parameters and multiply-accumulates.

use espalier_common::network::{Convolution, Network, Op};

use super::sparse::{Sparse, coordinate, word};

/// A node to which more different sequences lead is a cut. The cells of the literature have fewer.
const MOST_SEQUENCES: usize = 64;

/// Sequences of operations between cuts, and how often each is there. `network` is a simplified one.
#[must_use]
pub fn paths(network: &Network) -> Sparse {
    let nodes = &network.nodes;
    let mut cuts = cuts(network);
    let mut entries = Vec::new();
    // What leads to each node from the last cut: hashes of sequences, and how many ways each has.
    let mut ways: Vec<Sparse> = vec![Sparse::default(); nodes.len()];
    let start = Sparse::new(vec![(0, 1.0)]);
    for (id, node) in nodes.iter().enumerate() {
        let label = label(&node.op);
        let before = node
            .inputs
            .iter()
            .map(|&input| if cuts[input] { &start } else { &ways[input] });
        let with_own = |&(sequence, count): &(u64, f64)| {
            let sequence = label.map_or(sequence, |label| coordinate(&[sequence, label]));
            (sequence, count)
        };
        let here = Sparse::new(
            before
                .flat_map(|ways| ways.entries().iter().map(with_own))
                .collect(),
        );
        cuts[id] |= here.entries().len() > MOST_SEQUENCES;
        if cuts[id] {
            entries.extend(here.entries());
        } else {
            ways[id] = here;
        }
    }
    Sparse::new(entries)
}

/// Which nodes all ways from the input to the output pass. Such a node is before or after every other one,
/// so no edge leads over it in any topological order.
fn cuts(network: &Network) -> Vec<bool> {
    let mut reach = 0; // the furthest reader of any node so far
    let mut furthest = vec![0; network.nodes.len()];
    for (id, node) in network.nodes.iter().enumerate() {
        for &input in &node.inputs {
            furthest[input] = furthest[input].max(id);
        }
    }
    (furthest.iter().enumerate())
        .map(|(id, &own)| {
            let cut = reach <= id;
            reach = reach.max(own);
            cut
        })
        .collect()
}

/// How often each operation is there.
#[must_use]
pub fn operations(network: &Network) -> Sparse {
    let labels = network.nodes.iter().filter_map(|node| label(&node.op));
    Sparse::new(labels.map(|label| (label, 1.0)).collect())
}

/// The logarithms of the depth (operations on the longest way), parameters and multiply-accumulates.
#[must_use]
pub fn size(network: &Network) -> Sparse {
    let mut depth = vec![0_u32; network.nodes.len()];
    for (id, node) in network.nodes.iter().enumerate() {
        let before = node.inputs.iter().map(|&input| depth[input]).max();
        depth[id] = before.unwrap_or(0) + u32::from(label(&node.op).is_some());
    }
    let depth = depth.get(network.output).copied().unwrap_or(0);
    Sparse::new(vec![
        (0, f64::from(depth).ln_1p()),
        (1, (network.parameters() as f64).ln_1p()),
        (2, (network.macs() as f64).ln_1p()),
    ])
}

/// What an operation is called in sequences: its kind and what shapes its function, but not how many
/// channels it has. `None` for those that only bring values together.
fn label(op: &Op) -> Option<u64> {
    let kind = word(op.name());
    Some(match *op {
        Op::Input | Op::Add | Op::Concat | Op::Identity => return None,
        Op::Conv1d(convolution) | Op::Conv2d(convolution) => {
            let Convolution {
                in_channels,
                kernel,
                stride,
                dilation,
                groups,
                ..
            } = convolution;
            let grouping = if groups == in_channels && groups > 1 {
                0
            } else {
                groups
            };
            coordinate(&[kind, kernel, stride, dilation, grouping])
        }
        Op::MaxPool1d(windows)
        | Op::AvgPool1d(windows)
        | Op::MaxPool2d(windows)
        | Op::AvgPool2d(windows) => coordinate(&[kind, windows.kernel, windows.stride]),
        Op::Activation(activation) => coordinate(&[kind, activation as u64]),
        _ => kind,
    })
}
