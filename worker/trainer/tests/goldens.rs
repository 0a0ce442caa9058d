//! The golden files: what PyTorch says about candidates of every space in `goldens/spaces.json` is what is
//! inferred and counted here, and the trainer computes the networks forwards and backwards. `make goldens`
//! writes the files; `make test-parity` compares more candidates, and what they compute.
#![allow(clippy::unwrap_used)] // The helpers of a test may end it too.

mod common;
#[path = "common/golden.rs"]
mod golden;

use std::collections::BTreeSet;

use espalier_common::network::{Network, Op, Shape};
use espalier_common::presets;
use espalier_trainer::lower::Model;
use golden::goldens;
use golden::spaces::{batch, spaces};
use tch::{Device, Kind, Tensor};

/// Examples in a batch.
const BATCH: i64 = 2;
/// How far the estimate of activation memory is off at most for these candidates, as docs/spec.md says; for others
/// it says more.
const MEMORY_ERROR: f64 = 0.06;

fn output(network: &Network) -> &Shape {
    &network.nodes[network.output].shape
}

fn lengths(shape: &Shape) -> Vec<u64> {
    shape.0.iter().map(|&(_, length)| length).collect()
}

#[test]
fn shapes_parameters_and_macs_are_those_of_pytorch() {
    for space in spaces() {
        for (golden, network) in goldens(&space) {
            let ours = (
                lengths(output(&network)),
                network.parameters(),
                network.macs(),
            );
            let theirs = (golden.shape, golden.parameters, golden.macs);
            assert_eq!(ours, theirs, "{}: {:?}", space.name, golden.decisions);
        }
    }
}

#[test]
fn the_estimate_of_activation_memory_is_as_good_as_the_docs_say() {
    for space in spaces() {
        for (golden, network) in goldens(&space) {
            let (estimate, kept) = (network.activation_bytes() as f64, golden.kept_bytes as f64);
            assert!(
                (estimate - kept).abs() <= MEMORY_ERROR * kept,
                "{}: {estimate} bytes estimated, {kept} kept: {:?}",
                space.name,
                golden.decisions
            );
        }
    }
}

#[test]
fn every_golden_candidate_is_computed_forwards_and_backwards() {
    let _turn = common::turn();
    tch::manual_seed(1);
    // The networks are small: threads would wait for each other.
    tch::set_num_threads(1);
    for space in spaces() {
        for (golden, network) in goldens(&space) {
            let model = Model::new(&network, Device::Cpu).unwrap();
            let output = model.forward(batch(&network, BATCH), true).unwrap();
            let size: Vec<u64> = output.size().iter().map(|&side| side as u64).collect();
            let expected: Vec<u64> = std::iter::once(BATCH as u64).chain(golden.shape).collect();
            assert_eq!(size, expected, "{}: {:?}", space.name, golden.decisions);
            output.square().sum(Kind::Float).backward();
            let finite = |grad: &Tensor| grad.isfinite().all().int64_value(&[]) == 1;
            let all = model.parameters().trained().map(Tensor::grad);
            let mut defined = all.filter(Tensor::defined).peekable();
            assert!(defined.peek().is_some());
            assert!(defined.all(|grad| finite(&grad)), "{}", space.name);
        }
    }
}

#[test]
fn every_weight_of_a_simplified_network_has_a_gradient() {
    let _turn = common::turn();
    tch::set_num_threads(1);
    let mut checked = 0;
    for space in spaces() {
        for (golden, network) in goldens(&space) {
            // What leads nowhere is gone. A zero that is left stands on what made it.
            let network = network.simplified();
            if network.nodes.iter().any(|node| node.op == Op::Zero) {
                continue;
            }
            checked += 1;
            let model = Model::new(&network, Device::Cpu).unwrap();
            let output = model.forward(batch(&network, BATCH), true).unwrap();
            output.square().sum(Kind::Float).backward();
            for (index, weights) in model.parameters().trained().enumerate() {
                assert!(
                    weights.grad().defined(),
                    "{}: weights {index} of {:?}",
                    space.name,
                    golden.decisions
                );
            }
        }
    }
    assert!(checked > 100, "{checked}");
}

#[test]
fn every_preset_has_golden_values() {
    let listed: BTreeSet<_> = spaces()
        .into_iter()
        .filter_map(|space| space.preset)
        .collect();
    for preset in presets::all() {
        assert!(
            listed.contains(preset.name),
            "the preset {} has no line in worker/trainer/goldens/spaces.json; add one and run `make goldens`",
            preset.name
        );
    }
}

#[test]
fn the_golden_candidates_have_every_operation() {
    let mut seen = BTreeSet::new();
    for space in spaces() {
        for (_, network) in goldens(&space) {
            seen.extend(network.nodes.iter().map(|node| node.op.name()));
        }
    }
    for op in [
        "conv1d",
        "conv2d",
        "linear",
        "batch_norm",
        "layer_norm",
        "group_norm",
        "activation",
        "prelu",
        "max_pool1d",
        "max_pool2d",
        "avg_pool1d",
        "avg_pool2d",
        "adaptive_max_pool",
        "adaptive_avg_pool",
        "global_max_pool",
        "global_avg_pool",
        "dropout",
        "drop_path",
        "squeeze_excite",
        "flatten",
        "to_sequence",
        "embedding",
        "positional_encoding",
        "attention",
        "lstm",
        "gru",
        "add",
        "multiply",
        "concat",
        "zero",
        "zeros",
    ] {
        assert!(seen.contains(op), "no golden candidate has {op}");
    }
}
