//! The spaces whose candidates are compared with PyTorch, from `spaces.json`: shared by the test of the golden
//! files and by the example that feeds PyTorch. To add one, add its line there and run `make goldens`.
#![allow(dead_code, unreachable_pub)] // Each user uses another part.

use std::path::{Path, PathBuf};

use espalier_common::dataset::{DatasetFormat, DatasetInfo, DatasetReference};
use espalier_common::ids::Digest;
use espalier_common::network::{Network, Shape};
use espalier_common::space::Space;
use espalier_common::spec;
use serde::Deserialize;
use tch::{Device, Kind, Tensor};

/// A space with the data it is built for.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    name: String,
    /// A file beside `spaces.json`: `network` and `training` of a spec, with what they use.
    spec: Option<String>,
    /// Or a preset.
    preset: Option<String>,
    input: Shape,
    classes: u32,
    vocabulary: Option<u32>,
}

/// A space with a description of data it fits.
pub struct GoldenSpace {
    /// Its name, which is that of its golden file.
    pub name: String,
    /// The preset that it is, if it is one.
    pub preset: Option<String>,
    /// The space.
    pub space: Space,
    /// The data.
    pub data: DatasetInfo,
}

/// The folder of the golden files.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("goldens")
}

/// All of them, in the order of the list.
pub fn spaces() -> Vec<GoldenSpace> {
    let text = std::fs::read_to_string(folder().join("spaces.json")).expect("spaces.json is there");
    let lines: Vec<Line> = serde_json::from_str(&text).expect("spaces.json has the right form");
    lines.into_iter().map(space).collect()
}

fn space(line: Line) -> GoldenSpace {
    let parts = match (&line.spec, &line.preset) {
        (Some(file), None) => {
            std::fs::read_to_string(folder().join(file)).expect("the spec is there")
        }
        (None, Some(preset)) => format!("preset: {preset}\n"),
        _ => panic!("{}: either a spec or a preset", line.name),
    };
    let text = format!(
        "name: {}\ndataset: {{format: idx, path: x, validation: 1}}\nobjectives: [{{maximize: accuracy}}]\nbudget: {{trials: 1}}\n{parts}",
        line.name
    );
    let spec = spec::read(&text, &line.name).unwrap_or_else(|errors| panic!("{errors}"));
    GoldenSpace {
        space: spec.space,
        data: DatasetInfo {
            reference: DatasetReference {
                format: DatasetFormat::Idx,
                path: "x".to_owned(),
                train: None,
                validation: 1,
                split_seed: 0,
            },
            fingerprint: Digest::of(b"no data are read"),
            input: line.input,
            classes: line.classes,
            vocabulary: line.vocabulary,
            train: 100,
            validation: 1,
            test: 0,
        },
        name: line.name,
        preset: line.preset,
    }
}

/// So many examples by chance that fit the network's input, drawn on the CPU.
pub fn batch(network: &Network, examples: i64) -> Tensor {
    let shape = &network.nodes[0].shape;
    let size: Vec<i64> = std::iter::once(examples)
        .chain(shape.0.iter().map(|&(_, length)| length as i64))
        .collect();
    match shape.as_tokens() {
        // Below every vocabulary in the list.
        Some(_) => Tensor::randint(20, size, (Kind::Int64, Device::Cpu)),
        None => Tensor::randn(size, (Kind::Float, Device::Cpu)),
    }
}
