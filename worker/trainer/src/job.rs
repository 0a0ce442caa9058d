//! A job from its message to its result: checks what it asks for, opens the data, builds the network,
//! trains or measures.

use std::collections::BTreeMap;
use std::path::Path;

use espalier_common::evaluator::{Done, Evaluate, FromEvaluator};
use espalier_common::job::Job;
use espalier_common::network::{Network, Node, Op, Shape};
use espalier_data::{MappedDataset, Split};

use crate::device;
use crate::error::JobError;
use crate::feed::Feed;
use crate::lower::Model;
use crate::measure::{Score, measure};
use crate::train::{Ended, Session, Training};
use crate::weights;

/// More threads than any machine has; beyond this a message is wrong.
const MAX_THREADS: u32 = 4096;

/// Runs jobs one after another, and keeps the data set open between them: the trials of a search share
/// it, and checking a large one takes time.
#[derive(Default)]
pub struct Runner {
    data: Option<MappedDataset>,
}

impl Runner {
    /// Runs one job to its end, and says how it ended.
    ///
    /// # Errors
    /// [`JobError`] says why it has no result.
    pub fn run(
        &mut self,
        request: &Evaluate,
        session: &mut impl Session,
    ) -> Result<FromEvaluator, JobError> {
        let job = &request.job;
        let device = device::find(&request.device)?;
        set_threads(request.threads)?;
        let network = job.network.as_ref().ok_or_else(|| {
            unsupported("the job has no network; the built-in trainer trains networks only")
        })?;
        let data = self.open(request)?;
        check_ends(network, data)?;
        if matches!(job.job, Job::Train { .. }) {
            check_normalisation(network, job.training.batch_size, data)?;
        }
        let build = || {
            // Before the network is built: the same seed gives the same weights whatever ran before.
            tch::manual_seed(job.seed as i64);
            Model::new(network, device)
        };
        match &job.job {
            Job::Train { from, to, .. } => {
                let checkpoint = checkpoint_of(request, *from)?;
                match train(&build()?, request, data, (*to, checkpoint), session) {
                    // It costs what it held, and no attempt: it may be of another release.
                    Err(error @ JobError::Weights { .. }) if checkpoint.is_some() => {
                        session.begins_anew(&error)?;
                        train(&build()?, request, data, (*to, None), session)
                    }
                    end => end,
                }
            }
            Job::Test { .. } => {
                let model = build()?;
                let path = request.weights_path.as_ref().ok_or_else(|| {
                    unsupported("the job measures weights and names no file of them")
                })?;
                weights::load(model.parameters(), Path::new(path))?;
                let score = test(&model, data, job.training.batch_size, session)?;
                Ok(FromEvaluator::Done(Done {
                    metrics: metrics(score),
                    weights: None,
                }))
            }
        }
    }

    fn open(&mut self, request: &Evaluate) -> Result<&MappedDataset, JobError> {
        let (Some(info), Some(path)) = (&request.job.dataset, &request.dataset_path) else {
            return Err(unsupported(
                "the job names no data set; the built-in trainer needs one",
            ));
        };
        let path = Path::new(path);
        let same = |data: &MappedDataset| data.path() == path && data.serves(info);
        let data = match self.data.take().filter(same) {
            Some(data) => data,
            None => MappedDataset::open(path, info)?,
        };
        Ok(self.data.insert(data))
    }
}

/// Trains up to an epoch, from a checkpoint or from the start, and leaves the weights or another checkpoint.
fn train(
    model: &Model,
    request: &Evaluate,
    data: &MappedDataset,
    (to, checkpoint): (u32, Option<&Path>),
    session: &mut impl Session,
) -> Result<FromEvaluator, JobError> {
    let (scratch, device) = (Path::new(&request.scratch), model.parameters().device());
    let training = Training {
        model,
        recipe: &request.job.training,
        train: &Feed::new(data, Split::Train, device)?,
        validation: &Feed::new(data, Split::Validation, device)?,
        seed: request.job.seed,
        checkpoint,
        folder: scratch,
    };
    Ok(match training.run(to, session)? {
        Ended::Trained => FromEvaluator::Done(Done {
            metrics: BTreeMap::new(),
            weights: Some(weights::save(model.parameters(), scratch)?),
        }),
        Ended::BrokenOff { file, epochs } => FromEvaluator::Checkpoint {
            path: file,
            step: epochs,
        },
    })
}

/// The file that a training job goes on from.
fn checkpoint_of(request: &Evaluate, from: u32) -> Result<Option<&Path>, JobError> {
    match (&request.checkpoint_path, request.job.job.checkpoint()) {
        (Some(path), Some(_)) => Ok(Some(Path::new(path))),
        (None, None) if from == 0 => Ok(None),
        _ => Err(unsupported(&format!(
            "the job goes on from epoch {from}, and names no checkpoint or no file of it"
        ))),
    }
}

fn test(
    model: &Model,
    data: &MappedDataset,
    batch_size: u32,
    session: &mut impl Session,
) -> Result<Score, JobError> {
    let feed = Feed::new(data, Split::Test, model.parameters().device())?;
    if feed.is_empty() {
        return Err(unsupported("the data set has no test split to measure on"));
    }
    measure(model, &feed, batch_size, |fraction| {
        session.between_batches(fraction)
    })
}

/// The metrics of a score.
#[must_use]
pub fn metrics(score: Score) -> BTreeMap<String, Option<f64>> {
    BTreeMap::from([
        ("accuracy".to_owned(), Some(score.accuracy)),
        ("loss".to_owned(), Some(score.loss)),
    ])
}

fn unsupported(why: &str) -> JobError {
    JobError::Unsupported(why.to_owned())
}

fn set_threads(threads: u32) -> Result<(), JobError> {
    if threads == 0 || threads > MAX_THREADS {
        return Err(unsupported(&format!(
            "the job asks for {threads} threads; 1 to {MAX_THREADS} are possible"
        )));
    }
    tch::set_num_threads(threads as i32);
    Ok(())
}

/// The network must take what the data give, and give an output for every class.
fn check_ends(network: &Network, data: &MappedDataset) -> Result<(), JobError> {
    let info = data.info();
    let input = network.nodes.first().map(|node| &node.shape);
    if input != Some(&info.input) {
        return Err(JobError::Build(format!(
            "the network takes {}, and the data give {}",
            input.map_or_else(|| "nothing".to_owned(), Shape::to_string),
            info.input
        )));
    }
    let output = network.nodes.get(network.output).map(|node| &node.shape);
    let wanted = Shape::features(u64::from(info.classes));
    if output != Some(&wanted) {
        return Err(JobError::Build(format!(
            "the network gives {}, and the {} classes need {wanted}",
            output.map_or_else(|| "nothing".to_owned(), Shape::to_string),
            info.classes
        )));
    }
    Ok(())
}

/// Batch normalisation of one value has no variance to go by: libtorch gives NaN for its running statistics,
/// which shows only when the network is measured.
fn check_normalisation(
    network: &Network,
    batch_size: u32,
    data: &MappedDataset,
) -> Result<(), JobError> {
    if batch_size > 1 && data.count(Split::Train) > 1 {
        return Ok(());
    }
    let one_value = |node: &&Node| match node.op {
        Op::BatchNorm { channels } => node.shape.elements() == Some(channels),
        _ => false,
    };
    match network.nodes.iter().find(one_value) {
        None => Ok(()),
        Some(node) => Err(JobError::Build(format!(
            "the batch normalisation {} has one value for each channel in a batch of one example; use a larger \
             batch_size",
            node.name
        ))),
    }
}
