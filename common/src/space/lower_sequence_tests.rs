//! What is projected over time: signals and sequences in residuals, inputs and cells.

use super::lower_tests::{END, spec};
use super::properties::fashion_mnist;
use super::{Built, Infeasible};
use crate::dataset::DatasetInfo;
use crate::network::{Op, Shape};

fn built(network: &str, input: Shape) -> Result<Built, Infeasible> {
    let space = spec(network).space;
    let data = DatasetInfo {
        input,
        ..fashion_mnist()
    };
    space.build(&space.first(), Some(&data))
}

/// The nodes that were put there to make one shape into another, by name, operation, stride and shape; with the
/// sums they are for.
fn projections(blocks: &str, input: Shape) -> String {
    let built =
        built(&format!("[{blocks}, {END}]"), input).unwrap_or_else(|error| panic!("{error}"));
    let network = built.network.unwrap();
    assert!(network.validate().is_ok());
    let projected = |name: &str| {
        let last = name.rsplit('.').next().unwrap();
        ["shortcut", "inputs", "input[", "halved", "add", "concat"]
            .iter()
            .any(|start| last.starts_with(start))
    };
    let nodes = network.nodes.iter().filter(|node| projected(&node.name));
    let line = |node: &crate::network::Node| {
        let stride = match &node.op {
            Op::Conv1d(conv) | Op::Conv2d(conv) => format!(" / {}", conv.stride),
            Op::MaxPool1d(pooling) => format!(" / {}", pooling.stride),
            _ => String::new(),
        };
        format!("{} {}{stride} -> {}", node.name, node.op.name(), node.shape)
    };
    nodes.map(line).collect::<Vec<_>>().join("\n")
}

#[test]
fn a_residual_over_time_projects_its_input() {
    let signal = || Shape::signal(3, 100);
    let sequence = || Shape::sequence(100, 8);
    let all = [
        ("residual: [{conv: {channels: 16}}]", signal()),
        ("residual: [{conv: {channels: 16, stride: 2}}]", signal()),
        ("residual: [{conv: {stride: 3}}]", signal()),
        ("residual: [{linear: {features: 16}}]", sequence()),
        ("residual: [{conv: {channels: 16}}]", sequence()),
        ("residual: [{conv: {channels: 16, stride: 2}}]", sequence()),
        ("residual: [{max_pool: {kernel: 2}}]", sequence()),
    ];
    let all = all.map(|(block, input)| projections(&format!("{{{block}}}"), input));
    insta::assert_snapshot!(all.join("\n"), @r#"
        network[0].shortcut conv1d / 1 -> 16 channels × 100 time
        network[0].add add -> 16 channels × 100 time
        network[0].shortcut conv1d / 2 -> 16 channels × 50 time
        network[0].add add -> 16 channels × 50 time
        network[0].shortcut conv1d / 3 -> 3 channels × 34 time
        network[0].add add -> 3 channels × 34 time
        network[0].shortcut linear -> 100 time × 16 features
        network[0].add add -> 100 time × 16 features
        network[0].shortcut linear -> 100 time × 16 features
        network[0].add add -> 100 time × 16 features
        network[0].shortcut conv1d / 2 -> 50 time × 16 features
        network[0].add add -> 50 time × 16 features
        network[0].shortcut conv1d / 2 -> 50 time × 8 features
        network[0].add add -> 50 time × 8 features
        "#);
}

#[test]
fn earlier_outputs_over_time_are_fitted_to_the_latest() {
    let blocks = "{conv: {channels: 4}, name: one}, {conv: {channels: 6, stride: 2}, name: two}, {inputs: {of: [one, two], choose: 2}}, {inputs: {of: [one, previous], choose: 2, join: concat}}";
    insta::assert_snapshot!([Shape::signal(3, 50), Shape::sequence(50, 3)].map(|input| projections(blocks, input)).join("\n"), @r#"
        network[2].inputs[0] conv1d / 2 -> 6 channels × 25 time
        network[2].add add -> 6 channels × 25 time
        network[3].inputs[0] conv1d / 2 -> 4 channels × 25 time
        network[3].concat concat -> 10 channels × 25 time
        network[2].inputs[0] conv1d / 2 -> 25 time × 6 features
        network[2].add add -> 25 time × 6 features
        network[3].inputs[0] conv1d / 2 -> 25 time × 4 features
        network[3].concat concat -> 25 time × 10 features
        "#);
}

#[test]
fn a_reduction_cell_halves_time() {
    let blocks = "{cell: {nodes: 2, reduction: true, edge: []}}, {cell: {nodes: 3, inputs: 2, channels: 8, reduction: true, edge: [{conv: {stride: $stride}}]}}, {cell: {nodes: 2, reduction: true, edge: [zero]}}";
    insta::assert_snapshot!([Shape::signal(3, 50), Shape::sequence(50, 3)].map(|input| projections(blocks, input)).join("\n"), @r#"
        network[0].edge[0-1].halved conv1d / 2 -> 3 channels × 25 time
        network[1].input[0] conv1d / 2 -> 8 channels × 25 time
        network[1].input[1] conv1d / 1 -> 8 channels × 25 time
        network[1].node[2].add add -> 8 channels × 13 time
        network[2].edge[0-1].halved max_pool1d / 2 -> 8 channels × 7 time
        network[0].edge[0-1].halved conv1d / 2 -> 25 time × 3 features
        network[1].input[0] conv1d / 2 -> 25 time × 8 features
        network[1].input[1] linear -> 25 time × 8 features
        network[1].node[2].add add -> 13 time × 8 features
        network[2].edge[0-1].halved max_pool1d / 2 -> 7 time × 8 features
        "#);
}

#[test]
fn what_no_projection_makes_into_another_is_told_as_it_is() {
    let refused = |block: &str, input: Shape| {
        built(&format!("[{{residual: [{block}]}}, {END}]"), input)
            .unwrap_err()
            .to_string()
    };
    let all = [
        refused("{conv: {kernel: 4, padding: 0}}", Shape::signal(3, 100)),
        refused("{conv: {kernel: 4, padding: 0}}", Shape::sequence(100, 3)),
        refused("to_sequence", Shape::image(1, 10, 10)),
        refused("global_avg_pool", Shape::sequence(100, 3)),
        refused(
            "{embedding: {features: 4, vocabulary: 10}}",
            Shape::tokens(20),
        ),
    ];
    insta::assert_snapshot!(all.join("\n"), @r#"
        network[0].shortcut (residual): 3 channels × 100 time is to meet 3 channels × 97 time: no strided 1x1 convolution makes the one into the other
        network[0].shortcut (residual): 100 time × 3 features is to meet 97 time × 3 features: no strided 1x1 convolution makes the one into the other
        network[0].shortcut (residual): 1 channels × 10 height × 10 width is to meet 100 time × 1 features: they have different axes, and no projection changes those
        network[0].shortcut (residual): 100 time × 3 features is to meet 3 features: they have different axes, and no projection changes those
        network[0].shortcut (residual): 20 time is to meet 20 time × 4 features: they have different axes, and no projection changes those
        "#);
}
