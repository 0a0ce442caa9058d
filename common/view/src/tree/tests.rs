//! The tree of decisions as people read it, and that it names the decisions that candidates have.

use espalier_common::spec::{self, Spec};
use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;

use super::*;

const USUAL: &str = "
name: x
dataset: {format: idx, path: x, validation: 1}
objectives: [{maximize: accuracy}]
budget: {trials: 1}
";

fn read(text: &str) -> Spec {
    spec::read(&format!("{USUAL}{text}"), "x.yaml").unwrap_or_else(|errors| panic!("{errors}"))
}

const EVERYTHING: &str = "
tie: {width: {choice: [16, 24]}, fixed: 3}
blocks:
  unit:
    parameters: [stride]
    block:
      - conv: {channels: $width, stride: $stride, kernel: {choice: [3, 5]}}
      - batch_norm
  plain: [relu]
  part:
    depth: 2
    choice:
      conv: [{conv: {kernel: {choice: [1, 3]}}}]
      series: [{use: part}, {use: part}]
    weights: {conv: 2}
network:
  - conv: {name: stem, channels: {range: [8, 64], step: 8}, kernel: $fixed}
  - {use: unit, with: {stride: {choice: [1, 2]}}}
  - {use: unit, name: again, shared: true, with: {stride: 1}}
  - use: plain
  - use: part
  - optional: [{dropout: {rate: {range: [0.0, 0.5]}}}]
  - repeat: {times: 2, shared: true, block: [{activation: {choice: [relu, silu]}}]}
  - repeat: {name: body, times: {range: [1, 3]}, block: [{residual: [{conv: {kernel: {choice: [1, 3]}}}]}]}
  - branches: {join: {choice: [add, multiply]}, of: [[conv], [{conv: {kernel: {choice: [1, 3]}}}]]}
  - cell: {nodes: 4, inputs: 2, choose: 2, edge: {choice: [relu, silu]}}
  - inputs: {of: [stem, body], choose: 1}
  - choice: {a: [], b: [{linear: {features: {choice: [8, 16]}}}]}
  - global_avg_pool
  - linear: {features: classes}
training:
  epochs: 1
  batch_size: {choice: [64, 128]}
  optimizer:
    choice:
      sgd: {learning_rate: {range: [0.01, 0.5], scale: log}, momentum: 0.9}
      adamw: {learning_rate: {range: [1e-4, 1e-2], scale: log}}
";

#[test]
fn the_tree_shows_every_decision_under_its_condition() {
    insta::assert_snapshot!(text(&tree(&read(EVERYTHING).space)));
}

#[test]
fn a_hyperparameter_inside_another_is_shown_under_its_condition() {
    let spec = spec::read(
        "name: x\nevaluator: mine\nobjectives: [{minimize: loss}]\nbudget: {trials: 1}\n\
         tie: {depth: {choice: [1, 2]}}\n\
         hyperparameters: {opt: {choice: {sgd: {momentum: {choice: [0, 0.9]}, rate: 0.1}, adam: {}}, weights: {sgd: 2}}, \
         more: {optional: {n: {range: [1, 2]}}}, head: {width: {choice: [64, 128]}, depth: $depth}, fixed: {a: 1}}\n",
        "x.yaml",
    )
    .unwrap_or_else(|errors| panic!("{errors}"));
    let tree = tree(&spec.space);
    insta::assert_snapshot!(text(&tree), @r#"
        tie
          depth         1 | 2
        hyperparameters
          head
            depth       $depth
            width       64 | 128
          more          false | true
            if true
              n         1 to 2
          opt           sgd (weight 2) | adam (weight 1)
            if sgd
              momentum  0 | 0.9
        "#);
    let (mut shown, mut drawn) = (Vec::new(), std::collections::BTreeSet::new());
    paths(&tree, &mut shown);
    shown.sort_unstable();
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    for _ in 0..50 {
        drawn.extend(spec.space.sample(&mut rng).0.into_keys().map(|path| path.0));
    }
    assert_eq!(shown, drawn.iter().collect::<Vec<_>>());
}

#[test]
fn a_space_without_decisions_has_an_empty_tree() {
    let spec = read("training: {epochs: 1}\nnetwork: [flatten, {linear: {features: classes}}]\n");
    assert_eq!(tree(&spec.space), []);
}

#[test]
fn a_cell_says_where_one_node_may_be_taken_several_times() {
    let spec = read(
        "training: {epochs: 1}\nnetwork: [{cell: {nodes: 4, choose: 3, distinct: false, edge: [relu]}}, flatten, {linear: {features: classes}}]\n",
    );
    insta::assert_snapshot!(text(&tree(&spec.space)), @"
    network
      [0] cell
        node[*].inputs  3 of the nodes before it (one may be taken several times), for each of the nodes 2 to 3
    ");
}

#[test]
fn hyperparameters_have_a_part_of_their_own() {
    let spec = read(
        "evaluator: mine\nnetwork: [flatten]\nhyperparameters: {width: {choice: [64, 128]}, version: 3}\n",
    );
    assert_eq!(
        text(&tree(&spec.space)),
        "hyperparameters\n  width  64 | 128\n"
    );
}

/// All decisions of a tree.
fn paths<'t>(entries: &'t [Entry], found: &mut Vec<&'t str>) {
    for entry in entries {
        found.extend(entry.decision.as_deref());
        paths(&entry.holds, found);
    }
}

/// Whether a path of a candidate is the one of the tree, in which `*` stands for any number.
fn is_of(path: &str, pattern: &str) -> bool {
    let mut rest = path;
    for (index, part) in pattern.split('*').enumerate() {
        if index > 0 {
            rest = rest.trim_start_matches(|c: char| c.is_ascii_digit() || c == '-');
        }
        let Some(after) = rest.strip_prefix(part) else {
            return false;
        };
        rest = after;
    }
    rest.is_empty()
}

#[test]
fn every_decision_of_a_candidate_is_in_the_tree_and_the_other_way_round() {
    // Without definitions, whose decisions have paths of their own at each use.
    let spec = read(
        &EVERYTHING
            .replace("  - {use: unit, with: {stride: {choice: [1, 2]}}}\n", "")
            .replace("  - use: part\n", ""),
    );
    let entries = tree(&spec.space);
    let mut known = Vec::new();
    paths(&entries, &mut known);
    known.retain(|path| !path.starts_with("blocks.part"));
    let mut met = std::collections::BTreeSet::new();
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    for _ in 0..300 {
        for path in spec.space.sample(&mut rng).0.keys() {
            let of = known.iter().find(|known| is_of(&path.0, known));
            met.insert(*of.unwrap_or_else(|| panic!("{path} is not in the tree: {known:?}")));
        }
    }
    known.sort_unstable();
    assert_eq!(met.into_iter().collect::<Vec<_>>(), known);
}
