//! What the tests share: a small data set, networks, jobs, and a session that keeps what it is told.
#![allow(dead_code, unreachable_pub)] // Every test binary uses another part.
#![allow(clippy::unwrap_used)] // The helpers of a test may end it too.

pub mod process;

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use espalier_common::candidate::Candidate;
use espalier_common::dataset::{DatasetFormat, DatasetInfo, DatasetReference};
use espalier_common::evaluator::{Done, Evaluate, FromEvaluator};
use espalier_common::ids::{AttemptNumber, Digest, SearchId, TrialNumber};
use espalier_common::job::{Job, LeasedJob, TRAINER};
use espalier_common::metrics::{Direction, Objective};
use espalier_common::network::{Activation, Builder, Convolution, Network, Op, Pooling, Shape};
use espalier_common::recipe::{Optimizer, Recipe, Schedule};
use espalier_data::{MappedDataset, inspect, prepare};
use espalier_trainer::error::JobError;
use espalier_trainer::train::{Epoch, Session};

/// libtorch has one generator and one number of threads for the whole process, so tests that use it take
/// turns, as jobs do in the trainer.
pub fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Side of an image.
pub const SIDE: u64 = 8;
/// Number of classes.
pub const CLASSES: u64 = 4;

/// A generated data set whose images have a bright quarter, the number of which is the label.
pub struct Fixture {
    pub folder: tempfile::TempDir,
    pub info: DatasetInfo,
    pub decoded: PathBuf,
}

impl Fixture {
    /// 256 images for training, 64 for validation, 32 for the test.
    pub fn new() -> Self {
        Self::with(320, 32)
    }

    pub fn with(train: u32, test: u32) -> Self {
        let folder = tempfile::tempdir().unwrap();
        write_files(folder.path(), "train", train);
        if test > 0 {
            write_files(folder.path(), "t10k", test);
        }
        let reference = DatasetReference {
            format: DatasetFormat::Idx,
            path: folder.path().to_str().unwrap().to_owned(),
            train: None,
            validation: 64,
            split_seed: 1,
        };
        let info = inspect(Path::new("/"), &reference).unwrap();
        let decoded = prepare(Path::new("/"), &folder.path().join("cache"), &info).unwrap();
        Self {
            folder,
            info,
            decoded,
        }
    }

    pub fn open(&self) -> MappedDataset {
        MappedDataset::open(&self.decoded, &self.info).unwrap()
    }

    /// A folder for a job.
    pub fn scratch(&self, name: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::create_dir_all(&path).unwrap();
        path
    }

    /// A job that trains `network` for 3 epochs.
    pub fn job(&self, network: Network, trial: u32) -> Evaluate {
        let scratch = self.scratch(&format!("scratch-{trial}"));
        Evaluate {
            job: LeasedJob {
                search: SearchId("11111111-2222-3333-4444-555555555555".parse().unwrap()),
                search_name: "test".to_owned(),
                trial: TrialNumber(trial),
                attempt: AttemptNumber(1),
                job: Job::train(3),
                evaluator: TRAINER.to_owned(),
                network: Some(network),
                decisions: Candidate::default(),
                training: recipe(3),
                dataset: Some(self.info.clone()),
                table: None,
                objective: Objective {
                    metric: "accuracy".to_owned(),
                    direction: Direction::Maximize,
                },
                seed: 7,
            },
            dataset_path: Some(self.decoded.to_str().unwrap().to_owned()),
            weights_path: None,
            checkpoint_path: None,
            scratch: scratch.to_str().unwrap().to_owned(),
            threads: 1,
            device: "cpu".to_owned(),
            traceparent: None,
        }
    }
}

/// How a job ended that is to end well.
pub fn done(end: FromEvaluator) -> Done {
    match end {
        FromEvaluator::Done(done) => done,
        other => panic!("the job ended with {other:?}"),
    }
}

/// Makes a job that has trained one that measures the weights it left.
pub fn measure_what_came_of(job: &mut Evaluate, done: &Done) {
    let weights = Path::new(&job.scratch).join(done.weights.as_ref().unwrap());
    job.weights_path = Some(weights.to_str().unwrap().to_owned());
    job.job.job = Job::Test {
        weights: Digest::of(b""),
    };
}

fn write_files(folder: &Path, prefix: &str, count: u32) {
    let mut images = vec![0, 0, 8, 3];
    for size in [count, SIDE as u32, SIDE as u32] {
        images.extend(size.to_be_bytes());
    }
    let mut labels = vec![0, 0, 8, 1];
    labels.extend(count.to_be_bytes());
    // A small generator of noise: the images must differ, and be the same in every run.
    let mut noise = 12345_u32;
    for number in 0..count {
        let label = number % CLASSES as u32;
        labels.push(label as u8);
        for row in 0..SIDE as u32 {
            for column in 0..SIDE as u32 {
                noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let quarter = row / 4 * 2 + column / 4;
                let light = if quarter == label { 150 } else { 50 };
                images.push((light + (noise >> 24) % 100) as u8);
            }
        }
    }
    std::fs::write(folder.join(format!("{prefix}-images-idx3-ubyte")), images).unwrap();
    std::fs::write(folder.join(format!("{prefix}-labels-idx1-ubyte")), labels).unwrap();
}

/// A recipe that learns the generated data.
pub fn recipe(epochs: u32) -> Recipe {
    Recipe {
        epochs,
        batch_size: 32,
        optimizer: sgd(0.1),
        schedule: Schedule::Cosine { warmup_epochs: 0.5 },
        label_smoothing: 0.1,
    }
}

pub fn sgd(learning_rate: f64) -> Optimizer {
    Optimizer::Sgd {
        learning_rate,
        momentum: 0.9,
        nesterov: true,
        weight_decay: 5e-4,
    }
}

pub fn conv(in_channels: u64, out_channels: u64) -> Op {
    Op::Conv2d(Convolution {
        in_channels,
        out_channels,
        kernel: 3,
        stride: 1,
        padding: 1,
        dilation: 1,
        groups: 1,
        bias: true,
    })
}

pub fn linear(in_features: u64, out_features: u64) -> Op {
    Op::Linear {
        in_features,
        out_features,
        bias: true,
    }
}

pub fn input() -> Shape {
    Shape::image(1, SIDE, SIDE)
}

/// A network of operations in a row.
pub fn chain(ops: Vec<Op>) -> Network {
    chain_on(input(), ops)
}

/// The same on another input.
pub fn chain_on(input: Shape, ops: Vec<Op>) -> Network {
    let mut builder = Builder::new(input);
    let mut node = 0;
    for (index, op) in ops.into_iter().enumerate() {
        node = builder
            .push(format!("network[{index}]"), op, vec![node])
            .unwrap();
    }
    builder.finish(node).unwrap()
}

/// A small network with batch normalisation and dropout, so that every source of randomness and of
/// state is there.
pub fn network() -> Network {
    chain(vec![
        conv(1, 8),
        Op::BatchNorm { channels: 8 },
        Op::Activation(Activation::Relu),
        Op::MaxPool2d(Pooling {
            kernel: 2,
            stride: 2,
            padding: 0,
        }),
        Op::Dropout { rate: 0.1 },
        Op::Flatten,
        linear(8 * 16, CLASSES),
    ])
}

/// Keeps what it is told, and can end the job.
#[derive(Default)]
pub struct Recorder {
    pub epochs: Vec<Epoch>,
    pub batches: usize,
    pub stop_after: Option<usize>,
    pub break_off_after: Option<usize>,
    pub anew: Vec<String>,
}

impl Session for Recorder {
    fn between_batches(&mut self, fraction: f64) -> Result<(), JobError> {
        assert!((0.0..=1.0).contains(&fraction), "{fraction}");
        self.batches += 1;
        let over = |most: Option<usize>| most.is_some_and(|most| self.batches > most);
        if over(self.stop_after) {
            return Err(JobError::Stopped);
        }
        if over(self.break_off_after) {
            return Err(JobError::BrokenOff);
        }
        Ok(())
    }

    fn begins_anew(&mut self, why: &JobError) -> Result<(), JobError> {
        self.anew.push(why.to_string());
        Ok(())
    }

    fn measured(&mut self, epoch: Epoch) -> Result<(), JobError> {
        self.epochs.push(epoch);
        Ok(())
    }
}

impl Recorder {
    /// What was measured, without the speed: two runs must agree in every bit.
    pub fn bits(&self) -> Vec<[u64; 3]> {
        self.epochs
            .iter()
            .map(|epoch| {
                [epoch.train_loss, epoch.score.loss, epoch.score.accuracy].map(f64::to_bits)
            })
            .collect()
    }
}
