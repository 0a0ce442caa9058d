//! Images per second of training a small network on Fashion-MNIST, for `make bench-trainer`. Usage:
//! `speed DATA_ROOT THREADS [DEVICE [WIDTH]]`. WIDTH multiplies the numbers of channels. Prints one number.

use std::path::Path;

use anyhow::Context;
use espalier_common::dataset::{DatasetFormat, DatasetReference};
use espalier_common::network::{Activation, Builder, Convolution, Network, Op, Shape};
use espalier_common::recipe::{Optimizer, Recipe, Schedule};
use espalier_data::{MappedDataset, Split, inspect, prepare};
use espalier_trainer::device;
use espalier_trainer::error::JobError;
use espalier_trainer::feed::Feed;
use espalier_trainer::lower::Model;
use espalier_trainer::train::{Epoch, Session, Training};

/// Keeps the speed of the last epoch: the first one warms caches and memory pools.
struct Last(f64);

impl Session for Last {
    fn between_batches(&mut self, _: f64) -> Result<(), JobError> {
        Ok(())
    }

    fn begins_anew(&mut self, why: &JobError) -> Result<(), JobError> {
        unreachable!("there is no checkpoint: {why}")
    }

    fn measured(&mut self, epoch: Epoch) -> Result<(), JobError> {
        self.0 = epoch.images_per_second;
        Ok(())
    }
}

/// Three strided convolutions of 16, 32 and 64 times `width` channels with batch normalisation.
fn network(input: Shape, classes: u64, width: u64) -> anyhow::Result<Network> {
    let mut builder = Builder::new(input);
    let (mut node, mut channels) = (0, 1);
    for (block, width) in [16, 32, 64]
        .map(|channels| channels * width)
        .into_iter()
        .enumerate()
    {
        let conv = Op::Conv2d(Convolution {
            in_channels: channels,
            out_channels: width,
            kernel: 3,
            stride: 2,
            padding: 1,
            dilation: 1,
            groups: 1,
            bias: false,
        });
        let norm = Op::BatchNorm { channels: width };
        for (name, op) in [
            ("conv", conv),
            ("norm", norm),
            ("relu", Op::Activation(Activation::Relu)),
        ] {
            node = builder.push(format!("{name}{block}"), op, vec![node])?;
        }
        channels = width;
    }
    node = builder.push("pool".to_owned(), Op::GlobalAvgPool, vec![node])?;
    let linear = Op::Linear {
        in_features: channels,
        out_features: classes,
        bias: true,
    };
    node = builder.push("linear".to_owned(), linear, vec![node])?;
    Ok(builder.finish(node)?)
}

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, root, threads, more @ ..] = arguments.as_slice() else {
        anyhow::bail!("usage: speed DATA_ROOT THREADS [DEVICE [WIDTH]]");
    };
    device::load_cuda().map_err(anyhow::Error::msg)?;
    let device = device::find(more.first().map_or("cpu", String::as_str))?;
    let width = more
        .get(1)
        .map_or(Ok(1), |width| width.parse())
        .context("WIDTH is a number")?;
    let reference = DatasetReference {
        format: DatasetFormat::Idx,
        path: "fashion-mnist".to_owned(),
        train: Some(25_600),
        validation: 1_000,
        split_seed: 1,
    };
    let root = Path::new(root);
    let info = inspect(root, &reference)?;
    let cache = tempfile::tempdir()?;
    let data = MappedDataset::open(&prepare(root, cache.path(), &info)?, &info)?;
    tch::set_num_interop_threads(1);
    tch::set_num_threads(threads.parse().context("THREADS is a number")?);
    tch::manual_seed(1);
    let model = Model::new(
        &network(info.input.clone(), u64::from(info.classes), width)?,
        device,
    )?;
    let recipe = Recipe {
        epochs: 3,
        batch_size: 128,
        optimizer: Optimizer::Sgd {
            learning_rate: 0.1,
            momentum: 0.9,
            nesterov: false,
            weight_decay: 5e-4,
        },
        schedule: Schedule::Cosine { warmup_epochs: 0.0 },
        label_smoothing: 0.0,
    };
    let mut last = Last(0.0);
    Training {
        model: &model,
        recipe: &recipe,
        train: &Feed::new(&data, Split::Train, device)?,
        validation: &Feed::new(&data, Split::Validation, device)?,
        seed: 1,
        checkpoint: None,
        folder: cache.path(),
    }
    .run(2, &mut last)?;
    println!("{:.1}", last.0);
    Ok(())
}
