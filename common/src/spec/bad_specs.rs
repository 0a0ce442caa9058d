//! Bad specs: what each mistake is answered.

use super::read;
use super::tests::CELLS;

/// Specs with one mistake (or a few), made from a good one. `old` must occur in it.
fn changed(old: &str, new: &str) -> String {
    assert!(CELLS.contains(old), "{old:?} is not in the spec");
    CELLS.replacen(old, new, 1)
}

/// The mistakes that the reader finds.
fn mistakes(text: &str) -> String {
    match read(text, "x.yaml") {
        Ok(_) => format!("nothing is wrong with it:\n{text}"),
        Err(errors) => errors.to_string(),
    }
}

/// Mistakes in one place, as changes of a good spec; the schema refuses them as well.
const STRUCTURE: &[(&str, &str)] = &[
    ("times: {range: [1, 3]}", "tims: {range: [1, 3]}"),
    ("kernel: 3", "kernel: 32"),
    ("kernel: 3", "kernel: three"),
    ("kernel: 3", "kernel: -1"),
    ("channels: {choice: [16, 32]}", "channels: {choice: []}"),
    (
        "channels: {choice: [16, 32]}",
        "channels: {choice: [16, 16]}",
    ),
    (
        "channels: {choice: [16, 32]}",
        "channels: {chioce: [16, 32]}",
    ),
    (
        "channels: {choice: [16, 32]}",
        "channels: {range: [16, 32, 48]}",
    ),
    ("groups: depthwise", "groups: depthwize"),
    ("- global_avg_pool", "- global_avg_pol"),
    ("- global_avg_pool", "- dropout"),
    ("- global_avg_pool", "- {conv: {}, relu: {}}"),
    ("- global_avg_pool", "- [rleu]"),
    ("- global_avg_pool", "- {}"),
    ("- global_avg_pool", "- {batch_norm: {momentum: 0.1}}"),
    ("- global_avg_pool", "- {name: a b, conv: {}}"),
    ("- global_avg_pool", "- {use: [stage]}"),
    ("- global_avg_pool", "- use"),
    ("- global_avg_pool", "- {relu: {}, weights: {a: 1}}"),
    ("- global_avg_pool", "- {relu: {}, with: {a: 1}}"),
    ("- global_avg_pool", "- {from: {range: [1, 2]}}"),
    ("- global_avg_pool", "- {inputs: {of: []}}"),
    (
        "- global_avg_pool",
        "- {inputs: {of: [previous], choose: some}}",
    ),
    ("- global_avg_pool", "- {cell: {edge: [relu]}}"),
    ("- global_avg_pool", "- {cell: {nodes: 1, edge: [relu]}}"),
    ("- global_avg_pool", "- {cell: {nodes: 17, edge: [relu]}}"),
    ("- global_avg_pool", "- {cell: {nodes: 3}}"),
    (
        "- global_avg_pool",
        "- {cell: {nodes: 3, edge: [relu], output: all}}",
    ),
    (
        "- global_avg_pool",
        "- {choice: {a: [], b: []}, weights: {a: 0}}",
    ),
    (
        "- global_avg_pool",
        "- {choice: {a: [], b: []}, weights: 3}",
    ),
    (
        "channels: {choice: [16, 32]}",
        "channels: {choice: [16, 32], weights: [1, 0]}",
    ),
    (
        "channels: {choice: [16, 32]}",
        "channels: {choice: [16, 32], weights: {a: 1}}",
    ),
    ("seed: 1", "tie: {a: [1, 2]}"),
    ("seed: 1", "tie: {}"),
    ("seed: 1", "blocks: {a b: []}"),
    ("seed: 1", "blocks: {a: 3}"),
    ("seed: 1", "blocks: {a: {depth: 3}}"),
    ("seed: 1", "blocks: {a: {depth: 0, choice: {b: [], c: []}}}"),
    ("seed: 1", "blocks: {a: {parameters: b, relu: {}}}"),
    ("seed: 1", "preset: resnett"),
    ("features: classes", "bias: true"),
    ("skip: []", "skip: nothing"),
    ("skip: []", "'a.b': []"),
    ("batch_size: 128", "batch_size: {choice: [64, large]}"),
    ("epochs: 3", "epochs: {choice: [3, 9]}"),
    ("momentum: 0.9", "momentum: 1"),
    ("learning_rate: {range: [0.01, 0.3], scale: log}, ", ""),
    ("scale: log", "scale: logarithmic"),
    ("optimizer: {sgd", "optimizer: {sdg"),
    ("optimizer: {sgd: {", "optimizer: sgd #{sgd: {"),
    ("schedule: cosine", "schedule: linear"),
    ("schedule: cosine", "schedule: {choice: []}"),
    ("searcher: evolution", "searcher: evolutoin"),
    (
        "searcher: evolution",
        "searcher: {evolution: {population: 0}}",
    ),
    (
        "searcher: evolution",
        "searcher: evolution\nfidelity: {asha: {minimum: 1, eta: 3}}",
    ),
    (
        "objectives: [{maximize: accuracy}]",
        "objectives: [{maximize: accuracy}, {minimize: loss}]",
    ),
    (
        "objectives: [{maximize: accuracy}]",
        "objectives: [{maximize: accuracy, minimize: loss}]",
    ),
    ("objectives: [{maximize: accuracy}]", "objectives: []"),
    ("objectives: [{maximize: accuracy}]", "objectives: accuracy"),
    ("at_most: 300k", "at_mots: 300k"),
    ("at_most: 300k", "at_most: 300K"),
    ("parameters: {at_most: 300k}", "latency: {at_most: 300k}"),
    ("time: 10m", "time: 10"),
    ("time: 10m", "time: 10 minutes"),
    ("seed: 1", "seed: 9007199254740993"),
    ("name: fashion-cells", "name: 12"),
    ("name: fashion-cells\n", ""),
    ("format: idx", "format: idxs"),
    ("validation: 5000", "validation: 0"),
    ("parallel: 16", "parallel: sixteen"),
];

pub(super) fn structure() -> Vec<String> {
    STRUCTURE
        .iter()
        .map(|(old, new)| changed(old, new))
        .collect()
}

/// Mistakes in how names are given and used.
const NAMES: &[(&str, &str)] = &[
    ("kernel: 3, stride: 2", "kernel: $size, stride: 2"),
    ("kernel: 3, stride: 2", "kernel: $siz}\n  - relu: {} #"),
    ("seed: 1", "tie: {size: 3, size: 5}"),
    (
        "kernel: 3, stride: 2}\n",
        "kernel: $size, stride: 2}\ntie: {size: {choice: [3, 64]}}\n#",
    ),
    ("kernel: 3, stride: 2", "kernel: $stride, stride: 2"),
    ("- global_avg_pool", "- use: stage"),
    (
        "- global_avg_pool",
        "- {use: stag}\nblocks: {stage: [relu]}\nx: #",
    ),
    ("- global_avg_pool", "- from: stem"),
    (
        "- global_avg_pool",
        "- {relu: {}, name: stem}\n  - from: {choice: [stam, previous]}",
    ),
    ("- global_avg_pool", "- {relu: {}, name: previous}"),
    (
        "- global_avg_pool",
        "- {inputs: {of: [previous], choose: 2}}",
    ),
    (
        "- global_avg_pool",
        "- {inputs: {of: [previous, previous]}}",
    ),
    (
        "- global_avg_pool",
        "- {cell: {nodes: 2, inputs: 2, edge: [relu]}}",
    ),
    (
        "- global_avg_pool",
        "- {cell: {nodes: 4, choose: 3, edge: [relu]}}",
    ),
    (
        "- global_avg_pool",
        "- {cell: {nodes: 16, choose: 7, edge: [relu]}}",
    ),
    (
        "- global_avg_pool",
        "- {cell: {nodes: 16, choose: 5, distinct: false, edge: [relu]}}",
    ),
    (
        "- global_avg_pool",
        "- {cell: {nodes: 4, distinct: false, edge: [relu]}}",
    ),
    (
        "- global_avg_pool",
        "- {choice: {a: [], b: []}, weights: {a: 1, c: 1}}",
    ),
    ("- global_avg_pool", "- residual: [[relu], [relu], [relu]]"),
];

/// Definitions that are wrong, each with the network `[{use: a}, ...]`.
const DEFINITIONS: &[&str] = &[
    "{a: [{use: a}]}",
    "{a: [{use: b}], b: [relu, {use: c}], c: [{optional: [{use: b}]}]}",
    "{a: {depth: 2, block: [relu, {use: a}]}}",
    "{a: {depth: 2, choice: {x: [relu], y: [conv]}}}",
    "{a: {depth: 2, choice: {x: [relu], y: [{use: a, shared: true}]}}}",
    "{a: {depth: 16, choice: {x: [{use: b}], y: []}}, b: {depth: 16, choice: {x: [{use: a}], y: []}}, c: {depth: 16, choice: {x: [{use: c}], y: []}}, d: {depth: 16, choice: {x: [{use: d}], y: []}}}",
    "{a: {depth: 13, choice: {x: [relu], y: [{use: a}, {use: a}]}}}",
    "{a: {parameters: [k, k], conv: {kernel: $k}}}",
    "{a: {parameters: [k], conv: {kernel: $k}}}",
    "{a: [{use: b, with: {k: 3}}], b: [relu]}",
    "{a: [{use: b, with: {k: 64}}], b: {parameters: [k], block: [{use: c, with: {n: $k}}]}, c: {parameters: [n], conv: {kernel: $n}}}",
    "{a: [{use: b, with: {k: {choice: [3, five]}}}], b: {parameters: [k], conv: {kernel: $k}}}",
    "{a: [{use: b, with: {k: 0.5}}], b: {parameters: [k], cell: {nodes: 3, edge: {conv: {kernel: $k, stride: $stridd}}}}}",
    "{a: [{use: b, with: {stride: 1}}], b: {parameters: [stride], cell: {nodes: 3, edge: {conv: {stride: $stride}}}}}",
    "{a: {relu: {}, conv: {}}}",
];

/// Bad specs whose mistake shows only to who reads the whole.
fn meaning() -> Vec<String> {
    let nested = (0..4).fold("[relu]".to_owned(), |inner, _| {
        format!("[{{repeat: {{times: 64, block: {inner}}}}}]")
    });
    let decisions = (0..3).fold("[{optional: [relu]}]".to_owned(), |inner, _| {
        format!("[{{repeat: {{times: 64, block: {inner}}}}}]")
    });
    let mut all: Vec<String> = [
        ("target: {accuracy: 0.92}", "target: {acuracy: 0.92}"),
        ("trials: 24, time: 10m, ", ""),
        ("maximize: accuracy", "maximize: f1"),
        ("maximize: accuracy", "maximize: loss"),
        ("times: {range: [1, 3]}", "times: {range: [3, 1]}"),
        ("times: {range: [1, 3]}", "times: {range: [1, 4], step: 2}"),
        (
            "range: [0.01, 0.3], scale: log",
            "range: [0.01, 0.3], step: 0.2",
        ),
        ("schedule: cosine", "schedule: {cosine: {warmup_epochs: 4}}"),
        ("momentum: 0.9", "nesterov: true"),
        (
            "searcher: evolution",
            "searcher: {evolution: {population: 5, tournament: 6}}",
        ),
        ("at_most: 300k", "at_most: 300k, at_least: 1M"),
        ("path: fashion-mnist", "path: ../fashion-mnist"),
        (
            "dataset: {format: idx, path: fashion-mnist, train: 20000, validation: 5000}\n",
            "",
        ),
        ("  epochs: 3\n", ""),
        ("seed: 1", "evaluator: mine\nhyperparameters: {a: null}"),
        ("seed: 1", "hyperparameters: {a: {choice: [1, 2]}}"),
        (
            "- global_avg_pool",
            "- {conv: {name: a}}\n  - {relu: {}, name: a}",
        ),
        ("- global_avg_pool", "- {conv: {name: a}, name: b}"),
        ("skip: []", "plain: []"),
        ("skip: []", "skip: []\n            none: &anchor []"),
    ]
    .map(|(old, new)| changed(old, new))
    .into();
    all.extend(NAMES.iter().map(|(old, new)| changed(old, new)));
    for blocks in [nested, decisions] {
        all.push(changed(
            "- global_avg_pool",
            &format!("- residual: {blocks}"),
        ));
    }
    all.push(
        "name: x\nobjectives: [{minimize: loss}]\nbudget: {trials: 1}\nevaluator: mine\n"
            .to_owned(),
    );
    all.push(
        "name: x\nhyperparameters: {a: 1}\nobjectives: [{minimize: loss}]\nbudget: {trials: 1}\n"
            .to_owned(),
    );
    all.push("[]".to_owned());
    all
}

#[test]
fn a_mistake_in_the_structure_is_told_with_its_place() {
    let all: Vec<_> = structure().iter().map(|text| mistakes(text)).collect();
    insta::assert_snapshot!(all.join("\n"), @r#"
        x.yaml:7:7: network[1].repeat.tims: unknown key; did you mean "times"?
        x.yaml:4:50: network[0].conv.kernel: 32 is too large; it must be at most 31
        x.yaml:4:50: network[0].conv.kernel: "three" is not a whole number of at least 1 (sizes may be written 300k, 2M, 1.5G)
        x.yaml:4:50: network[0].conv.kernel: "-1" is not a whole number of at least 1 (sizes may be written 300k, 2M, 1.5G)
        x.yaml:4:31: network[0].conv.channels.choice: a choice has 1 to 1000 values, this one 0
        x.yaml:4:36: network[0].conv.channels.choice[1]: 16 is given twice in this choice
        x.yaml:4:23: network[0].conv.channels.chioce: unknown key; did you mean "choice"?
        x.yaml:4:30: network[0].conv.channels.range: a range has two ends, as [1, 3]
        x.yaml:11:52: network[1].repeat.block[0].choice.separable[0].conv.groups: "depthwize" is not a whole number of at least 1 (sizes may be written 300k, 2M, 1.5G) (or the word "depthwise"); did you mean "depthwise"?
        x.yaml:13:5: network[2]: unknown block; did you mean "global_avg_pool"?
        x.yaml:13:5: network[2]: `dropout` needs settings; write `dropout: {rate: 0.1}`
        x.yaml:13:16: network[2].relu: a block has one word, and this one "conv" and "relu"; settings of the first belong inside its own map
        x.yaml:13:6: network[2][0]: unknown block; did you mean "relu"?
        x.yaml:13:5: network[2]: a block has one word, as `conv`; this map has none
        x.yaml:13:18: network[2].batch_norm: `batch_norm` has no settings
        x.yaml:13:12: network[2].name: "a b" is not a name: 1 to 64 letters, digits, `_` or `-`
        x.yaml:13:11: network[2].use: one value is expected here, not a list or a map
        x.yaml:13:5: network[2]: `use` needs settings; write `use: stage`, the name of a block under `blocks:`
        x.yaml:13:16: network[2].weights: `weights` stands beside `choice` only; settings of `relu` belong inside its own map
        x.yaml:13:16: network[2].with: `with` stands beside `use` only; settings of `relu` belong inside its own map
        x.yaml:13:20: network[2].from.range: a range is for numbers; use {choice: [...]} here
        x.yaml:13:19: network[2].inputs.of: a list of 1 to 64 names of earlier blocks is expected here, as [stem, previous]
        x.yaml:13:39: network[2].inputs.choose: "some" is not a whole number of at least 1 (sizes may be written 300k, 2M, 1.5G) (or the word "any")
        x.yaml:13:12: network[2].cell: `nodes` is missing
        x.yaml:13:20: network[2].cell.nodes: 1 is too small; it must be at least 2
        x.yaml:13:20: network[2].cell.nodes: 17 is too large; it must be at most 16
        x.yaml:13:12: network[2].cell: `edge` is missing
        x.yaml:13:45: network[2].cell.output: "all" is not one of last, concat, loose
        x.yaml:13:43: network[2].weights.a: 0 is too small; it must be more than 0
        x.yaml:13:39: network[2].weights: a weight for each alternative is expected here, as {wide: 3, none: 1}
        x.yaml:4:54: network[0].conv.channels.weights[1]: 0 is too small; it must be more than 0
        x.yaml:4:50: network[0].conv.channels.weights: one weight for each of the 2 values is expected here, as [3, 1]
        x.yaml:25:10: tie.a: one value is expected here, not a list or a map
        x.yaml:25:6: tie: 1 to 1000 named entries are expected here, as {width: {choice: [16, 32]}}
        x.yaml:25:10: blocks.a b: "a b" is not a name: 1 to 64 letters, digits, `_` or `-`
        x.yaml:25:13: blocks.a: a list of blocks is expected here, or a map of one block with `parameters` and `depth` beside it
        x.yaml:25:13: blocks.a: a block has one word, as `conv`; this map has none
        x.yaml:25:21: blocks.a.depth: 0 is too small; it must be at least 1
        x.yaml:25:26: blocks.a.parameters: a list of names is expected here, as [channels, stride]
        x.yaml:25:9: preset: "resnett" is not one of darts, mlp, mobilenet, nas-bench-201, resnet, text-cnn, transformer; did you mean "resnet"?
        x.yaml:14:13: network[3].linear: `features` is missing
        x.yaml:12:19: network[1].repeat.block[0].choice.skip: a list of blocks is expected here ([] for none)
        x.yaml:12:13: network[1].repeat.block[0].choice.a.b: "a.b" is not a name: 1 to 64 letters, digits, `_` or `-`
        x.yaml:17:29: training.batch_size.choice[1]: "large" is not a whole number of at least 1 (sizes may be written 300k, 2M, 1.5G)
        x.yaml:16:11: training.epochs: `epochs` cannot be a decision; give one value
        x.yaml:18:80: training.optimizer.sgd.momentum: 1 is too large; it must be less than 1
        x.yaml:18:20: training.optimizer.sgd: `learning_rate` is missing
        x.yaml:18:64: training.optimizer.sgd.learning_rate.scale: "logarithmic" is not one of linear, log
        x.yaml:18:15: training.optimizer.sdg: "sdg" is not one of sgd, adamw; did you mean "sgd"?
        x.yaml:18:14: training.optimizer: `learning_rate` is missing
        x.yaml:19:13: training.schedule: "linear" is not one of constant, cosine
        x.yaml:19:22: training.schedule.choice: alternatives are expected here, of `constant` or `cosine`
        x.yaml:20:11: searcher: "evolutoin" is not one of random, grid, local-search, tpe, bananas, reinforce, ppo, evolution, bayesian; did you mean "evolution"?
        x.yaml:20:36: searcher.evolution.population: 0 is too small; it must be at least 1
        x.yaml:21:1: fidelity: `fidelity` is not offered yet: every trial gets the full `epochs`
        x.yaml:21:13: objectives: only one objective is offered yet; make the others constraints, or leave them out
        x.yaml:21:14: objectives[0]: one metric with its direction is expected here, as {maximize: accuracy}
        x.yaml:21:13: objectives: one objective is needed, as [{maximize: accuracy}]
        x.yaml:21:13: objectives: a list is expected here, as [{maximize: accuracy}]
        x.yaml:22:28: constraints[0].parameters: `at_least`, `at_most` or both are expected here
        x.yaml:22:29: constraints[0].parameters.at_mots: unknown key; did you mean "at_most"?
        x.yaml:22:38: constraints[0].parameters.at_most: "300K" is not a whole number of at least 0 (sizes may be written 300k, 2M, 1.5G)
        x.yaml:22:15: constraints[0]: one measure with its bounds is expected here, as {parameters: {at_most: 300k}}
        x.yaml:22:16: constraints[0].latency: unknown key; `parameters`, `macs` or `activation_bytes` can stand here
        x.yaml:23:28: budget.time: "10" is not a time: a number with a unit, as 500ms, 10s, 30m, 12h or 2d
        x.yaml:23:28: budget.time: "10 minutes" is not a time: a number with a unit, as 500ms, 10s, 30m, 12h or 2d
        x.yaml:25:7: seed: 9007199254740993 is too large; it must be at most 9007199254740991
        x.yaml:1:7: name: a text is expected here; write "12" in quotes
        x.yaml:1:1: `name` is missing
        x.yaml:2:19: dataset.format: "idxs" is not one of idx; did you mean "idx"?
        x.yaml:2:71: dataset.validation: 0 is too small; it must be at least 1
        x.yaml:24:11: parallel: "sixteen" is not a whole number of at least 1 (sizes may be written 300k, 2M, 1.5G)
        "#);
}

#[test]
fn a_mistake_in_the_meaning_is_told_with_its_place() {
    let all: Vec<_> = meaning().iter().map(|text| mistakes(text)).collect();
    insta::assert_snapshot!(all.join("\n"), @r#"
        x.yaml:23:42: budget.target.acuracy: a target is about the objective's metric, which is `accuracy`; did you mean "accuracy"?
        x.yaml:23:9: budget: `trials`, `time` or `deadline` is needed, or the search might never end
        x.yaml:21:13: objectives: the trainer does not measure "f1", only accuracy, loss, train_loss
        x.yaml:21:13: objectives: this would look for the worst loss
        x.yaml:7:22: network[1].repeat.times.range: the low end 3 must be less than the high end 1
        x.yaml:7:36: network[1].repeat.times.step: steps of 2 from 1 do not meet 4
        x.yaml:18:63: training.optimizer.sgd.learning_rate.step: steps of 0.2 from 0.01 do not meet 0.3
        x.yaml:16:3: training: 4 warm-up epochs do not fit 3 epochs
        x.yaml:18:80: training.optimizer.sgd.nesterov: nesterov needs a momentum above 0
        x.yaml:20:51: searcher.evolution.tournament: a tournament of 6 does not fit a population of 5
        x.yaml:22:28: constraints[0].parameters: nothing is at least 1000000 and at most 300000
        x.yaml:2:30: dataset.path: a path below the data root has no `..` in it
        x.yaml:3:3: network: a network needs a `dataset`: its shapes depend on the data
        x.yaml:16:3: training: `epochs` is missing: the trainer must know how long to train
        x.yaml:26:22: hyperparameters.a: a value is missing here
        x.yaml:25:18: hyperparameters: the trainer reads no hyperparameters; they are for an `evaluator` of your own
        x.yaml:14:5: network[3]: two blocks of this list have the name "a"
        x.yaml:13:29: network[2].name: the name is given twice, here and inside `conv`
        x.yaml:12:13: network[1].repeat.block[0].choice.plain: the key "plain" is given a second time; the first is in line 10
        x.yaml:13:19: network[1].repeat.block[0].choice.none: anchors (&name) are not read; write the part out where it is needed
        x.yaml:4:50: network[0].conv.kernel: no tie has the name "size"
        x.yaml:4:50: network[0].conv.kernel: no tie has the name "siz"
        x.yaml:25:16: tie.size: the key "size" is given a second time; the first is in line 25
        x.yaml:7:7: not YAML: while parsing a block mapping, did not find expected key
        x.yaml:4:50: network[0].conv.kernel: `$stride` is known on the edges of a `cell` only
        x.yaml:13:10: network[2].use: there is no block "stage" under `blocks:`
        x.yaml:13:11: network[2].use: there is no block "stag" under `blocks:`; did you mean "stage"?
        x.yaml:15:1: x: unknown key; `name`, `preset`, `dataset`, `network`, `blocks`, `tie`, `training`, `hyperparameters`, `evaluator`, `searcher`, `objectives`, `constraints`, `budget`, `parallel`, `weight`, `worker`, `seed`, `attempts`, `repeat`, `warm_start` or `reuse` can stand here
        x.yaml:13:11: network[2].from: no earlier block that can be seen from here has the name "stem" (those of this list and of the lists around it, within one definition)
        x.yaml:14:21: network[3].from.choice[0]: no earlier block that can be seen from here has the name "stam" (those of this list and of the lists around it, within one definition); did you mean "stem"?
        x.yaml:13:22: network[2].name: no block can have the name `previous`, which stands for the output of the block before
        x.yaml:13:39: network[2].inputs.choose: 2 of 1 cannot be chosen
        x.yaml:13:30: network[2].inputs.of[1]: "previous" is given twice
        x.yaml:13:20: network[2].cell.nodes: a cell of 2 nodes, 2 of them inputs, has nothing to compute; nodes are counted with the inputs
        x.yaml:13:31: network[2].cell.choose: no node has more than 3 nodes before it, so this chooses nothing; leave it out
        x.yaml:13:32: network[2].cell.choose: the last node would have more than 1000 sets of 7 nodes to choose among
        x.yaml:13:32: network[2].cell.choose: the last node would have more than 1000 sets of 5 nodes to choose among
        x.yaml:13:33: network[2].cell.distinct: without `choose` each node takes all nodes before it, each once; give it, or leave this out
        x.yaml:13:46: network[2].weights.c: this choice has no such alternative; did you mean "a"?
        x.yaml:13:15: network[2].residual: a residual is one list of blocks, or two lists: the blocks, and what the input goes through on its way past them
        x.yaml:4:3: network: a network of this space may have 34087063 blocks, every repeat at its maximum; at most 100000 are allowed
        x.yaml:4:3: network: the space has 262153 decisions, every alternative counted and every repeat at its maximum; at most 10000 are allowed
        x.yaml:1:1: there is nothing to search; give a `network` or `hyperparameters`
        x.yaml:1:1: `network` is missing: the trainer trains networks (for a program of your own, say `evaluator:` and `hyperparameters:`)
        x.yaml:1:1: training: `epochs` is missing: the trainer must know how long to train
        x.yaml:2:18: hyperparameters: the trainer reads no hyperparameters; they are for an `evaluator` of your own
        x.yaml:1:1: a map is expected here, with `name`, `preset`, `dataset`, `network`, `blocks`, `tie`, `training`, `hyperparameters`, `evaluator`, `searcher`, `objectives`, `constraints`, `budget`, `parallel`, `weight`, `worker`, `seed`, `attempts`, `repeat`, `warm_start` or `reuse`
        x.yaml:1:1: `network` is missing: the trainer trains networks (for a program of your own, say `evaluator:` and `hyperparameters:`)
        x.yaml:1:1: training: `epochs` is missing: the trainer must know how long to train
        "#);
}

#[test]
fn of_values_that_do_not_fit_the_one_that_is_wrong_is_named() {
    let tie = CELLS.replace("kernel: 3", "kernel: $size") + "tie: {size: {choice: [16, 2.5]}}\n";
    insta::assert_snapshot!(mistakes(&tie), @"x.yaml:4:50: network[0].conv.kernel: `$size` does not fit here: 2.5 is not a whole number (the tie is in line 26)");
    let whole =
        CELLS.replace("kernel: 3", "kernel: $size") + "tie: {size: {choice: [16.0, 3.0]}}\n";
    insta::assert_snapshot!(mistakes(&whole), @"x.yaml:4:50: network[0].conv.kernel: `$size` does not fit here: 16.0 is not a whole number (the tie is in line 26)");
    let argument = CELLS.replace(
        "- global_avg_pool",
        "- {use: wide, with: {k: {choice: [4, 2.5]}}}\n  - global_avg_pool",
    ) + "blocks: {wide: {parameters: [k], block: [{conv: {channels: $k}}]}}\n";
    insta::assert_snapshot!(mistakes(&argument), @"x.yaml:13:27: network[2].with.k: this does not fit where `wide` uses `$k`, in line 27: 2.5 is not a whole number");
}

#[test]
fn a_depth_that_cannot_be_read_is_told_and_not_that_there_is_none() {
    let text = CELLS.replace("- global_avg_pool", "- use: a\n  - global_avg_pool")
        + "blocks: {a: {depth: 1000000, choice: {x: [{use: a}], y: [conv]}}}\n";
    insta::assert_snapshot!(mistakes(&text), @"x.yaml:27:21: blocks.a.depth: 1000000 is too large; it must be at most 16");
}

#[test]
fn what_is_wrong_in_the_yaml_is_told_with_its_path() {
    let twice = CELLS.replace("kernel: 3", "kernel: 3, kernel: 5");
    insta::assert_snapshot!(mistakes(&twice), @r#"x.yaml:4:53: network[0].conv.kernel: the key "kernel" is given a second time; the first is in line 4"#);
    let alias = CELLS.replace("kernel: 3", "kernel: *size");
    insta::assert_snapshot!(mistakes(&alias), @"x.yaml:4:50: network[0].conv.kernel: not YAML: while parsing node, found unknown anchor");
}

#[test]
fn a_tie_that_cannot_be_read_is_told_and_not_its_uses_as_well() {
    for bad in ["{choice: []}", "$other"] {
        let text = CELLS.replace("kernel: 3", "kernel: $size") + "tie: {size: " + bad + "}\n";
        let told = mistakes(&text);
        assert!(told.contains("tie.size"), "{told}");
        assert_eq!(told.lines().count(), 1, "{told}");
    }
}

#[test]
fn a_mistake_in_how_definitions_use_each_other_is_told_with_its_place() {
    let spec = |blocks: &&str| {
        CELLS.replace("- global_avg_pool", "- {use: a}\n  - global_avg_pool") + "blocks: " + blocks
    };
    let all: Vec<_> = DEFINITIONS
        .iter()
        .map(|blocks| mistakes(&spec(blocks)))
        .collect();
    insta::assert_snapshot!(all.join("\n"), @r#"
        x.yaml:27:10: blocks.a: this block uses itself without end (a -> a); give it a `depth`, and a choice with an alternative that does not use it
        x.yaml:27:25: blocks.b: this block uses itself without end (b -> c -> b); give it a `depth`, and a choice with an alternative that does not use it
        x.yaml:27:10: blocks.a: at depth 0 nothing is left of `a`: it needs a choice with an alternative that does not use it
        x.yaml:27:10: blocks.a: `a` does not use itself, so its `depth` would mean nothing; leave it out
        x.yaml:27:54: blocks.a.choice.y[0].use: `a` is used inside itself here, where a use cannot be `shared`: other alternatives are left in each
        x.yaml:1:1: blocks: the depths of the blocks multiply to 83521 states of recursion; at most 10000 are allowed
        x.yaml:4:3: network: the space has 16392 decisions, every alternative counted and every repeat at its maximum; at most 10000 are allowed
        x.yaml:13:11: network[2].use: `a` needs a value for its parameter `k`; write `with: {k: ...}` beside it
        x.yaml:27:30: blocks.a.parameters[1]: the parameter `k` is given twice
        x.yaml:13:11: network[2].use: `a` needs a value for its parameter `k`; write `with: {k: ...}` beside it
        x.yaml:27:30: blocks.a[0].with.k: `b` has no such parameter
        x.yaml:27:33: blocks.a[0].with.k: this does not fit where `c` uses `$n`, in line 27: 64 is too large; it must be at most 31
        x.yaml:27:33: blocks.a[0].with.k: this does not fit where `b` uses `$k`, in line 27: "five" is not a whole number of at least 1 (sizes may be written 300k, 2M, 1.5G)
        x.yaml:27:33: blocks.a[0].with.k: this does not fit where `b` uses `$k`, in line 27: 0.5 is not a whole number
        x.yaml:27:113: blocks.b.cell.edge.conv.stride: no parameter of `b` and no tie has the name "stridd"; did you mean "$stride"?
        x.yaml:27:109: blocks.b.cell.edge.conv.stride: on an edge of a cell, `$stride` is the cell's own; give the parameter or tie of this name another one
        x.yaml:27:24: blocks.a.conv: a block has one word, and this one "relu" and "conv"; settings of the first belong inside its own map
        "#);
}

#[test]
fn what_looks_like_a_mistake_is_a_warning() {
    let text = CELLS
        .replace("skip: []", "skip: [{choice: [relu]}]")
        .replace("[16, 32]", "[16]")
        + "tie: {a: 1}\nblocks: {b: {parameters: [c], relu: {}}}\n";
    let (_, warnings) =
        super::read_warned(&text, "x.yaml").unwrap_or_else(|errors| panic!("{errors}"));
    let lines: Vec<_> = warnings.iter().map(ToString::to_string).collect();
    insta::assert_snapshot!(lines.join("\n"), @r#"
        x.yaml:4:31: network[0].conv.channels.choice: this choice has one alternative only: there is nothing to decide
        x.yaml:12:29: network[1].repeat.block[0].choice.skip[0].choice: this choice has one alternative only: there is nothing to decide
        x.yaml:26:7: tie.a: nothing uses `$a`
        x.yaml:27:10: blocks.b: the parameter `c` of `b` is not used
        x.yaml:27:10: blocks.b: nothing uses the block `b`
        "#);
}

#[test]
fn what_the_specs_own_searcher_cannot_do_is_no_mistake_where_another_takes_its_place() {
    let text = CELLS.replace("trials: 24", "trials: 24, expected_improvement: 0.1");
    assert!(
        mistakes(&text).contains("has no model"),
        "{}",
        mistakes(&text)
    );
    let (spec, _) =
        super::read_without_searcher(&text, "x.yaml").unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(spec.budget.expected_improvement, Some(0.1));
    let other = super::read_without_searcher(&format!("{text}x: 1\n"), "x.yaml").unwrap_err();
    assert!(other.to_string().contains("unknown key"), "{other}");
}

#[test]
fn an_error_is_short_whatever_the_text_holds() {
    let long = "x".repeat(100_000);
    for text in [
        CELLS.replace("kernel: 3,", &format!("kernel: {long},")),
        CELLS.replace("kernel: 3,", &format!("{long}: 3,")),
        CELLS.replace("- global_avg_pool", &format!("- {{{long}: 3, relu: 3}}")),
        CELLS.replace("- global_avg_pool", &format!("- use: {long}")),
        CELLS.replace("skip: []", &format!("{long}: [], {long}: []")),
        CELLS.replace("name: fashion-cells", &format!("name: {long}")),
        CELLS.replace("kernel: 3,", &format!("kernel: ${long},")),
    ] {
        for error in read(&text, "x.yaml").unwrap_err().0 {
            assert!(error.to_string().len() < 1_500, "{error}");
        }
    }
}

#[test]
fn several_mistakes_are_told_at_once_in_the_order_of_the_text() {
    let text = CELLS
        .replace("kernel: 3, stride: 2", "kernal: 3, stride: 0")
        .replace("epochs: 3", "epochs: 0")
        .replace("seed: 1", "sed: 1");
    insta::assert_snapshot!(mistakes(&text), @r#"
        x.yaml:4:42: network[0].conv.kernal: unknown key; did you mean "kernel"?
        x.yaml:4:61: network[0].conv.stride: 0 is too small; it must be at least 1
        x.yaml:16:11: training.epochs: 0 is too small; it must be at least 1
        x.yaml:25:1: sed: unknown key; did you mean "seed"?
        "#);
}

#[test]
fn a_flood_of_mistakes_is_cut() {
    let text = CELLS.replace("- global_avg_pool", &"- rleu\n  ".repeat(500));
    assert_eq!(read(&text, "x.yaml").unwrap_err().0.len(), 50);
}
