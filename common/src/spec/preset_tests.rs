//! Presets: every one is a sound space, and a spec can override its parts.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::{Spec, read};
use crate::candidate::{Candidate, DecisionPath, Value};
use crate::dataset::DatasetInfo;
use crate::ids::Digest;
use crate::network::Shape;
use crate::presets;
use crate::space::{Size, fashion_mnist};

/// A spec with a preset and some lines more.
fn spec(preset: &str, more: &str) -> String {
    format!(
        "name: x\npreset: {preset}\ndataset: {{format: idx, path: x, validation: 1}}\nobjectives: [{{maximize: accuracy}}]\nbudget: {{trials: 1}}\n{more}"
    )
}

pub(super) fn taken(preset: &str, more: &str) -> Spec {
    read(&spec(preset, more), "x.yaml").unwrap_or_else(|errors| panic!("{errors}"))
}

#[test]
fn every_preset_is_sound_without_warnings_and_says_what_it_is() {
    for preset in presets::all() {
        let text = spec(preset.name, "");
        let (_, warnings) =
            super::read_warned(&text, "x.yaml").unwrap_or_else(|errors| panic!("{errors}"));
        assert_eq!(warnings, []);
        assert!(
            preset.about().len() > 40 && preset.about().ends_with('.'),
            "{}",
            preset.about()
        );
        assert_eq!(presets::find(preset.name), Some(preset));
        // What `preset:` takes can also be written out.
        let whole =
            spec(preset.name, preset.text).replace(&format!("preset: {}\n", preset.name), "");
        assert_eq!(read(&whole, "x.yaml").ok(), read(&text, "x.yaml").ok());
    }
}

#[test]
fn the_sizes_of_the_presets_are_those_of_their_papers() {
    let size = |preset: &str| -> Size { taken(preset, "").space.size() };
    // Two cells; in each, nodes with 2 to 5 before them take two, and one of seven operations on both edges.
    let cell = [1_u128, 3, 6, 10]
        .iter()
        .map(|pairs| pairs * 49)
        .product::<u128>();
    assert_eq!(size("darts").candidates, Some(cell * cell));
    assert_eq!(size("darts").continuous, 0);
    assert_eq!(size("nas-bench-201").candidates, Some(15_625));
}

/// The shape of an example that fits a preset.
pub(super) fn data_of(preset: &str) -> DatasetInfo {
    let mut data = fashion_mnist();
    data.classes = 10;
    match preset {
        "transformer" | "text-cnn" => {
            data.input = Shape::tokens(40);
            data.vocabulary = Some(1_000);
        }
        _ => data.input = Shape::image(3, 32, 32),
    }
    data
}

#[test]
fn candidates_of_every_preset_can_be_built() {
    for preset in presets::all() {
        let spec = taken(preset.name, "");
        let data = data_of(preset.name);
        let mut rng = ChaCha8Rng::seed_from_u64(7);
        for _ in 0..20 {
            let candidate = spec.space.sample(&mut rng);
            if let Err(error) = spec.space.build(&candidate, Some(&data)) {
                panic!("{}: {error}", preset.name);
            }
        }
    }
}

/// The digest of every line `codes parameters multiply-accumulates` of the published table, in the order of the codes.
const EVERY_ROW: &str = "ad3a2f58800a7915e436c8db205d849e1573aaa25c72eeace072019282eb9a91";

/// Counts cells of NAS-Bench-201, each written as six codes of operations.
struct Counter {
    spec: Spec,
    data: DatasetInfo,
}

impl Counter {
    const OPERATIONS: [&str; 5] = [
        "none",
        "skip_connect",
        "nor_conv_1x1",
        "nor_conv_3x3",
        "avg_pool_3x3",
    ];
    const EDGES: [&str; 6] = ["0-1", "0-2", "1-2", "0-3", "1-3", "2-3"];

    fn new() -> Self {
        Self {
            spec: taken("nas-bench-201", ""),
            data: data_of("nas-bench-201"),
        }
    }

    /// The line of a cell.
    fn line(&self, codes: [usize; 6]) -> String {
        let decisions = Self::EDGES.iter().zip(codes).map(|(edge, code)| {
            let path = DecisionPath(format!("blocks.cell.edge[{edge}].choice"));
            (path, Value::Text(Self::OPERATIONS[code].to_owned()))
        });
        let candidate = Candidate(decisions.collect());
        let built = self.spec.space.build(&candidate, Some(&self.data)).unwrap();
        line(codes, built.parameters.unwrap(), built.macs.unwrap())
    }
}

fn line(codes: [usize; 6], parameters: u64, macs: u64) -> String {
    let codes = codes.map(|code| code.to_string()).join(" ");
    format!("{codes} {parameters} {macs}")
}

/// The line of a row of the table: the codes come first, the counts (in millions) are at `counts` and after it.
fn published(fields: &[&str], codes: usize, counts: usize) -> ([usize; 6], String) {
    let codes = [0, 1, 2, 3, 4, 5].map(|edge| fields[codes + edge].parse().unwrap());
    let [parameters, flops] =
        [counts, counts + 1].map(|at| (fields[at].parse::<f64>().unwrap() * 1e6).round() as u64);
    // The table counts the biases of the last layer, one for each class.
    (codes, line(codes, parameters, flops - 10))
}

#[test]
fn nas_bench_201_has_the_counts_of_the_published_table() {
    let sample = include_str!("../presets/nas-bench-201.counts");
    let counter = Counter::new();
    assert_eq!(sample.lines().count(), 51);
    for row in sample.lines().skip(1) {
        let fields: Vec<_> = row.split(' ').collect();
        let (codes, line) = published(&fields, 0, 6);
        assert_eq!(counter.line(codes), line);
    }
}

/// What differs is said by the test that reads the table.
#[test]
fn nas_bench_201_has_the_counts_of_every_row_of_the_published_table() {
    let counter = Counter::new();
    let mut lines = String::new();
    for number in 0..15_625 {
        let codes = [3_125, 625, 125, 25, 5, 1].map(|place| number / place % 5);
        lines += &counter.line(codes);
        lines.push('\n');
    }
    assert_eq!(Digest::of(lines.as_bytes()).to_string(), EVERY_ROW);
}

#[test]
#[ignore = "needs the published table: TABLES=FOLDER make test-tables"]
fn nas_bench_201_has_the_counts_of_every_row_of_the_table_that_is_named() {
    let folder = std::env::var_os("TABLES").unwrap();
    let path = std::path::Path::new(&folder).join("nb201.csv.gz");
    let unpacked = std::process::Command::new("gzip")
        .arg("-dc")
        .arg(path)
        .output();
    let table = String::from_utf8(unpacked.unwrap().stdout).unwrap();
    let header: Vec<_> = table.lines().next().unwrap().split(',').collect();
    let column = |name: &str| header.iter().position(|other| *other == name).unwrap();
    let (codes, counts) = (column("op_01"), column("params_m"));
    assert_eq!(column("flops_m_c10"), counts + 1);
    let counter = Counter::new();
    let mut rows: Vec<_> = (table.lines().skip(1))
        .map(|row| published(&row.split(',').collect::<Vec<_>>(), codes, counts))
        .collect();
    rows.sort();
    for (codes, line) in &rows {
        assert_eq!(counter.line(*codes), *line);
    }
    let lines: String = rows.iter().map(|(_, line)| format!("{line}\n")).collect();
    assert_eq!(Digest::of(lines.as_bytes()).to_string(), EVERY_ROW);
}

#[test]
fn a_spec_overrides_parts_of_its_preset() {
    let spec = taken(
        "resnet",
        "training: {epochs: 3}\ntie: {inner: 8}\nblocks: {plain: {parameters: [channels, stride], block: [{conv: {channels: $channels, stride: $stride}}]}}",
    );
    assert_eq!(spec.space.training.epochs, 3);
    assert!(
        spec.space.training.optimizer[0].word() == "sgd",
        "the preset's"
    );
    assert_eq!(spec.space.blocks.len(), 3);
    assert_eq!(spec.space.blocks["plain"].body.blocks().len(), 1);
    let own = taken("mlp", "network: [flatten, {linear: {features: classes}}]");
    assert_eq!(own.space.network.map(|blocks| blocks.len()), Some(2));
}

#[test]
fn a_mistake_that_shows_in_a_preset_is_told_with_the_presets_name() {
    let refusal =
        |preset: &str, more: &str| read(&spec(preset, more), "x.yaml").unwrap_err().to_string();
    insta::assert_snapshot!(refusal("resnet", "tie: {inner: 0.5}"), @r#"
        preset resnet:18:30: blocks.bottleneck.block[0].residual[0].conv.channels: `$inner` does not fit here: 0.5 is not a whole number (the tie is in line 6 of x.yaml)
        preset resnet:21:30: blocks.bottleneck.block[0].residual[3].conv.channels: `$inner` does not fit here: 0.5 is not a whole number (the tie is in line 6 of x.yaml)
        "#);
    insta::assert_snapshot!(refusal("resnet", "blocks: {plain: []}"), @r#"
        preset resnet:32:31: blocks.stage.choice.plain[0].with.channels: `plain` has no such parameter
        preset resnet:32:52: blocks.stage.choice.plain[0].with.stride: `plain` has no such parameter
        preset resnet:33:72: blocks.stage.choice.plain[1].repeat.block[0].with.channels: `plain` has no such parameter
        preset resnet:33:93: blocks.stage.choice.plain[1].repeat.block[0].with.stride: `plain` has no such parameter
        "#);
    insta::assert_snapshot!(refusal("resnett", ""), @r#"
        x.yaml:2:9: preset: "resnett" is not one of darts, mlp, mobilenet, nas-bench-201, resnet, text-cnn, transformer; did you mean "resnet"?
        "#);
}
