//! The evaluator protocol, spoken with the real process.
#![allow(clippy::unwrap_used)] // The helpers of a test may end it too.

mod common;

use std::process::Command;
use std::time::{Duration, Instant};

use common::process::Evaluator;
use common::{Fixture, network};
use espalier_common::evaluator::{
    Evaluate, FromEvaluator, Line, PROTOCOL_VERSION, ToEvaluator, checked_metrics,
};
use espalier_common::failure::{FailureDomain, FailureKind};
use espalier_common::ids::Digest;
use espalier_common::job::{Job, JobKind};

/// Starts the trainer and checks what it says first.
fn start() -> Evaluator {
    let command = Command::new(env!("CARGO_BIN_EXE_espalier-trainer"));
    let (trainer, ready) = Evaluator::start(command);
    assert_eq!(ready.protocol, PROTOCOL_VERSION);
    assert_eq!(ready.jobs, [JobKind::Train, JobKind::Test]);
    assert_eq!(ready.devices[0], "cpu");
    assert!(ready.description.contains("libtorch 2."), "{ready:?}");
    assert!(ready.checkpoints);
    trainer
}

/// A job that would take hours: nothing here waits for its end.
fn endless(fixture: &Fixture) -> Evaluate {
    let mut job = fixture.job(network(), 9);
    job.job.training.epochs = 1_000_000;
    job.job.job = Job::train(1_000_000);
    job
}

#[test]
fn training_and_testing_answer_with_measurements_and_done() {
    let fixture = Fixture::new();
    let mut trainer = start();
    let mut job = fixture.job(network(), 1);
    trainer.evaluate(&job);
    let messages = trainer.answer();
    let mut steps = Vec::new();
    for message in &messages {
        if let FromEvaluator::Measurement {
            step,
            metrics,
            seconds,
        } = message
        {
            // For the trace of the trial.
            let parts: Vec<&str> = seconds.keys().map(String::as_str).collect();
            let loaded = *step == 1;
            assert_eq!(parts, ["load", "train", "validate"][usize::from(!loaded)..]);
            assert!(
                seconds.values().all(|part| *part > Some(0.0)),
                "{seconds:?}"
            );
            let metrics = checked_metrics(metrics).unwrap();
            let names: Vec<&str> = metrics.0.keys().map(String::as_str).collect();
            assert_eq!(names, ["accuracy", "loss", "train_loss"]);
            steps.push(*step);
        }
    }
    assert_eq!(steps, [1, 2, 3]);
    let Some(FromEvaluator::Done(done)) = messages.last() else {
        panic!("{messages:?}");
    };
    assert_eq!(done.weights.as_deref(), Some("weights.safetensors"));
    let weights = std::path::Path::new(&job.scratch).join("weights.safetensors");
    let left = std::fs::read_dir(&job.scratch).unwrap().count();
    assert_eq!(left, 1, "no temporary file stays behind");

    job.job.job = Job::Test {
        weights: Digest::of(b""),
    };
    job.weights_path = Some(weights.to_str().unwrap().to_owned());
    trainer.evaluate(&job);
    match trainer.answer().last() {
        Some(FromEvaluator::Done(done)) => {
            let metrics = checked_metrics(&done.metrics).unwrap();
            assert!(metrics.get("accuracy").unwrap() > 0.9, "{metrics:?}");
            assert!(metrics.get("loss").is_some());
        }
        other => panic!("{other:?}"),
    }
    trainer.send(ToEvaluator::Shutdown);
    assert!(trainer.wait().success());
}

#[test]
fn a_checkpoint_that_is_asked_for_ends_the_job_and_another_process_goes_on_from_it() {
    let fixture = Fixture::new();
    let mut trainer = start();
    let mut job = endless(&fixture);
    trainer.evaluate(&job);
    while !matches!(trainer.next(), FromEvaluator::Measurement { .. }) {}
    trainer.send(ToEvaluator::Checkpoint {
        attempt: job.job.key(),
    });
    let messages = trainer.answer();
    let Some(FromEvaluator::Checkpoint { path, step }) = messages.last() else {
        panic!("{messages:?}");
    };
    let left = std::fs::read_dir(&job.scratch).unwrap().count();
    assert_eq!(left, 1, "no temporary file stays behind");
    // It takes the next job: what was broken off was an attempt of another one.
    let another = fixture.job(network(), 2);
    trainer.evaluate(&another);
    let answer = trainer.answer();
    assert!(matches!(answer.last(), Some(FromEvaluator::Done(_))));

    job.checkpoint_path = Some(format!("{}/{path}", job.scratch));
    job.job.job = Job::Train {
        from: *step,
        to: step + 1,
        checkpoint: Some(Digest::of(b"")),
    };
    let mut trainer = start();
    trainer.evaluate(&job);
    let messages = trainer.answer();
    let steps: Vec<u32> = messages
        .iter()
        .filter_map(|message| match message {
            FromEvaluator::Measurement { step, .. } => Some(*step),
            _ => None,
        })
        .collect();
    assert_eq!(steps, [step + 1]);
}

#[test]
fn the_same_job_in_two_processes_gives_the_same_measurements() {
    let fixture = Fixture::new();
    let measure = || {
        let mut trainer = start();
        trainer.evaluate(&fixture.job(network(), 1));
        let messages = trainer.answer();
        let of = |message| match message {
            FromEvaluator::Measurement { step, metrics, .. } => Some((step, metrics)),
            _ => None,
        };
        messages.into_iter().filter_map(of).collect::<Vec<_>>()
    };
    let once = measure();
    assert_eq!(once.len(), 3);
    assert_eq!(once, measure());
}

#[test]
fn stop_ends_the_running_attempt_alone_and_the_process_goes_on() {
    let fixture = Fixture::new();
    let mut trainer = start();
    let job = endless(&fixture);
    trainer.evaluate(&job);
    // It runs: an epoch is over.
    while !matches!(trainer.next(), FromEvaluator::Measurement { .. }) {}
    let mut other = job.job.key();
    other.attempt.0 += 1;
    trainer.send(ToEvaluator::Stop { attempt: other });
    while !matches!(trainer.next(), FromEvaluator::Measurement { .. }) {}
    while !matches!(trainer.next(), FromEvaluator::Measurement { .. }) {}
    trainer.send(ToEvaluator::Stop {
        attempt: job.job.key(),
    });
    match trainer.answer().last() {
        Some(FromEvaluator::Failed { failure }) => {
            assert_eq!(failure.domain, FailureDomain::Worker);
            assert!(failure.message.contains("stopped"), "{failure:?}");
        }
        other => panic!("{other:?}"),
    }
    trainer.evaluate(&fixture.job(network(), 2));
    assert!(matches!(
        trainer.answer().last(),
        Some(FromEvaluator::Done(_))
    ));
}

#[test]
fn every_message_about_a_job_names_its_attempt_as_the_worker_did() {
    let fixture = Fixture::new();
    let mut trainer = start();
    let job = fixture.job(network(), 1);
    trainer.evaluate(&job);
    let named = trainer.named_attempts();
    assert!(named.len() >= 4, "{named:?}");
    let own = Some(job.job.key().to_string());
    assert!(named.iter().all(|id| *id == own), "{named:?}");

    trainer.write(r#"{"espalier":1,"attempt_id":"any words","type":"evaluate"}"#);
    assert_eq!(trainer.named_attempts(), [Some("any words".to_owned())]);
    // A worker that gives no name gets none back.
    trainer.write(r#"{"espalier":1,"type":"evaluate"}"#);
    assert_eq!(trainer.named_attempts(), [None]);
}

#[test]
fn a_job_that_is_stopped_before_it_starts_does_not_train() {
    let fixture = Fixture::new();
    let mut trainer = start();
    let (first, mut second) = (endless(&fixture), endless(&fixture));
    second.job.attempt.0 += 1;
    trainer.evaluate(&first);
    trainer.evaluate(&second);
    trainer.send(ToEvaluator::Stop {
        attempt: first.job.key(),
    });
    assert!(matches!(
        trainer.answer().last(),
        Some(FromEvaluator::Failed { .. })
    ));
    trainer.send(ToEvaluator::Stop {
        attempt: second.job.key(),
    });
    assert!(matches!(
        trainer.answer().last(),
        Some(FromEvaluator::Failed { .. })
    ));
}

#[test]
fn the_end_of_the_worker_ends_the_trainer_in_the_middle_of_a_job() {
    let fixture = Fixture::new();
    let mut trainer = start();
    trainer.evaluate(&endless(&fixture));
    while !matches!(trainer.next(), FromEvaluator::Measurement { .. }) {}
    let started = Instant::now();
    trainer.input = None;
    trainer.wait();
    assert!(started.elapsed() < Duration::from_secs(20));
}

#[test]
fn shutdown_in_the_middle_of_a_job_answers_it_and_ends() {
    let fixture = Fixture::new();
    let mut trainer = start();
    trainer.evaluate(&endless(&fixture));
    while !matches!(trainer.next(), FromEvaluator::Measurement { .. }) {}
    trainer.send(ToEvaluator::Shutdown);
    assert!(matches!(
        trainer.answer().last(),
        Some(FromEvaluator::Failed { .. })
    ));
    assert!(trainer.wait().success());
}

#[test]
fn lines_that_mean_nothing_are_ignored_and_bad_jobs_are_answered() {
    let fixture = Fixture::new();
    let mut trainer = start();
    for line in [
        "",
        "hello",
        "{\"espalier\":1,\"type\":\"dance\"}",
        "{\"espalier\":1",
        "[1,2,3]",
        "{\"type\":7}",
    ] {
        trainer.write(line);
    }
    let message = ToEvaluator::Evaluate(Box::new(fixture.job(network(), 1)));
    let good = serde_json::to_string(&Line::new(None, message)).unwrap();
    for (line, part) in [
        (good.replace("\"flatten\"", "\"unfold\""), "unfold"),
        (
            good.replace("\"espalier\":1", "\"espalier\":2"),
            "protocol 2",
        ),
        (
            "{\"espalier\":1,\"type\":\"evaluate\"}".to_owned(),
            "missing field",
        ),
    ] {
        trainer.write(&line);
        match trainer.next() {
            FromEvaluator::Failed { failure } => {
                assert_eq!(failure.kind, FailureKind::Unsupported);
                assert!(
                    failure.message.contains(part),
                    "{failure:?} should contain {part:?}"
                );
            }
            other => panic!("{other:?}"),
        }
    }
    trainer.write(&good);
    assert!(matches!(
        trainer.answer().last(),
        Some(FromEvaluator::Done(_))
    ));
}

#[test]
fn a_failed_job_is_told_with_its_kind_and_the_next_one_runs() {
    let fixture = Fixture::new();
    let mut trainer = start();
    let mut job = fixture.job(network(), 1);
    job.job.training.optimizer = common::sgd(1e30);
    trainer.evaluate(&job);
    match trainer.answer().last() {
        Some(FromEvaluator::Failed { failure }) => {
            assert_eq!(failure.domain, FailureDomain::Candidate);
            assert_eq!(failure.kind, FailureKind::Diverged);
        }
        other => panic!("{other:?}"),
    }
    trainer.evaluate(&fixture.job(network(), 2));
    assert!(matches!(
        trainer.answer().last(),
        Some(FromEvaluator::Done(_))
    ));
}

#[test]
fn a_long_epoch_gives_signs_of_life() {
    let fixture = Fixture::with(20_000, 0);
    let mut trainer = start();
    let mut job = endless(&fixture);
    // Small batches make an epoch of many seconds, also on a fast machine.
    job.job.training.batch_size = 1;
    trainer.evaluate(&job);
    match trainer.next() {
        FromEvaluator::Progress { fraction } => assert!((0.0..1.0).contains(&fraction)),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_version_names_libtorch() {
    let output = Command::new(env!("CARGO_BIN_EXE_espalier-trainer"))
        .arg("--version")
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        text.starts_with("espalier-trainer ") && text.contains("libtorch 2."),
        "{text}"
    );
}
