//! What is decided where: ties, arguments, shared blocks, recursion, cells and weights, told by specs.

use std::collections::BTreeSet;

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::candidate::Candidate;
use crate::spec::read;

/// The space of a spec's parts.
fn space(parts: &str) -> Space {
    let text = format!(
        "name: x\ndataset: {{format: idx, path: x, validation: 1}}\ntraining: {{epochs: 1}}\nobjectives: [{{maximize: accuracy}}]\nbudget: {{trials: 1}}\n{parts}\n"
    );
    read(&text, "x.yaml")
        .unwrap_or_else(|errors| panic!("{errors}"))
        .space
}

/// Every candidate as one line of its decisions, in the order of their paths.
fn candidates(parts: &str) -> Vec<String> {
    let space = space(parts);
    let all = space.enumerate(10_000).unwrap();
    assert_eq!(space.size().candidates, Some(all.len() as u128));
    all.iter().map(shown).collect()
}

fn shown(candidate: &Candidate) -> String {
    let decisions = candidate.0.iter();
    let all: Vec<_> = decisions
        .map(|(path, value)| format!("{path}={value}"))
        .collect();
    all.join(" ")
}

#[test]
fn a_tie_is_decided_once_and_only_where_something_active_uses_it() {
    insta::assert_snapshot!(candidates(
        "tie: {width: {choice: [4, 8]}}\nnetwork: [{optional: [{conv: {channels: $width}}, {conv: {channels: $width}}]}]"
    ).join("\n"), @r#"
        network[0].optional=false
        network[0].optional=true tie.width=4
        network[0].optional=true tie.width=8
        "#);
}

#[test]
fn an_argument_is_decided_where_it_is_given_and_only_when_the_block_uses_it() {
    insta::assert_snapshot!(candidates(
        "blocks: {unit: {parameters: [k], choice: {a: [{conv: {kernel: $k}}], b: []}}}\nnetwork: [{use: unit, name: one, with: {k: {choice: [1, 3]}}}]"
    ).join("\n"), @r#"
        network.one.choice=a network.one.with.k=1
        network.one.choice=a network.one.with.k=3
        network.one.choice=b
        "#);
}

#[test]
fn shared_uses_have_one_set_of_decisions_and_others_their_own() {
    let blocks = "blocks: {unit: [{choice: {a: [relu], b: []}}]}\nnetwork: ";
    insta::assert_snapshot!(candidates(&format!(
        "{blocks}[{{use: unit, shared: true}}, {{use: unit, shared: true}}, {{use: unit}}]"
    )).join("\n"), @r#"
        blocks.unit[0].choice=a network[2][0].choice=a
        blocks.unit[0].choice=a network[2][0].choice=b
        blocks.unit[0].choice=b network[2][0].choice=a
        blocks.unit[0].choice=b network[2][0].choice=b
        "#);
}

#[test]
fn at_depth_0_only_what_does_not_recur_is_left() {
    insta::assert_snapshot!(candidates(
        "blocks: {part: {depth: 1, choice: {leaf: [relu], again: [{use: part}, {use: part}], maybe: [{optional: [{use: part}]}]}}}\nnetwork: [{use: part}]"
    ).join("\n"), @r#"
        network[0].choice=leaf
        network[0].choice=again network[0].choice.again[0].choice=leaf network[0].choice.again[1].choice=leaf
        network[0].choice=again network[0].choice.again[0].choice=leaf network[0].choice.again[1].choice=maybe network[0].choice.again[1].choice.maybe[0].optional=false
        network[0].choice=again network[0].choice.again[0].choice=maybe network[0].choice.again[0].choice.maybe[0].optional=false network[0].choice.again[1].choice=leaf
        network[0].choice=again network[0].choice.again[0].choice=maybe network[0].choice.again[0].choice.maybe[0].optional=false network[0].choice.again[1].choice=maybe network[0].choice.again[1].choice.maybe[0].optional=false
        network[0].choice=maybe network[0].choice.maybe[0].optional=false
        network[0].choice=maybe network[0].choice.maybe[0].optional=true network[0].choice.maybe[0].optional[0].choice=leaf
        network[0].choice=maybe network[0].choice.maybe[0].optional=true network[0].choice.maybe[0].optional[0].choice=maybe network[0].choice.maybe[0].optional[0].choice.maybe[0].optional=false
        "#);
}

#[test]
fn a_cell_chooses_sets_without_order_and_decides_the_edges_it_takes() {
    let all = candidates(
        "network: [{cell: {nodes: 4, choose: 2, edge: {choice: {a: [relu], b: []}}}, name: c}]",
    );
    // Nodes 1 and 2 take all before them, 1 + 2 edges; node 3 takes two of three.
    assert_eq!(all.len(), 2 * 4 * 3 * 4);
    insta::assert_snapshot!(all[0], @"network.c.edge[0-1].choice=a network.c.edge[0-2].choice=a network.c.edge[0-3].choice=a network.c.edge[1-2].choice=a network.c.edge[1-3].choice=a network.c.node[3].inputs=0,1");
    let sets: BTreeSet<&str> = all
        .iter()
        .filter_map(|line| line.split("network.c.node[3].inputs=").nth(1))
        .collect();
    assert_eq!(sets, ["0,1", "0,2", "1,2"].into());
    for line in &all {
        let edges = line.matches("-3].choice").count();
        assert_eq!(edges, 2, "{line}");
    }
}

#[test]
fn a_cell_may_take_one_node_several_times_over_edges_of_their_own() {
    let all = candidates(
        "network: [{cell: {nodes: 3, choose: 2, distinct: false, edge: {choice: {a: [relu], b: []}}}, name: c}]",
    );
    // Node 1 takes node 0 twice; node 2 takes one of three sets. Each has two edges.
    assert_eq!(all.len(), 4 * 3 * 4);
    insta::assert_snapshot!(all[0], @"network.c.edge[0-1:2].choice=a network.c.edge[0-1].choice=a network.c.edge[0-2:2].choice=a network.c.edge[0-2].choice=a network.c.node[2].inputs=0,0");
    let sets: BTreeSet<&str> = all
        .iter()
        .filter_map(|line| line.split("network.c.node[2].inputs=").nth(1))
        .collect();
    assert_eq!(sets, ["0,0", "0,1", "1,1"].into());
    for line in &all {
        let twice = if line.contains("inputs=0,1") { 1 } else { 2 };
        assert_eq!(line.matches(":2].choice").count(), twice, "{line}");
        assert_eq!(line.matches("].choice").count(), 4, "{line}");
    }
}

#[test]
fn a_cell_of_an_older_journal_takes_different_nodes() {
    let space = space("network: [{cell: {nodes: 4, choose: 2, edge: [relu]}}]");
    let json = serde_json::to_string(&space).unwrap();
    assert!(!json.contains("distinct"), "{json}");
    assert_eq!(serde_json::from_str::<Space>(&json).unwrap(), space);
}

#[test]
fn the_times_of_a_repeat_may_be_a_tie() {
    // 0, 1 or 2 rounds in both places: 1 + 2 * 2 + 4 * 4 ways.
    let all = candidates(
        "tie: {n: {range: [0, 2]}}\nnetwork: [{repeat: {times: $n, block: [{choice: [relu, gelu]}]}}, {repeat: {times: $n, block: [{choice: [relu, gelu]}]}}]",
    );
    assert_eq!(all.len(), 21);
}

#[test]
fn weights_say_how_often_an_alternative_is_sampled() {
    let space = space("network: [{choice: {a: [relu], b: [], c: [gelu]}, weights: {a: 6, c: 3}}]");
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let mut taken = |name: &str| {
        let drawn = (0..2000).map(|_| shown(&space.sample(&mut rng)));
        drawn
            .filter(|line| line.ends_with(&format!("={name}")))
            .count()
    };
    assert!((1100..1300).contains(&taken("a")));
    assert!((150..250).contains(&taken("b")));
    assert!((520..680).contains(&taken("c")));
}

#[test]
fn hyperparameters_alone_are_a_space_and_may_share_a_tie() {
    let text = "name: x\nevaluator: mine\ntie: {rate: {choice: [1, 2]}}\nhyperparameters: {a: $rate, b: $rate, c: {choice: [x, y]}, d: 5}\nobjectives: [{minimize: loss}]\nbudget: {trials: 1}\n";
    let space = read(text, "x.yaml")
        .unwrap_or_else(|errors| panic!("{errors}"))
        .space;
    assert_eq!(space.size().candidates, Some(4));
    let resolved = space.resolve(&space.first()).unwrap();
    let names: Vec<_> = resolved
        .hyperparameters
        .keys()
        .map(String::as_str)
        .collect();
    assert_eq!(names, ["a", "b", "c", "d"]);
    assert_eq!(resolved.hyperparameters["a"], resolved.hyperparameters["b"]);
    assert_eq!(shown(&space.first()), "hyperparameters.c=x tie.rate=1");
}
