//! Tests of the reader: good specs, a corpus of bad ones, and texts that are no specs at all.

use std::time::{Duration, Instant};

use proptest::prelude::*;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::{EvaluatorSpec, SearcherSpec, Spec, read};
use crate::candidate::DecisionPath;
use crate::presets;
use crate::space::{MAX_DECISIONS, Space, fashion_mnist};

pub(super) const FASHION: &str = include_str!("../../../examples/fashion-mnist.yaml");
pub(super) const OWN_PROGRAM: &str = include_str!("../../../examples/own-program.yaml");

/// The example of the design, without the parts that are not offered yet.
pub(super) const CELLS: &str = "\
name: fashion-cells
dataset: {format: idx, path: fashion-mnist, train: 20000, validation: 5000}
network:
  - conv: {channels: {choice: [16, 32]}, kernel: 3, stride: 2}
  - repeat:
      name: body
      times: {range: [1, 3]}
      block:
        - choice:
            plain: [{residual: [{conv: {kernel: {choice: [3, 5]}}}, batch_norm, relu]}]
            separable: [{conv: {kernel: 5, groups: depthwise}}, {conv: {kernel: 1}}, batch_norm, relu]
            skip: []
  - global_avg_pool
  - linear: {features: classes}
training:
  epochs: 3
  batch_size: 128
  optimizer: {sgd: {learning_rate: {range: [0.01, 0.3], scale: log}, momentum: 0.9, weight_decay: 5e-4}}
  schedule: cosine
searcher: evolution
objectives: [{maximize: accuracy}]
constraints: [{parameters: {at_most: 300k}}]
budget: {trials: 24, time: 10m, target: {accuracy: 0.92}, patience: 40}
parallel: 16
seed: 1
";

/// Every block and every form of a setting.
pub(super) const EVERYTHING: &str = include_str!("everything.yaml");

/// A grammar with a tie.
pub(super) const HIERARCHICAL: &str = include_str!("hierarchical.yaml");

/// Hyperparameters that hold others.
pub(super) const CONDITIONAL: &str = include_str!("conditional.yaml");

/// The space of a good spec.
pub(super) fn space(text: &str) -> Space {
    read(text, "x.yaml")
        .unwrap_or_else(|errors| panic!("{errors}"))
        .space
}

/// Good specs, the ones above and one for every preset, with its text written out.
pub(super) fn corpus() -> Vec<String> {
    let mut corpus: Vec<String> = [
        FASHION,
        OWN_PROGRAM,
        CELLS,
        EVERYTHING,
        HIERARCHICAL,
        CONDITIONAL,
    ]
    .map(str::to_owned)
    .into();
    corpus.extend(presets::all().iter().map(|preset| {
        format!(
            "name: x\ndataset: {{format: idx, path: x, validation: 1}}\nobjectives: [{{maximize: accuracy}}]\nbudget: {{trials: 1}}\n{}",
            preset.text
        )
    }));
    corpus
}

fn good(text: &str) -> Spec {
    match read(text, "x.yaml") {
        Ok(spec) => spec,
        Err(errors) => panic!("{errors}"),
    }
}

#[test]
fn the_example_of_the_design_is_read_with_its_defaults() {
    let spec = good(CELLS);
    assert_eq!(spec.name, "fashion-cells");
    assert_eq!(spec.budget.time_ms, Some(600_000));
    assert_eq!(spec.budget.target, Some(0.92));
    assert_eq!(spec.constraints[0].at_most, Some(300_000));
    assert_eq!((spec.parallel, spec.seed, spec.attempts), (Some(16), 1, 3));
    assert_eq!(spec.searcher, SearcherSpec::default());
    assert_eq!(spec.evaluator, EvaluatorSpec::Named("trainer".to_owned()));
    // 2 channels x (5 + 5^2... ) with 2 kernels + separable + skip = 4 ways for each of 1 to 3 rounds.
    let size = spec.space.size();
    assert!((size.log10 - 2_f64.log10() - (4_f64 + 16.0 + 64.0).log10()).abs() < 1e-9);
    assert_eq!(size.continuous, 1);
}

#[test]
fn every_bare_word_is_a_block() {
    for word in super::words::block_words() {
        let bare = super::words::argument(word).is_some_and(super::words::is_bare);
        let text = CELLS.replace("- global_avg_pool", &format!("- {word}"));
        match read(&text, "x.yaml") {
            Ok(spec) => assert!(
                bare && spec.space.network.is_some_and(|blocks| blocks.len() == 4),
                "{word}"
            ),
            Err(errors) => assert!(!bare, "{errors}"),
        }
    }
}

#[test]
fn the_examples_are_read_and_survive_the_journal() {
    for text in corpus() {
        let spec = good(&text);
        let json = serde_json::to_string(&spec).unwrap();
        assert_eq!(serde_json::from_str::<Spec>(&json).unwrap(), spec);
    }
}

/// As the first journals hold it: no definitions, ties, weights or second lists.
const OLD_SPACE: &str = r#"{"network": [
    {"name": "stem", "kind": {"layer": {"conv": {"channels": {"decide": {"choice": [16, 32]}}, "kernel": {"fixed": 3},
        "stride": {"fixed": 2}, "padding": null, "groups": {"fixed": {"count": 1}}, "dilation": {"fixed": 1}, "bias": null}}}},
    {"kind": {"layer": "batch_norm"}},
    {"kind": {"layer": {"activation": {"fixed": "relu"}}}},
    {"kind": {"repeat": {"times": {"decide": {"integer": {"low": 1, "high": 3, "step": 1, "scale": "linear"}}}, "shared": false,
        "block": [{"kind": {"choice": [{"name": "plain", "blocks": [{"kind": {"residual": []}}]}, {"name": "skip", "blocks": []}]}}]}}},
    {"kind": {"branches": {"join": {"fixed": "add"}, "of": [[], []]}}},
    {"kind": {"optional": [{"kind": {"layer": {"dropout": {"rate": {"fixed": 0.5}}}}}]}},
    {"kind": {"layer": "global_avg_pool"}},
    {"kind": {"layer": {"linear": {"features": {"fixed": "classes"}, "bias": {"fixed": true}}}}}],
  "training": {"epochs": 1, "batch_size": {"fixed": 128}, "optimizer": [{"adamw": {"learning_rate": {"fixed": 0.001},
    "weight_decay": {"fixed": 0.01}}}], "schedule": [{"cosine": {"warmup_epochs": {"fixed": 0.0}}}], "label_smoothing": {"fixed": 0.0}},
  "hyperparameters": {"a": {"decide": {"real": {"low": 0.0, "high": 1.0, "scale": "linear", "step": null}}}}}"#;

#[test]
fn a_space_of_an_older_journal_is_read() {
    let space: Space = serde_json::from_str(OLD_SPACE).unwrap();
    // 2 channels, 1 to 3 rounds of 2 alternatives, and what is optional.
    assert_eq!(space.size().candidates, Some(2 * (2 + 4 + 8) * 2));
    assert!(space.build(&space.first(), Some(&fashion_mnist())).is_ok());
    let path = DecisionPath("network.stem.channels".to_owned());
    assert!(space.first().get(&path).is_some());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn no_text_makes_the_reader_panic(text in "\\PC{0,200}") {
        let _ = read(&text, "x.yaml");
    }

    #[test]
    fn no_yaml_like_text_makes_the_reader_panic(
        text in "([a-z]{1,6}|[-:,{}\\[\\]'\"&*!|>#%@`?~]|[0-9.]{1,4}|\\n {0,6}| ){0,80}"
    ) {
        let _ = read(&text, "x.yaml");
    }

    #[test]
    fn no_change_of_a_good_spec_makes_the_reader_panic(which: prop::sample::Index, changes in changes()) {
        let corpus = corpus();
        let text = change(&corpus[which.index(corpus.len())], &changes);
        let start = Instant::now();
        if let Ok(spec) = read(&text, "x.yaml") {
            prop_assert!(spec.space.count().decisions <= MAX_DECISIONS);
            // What is read can be sampled and built to an end, for better or worse.
            let candidate = spec.space.sample(&mut ChaCha8Rng::seed_from_u64(1));
            prop_assert!(spec.space.resolve(&candidate).is_ok());
            let _ = spec.space.build(&candidate, Some(&fashion_mnist()));
        }
        // Far above what any text takes, even where the machine is busy; an endless one takes longer.
        prop_assert!(start.elapsed() < Duration::from_secs(20));
    }
}

/// A change of a text: where, what to copy there, and how much to replace.
pub(super) type Change = (prop::sample::Index, prop::sample::Index, usize);

pub(super) fn changes() -> impl Strategy<Value = Vec<Change>> {
    let change = (
        any::<prop::sample::Index>(),
        any::<prop::sample::Index>(),
        0_usize..12,
    );
    prop::collection::vec(change, 1..6)
}

/// `text` with pieces of itself copied over others.
pub(super) fn change(text: &str, changes: &[Change]) -> String {
    let mut text: Vec<char> = text.chars().collect();
    for (place, other, length) in changes {
        let (from, to) = (place.index(text.len()), other.index(text.len()));
        let piece: Vec<char> = text[to..(to + length).min(text.len())].to_vec();
        let end = (from + length).min(text.len());
        text.splice(from..end, piece);
        if text.is_empty() {
            text.push('a');
        }
    }
    text.into_iter().collect()
}

#[test]
fn a_table_with_a_mistake_is_refused_with_its_place() {
    const TABLE: &str = "\
name: t
hyperparameters: {kernel: {choice: [3, 5]}}
evaluator:
  table:
    path: t.csv
    decisions: {k: kernel}
    metrics: {accuracy: {1: a1, 4: a4}}
objectives: [{maximize: accuracy}]
budget: {trials: 5}
";
    good(TABLE);
    let wrong = |from: &str, to: &str| {
        assert!(TABLE.contains(from), "{from}");
        read(&TABLE.replace(from, to), "t.yaml")
            .unwrap_err()
            .to_string()
    };
    let all = [
        wrong("path: t.csv", "path: ../t.csv"),
        wrong("{k: kernel}", "{}"),
        wrong("{k: kernel}", "[kernel]"),
        wrong("{k: kernel}", "{k: {decision: kernel, value: {}}}"),
        wrong("metrics:", "metric:"),
        wrong("{1: a1, 4: a4}", "{one: a1, 4: a4}"),
        wrong("{accuracy: {1: a1, 4: a4}}", "{accurcy: a1}"),
        wrong("4: a4}}", "4: a4}, loss: {2: l2}}"),
        wrong("4: a4}}", "4: a4}}\n    cost: seconds"),
        wrong("4: a4}}", "4: a4}}\n    classes: 10"),
        wrong("4: a4}}", "4: a4}}\n    input: [3, 32]\n    classes: 10"),
        wrong("budget:", "training: {epochs: 0}\nbudget:"),
        wrong("budget:", "repeat: always\nbudget:"),
        wrong("  table:", "  command: [x]\n  table:"),
        wrong(
            "budget:",
            "network: [flatten, {linear: {features: classes}}]\nbudget:",
        ),
    ];
    insta::assert_snapshot!(all.join("\n"));
}
