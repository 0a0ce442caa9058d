//! What blocks become in a network, told by specs.

use super::properties::fashion_mnist;
use crate::candidate::{Candidate, DecisionPath, Value};
use crate::network::{Network, Op, Shape};
use crate::spec::{Spec, read};

/// A spec with this network.
pub(super) fn spec(network: &str) -> Spec {
    let text = format!(
        "name: x\ndataset: {{format: idx, path: x, validation: 1}}\nnetwork: {network}\ntraining: {{epochs: 1}}\nobjectives: [{{maximize: accuracy}}]\nbudget: {{trials: 1}}\n"
    );
    read(&text, "x.yaml").unwrap_or_else(|errors| panic!("{errors}"))
}

/// The network of the first candidate.
pub(super) fn network(blocks: &str) -> Network {
    let space = spec(blocks).space;
    let built = space.build(&space.first(), Some(&fashion_mnist()));
    built
        .unwrap_or_else(|error| panic!("{error}"))
        .network
        .unwrap()
}

pub(super) fn infeasible(blocks: &str) -> String {
    let none = spec(blocks).first_feasible(Some(&fashion_mnist()));
    none.unwrap_err().first.to_string()
}

/// One line for each node: name, operation, inputs, shape.
pub(super) fn listing(network: &Network) -> String {
    let line = |node: &crate::network::Node| {
        let op = serde_json::to_string(&node.op).unwrap();
        format!("{} {op} {:?} -> {}", node.name, node.inputs, node.shape)
    };
    network
        .nodes
        .iter()
        .map(line)
        .collect::<Vec<_>>()
        .join("\n")
}

pub(super) const END: &str = "global_avg_pool, {linear: {features: classes}}";

#[test]
fn a_conv_keeps_channels_and_size_and_has_no_bias_before_a_batch_norm() {
    insta::assert_snapshot!(listing(&network(&format!(
        "[{{conv: {{channels: 8, stride: 2}}}}, batch_norm, {{conv: {{groups: depthwise, kernel: 5}}}}, relu, {END}]"
    ))), @r#"
        input "input" [] -> 1 channels × 28 height × 28 width
        network[0] {"conv2d":{"in_channels":1,"out_channels":8,"kernel":3,"stride":2,"padding":1,"dilation":1,"groups":1,"bias":false}} [0] -> 8 channels × 14 height × 14 width
        network[1] {"batch_norm":{"channels":8}} [1] -> 8 channels × 14 height × 14 width
        network[2] {"conv2d":{"in_channels":8,"out_channels":8,"kernel":5,"stride":1,"padding":2,"dilation":1,"groups":8,"bias":true}} [2] -> 8 channels × 14 height × 14 width
        network[3] {"activation":"relu"} [3] -> 8 channels × 14 height × 14 width
        network[4] "global_avg_pool" [4] -> 8 features
        network[5] {"linear":{"in_features":8,"out_features":10,"bias":true}} [5] -> 10 features
        "#);
}

#[test]
fn a_residual_projects_its_input_only_when_the_shapes_differ() {
    insta::assert_snapshot!(listing(&network(&format!(
        "[{{conv: {{channels: 8, name: stem}}}}, {{residual: [conv], name: same}}, {{residual: [{{conv: {{channels: 16, stride: 2}}}}]}}, {{residual: []}}, {END}, {{residual: [{{linear: {{features: 4}}}}, {{linear: {{features: 10}}}}]}}]"
    ))), @r#"
        input "input" [] -> 1 channels × 28 height × 28 width
        network.stem {"conv2d":{"in_channels":1,"out_channels":8,"kernel":3,"stride":1,"padding":1,"dilation":1,"groups":1,"bias":true}} [0] -> 8 channels × 28 height × 28 width
        network.same.residual[0] {"conv2d":{"in_channels":8,"out_channels":8,"kernel":3,"stride":1,"padding":1,"dilation":1,"groups":1,"bias":true}} [1] -> 8 channels × 28 height × 28 width
        network.same.add "add" [2, 1] -> 8 channels × 28 height × 28 width
        network[2].residual[0] {"conv2d":{"in_channels":8,"out_channels":16,"kernel":3,"stride":2,"padding":1,"dilation":1,"groups":1,"bias":true}} [3] -> 16 channels × 14 height × 14 width
        network[2].shortcut {"conv2d":{"in_channels":8,"out_channels":16,"kernel":1,"stride":2,"padding":0,"dilation":1,"groups":1,"bias":false}} [3] -> 16 channels × 14 height × 14 width
        network[2].shortcut.batch_norm {"batch_norm":{"channels":16}} [5] -> 16 channels × 14 height × 14 width
        network[2].add "add" [4, 6] -> 16 channels × 14 height × 14 width
        network[4] "global_avg_pool" [7] -> 16 features
        network[5] {"linear":{"in_features":16,"out_features":10,"bias":true}} [8] -> 10 features
        network[6].residual[0] {"linear":{"in_features":10,"out_features":4,"bias":true}} [9] -> 4 features
        network[6].residual[1] {"linear":{"in_features":4,"out_features":10,"bias":true}} [10] -> 10 features
        network[6].add "add" [11, 9] -> 10 features
        "#);
}

#[test]
fn branches_join_and_an_empty_one_is_the_identity() {
    insta::assert_snapshot!(listing(&network(&format!(
        "[{{branches: {{join: concat, of: [[{{conv: {{channels: 4}}}}], [{{max_pool: {{kernel: 3, stride: 1}}}}], []]}}}}, {END}]"
    ))), @r#"
        input "input" [] -> 1 channels × 28 height × 28 width
        network[0].branches[0][0] {"conv2d":{"in_channels":1,"out_channels":4,"kernel":3,"stride":1,"padding":1,"dilation":1,"groups":1,"bias":true}} [0] -> 4 channels × 28 height × 28 width
        network[0].branches[1][0] {"max_pool2d":{"kernel":3,"stride":1,"padding":1}} [0] -> 1 channels × 28 height × 28 width
        network[0].concat "concat" [1, 2, 0] -> 6 channels × 28 height × 28 width
        network[1] "global_avg_pool" [3] -> 6 features
        network[2] {"linear":{"in_features":6,"out_features":10,"bias":true}} [4] -> 10 features
        "#);
}

#[test]
fn repeats_and_choices_name_their_nodes_by_where_they_stand() {
    insta::assert_snapshot!(listing(&network(&format!(
        "[{{repeat: {{name: body, times: 2, block: [{{choice: {{a: [conv], b: []}}}}, relu]}}}}, {{repeat: {{times: 2, shared: true, block: [{{choice: {{c: [relu]}}}}]}}}}, {{optional: [relu]}}, {END}]"
    ))), @r#"
        input "input" [] -> 1 channels × 28 height × 28 width
        network.body#1[0].choice.a[0] {"conv2d":{"in_channels":1,"out_channels":1,"kernel":3,"stride":1,"padding":1,"dilation":1,"groups":1,"bias":true}} [0] -> 1 channels × 28 height × 28 width
        network.body#1[1] {"activation":"relu"} [1] -> 1 channels × 28 height × 28 width
        network.body#2[0].choice.a[0] {"conv2d":{"in_channels":1,"out_channels":1,"kernel":3,"stride":1,"padding":1,"dilation":1,"groups":1,"bias":true}} [2] -> 1 channels × 28 height × 28 width
        network.body#2[1] {"activation":"relu"} [3] -> 1 channels × 28 height × 28 width
        network[1]#1[0].choice.c[0] {"activation":"relu"} [4] -> 1 channels × 28 height × 28 width
        network[1]#2[0].choice.c[0] {"activation":"relu"} [5] -> 1 channels × 28 height × 28 width
        network[3] "global_avg_pool" [6] -> 1 features
        network[4] {"linear":{"in_features":1,"out_features":10,"bias":true}} [7] -> 10 features
        "#);
}

#[test]
fn pooling_pads_where_windows_overlap_only() {
    let shapes = |pool: &str| {
        network(&format!("[{{max_pool: {pool}}}, {END}]")).nodes[1]
            .shape
            .clone()
    };
    assert_eq!(shapes("{}"), Shape::image(1, 14, 14));
    assert_eq!(shapes("{kernel: 3}"), Shape::image(1, 9, 9));
    assert_eq!(shapes("{kernel: 3, stride: 1}"), Shape::image(1, 28, 28));
    assert_eq!(shapes("{kernel: 3, stride: 2}"), Shape::image(1, 14, 14));
}

#[test]
fn what_cannot_be_built_is_told_with_block_operation_and_shapes() {
    let all = [
        infeasible("[conv, {linear: {features: classes}}]"),
        infeasible("[conv]"),
        infeasible(&format!(
            "[{{conv: {{channels: 8}}}}, {{conv: {{channels: 6, groups: 4}}}}, {END}]"
        )),
        infeasible(&format!("[{{conv: {{kernel: 31, padding: 0}}}}, {END}]")),
        infeasible(&format!(
            "[{{residual: [{{conv: {{kernel: 5, padding: 0, stride: 2}}}}]}}, {END}]"
        )),
        infeasible(&format!(
            "[{{branches: {{of: [[], [{{conv: {{channels: 4}}}}]]}}}}, {END}]"
        )),
        infeasible(&format!(
            "[{{repeat: {{times: 64, block: [{{repeat: {{times: 64, block: [relu, relu, relu]}}}}]}}}}, {END}]"
        )),
    ];
    insta::assert_snapshot!(all.join("\n"), @r#"
        network[1] (linear): it takes features (put a flatten or global_avg_pool before it), but its input is 1 channels × 28 height × 28 width
        network (output): the network ends with 1 channels × 28 height × 28 width, but a data set of 10 classes needs 10 features; end it with `linear: {features: classes}`
        network[1] (conv2d): its 4 groups must divide both its 8 input channels and its 6 output channels
        network[0] (conv2d): its window spans 31 cells, but its input is 1 channels × 28 height × 28 width and has only 28 cells on a side with padding 0
        network[0].shortcut (residual): 1 channels × 28 height × 28 width is to meet 1 channels × 12 height × 12 width: no strided 1x1 convolution makes the one into the other
        network[0].add (add): its inputs must have one shape, but 1 channels × 28 height × 28 width meets 4 channels × 28 height × 28 width
        network[0]#53[0]#6[0] (activation): a network has at most 10000 nodes
        "#);
}

#[test]
fn counts_are_those_of_the_network() {
    let space = spec(&format!("[{{conv: {{channels: 8}}}}, batch_norm, {END}]")).space;
    let built = space.build(&space.first(), Some(&fashion_mnist())).unwrap();
    assert_eq!(built.parameters, Some(72 + 16 + 80 + 10));
    assert_eq!(built.macs, Some(72 * 28 * 28 + 80));
}

#[test]
fn candidates_that_build_the_same_are_one() {
    let spec = spec(&format!(
        "[{{choice: {{a: [conv, relu], b: [conv, relu], c: [conv, silu]}}}}, {END}]"
    ));
    let data = fashion_mnist();
    let id = |word: &str| {
        let path = DecisionPath("network[0].choice".to_owned());
        let candidate = Candidate([(path, Value::Text(word.to_owned()))].into());
        let built = spec.space.build(&candidate, Some(&data)).unwrap();
        (built.candidate_id, built.network_id)
    };
    assert_eq!(id("a"), id("b"));
    assert_ne!(id("a").0, id("c").0);
    assert_ne!(id("a").1, id("c").1);
}

#[test]
fn another_recipe_or_hyperparameter_makes_another_candidate() {
    let text = "name: x\nevaluator: mine\nhyperparameters: {a: {choice: [1, 2]}}\ntraining: {batch_size: {choice: [1, 2]}}\nobjectives: [{minimize: loss}]\nbudget: {trials: 1}\n";
    let space = read(text, "x.yaml").unwrap().space;
    let ids: std::collections::BTreeSet<_> = space
        .enumerate(10)
        .unwrap()
        .iter()
        .map(|candidate| space.build(candidate, None).unwrap().candidate_id)
        .collect();
    assert_eq!(ids.len(), 4);
}

#[test]
fn every_open_decision_is_equally_likely_to_mutate() {
    use rand::SeedableRng;

    let space = spec(&format!(
        "[{{conv: {{channels: {{choice: [8]}}, kernel: {{choice: [1, 3]}}}}}}, {{optional: [relu]}}, {{choice: {{a: [], b: [{{optional: [relu]}}]}}}}, {END}]"
    ))
    .space;
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(5);
    let parent = space.first();
    let mut counts = std::collections::BTreeMap::<String, u32>::new();
    for _ in 0..3_000 {
        let (_, target) = space.mutate(&parent, &mut rng).unwrap();
        *counts.entry(target.0).or_default() += 1;
    }
    let targets: Vec<_> = counts.keys().map(String::as_str).collect();
    assert_eq!(
        targets,
        [
            "network[0].kernel",
            "network[1].optional",
            "network[2].choice"
        ]
    );
    // Standard deviation 26.
    assert!(
        counts.values().all(|count| (850..1150).contains(count)),
        "{counts:?}"
    );
}

#[test]
fn a_dropout_that_drops_nothing_is_no_node() {
    let network = network(&format!("[{{dropout: {{rate: 0}}}}, {END}]"));
    assert!(
        !network
            .nodes
            .iter()
            .any(|node| matches!(node.op, Op::Dropout { .. }))
    );
}

/// As [`network`], of a whole spec's parts.
fn network_of(parts: &str) -> Network {
    let text = format!(
        "name: x\ndataset: {{format: idx, path: x, validation: 1}}\ntraining: {{epochs: 1}}\nobjectives: [{{maximize: accuracy}}]\nbudget: {{trials: 1}}\n{parts}"
    );
    let space = read(&text, "x.yaml")
        .unwrap_or_else(|errors| panic!("{errors}"))
        .space;
    let built = space.build(&space.first(), Some(&fashion_mnist()));
    built
        .unwrap_or_else(|error| panic!("{error}"))
        .network
        .unwrap()
}

/// Name, inputs and shape of every node.
fn wiring(network: &Network) -> String {
    let line = |node: &crate::network::Node| {
        format!(
            "{} {} {:?} -> {}",
            node.name,
            node.op.name(),
            node.inputs,
            node.shape
        )
    };
    network
        .nodes
        .iter()
        .map(line)
        .collect::<Vec<_>>()
        .join("\n")
}

#[test]
fn a_cell_sums_over_its_edges_and_one_edge_is_no_sum() {
    insta::assert_snapshot!(wiring(&network(&format!(
        "[{{cell: {{nodes: 4, edge: {{choice: {{relu: [relu], skip: []}}}}}}}}, {END}]"
    ))), @r#"
        input input [] -> 1 channels × 28 height × 28 width
        network[0].edge[0-1].choice.relu[0] activation [0] -> 1 channels × 28 height × 28 width
        network[0].edge[0-2].choice.relu[0] activation [0] -> 1 channels × 28 height × 28 width
        network[0].edge[1-2].choice.relu[0] activation [1] -> 1 channels × 28 height × 28 width
        network[0].node[2].add add [2, 3] -> 1 channels × 28 height × 28 width
        network[0].edge[0-3].choice.relu[0] activation [0] -> 1 channels × 28 height × 28 width
        network[0].edge[1-3].choice.relu[0] activation [1] -> 1 channels × 28 height × 28 width
        network[0].edge[2-3].choice.relu[0] activation [4] -> 1 channels × 28 height × 28 width
        network[0].node[3].add add [5, 6, 7] -> 1 channels × 28 height × 28 width
        network[1] global_avg_pool [8] -> 1 features
        network[2] linear [9] -> 10 features
        "#);
}

#[test]
fn a_node_of_a_cell_that_takes_another_twice_adds_what_comes_over_both_edges() {
    insta::assert_snapshot!(wiring(&network(&format!(
        "[{{cell: {{nodes: 3, choose: 2, distinct: false, edge: [conv]}}}}, {{cell: {{nodes: 2, choose: 2, distinct: false, edge: []}}}}, {END}]"
    ))), @r#"
        input input [] -> 1 channels × 28 height × 28 width
        network[0].edge[0-1][0] conv2d [0] -> 1 channels × 28 height × 28 width
        network[0].edge[0-1:2][0] conv2d [0] -> 1 channels × 28 height × 28 width
        network[0].node[1].add add [1, 2] -> 1 channels × 28 height × 28 width
        network[0].edge[0-2][0] conv2d [0] -> 1 channels × 28 height × 28 width
        network[0].edge[0-2:2][0] conv2d [0] -> 1 channels × 28 height × 28 width
        network[0].node[2].add add [4, 5] -> 1 channels × 28 height × 28 width
        network[1].node[1].add add [6, 6] -> 1 channels × 28 height × 28 width
        network[2] global_avg_pool [7] -> 1 features
        network[3] linear [8] -> 10 features
        "#);
}

#[test]
fn a_reduction_cell_fits_its_inputs_halves_on_edges_and_joins_what_is_loose() {
    insta::assert_snapshot!(wiring(&network(&format!(
        "[{{conv: {{channels: 6}}}}, {{cell: {{nodes: 3, inputs: 2, channels: 4, reduction: true, output: concat, edge: {{max_pool: {{kernel: 3, stride: $stride, padding: 1}}}}}}, name: one}}, {{cell: {{nodes: 4, inputs: 2, choose: 2, channels: 4, output: loose, edge: []}}, name: two}}, {END}]"
    ))), @r#"
        input input [] -> 1 channels × 28 height × 28 width
        network[0] conv2d [0] -> 6 channels × 28 height × 28 width
        network.one.input[0].relu activation [1] -> 6 channels × 28 height × 28 width
        network.one.input[0] conv2d [2] -> 4 channels × 28 height × 28 width
        network.one.input[0].batch_norm batch_norm [3] -> 4 channels × 28 height × 28 width
        network.one.input[1].relu activation [1] -> 6 channels × 28 height × 28 width
        network.one.input[1] conv2d [5] -> 4 channels × 28 height × 28 width
        network.one.input[1].batch_norm batch_norm [6] -> 4 channels × 28 height × 28 width
        network.one.edge[0-2] max_pool2d [4] -> 4 channels × 14 height × 14 width
        network.one.edge[1-2] max_pool2d [7] -> 4 channels × 14 height × 14 width
        network.one.node[2].add add [8, 9] -> 4 channels × 14 height × 14 width
        network.two.input[0].relu activation [1] -> 6 channels × 28 height × 28 width
        network.two.input[0] conv2d [11] -> 4 channels × 14 height × 14 width
        network.two.input[0].batch_norm batch_norm [12] -> 4 channels × 14 height × 14 width
        network.two.input[1].relu activation [10] -> 4 channels × 14 height × 14 width
        network.two.input[1] conv2d [14] -> 4 channels × 14 height × 14 width
        network.two.input[1].batch_norm batch_norm [15] -> 4 channels × 14 height × 14 width
        network.two.node[2].add add [13, 16] -> 4 channels × 14 height × 14 width
        network.two.node[3].add add [13, 16] -> 4 channels × 14 height × 14 width
        network.two.concat concat [17, 18] -> 8 channels × 14 height × 14 width
        network[3] global_avg_pool [19] -> 8 features
        network[4] linear [20] -> 10 features
        "#);
}

#[test]
fn a_skip_halves_by_a_projection_on_an_edge_of_a_reduction_cell() {
    insta::assert_snapshot!(wiring(&network(&format!(
        "[{{cell: {{nodes: 2, reduction: true, edge: []}}}}, {{cell: {{nodes: 3, inputs: 2, edge: [relu]}}}}, {END}]"
    ))), @r#"
        input input [] -> 1 channels × 28 height × 28 width
        network[0].edge[0-1].halved conv2d [0] -> 1 channels × 14 height × 14 width
        network[0].edge[0-1].halved.batch_norm batch_norm [1] -> 1 channels × 14 height × 14 width
        network[1].input[0] conv2d [0] -> 1 channels × 14 height × 14 width
        network[1].input[0].batch_norm batch_norm [3] -> 1 channels × 14 height × 14 width
        network[1].edge[0-2][0] activation [4] -> 1 channels × 14 height × 14 width
        network[1].edge[1-2][0] activation [2] -> 1 channels × 14 height × 14 width
        network[1].node[2].add add [5, 6] -> 1 channels × 14 height × 14 width
        network[2] global_avg_pool [7] -> 1 features
        network[3] linear [8] -> 10 features
        "#);
}

#[test]
fn earlier_outputs_are_taken_and_fitted_to_the_latest() {
    insta::assert_snapshot!(wiring(&network(&format!(
        "[{{conv: {{channels: 2}}, name: stem}}, {{conv: {{channels: 4, stride: 2}}, name: early}}, relu, {{inputs: {{of: [stem, early, previous], choose: 3}}}}, {{inputs: {{of: [stem, previous], choose: 2, join: concat}}}}, {{from: stem}}, {{residual: [[{{from: early}}], [max_pool, {{conv: {{channels: 4}}}}]]}}, {END}]"
    ))), @r#"
        input input [] -> 1 channels × 28 height × 28 width
        network.stem conv2d [0] -> 2 channels × 28 height × 28 width
        network.early conv2d [1] -> 4 channels × 14 height × 14 width
        network[2] activation [2] -> 4 channels × 14 height × 14 width
        network[3].inputs[0] conv2d [1] -> 4 channels × 14 height × 14 width
        network[3].inputs[0].batch_norm batch_norm [4] -> 4 channels × 14 height × 14 width
        network[3].add add [5, 2, 3] -> 4 channels × 14 height × 14 width
        network[4].inputs[0] conv2d [1] -> 2 channels × 14 height × 14 width
        network[4].inputs[0].batch_norm batch_norm [7] -> 2 channels × 14 height × 14 width
        network[4].concat concat [8, 6] -> 6 channels × 14 height × 14 width
        network[6].shortcut[0] max_pool2d [1] -> 2 channels × 14 height × 14 width
        network[6].shortcut[1] conv2d [10] -> 4 channels × 14 height × 14 width
        network[6].add add [2, 11] -> 4 channels × 14 height × 14 width
        network[7] global_avg_pool [12] -> 4 features
        network[8] linear [13] -> 10 features
        "#);
}

#[test]
fn a_use_has_the_path_of_its_place_and_a_shared_one_the_decisions_of_its_block() {
    let parts = format!(
        "tie: {{width: {{choice: [4, 8]}}}}\nblocks:\n  unit: {{parameters: [k], block: [{{conv: {{kernel: $k, channels: $width}}}}, {{choice: {{a: [relu], b: []}}}}]}}\nnetwork: [{{use: unit, name: own, with: {{k: {{choice: [3, 5]}}}}}}, {{use: unit, shared: true, with: {{k: 1}}}}, {{use: unit, shared: true, with: {{k: 3}}}}, {END}]\n"
    );
    insta::assert_snapshot!(wiring(&network_of(&parts)), @r#"
        input input [] -> 1 channels × 28 height × 28 width
        network.own[0] conv2d [0] -> 4 channels × 28 height × 28 width
        network.own[1].choice.a[0] activation [1] -> 4 channels × 28 height × 28 width
        network[1][0] conv2d [2] -> 4 channels × 28 height × 28 width
        network[1][1].choice.a[0] activation [3] -> 4 channels × 28 height × 28 width
        network[2][0] conv2d [4] -> 4 channels × 28 height × 28 width
        network[2][1].choice.a[0] activation [5] -> 4 channels × 28 height × 28 width
        network[3] global_avg_pool [6] -> 4 features
        network[4] linear [7] -> 10 features
        "#);
}

#[test]
fn rounds_without_decisions_are_wired_alike_whether_they_share_or_not() {
    let bodies = [
        "[{conv: {kernel: 3}}, batch_norm]",
        "[{from: a}, relu]",
        "[relu, {conv: {name: b, kernel: 3}}, {inputs: {of: [a, b], choose: 2}}]",
        "[{residual: [{conv: {kernel: 3}}]}, {max_pool: {kernel: 2}}]",
        "[{cell: {nodes: 3, edge: [{conv: {kernel: 1}}]}}]",
        "[{cell: {nodes: 4, inputs: 2, edge: [relu]}}]",
        "[{repeat: {times: 2, shared: true, block: [{from: a}, relu]}}]",
        "[{branches: {of: [[{cell: {nodes: 3, edge: [relu]}}], []]}}]",
    ];
    for body in bodies {
        let rounds = |shared: bool| {
            listing(&network(&format!(
                "[{{conv: {{name: a, channels: 4}}}}, {{repeat: {{times: 3, shared: {shared}, block: {body}}}}}, {{cell: {{nodes: 4, inputs: 2, edge: [relu]}}}}, {END}]"
            )))
        };
        assert_eq!(rounds(true), rounds(false), "{body}");
    }
}
