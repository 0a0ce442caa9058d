//! The example of a user's own program (examples/evaluator.py) speaks the protocol of these types.
#![allow(clippy::unwrap_used)] // The helpers of a test may end it too.

mod common;

use std::path::Path;
use std::process::Command;

use common::process::Evaluator;
use common::{Fixture, network};
use espalier_common::candidate::{Candidate, DecisionPath, Value};
use espalier_common::evaluator::{
    Evaluate, FromEvaluator, PROTOCOL_VERSION, ToEvaluator, checked_metrics,
};
use espalier_common::ids::Digest;
use espalier_common::job::{Job, JobKind};

fn start() -> Evaluator {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/evaluator.py");
    let mut command = Command::new("python3");
    command.arg(script);
    let (evaluator, ready) = Evaluator::start(command);
    assert_eq!(ready.protocol, PROTOCOL_VERSION);
    assert_eq!(ready.jobs, [JobKind::Train]);
    assert!(ready.checkpoints);
    evaluator
}

fn job(fixture: &Fixture, trial: u32, learning_rate: f64, to: u32) -> Evaluate {
    let mut job = fixture.job(network(), trial);
    let path = DecisionPath("hyperparameters.learning_rate".to_owned());
    job.job.decisions = Candidate([(path, Value::Real(learning_rate))].into());
    job.job.job = Job::train(to);
    job
}

#[test]
fn its_measurements_come_from_the_decisions() {
    let fixture = Fixture::new();
    let mut evaluator = start();
    let mut last = Vec::new();
    for (trial, rate) in [(1, 1e-3), (2, 1e-1)] {
        evaluator.evaluate(&job(&fixture, trial, rate, 3));
        let messages = evaluator.answer();
        assert!(
            matches!(messages.last(), Some(FromEvaluator::Done(_))),
            "{messages:?}"
        );
        let losses: Vec<(u32, f64)> = messages
            .iter()
            .filter_map(|message| match message {
                FromEvaluator::Measurement { step, metrics, .. } => Some((
                    *step,
                    checked_metrics(metrics).unwrap().get("loss").unwrap(),
                )),
                _ => None,
            })
            .collect();
        assert!(
            losses.windows(2).all(|pair| pair[0].1 > pair[1].1),
            "{losses:?}"
        );
        assert_eq!(losses.len(), 3);
        assert_eq!(losses[2].0, 3);
        last.push(losses[2].1);
    }
    assert!(
        last[0] < last[1],
        "the better decision has the smaller loss: {last:?}"
    );
    evaluator.send(ToEvaluator::Shutdown);
    assert!(evaluator.wait().success());
}

#[test]
fn it_stops_when_it_is_told_and_ends_with_its_worker() {
    let fixture = Fixture::new();
    let mut evaluator = start();
    let long = job(&fixture, 1, 1e-3, u32::MAX);
    evaluator.evaluate(&long);
    assert!(matches!(
        evaluator.next(),
        FromEvaluator::Measurement { .. }
    ));
    evaluator.send(ToEvaluator::Stop {
        attempt: long.job.key(),
    });
    let own = Some(long.job.key().to_string());
    assert!(evaluator.named_attempts().iter().all(|id| *id == own));
    evaluator.evaluate(&job(&fixture, 2, 1e-3, u32::MAX));
    assert!(matches!(
        evaluator.next(),
        FromEvaluator::Measurement { .. }
    ));
    evaluator.input = None;
    assert!(evaluator.wait().success());
}

#[test]
fn it_goes_on_from_the_checkpoint_that_it_was_asked_for() {
    let fixture = Fixture::new();
    let mut evaluator = start();
    // So many epochs that it is still at them when it is asked.
    let mut first = job(&fixture, 1, 1e-3, 1_000_000);
    evaluator.evaluate(&first);
    assert!(matches!(
        evaluator.next(),
        FromEvaluator::Measurement { step: 1, .. }
    ));
    evaluator.send(ToEvaluator::Checkpoint {
        attempt: first.job.key(),
    });
    let Some(FromEvaluator::Checkpoint { path, step }) = evaluator.answer().pop() else {
        panic!("a checkpoint is the last word");
    };
    first.checkpoint_path = Some(format!("{}/{path}", first.scratch));
    first.job.job = Job::Train {
        from: step,
        to: step + 1,
        checkpoint: Some(Digest::of(b"")),
    };
    evaluator.evaluate(&first);
    let messages = evaluator.answer();
    let [
        FromEvaluator::Measurement { step: next, .. },
        FromEvaluator::Done(_),
    ] = messages[..]
    else {
        panic!("{messages:?}");
    };
    assert_eq!(next, step + 1);
}
