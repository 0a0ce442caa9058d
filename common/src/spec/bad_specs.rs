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
    ("- global_avg_pool", "- [relu]"),
    ("- global_avg_pool", "- {}"),
    ("- global_avg_pool", "- {batch_norm: {momentum: 0.1}}"),
    ("- global_avg_pool", "- {name: a b, conv: {}}"),
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
        x.yaml:4:22: network[0].conv.channels: a value is expected here, or a decision: {choice: [...]} or {range: [low, high]}
        x.yaml:4:30: network[0].conv.channels.range: a range has two ends, as [1, 3]
        x.yaml:11:52: network[1].repeat.block[0].choice.separable[0].conv.groups: "depthwize" is not a whole number of at least 1 (sizes may be written 300k, 2M, 1.5G) (or the word "depthwise"); did you mean "depthwise"?
        x.yaml:13:5: network[2]: unknown block; did you mean "global_avg_pool"?
        x.yaml:13:5: network[2]: `dropout` needs settings; write `dropout: {rate: 0.1}`
        x.yaml:13:16: network[2].relu: a block has one word, and this one `conv` and `relu`; settings of `conv` belong inside its own map
        x.yaml:13:5: network[2]: a block is expected here, not a list; `optional`, `repeat`, `residual` and `branches` hold lists of blocks
        x.yaml:13:5: network[2]: a block has one word, as `conv`; this map has none
        x.yaml:13:18: network[2].batch_norm: `batch_norm` has no settings
        x.yaml:13:12: network[2].name: "a b" is not a name: 1 to 64 letters, digits, `_` or `-`
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
        x.yaml:20:11: searcher: "evolutoin" is not one of random, evolution; did you mean "evolution"?
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
        x.yaml:22:16: constraints[0].latency: unknown key; `parameters` or `macs` can stand here
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
        x.yaml:23:9: budget: `trials`, `time` or both are needed, or the search might never end
        x.yaml:21:13: objectives: the trainer does not measure "f1", only accuracy, loss, train_loss
        x.yaml:23:42: budget.target.accuracy: a target is about the objective's metric, which is `f1`
        x.yaml:21:13: objectives: this would look for the worst loss
        x.yaml:23:42: budget.target.accuracy: a target is about the objective's metric, which is `loss`
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
        x.yaml:4:3: network: two blocks of this list have the name "a"
        x.yaml:13:29: network[2].name: the name is given twice, here and inside `conv`
        x.yaml:12:13: the key "plain" is given a second time; the first is in line 10
        x.yaml:13:19: anchors (&name) are not read; write the part out where it is needed
        x.yaml:4:3: network: the space has 34087075 blocks, every alternative counted and every repeat at its maximum; at most 100000 are allowed
        x.yaml:4:3: network: the space has 262153 decisions, every alternative counted and every repeat at its maximum; at most 10000 are allowed
        x.yaml:1:1: there is nothing to search; give a `network` or `hyperparameters`
        x.yaml:1:1: `network` is missing: the trainer trains networks (for a program of your own, say `evaluator:` and `hyperparameters:`)
        x.yaml:1:1: training: `epochs` is missing: the trainer must know how long to train
        x.yaml:2:18: hyperparameters: the trainer reads no hyperparameters; they are for an `evaluator` of your own
        x.yaml:1:1: a map is expected here, with `name`, `dataset`, `network`, `training`, `hyperparameters`, `evaluator`, `searcher`, `objectives`, `constraints`, `budget`, `parallel`, `seed` or `attempts`
        x.yaml:1:1: `network` is missing: the trainer trains networks (for a program of your own, say `evaluator:` and `hyperparameters:`)
        x.yaml:1:1: training: `epochs` is missing: the trainer must know how long to train
        "#);
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
