//! The training loop: epochs over a shuffled training split, each followed by a measurement.

use std::path::Path;
use std::time::Instant;

use espalier_common::recipe::{Optimizer as Settings, Recipe, Schedule};
use espalier_data::order;
use tch::{Reduction, Tensor};

use crate::checkpoint::{self, Place};
use crate::error::JobError;
use crate::feed::Feed;
use crate::lower::Model;
use crate::measure::{Score, measure};
use crate::optimizer::{Optimizer, peak};
use crate::schedule::LearningRate;

/// How often the loss is looked at during an epoch: looking makes a GPU wait, and a network that has
/// diverged should not train on for long.
const LOOK_EVERY: usize = 50;

/// Whom a job tells what it does, and who may end it.
pub trait Session {
    /// Called before every batch with the share of the job that is done.
    ///
    /// # Errors
    /// [`JobError::Stopped`] when the job should end, [`JobError::BrokenOff`] when it should end with a checkpoint.
    fn between_batches(&mut self, fraction: f64) -> Result<(), JobError>;

    /// The checkpoint cannot be read, and training begins anew.
    ///
    /// # Errors
    /// When the worker cannot be told.
    fn begins_anew(&mut self, why: &JobError) -> Result<(), JobError>;

    /// What an epoch gave.
    ///
    /// # Errors
    /// When the worker cannot be told.
    fn measured(&mut self, epoch: Epoch) -> Result<(), JobError>;
}

/// A finished epoch.
#[derive(Clone, Copy, Debug)]
pub struct Epoch {
    /// Its number, from 1.
    pub number: u32,
    /// How many the recipe has.
    pub of: u32,
    /// Mean loss over the training split while it was trained on.
    pub train_loss: f64,
    /// What training took, and what measuring did.
    pub seconds: (f64, f64),
    /// Speed of the training part. Differs from run to run, so it is no metric.
    pub images_per_second: f64,
    /// What the validation split gave.
    pub score: Score,
}

/// How training ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// With the last epoch.
    Trained,
    /// Before it, with a checkpoint.
    BrokenOff {
        /// The name of the checkpoint's file.
        file: String,
        /// Epochs that are finished.
        epochs: u32,
    },
}

/// All that training needs.
pub struct Training<'a> {
    /// The network, which is changed.
    pub model: &'a Model,
    /// How it is trained.
    pub recipe: &'a Recipe,
    /// The training split.
    pub train: &'a Feed<'a>,
    /// The validation split.
    pub validation: &'a Feed<'a>,
    /// Seed of the order of the examples, and of what is drawn while training.
    pub seed: u64,
    /// The checkpoint's file to go on from.
    pub checkpoint: Option<&'a Path>,
    /// Where a checkpoint is written, when the session breaks the job off.
    pub folder: &'a Path,
}

impl Training<'_> {
    /// Trains up to epoch `to`, from the start or from the checkpoint.
    ///
    /// # Errors
    /// [`JobError`] says why it ended early; [`JobError::Weights`] that the checkpoint cannot be gone on from, and that
    /// the network may hold parts of it.
    pub fn run(&self, to: u32, session: &mut impl Session) -> Result<Ended, JobError> {
        check_recipe(self.recipe, to)?;
        let parameters = self.model.parameters();
        if parameters.trained().next().is_none() {
            return Err(JobError::Build(
                "the network has no weights to train".to_owned(),
            ));
        }
        if let (1, Some(node)) = (self.batch_size(), self.model.needs_larger_batches()) {
            return Err(JobError::Build(format!(
                "{node}: a batch_norm with one value of each channel cannot be trained on batches of one example"
            )));
        }
        let mut optimizer = Optimizer::new(&self.recipe.optimizer, parameters)?;
        let mut place = match self.checkpoint {
            None => Place::start(parameters.device())?,
            Some(path) => {
                checkpoint::load(parameters, &mut optimizer, self.batches_of_an_epoch(), path)?
            }
        };
        if place.epoch >= to {
            return Err(JobError::Unsupported(format!(
                "the job goes on to epoch {to} from a checkpoint of epoch {}",
                place.epoch
            )));
        }
        match self.epochs(to, &mut place, &mut optimizer, session) {
            Ok(()) => Ok(Ended::Trained),
            Err(JobError::BrokenOff) if (place.epoch, place.batch) != (0, 0) => {
                Ok(Ended::BrokenOff {
                    file: checkpoint::save(parameters, &optimizer, &place, self.folder)?,
                    epochs: place.epoch,
                })
            }
            Err(error) => Err(error),
        }
    }

    /// Trains and measures until `place` is at epoch `to`. Wherever it ends early, `place` says how far it came.
    fn epochs(
        &self,
        to: u32,
        place: &mut Place,
        optimizer: &mut Optimizer,
        session: &mut impl Session,
    ) -> Result<(), JobError> {
        let batches = self.batches_of_an_epoch();
        let rate = LearningRate::new(self.recipe, peak(&self.recipe.optimizer), batches);
        while place.epoch < to {
            let (started, before) = (Instant::now(), place.batch);
            let epoch = place.epoch;
            let share = |part: f64| (f64::from(epoch) + part) / f64::from(to);
            let train_loss = self.epoch(place, &rate, optimizer, |part| {
                session.between_batches(share(part * TRAINING_SHARE))
            })?;
            let images = self.examples_of(batches) - self.examples_of(before);
            let training = started.elapsed().as_secs_f64();
            let batch_size = self.recipe.batch_size;
            let score = measure(self.model, self.validation, batch_size, |part| {
                session.between_batches(share(TRAINING_SHARE + part * (1.0 - TRAINING_SHARE)))
            })?;
            *place = Place::of_epoch(epoch + 1, self.model.parameters().device())?;
            session.measured(Epoch {
                number: epoch + 1,
                of: self.recipe.epochs,
                train_loss,
                seconds: (training, started.elapsed().as_secs_f64() - training),
                images_per_second: images as f64 / training,
                score,
            })?;
        }
        Ok(())
    }

    fn batch_size(&self) -> usize {
        (self.recipe.batch_size as usize).min(self.train.len())
    }

    /// All batches, the last one smaller. A last batch of one example is left out: batch normalisation
    /// has no variance to go by in it.
    fn batches_of_an_epoch(&self) -> usize {
        let (examples, batch) = (self.train.len(), self.batch_size());
        let lonely = batch > 1 && examples % batch == 1;
        examples.div_ceil(batch) - usize::from(lonely)
    }

    /// Examples in the first batches of an epoch.
    fn examples_of(&self, batches: usize) -> usize {
        (batches * self.batch_size()).min(self.train.len())
    }

    /// The rest of one pass over the training split; the mean loss of all of it.
    fn epoch(
        &self,
        place: &mut Place,
        rate: &LearningRate,
        optimizer: &mut Optimizer,
        mut between: impl FnMut(f64) -> Result<(), JobError>,
    ) -> Result<f64, JobError> {
        let (batches, epoch) = (self.batches_of_an_epoch(), u64::from(place.epoch));
        let mut generator = order::generator("epoch", &[self.seed, epoch]);
        // The data crate bounds the number of examples below 2^32.
        let drawn = order::permutation(&mut generator, self.train.len() as u32);
        let places = self.train.order(&drawn)?;
        while place.batch < batches {
            between(place.batch as f64 / batches as f64)?;
            let number = epoch * batches as u64 + place.batch as u64;
            // What dropout draws hangs on the place alone, so that a job can go on where another one was broken off.
            tch::manual_seed(order::seed("batch", &[self.seed, number]) as i64);
            let seen = self.examples_of(place.batch);
            let count = self.examples_of(place.batch + 1) - seen;
            let loss = self.loss(&places.f_narrow(0, seen as i64, count as i64)?)?;
            optimizer.step(&loss, rate.at(number))?;
            let weighed = loss.f_detach()?.f_mul_scalar(count as f64)?;
            let _ = place.loss.f_add_(&weighed)?;
            place.batch += 1;
            if place.batch.is_multiple_of(LOOK_EVERY) || place.batch == batches {
                check_loss(place)?;
            }
        }
        Ok(place.loss.f_double_value(&[])? / self.examples_of(batches) as f64)
    }

    fn loss(&self, places: &Tensor) -> Result<Tensor, JobError> {
        let batch = self.train.gather(places)?;
        let outputs = self.model.forward(batch.inputs, true)?;
        let loss = outputs.f_cross_entropy_loss::<Tensor>(
            &batch.labels,
            None,
            Reduction::Mean,
            -100,
            self.recipe.label_smoothing,
        )?;
        if !loss.requires_grad() {
            return Err(JobError::Build(
                "the network's output does not depend on any weight".to_owned(),
            ));
        }
        Ok(loss)
    }
}

/// Share of an epoch's work that is training, for the sign of life: measuring has no backward pass, and
/// the validation split is the smaller one.
const TRAINING_SHARE: f64 = 0.9;

fn check_loss(place: &Place) -> Result<(), JobError> {
    let total = place.loss.f_double_value(&[])?;
    if total.is_finite() {
        return Ok(());
    }
    Err(JobError::Diverged(format!(
        "the loss is {total} in epoch {} by step {}",
        place.epoch + 1,
        place.batch
    )))
}

/// What of an optimizer's settings none can go by.
fn odd_optimizer(optimizer: &Settings) -> Option<String> {
    let (Settings::Sgd { weight_decay, .. } | Settings::Adamw { weight_decay, .. }) = *optimizer;
    let momentum = match *optimizer {
        Settings::Sgd { momentum, .. } => momentum,
        Settings::Adamw { .. } => 0.0,
    };
    let odd = |value: f64| !(value >= 0.0 && value.is_finite());
    if odd(momentum) {
        return Some(format!("a momentum of {momentum}"));
    }
    odd(weight_decay).then(|| format!("a weight decay of {weight_decay}"))
}

/// A recipe comes from outside.
fn check_recipe(recipe: &Recipe, to: u32) -> Result<(), JobError> {
    let peak = peak(&recipe.optimizer);
    let (Schedule::Constant {
        warmup_epochs: warmup,
    }
    | Schedule::Cosine {
        warmup_epochs: warmup,
    }) = recipe.schedule;
    let what = if to == 0 || to > recipe.epochs {
        format!(
            "train up to epoch {to}, and the recipe has {} epochs",
            recipe.epochs
        )
    } else if recipe.batch_size == 0 {
        "a batch size of 0".to_owned()
    } else if !(peak >= 0.0 && peak.is_finite()) {
        format!("a learning rate of {peak}")
    } else if let Some(what) = odd_optimizer(&recipe.optimizer) {
        what
    } else if !(warmup >= 0.0 && warmup.is_finite()) {
        format!("a warm-up of {warmup} epochs")
    } else if !(0.0..1.0).contains(&recipe.label_smoothing) {
        format!("a label smoothing of {}", recipe.label_smoothing)
    } else {
        return Ok(());
    };
    Err(JobError::Unsupported(format!("the job asks for {what}")))
}
