//! Jobs that are broken off: what goes on from their checkpoint gives the same numbers, to the last bit, as one that
//! was never broken off; and a file that is no such checkpoint is refused.

#![allow(clippy::unwrap_used)] // The helpers of a test may end it too.

mod common;

use std::path::{Path, PathBuf};

use common::{Fixture, Recorder, done, network, turn};
use espalier_common::evaluator::{Evaluate, FromEvaluator};
use espalier_common::failure::FailureDomain;
use espalier_common::ids::Digest;
use espalier_common::job::Job;
use espalier_common::recipe::Optimizer;
use espalier_trainer::job::Runner;

fn optimizers() -> [Optimizer; 3] {
    let sgd = |momentum, nesterov, weight_decay| Optimizer::Sgd {
        learning_rate: 0.05,
        momentum,
        nesterov,
        weight_decay,
    };
    [
        sgd(0.9, true, 5e-4),
        sgd(0.0, false, 0.0),
        Optimizer::Adamw {
            learning_rate: 0.005,
            weight_decay: 0.01,
        },
    ]
}

/// Breaks a job off after so many calls between batches: its checkpoint, and the epochs that were finished.
fn broken_off(job: &Evaluate, after: usize) -> (PathBuf, u32, Recorder) {
    let mut recorder = Recorder {
        break_off_after: Some(after),
        ..Recorder::default()
    };
    match Runner::default().run(job, &mut recorder).unwrap() {
        FromEvaluator::Checkpoint { path, step } => {
            (Path::new(&job.scratch).join(path), step, recorder)
        }
        other => panic!("the job ended with {other:?}"),
    }
}

/// The same job, to be gone on with.
fn going_on(job: &Evaluate, scratch: &Path, checkpoint: &Path, from: u32) -> Evaluate {
    let mut job = job.clone();
    job.scratch = scratch.to_str().unwrap().to_owned();
    job.checkpoint_path = Some(checkpoint.to_str().unwrap().to_owned());
    job.job.job = Job::Train {
        from,
        to: 3,
        checkpoint: Some(Digest::of(b"")),
    };
    job
}

fn weights_of(job: &Evaluate, end: FromEvaluator) -> Vec<u8> {
    let name = done(end).weights.unwrap();
    std::fs::read(Path::new(&job.scratch).join(name)).unwrap()
}

#[test]
fn a_job_that_is_broken_off_anywhere_goes_on_as_if_it_had_not_been() {
    let _turn = turn();
    let fixture = Fixture::new();
    for (trial, optimizer) in (1..).zip(optimizers()) {
        let mut job = fixture.job(network(), trial);
        job.job.training.optimizer = optimizer.clone();
        let mut whole = Recorder::default();
        let weights = weights_of(&job, Runner::default().run(&job, &mut whole).unwrap());
        // Calls between batches, of training and of measuring: the first and the last ones, and some in between.
        for after in [
            1,
            2,
            whole.batches / 3,
            whole.batches / 2,
            whole.batches - 1,
        ] {
            let (checkpoint, epochs, first) = broken_off(&job, after);
            assert_eq!(first.epochs.len(), epochs as usize);
            let scratch = fixture.scratch(&format!("second-{trial}-{after}"));
            let rest = going_on(&job, &scratch, &checkpoint, epochs);
            let mut second = Recorder::default();
            let end = Runner::default().run(&rest, &mut second).unwrap();
            let measured = [first.bits(), second.bits()].concat();
            assert_eq!(measured, whole.bits(), "{optimizer:?} after {after}");
            assert!(
                weights_of(&rest, end) == weights,
                "{optimizer:?} after {after}: other weights"
            );
        }
    }
}

#[test]
fn a_job_may_be_broken_off_again_and_again() {
    let _turn = turn();
    let fixture = Fixture::new();
    let job = fixture.job(network(), 1);
    let mut whole = Recorder::default();
    Runner::default().run(&job, &mut whole).unwrap();
    let (mut checkpoint, mut epochs, first) = broken_off(&job, 3);
    let mut measured = first.bits();
    for again in 0..3 {
        let scratch = fixture.scratch(&format!("again-{again}"));
        let rest = going_on(&job, &scratch, &checkpoint, epochs);
        let (next, finished, recorder) = broken_off(&rest, 2);
        (checkpoint, epochs) = (next, finished);
        measured.extend(recorder.bits());
    }
    let scratch = fixture.scratch("last");
    let rest = going_on(&job, &scratch, &checkpoint, epochs);
    let mut last = Recorder::default();
    Runner::default().run(&rest, &mut last).unwrap();
    measured.extend(last.bits());
    assert_eq!(measured, whole.bits());
}

#[test]
fn a_job_that_has_not_begun_leaves_nothing_to_go_on_from() {
    let _turn = turn();
    let fixture = Fixture::new();
    let job = fixture.job(network(), 1);
    let mut recorder = Recorder {
        break_off_after: Some(0),
        ..Recorder::default()
    };
    let failure = Runner::default()
        .run(&job, &mut recorder)
        .unwrap_err()
        .failure();
    assert_eq!(failure.domain, FailureDomain::Worker);
    assert!(
        failure.message.contains("nothing to go on from"),
        "{}",
        failure.message
    );
}

#[test]
fn a_job_whose_file_is_no_checkpoint_of_it_begins_anew_and_says_why() {
    let _turn = turn();
    let fixture = Fixture::new();
    let job = fixture.job(network(), 1);
    let (checkpoint, epochs, _) = broken_off(&job, 3);
    let scratch = fixture.scratch("second");
    let refused = |change: &dyn Fn(&mut Evaluate), path: &Path| {
        let mut anew = job.clone();
        change(&mut anew);
        let mut whole = Recorder::default();
        Runner::default().run(&anew, &mut whole).unwrap();
        let mut rest = going_on(&job, &scratch, path, epochs);
        change(&mut rest);
        let mut recorder = Recorder::default();
        Runner::default().run(&rest, &mut recorder).unwrap();
        // Nothing of the file is left in the network.
        assert_eq!(recorder.bits(), whole.bits());
        let [why] = recorder.anew.as_slice() else {
            panic!("{:?}", recorder.anew);
        };
        why.clone()
    };
    // Another optimizer has another state, and other data have other epochs.
    let adamw = optimizers()[2].clone();
    let message = refused(
        &|job| job.job.training.optimizer = adamw.clone(),
        &checkpoint,
    );
    assert!(
        message.contains("mean/") || message.contains("velocity/"),
        "{message}"
    );
    let message = refused(&|job| job.job.training.batch_size = 4096, &checkpoint);
    assert!(message.contains("batches of an epoch"), "{message}");
    let message = refused(&|_| {}, Path::new("/nothing/there"));
    assert!(message.contains("No such file"), "{message}");

    let bytes = std::fs::read(&checkpoint).unwrap();
    let damaged = fixture.folder.path().join("damaged");
    for length in [0, 7, 100, bytes.len() / 2, bytes.len() - 1] {
        std::fs::write(&damaged, &bytes[..length]).unwrap();
        refused(&|_| {}, &damaged);
    }
    let long = [bytes.as_slice(), &vec![0; 1 << 20]].concat();
    std::fs::write(&damaged, long).unwrap();
    let message = refused(&|_| {}, &damaged);
    assert!(message.contains("at most"), "{message}");

    let mut weights = Recorder::default();
    let end = Runner::default().run(&job, &mut weights).unwrap();
    std::fs::write(&damaged, weights_of(&job, end)).unwrap();
    let message = refused(&|_| {}, &damaged);
    assert!(message.contains("it has no"), "{message}");
}
