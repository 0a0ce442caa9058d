//! Tests of the reader: good specs, a corpus of bad ones, and texts that are no specs at all.

use proptest::prelude::*;

use super::{EvaluatorSpec, SearcherSpec, Spec, read};

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
    for text in [FASHION, OWN_PROGRAM, CELLS, EVERYTHING] {
        let spec = good(text);
        let json = serde_json::to_string(&spec).unwrap();
        assert_eq!(serde_json::from_str::<Spec>(&json).unwrap(), spec);
    }
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
    fn no_change_of_a_good_spec_makes_the_reader_panic(which in 0_usize..4, changes in changes()) {
        let text = change([FASHION, OWN_PROGRAM, CELLS, EVERYTHING][which], &changes);
        if let Ok(spec) = read(&text, "x.yaml") {
            prop_assert!(spec.space.count().decisions <= crate::space::MAX_DECISIONS);
        }
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
