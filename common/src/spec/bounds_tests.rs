//! Specs at their bounds and beyond: refused with a reason, or read in good time.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;

use super::read;
use super::tests::{CELLS, space};
use crate::space::{MAX_NESTING, Space, fashion_mnist};

/// Far above what is needed, for machines that are busy; release builds are measured by `make bench-space`.
const LONG: Duration = Duration::from_secs(15);

fn refusal(text: &str) -> String {
    let start = Instant::now();
    let errors = read(text, "x.yaml").unwrap_err();
    assert!(start.elapsed() < LONG, "{:?}", start.elapsed());
    assert_eq!(errors.0.len(), 1, "{errors}");
    errors.to_string()
}

/// A spec with these blocks and this network.
fn spec(blocks: &str, network: &str) -> String {
    let blocks = if blocks.is_empty() {
        String::new()
    } else {
        format!("blocks:\n{blocks}")
    };
    format!(
        "name: x\ndataset: {{format: idx, path: x, validation: 1}}\ntraining: {{epochs: 1}}\nobjectives: [{{maximize: accuracy}}]\nbudget: {{trials: 1}}\n{blocks}network:\n{network}  - global_avg_pool\n  - linear: {{features: classes}}\n"
    )
}

#[test]
fn a_spec_of_fifty_megabytes_is_refused_for_its_size() {
    let text = CELLS.to_owned() + &"# comment\n".repeat(5_000_000);
    let refusal = refusal(&text);
    assert!(
        refusal.contains("50000") && refusal.contains("at most 1048576 are read"),
        "{refusal}"
    );
}

#[test]
fn bombs_are_refused_before_they_grow() {
    let mut laughs = "a: &a [x, x]\n".to_owned();
    for (name, before) in ('b'..='z').zip('a'..='y') {
        let _ = writeln!(laughs, "{name}: &{name} [*{before}, *{before}, *{before}]");
    }
    assert!(refusal(&laughs).contains("anchors (&name) are not read"));
    let many = CELLS.to_owned() + "tie: {a: {choice: [" + &"1, ".repeat(300_000) + "1]}}\n";
    assert!(refusal(&many).contains("more than 250000 values"));
    let wide = CELLS.to_owned() + "tie: {a: {choice: [" + &"1, ".repeat(200_000) + "1]}}\n";
    assert!(refusal(&wide).contains("this one 200001"));
    assert!(refusal(&"[".repeat(1_000_000)).contains("not YAML"));
}

#[test]
fn ten_thousand_decisions_are_read_and_counted_in_good_time() {
    let line = "  - {conv: {channels: {choice: [8, 16]}, kernel: {choice: [1, 3]}}}\n";
    let start = Instant::now();
    let space = space(&spec("", &line.repeat(5_000)));
    assert_eq!(space.count().decisions, 10_000);
    assert!((space.size().log10 - 10_000.0 * 2_f64.log10()).abs() < 1e-6);
    assert_eq!(space.first().0.len(), 10_000);
    assert!(start.elapsed() < LONG, "{:?}", start.elapsed());
    let more = spec("", &line.repeat(5_001));
    assert!(refusal(&more).contains("10002 decisions"));
}

/// A space of `count` blocks that may be left out, each with two decisions that are made once for several places.
fn of_optional_blocks(count: usize, tie: bool) -> Space {
    let (mut once, mut blocks) = (String::new(), String::new());
    for index in 0..count / 3 {
        let _ = writeln!(
            once,
            "  t{index}: {}",
            if tie {
                "{choice: [1, 3, 5]}"
            } else {
                "[{conv: {kernel: {choice: [1, 3, 5]}}}]"
            }
        );
    }
    let used = |index: usize| match tie {
        true => format!("{{conv: {{kernel: $t{index}}}}}"),
        false => format!("{{use: t{index}, shared: true}}"),
    };
    for index in 0..count {
        let (one, other) = (index % (count / 3), index * 7 % (count / 3));
        let _ = writeln!(blocks, "  - optional: [{}, {}]", used(one), used(other));
    }
    let (ties, defined) = if tie {
        (once.as_str(), "")
    } else {
        ("", once.as_str())
    };
    let text = spec(defined, &blocks);
    space(&match tie {
        true => text.replacen("network:\n", &format!("tie:\n{ties}network:\n"), 1),
        false => text,
    })
}

#[test]
fn decisions_that_optional_blocks_share_are_counted_in_good_time() {
    // By inclusion and exclusion, over the sets of what is decided once.
    let blocks_within = |set: u32| {
        let within = |index: &u32| set >> (index % 12) & 1 == 1 && set >> (index * 7 % 12) & 1 == 1;
        (0..36).filter(within).count() as u32
    };
    let all = (0..1 << 12).map(|set: u32| {
        let held = set.count_ones();
        2_i128.pow(blocks_within(set)) * 3_i128.pow(held) * (-2_i128).pow(12 - held)
    });
    let exact: i128 = all.sum();
    for tie in [true, false] {
        let small = of_optional_blocks(36, tie).size();
        assert_eq!(small.candidates, u128::try_from(exact).ok(), "{small:?}");
        for count in [90, 600, 3_000] {
            let start = Instant::now();
            let space = of_optional_blocks(count, tie);
            let (decisions, size) = (space.count().decisions, space.size());
            assert_eq!(decisions, count as u64 * 4 / 3);
            // Every block taken or not, and every shared decision made: hardly more than there are.
            let most = count as f64 * 2_f64.log10() + (count / 3) as f64 * 3_f64.log10();
            assert!(size.at_most && size.candidates.is_none(), "{size:?}");
            assert!(
                size.log10 > 0.95 * most && size.log10 < most + 1e-6,
                "{size:?} {most}"
            );
            assert!(start.elapsed() < LONG, "{count}: {:?}", start.elapsed());
        }
    }
}

#[test]
fn a_definition_that_is_used_with_too_many_arguments_is_refused_before_it_is_gone_through() {
    let mut blocks = "  b:\n    parameters: [k]\n    block:\n".to_owned();
    blocks.push_str(&"      - relu\n".repeat(5_000));
    blocks.push_str("      - conv: {channels: $k}\n");
    let mut network = "  - choice:\n".to_owned();
    for index in 0..1_000 {
        let _ = writeln!(
            network,
            "      a{index}: [{{use: b, with: {{k: {}}}}}]",
            index + 1
        );
    }
    let refusal = refusal(&spec(&blocks, &network));
    assert!(refusal.contains("more than 1000000 steps"), "{refusal}");
}

#[test]
fn a_wrong_word_of_very_many_is_told_in_good_time() {
    let mut blocks = String::new();
    for index in 0..8_000 {
        let _ = writeln!(
            blocks,
            "  - {{conv: {{kernel: 1}}, name: nnnnnnnnnnnn{index}}}"
        );
    }
    for index in 0..8_000 {
        let _ = writeln!(blocks, "  - from: nnnnnnnnnnnm{index}");
    }
    let start = Instant::now();
    let errors = read(&spec("", &blocks), "x.yaml").unwrap_err();
    let near = errors.0[0].suggestion.as_deref();
    assert_eq!(near, Some("nnnnnnnnnnnn0"));
    assert!(start.elapsed() < LONG, "{:?}", start.elapsed());
}

#[test]
fn shared_uses_with_very_many_arguments_are_drawn_in_good_time() {
    let blocks =
        "  b: {parameters: [k], block: [{conv: {kernel: {choice: [1, 3]}, channels: $k}}]}\n";
    let mut network = String::new();
    for index in 0..9_000 {
        let _ = writeln!(
            network,
            "  - optional: [{{use: b, shared: true, with: {{k: {}}}}}]",
            index + 1
        );
    }
    let space = space(&spec(blocks, &network));
    let start = Instant::now();
    let last = space.first();
    assert_eq!(last.0.len(), 9_000);
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    assert!(space.sample(&mut rng).0.len() == 9_001);
    assert!(start.elapsed() < LONG, "{:?}", start.elapsed());
}

/// Definitions that use each other in a chain.
fn chain(length: u64) -> String {
    let mut blocks = String::new();
    for index in 0..length {
        let _ = writeln!(blocks, "  b{index}: [{{use: b{}}}]", index + 1);
    }
    let _ = writeln!(blocks, "  b{length}: [relu]");
    spec(&blocks, "  - use: b0\n")
}

#[test]
fn a_chain_of_uses_may_be_as_long_as_lists_may_nest() {
    // One list for each definition, and the network's own.
    let deepest = space(&chain(MAX_NESTING - 2));
    assert_eq!(deepest.count().nesting, MAX_NESTING);
    let built = deepest.build(&deepest.first(), Some(&fashion_mnist()));
    assert_eq!(built.unwrap().network.unwrap().nodes.len(), 4);
    assert!(refusal(&chain(MAX_NESTING - 1)).contains("nested deeper than 128"));
    assert!(refusal(&chain(900)).contains("nested deeper than 128"));
}

#[test]
fn definitions_that_double_each_other_are_counted_without_being_gone_through() {
    let mut blocks = String::new();
    for index in 0..60 {
        let next = index + 1;
        let _ = writeln!(blocks, "  b{index}: [{{use: b{next}}}, {{use: b{next}}}]");
    }
    blocks.push_str("  b60: [{conv: {kernel: {choice: [1, 3]}}}]\n");
    assert!(refusal(&spec(&blocks, "  - use: b0\n")).contains("decisions, every alternative"));
}

#[test]
fn a_recursion_of_many_states_is_counted_once_for_each() {
    // Two definitions use each other, 16 deep both: 289 states, and more ways through them than can be counted.
    let blocks = "  a: {depth: 16, choice: {x: [{use: b}], y: [], z: [conv]}}\n  b: {depth: 16, choice: {x: [{use: a}], y: [relu]}}\n";
    let start = Instant::now();
    let space = space(&spec(blocks, "  - use: a\n"));
    assert!(space.size().candidates.is_some_and(|count| count > 30));
    assert!(start.elapsed() < LONG, "{:?}", start.elapsed());
}
