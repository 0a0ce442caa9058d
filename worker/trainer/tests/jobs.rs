//! Jobs run in this process: training, determinism, weights, and what is refused.
#![allow(clippy::unwrap_used)] // The helpers of a test may end it too.

mod common;

use common::{
    CLASSES, Fixture, Recorder, chain, conv, done, linear, measure_what_came_of, network, recipe,
    sgd, turn,
};
use espalier_common::evaluator::Evaluate;
use espalier_common::failure::{Failure, FailureDomain, FailureKind};
use espalier_common::ids::Digest;
use espalier_common::job::Job;
use espalier_common::network::{Convolution, Network, Op, Pooling, Shape};
use espalier_common::recipe::{Optimizer, Schedule};
use espalier_trainer::job::Runner;

fn run(job: &Evaluate) -> Recorder {
    let mut recorder = Recorder::default();
    Runner::default().run(job, &mut recorder).unwrap();
    recorder
}

fn refused(job: &Evaluate) -> Failure {
    match Runner::default().run(job, &mut Recorder::default()) {
        Ok(_) => panic!("this job should have been refused"),
        Err(error) => error.failure(),
    }
}

#[test]
fn training_learns_the_data() {
    let _turn = turn();
    let fixture = Fixture::new();
    for optimizer in [
        sgd(0.1),
        Optimizer::Adamw {
            learning_rate: 0.01,
            weight_decay: 0.01,
        },
    ] {
        let mut job = fixture.job(network(), 1);
        job.job.training.optimizer = optimizer;
        let recorder = run(&job);
        let numbers: Vec<u32> = recorder.epochs.iter().map(|epoch| epoch.number).collect();
        assert_eq!(numbers, [1, 2, 3]);
        let (first, last) = (recorder.epochs[0], recorder.epochs[2]);
        assert!(last.train_loss < first.train_loss, "{first:?} {last:?}");
        // A guess is right in a quarter of the cases.
        assert!(last.score.accuracy > 0.9, "{last:?}");
    }
}

#[test]
fn the_same_job_gives_the_same_bits_whatever_ran_between() {
    let _turn = turn();
    let fixture = Fixture::new();
    let job = fixture.job(network(), 1);
    let mut other = fixture.job(chain(vec![Op::Flatten, linear(64, CLASSES)]), 2);
    other.job.seed = 99;
    let mut runner = Runner::default();
    let mut bits = Vec::new();
    for next in [&job, &other, &job] {
        let mut recorder = Recorder::default();
        runner.run(next, &mut recorder).unwrap();
        bits.push(recorder.bits());
    }
    assert_eq!(bits[0], bits[2]);
    assert_ne!(bits[0], bits[1]);
}

#[test]
fn another_seed_gives_another_result() {
    let _turn = turn();
    let fixture = Fixture::new();
    let mut job = fixture.job(network(), 1);
    let one = run(&job).bits();
    job.job.seed = 8;
    assert_ne!(run(&job).bits(), one);
}

#[test]
fn stored_weights_measure_as_they_did_when_they_were_trained() {
    let _turn = turn();
    let fixture = Fixture::new();
    let mut job = fixture.job(network(), 1);
    let trained = Runner::default()
        .run(&job, &mut Recorder::default())
        .unwrap();
    measure_what_came_of(&mut job, &done(trained));
    // Another seed: were the weights not loaded, a network of chance would be measured.
    job.job.seed = 1234;
    let mut recorder = Recorder::default();
    let measured = done(Runner::default().run(&job, &mut recorder).unwrap());
    assert!(measured.metrics["accuracy"].unwrap() > 0.9, "{measured:?}");
    assert!(measured.metrics["loss"].unwrap().is_finite());
    assert!(recorder.epochs.is_empty() && recorder.batches > 0);
}

#[test]
fn weights_of_another_network_are_refused() {
    let _turn = turn();
    let fixture = Fixture::new();
    let job = fixture.job(network(), 1);
    let done = done(
        Runner::default()
            .run(&job, &mut Recorder::default())
            .unwrap(),
    );
    let weights = std::path::Path::new(&job.scratch).join(done.weights.unwrap());
    let test = |network: Network, path: &std::path::Path| {
        let mut job = fixture.job(network, 2);
        job.weights_path = Some(path.to_str().unwrap().to_owned());
        job.job.job = Job::Test {
            weights: Digest::of(b""),
        };
        refused(&job)
    };
    let narrow = chain(vec![conv(1, 4), Op::Flatten, linear(4 * 64, CLASSES)]);
    let failure = test(narrow, &weights);
    assert_eq!(
        (failure.domain, failure.kind),
        (FailureDomain::Worker, FailureKind::Data)
    );

    let damaged = fixture.folder.path().join("damaged.safetensors");
    let bytes = std::fs::read(&weights).unwrap();
    std::fs::write(&damaged, &bytes[..bytes.len() - 1]).unwrap();
    assert_eq!(test(network(), &damaged).kind, FailureKind::Data);
    std::fs::write(&damaged, vec![b'x'; 4 << 20]).unwrap();
    assert!(test(network(), &damaged).message.contains("at most"));
    assert_eq!(
        test(network(), &fixture.folder.path().join("none")).kind,
        FailureKind::Data
    );
}

#[test]
fn an_exploding_learning_rate_is_the_candidates_failure() {
    let _turn = turn();
    let fixture = Fixture::new();
    let mut job = fixture.job(network(), 1);
    job.job.training.optimizer = sgd(1e30);
    let failure = refused(&job);
    assert_eq!(
        (failure.domain, failure.kind),
        (FailureDomain::Candidate, FailureKind::Diverged),
        "{}",
        failure.message
    );
}

#[test]
fn a_session_can_stop_training_and_measuring() {
    let _turn = turn();
    let fixture = Fixture::new();
    let job = fixture.job(network(), 1);
    // 256 examples in batches of 32: the ninth look is in the measurement.
    for stop_after in [0, 3, 8] {
        let mut recorder = Recorder {
            stop_after: Some(stop_after),
            ..Recorder::default()
        };
        let error = Runner::default().run(&job, &mut recorder).unwrap_err();
        assert_eq!(error.failure().message, "stopped at the worker's request");
        assert_eq!(recorder.batches, stop_after + 1);
        assert!(recorder.epochs.is_empty());
    }
}

#[test]
fn the_schedule_of_a_short_job_is_that_of_the_full_fidelity() {
    let _turn = turn();
    let fixture = Fixture::new();
    let mut job = fixture.job(network(), 1);
    let full = run(&job).bits();
    job.job.job = Job::train(2);
    assert_eq!(run(&job).bits(), full[..2]);
}

#[test]
fn a_last_batch_of_one_example_does_not_spoil_batch_normalisation() {
    let _turn = turn();
    // 321 - 64 = 257 = 8 * 32 + 1.
    let fixture = Fixture::with(321, 0);
    let network = chain(vec![
        Op::Flatten,
        linear(64, 8),
        Op::BatchNorm { channels: 8 },
        linear(8, CLASSES),
    ]);
    assert!(
        run(&fixture.job(network, 1)).epochs[2]
            .score
            .loss
            .is_finite()
    );
}

#[test]
fn batch_normalisation_of_single_values_is_refused_and_of_images_is_not() {
    let _turn = turn();
    let fixture = Fixture::with(96, 0);
    let of_a_vector = chain(vec![
        Op::Flatten,
        linear(64, 8),
        Op::BatchNorm { channels: 8 },
        linear(8, CLASSES),
    ]);
    let mut job = fixture.job(of_a_vector, 1);
    job.job.training.batch_size = 1;
    let failure = refused(&job);
    assert_eq!(
        (failure.domain, failure.kind),
        (FailureDomain::Candidate, FailureKind::Build)
    );
    assert!(
        failure.message.contains("batch_size") && failure.message.contains("network[2]"),
        "{}",
        failure.message
    );
    let mut job = fixture.job(network(), 2);
    job.job.training.batch_size = 1;
    job.job.training.optimizer = sgd(0.001);
    assert!(run(&job).epochs[2].score.loss.is_finite());
}

#[test]
fn measuring_takes_as_many_examples_at_a_time_as_training() {
    let _turn = turn();
    let fixture = Fixture::new();
    let mut job = fixture.job(network(), 1);
    job.job.job = Job::train(1);
    // 256 examples to train on and 64 to measure on.
    for (batch_size, batches) in [(8, 32 + 8), (64, 4 + 1), (256, 1 + 1)] {
        job.job.training.batch_size = batch_size;
        assert_eq!(run(&job).batches, batches, "batch size {batch_size}");
    }
}

#[test]
fn the_data_stay_open_between_jobs_that_spell_them_differently() {
    let _turn = turn();
    let fixture = Fixture::new();
    let mut runner = Runner::default();
    let mut job = fixture.job(network(), 1);
    runner.run(&job, &mut Recorder::default()).unwrap();
    // Opening the file again, which reads all of it, would fail now.
    std::fs::remove_file(&fixture.decoded).unwrap();
    let dataset = job.job.dataset.as_mut().unwrap();
    dataset.reference.path = format!("/.{}/", dataset.reference.path);
    dataset.reference.train = Some(dataset.train);
    runner.run(&job, &mut Recorder::default()).unwrap();
    // Another split is other data.
    job.job.dataset.as_mut().unwrap().reference.split_seed += 1;
    let error = runner.run(&job, &mut Recorder::default()).unwrap_err();
    assert_eq!(error.failure().kind, FailureKind::Disk);
}

#[test]
fn what_cannot_be_built_is_refused_as_such() {
    let _turn = turn();
    let fixture = Fixture::new();
    let mut broken = network();
    broken.nodes[3].inputs = vec![99].into();
    let cases: [(Network, &str); 5] = [
        (broken, "cannot be built"),
        (
            chain(vec![Op::Flatten, linear(64, 3)]),
            "the 4 classes need",
        ),
        (chain(vec![conv(1, 4)]), "the 4 classes need"),
        (
            chain(vec![Op::Flatten, linear(64, CLASSES), Op::Zero]),
            "does not depend on any weight",
        ),
        (
            chain(vec![
                Op::AvgPool2d(Pooling {
                    kernel: 4,
                    stride: 4,
                    padding: 0,
                }),
                Op::Flatten,
            ]),
            "no weights to train",
        ),
    ];
    for (network, part) in cases {
        let failure = refused(&fixture.job(network, 1));
        assert_eq!(failure.kind, FailureKind::Build, "{}", failure.message);
        assert!(
            failure.message.contains(part),
            "{:?} should contain {part:?}",
            failure.message
        );
    }
}

#[test]
fn a_network_too_large_for_the_machine_runs_out_of_memory() {
    let _turn = turn();
    let fixture = Fixture::new();
    // 32 images of 2^40 floats: beyond any address space, so that no machine starts to fill it.
    let wide = Op::Conv2d(Convolution {
        in_channels: 1,
        out_channels: 1,
        kernel: 1,
        stride: 1,
        padding: (1 << 19) - 4,
        dilation: 1,
        groups: 1,
        bias: true,
    });
    let network = chain(vec![wide, Op::GlobalAvgPool, linear(1, CLASSES)]);
    let failure = refused(&fixture.job(network, 1));
    assert_eq!(
        (failure.domain, failure.kind),
        (FailureDomain::Worker, FailureKind::OutOfMemory),
        "{}",
        failure.message
    );
}

#[test]
fn what_is_not_offered_is_refused_as_unsupported() {
    let _turn = turn();
    let fixture = Fixture::new();
    type Change = (fn(&mut Evaluate), &'static str);
    let changes: [Change; 13] = [
        (
            |job| {
                job.job.training.optimizer = Optimizer::Sgd {
                    learning_rate: 0.1,
                    momentum: -0.5,
                    nesterov: false,
                    weight_decay: 0.0,
                }
            },
            "momentum of -0.5",
        ),
        (
            |job| {
                job.job.training.optimizer = Optimizer::Adamw {
                    learning_rate: 0.1,
                    weight_decay: f64::NAN,
                }
            },
            "weight decay of NaN",
        ),
        (
            |job| {
                job.job.job = Job::Train {
                    from: 1,
                    to: 3,
                    checkpoint: None,
                }
            },
            "names no checkpoint",
        ),
        (|job| job.job.job = Job::train(4), "epoch 4"),
        (|job| job.job.job = Job::train(0), "epoch 0"),
        (|job| job.job.training.batch_size = 0, "batch size of 0"),
        (
            |job| job.job.training.optimizer = sgd(f64::NAN),
            "learning rate",
        ),
        (
            |job| job.job.training.label_smoothing = 1.5,
            "label smoothing",
        ),
        (
            |job| {
                job.job.training.schedule = Schedule::Cosine {
                    warmup_epochs: -1.0,
                }
            },
            "warm-up of -1",
        ),
        (|job| job.job.network = None, "no network"),
        (|job| job.dataset_path = None, "no data set"),
        (|job| job.device = "cuda:77".to_owned(), "cuda:77"),
        (|job| job.threads = 0, "0 threads"),
    ];
    for (change, part) in changes {
        let mut job = fixture.job(network(), 1);
        change(&mut job);
        let failure = refused(&job);
        assert_eq!(
            failure.kind,
            FailureKind::Unsupported,
            "{}",
            failure.message
        );
        assert!(
            failure.message.contains(part),
            "{:?} should contain {part:?}",
            failure.message
        );
    }
}

#[test]
fn data_that_are_not_those_of_the_job_are_refused() {
    let _turn = turn();
    let fixture = Fixture::new();
    let mut job = fixture.job(network(), 1);
    job.job.dataset.as_mut().unwrap().fingerprint = Digest::of(b"other");
    assert_eq!(refused(&job).kind, FailureKind::Data);

    let mut job = fixture.job(network(), 1);
    job.job.dataset.as_mut().unwrap().input = Shape::image(3, 8, 8);
    assert_eq!(refused(&job).kind, FailureKind::Data);
}

#[test]
fn weights_that_cannot_be_written_are_the_disks_failure() {
    let _turn = turn();
    let fixture = Fixture::new();
    let mut job = fixture.job(network(), 1);
    job.scratch = fixture
        .folder
        .path()
        .join("nowhere")
        .to_str()
        .unwrap()
        .to_owned();
    let failure = refused(&job);
    assert_eq!(
        (failure.domain, failure.kind),
        (FailureDomain::Worker, FailureKind::Disk)
    );
}

#[test]
fn the_smallest_and_the_largest_batches_train() {
    let _turn = turn();
    let fixture = Fixture::new();
    for batch_size in [1, 256, u32::MAX] {
        let mut job = fixture.job(chain(vec![Op::Flatten, linear(64, CLASSES)]), 1);
        job.job.training = recipe(1);
        job.job.training.batch_size = batch_size;
        job.job.training.optimizer = sgd(0.001);
        job.job.training.schedule = Schedule::Constant { warmup_epochs: 0.0 };
        job.job.job = Job::train(1);
        assert!(run(&job).epochs[0].score.loss.is_finite(), "{batch_size}");
    }
}
