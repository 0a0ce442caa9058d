//! The trainer on a GPU. Where there is none these tests say so and end; `make test-cuda` (with
//! `ESPALIER_REQUIRE_CUDA`) makes that a failure.
#![allow(clippy::unwrap_used)] // The helpers of a test may end it too.

mod common;
#[path = "common/golden.rs"]
mod golden;

use std::process::Command;

use common::process::Evaluator;
use common::{
    CLASSES, Fixture, Recorder, chain, conv, done, linear, measure_what_came_of, network, turn,
};
use espalier_common::evaluator::{FromEvaluator, ToEvaluator, checked_metrics};
use espalier_common::failure::{FailureDomain, FailureKind};
use espalier_common::network::{Activation, Op};
use espalier_trainer::device;
use espalier_trainer::job::Runner;
use espalier_trainer::lower::Model;
use golden::goldens;
use golden::spaces::{batch, spaces};
use tch::{Device, Kind, no_grad};

const GPU: &str = "cuda:0";
/// Examples in a batch of golden candidates.
const BATCH: i64 = 4;
/// How far outputs may be from the CPU's, as a share of the greatest one. Convolutions are computed in TF32,
/// whose numbers have 10 bits after the point, and dozens of them follow one another.
const MOST_APART: f64 = 0.03;

/// Whether there is a GPU to test.
fn gpu() -> bool {
    let loaded = device::load_cuda();
    if device::available().iter().any(|name| name == GPU) {
        return true;
    }
    let why = match loaded {
        Ok(true) => "the driver or the GPU is missing".to_owned(),
        Ok(false) => "this libtorch is without CUDA".to_owned(),
        Err(error) => error,
    };
    assert!(
        std::env::var_os("ESPALIER_REQUIRE_CUDA").is_none(),
        "there is no {GPU}: {why}"
    );
    println!("not tested: there is no {GPU}: {why}");
    false
}

#[test]
fn training_on_a_gpu_learns_and_starts_from_the_weights_of_the_cpu() {
    let _turn = turn();
    if !gpu() {
        return;
    }
    let fixture = Fixture::new();
    let run = |device: &str, rate: f64| {
        let mut job = fixture.job(chain(vec![Op::Flatten, linear(64, CLASSES)]), 1);
        job.device = device.to_owned();
        job.job.training.optimizer = common::sgd(rate);
        let mut recorder = Recorder::default();
        Runner::default().run(&job, &mut recorder).unwrap();
        recorder.epochs
    };
    let (here, there) = (run("cpu", 0.1), run(GPU, 0.1));
    assert!(there[2].score.accuracy > 0.9, "{there:?}");
    for (one, other) in here.iter().zip(&there) {
        let apart = (one.train_loss - other.train_loss).abs();
        assert!(apart < 0.01 * one.train_loss, "{one:?} {other:?}");
    }
}

#[test]
fn weights_trained_on_a_gpu_measure_the_same_on_the_cpu() {
    let _turn = turn();
    if !gpu() {
        return;
    }
    let fixture = Fixture::new();
    let mut job = fixture.job(network(), 1);
    job.device = GPU.to_owned();
    let trained = Runner::default()
        .run(&job, &mut Recorder::default())
        .unwrap();
    measure_what_came_of(&mut job, &done(trained));
    let mut measured = |device: &str| {
        job.device = device.to_owned();
        let measured = Runner::default()
            .run(&job, &mut Recorder::default())
            .unwrap();
        checked_metrics(&done(measured).metrics).unwrap()
    };
    let (there, here) = (measured(GPU), measured("cpu"));
    assert!(there.get("accuracy").unwrap() > 0.9, "{there:?}");
    assert_eq!(there.get("accuracy"), here.get("accuracy"));
    let apart = (there.get("loss").unwrap() - here.get("loss").unwrap()).abs();
    assert!(apart < 0.01, "{there:?} {here:?}");
}

#[test]
fn every_golden_candidate_computes_on_a_gpu_what_it_computes_on_the_cpu() {
    let _turn = turn();
    if !gpu() {
        return;
    }
    let (mut most, mut count) = (0.0_f64, 0);
    let networks = spaces().into_iter().flat_map(|space| {
        let networks = goldens(&space).into_iter().map(|(_, network)| network);
        networks.map(move |network| (space.name.clone(), network))
    });
    for (space, network) in networks {
        let outputs = [Device::Cpu, Device::Cuda(0)].map(|device| {
            // The same weights and inputs: both are drawn on the CPU.
            tch::manual_seed(1);
            let model = Model::new(&network, device).unwrap();
            let inputs = batch(&network, BATCH).to_device(device);
            let trained = model.forward(inputs.shallow_clone(), true).unwrap();
            trained.square().sum(Kind::Float).backward();
            for tensor in model.parameters().trained() {
                let grad = tensor.grad();
                assert!(
                    !grad.defined() || grad.isfinite().all().int64_value(&[]) == 1,
                    "{space}: {network:?}"
                );
            }
            let fresh = {
                tch::manual_seed(1);
                Model::new(&network, device).unwrap()
            };
            no_grad(|| fresh.forward(inputs, false).unwrap()).to_device(Device::Cpu)
        });
        let [here, there] = &outputs;
        assert_eq!(here.size(), there.size(), "{space}");
        let greatest = here.abs().max().double_value(&[]).max(1e-3);
        let apart = (here - there).abs().max().double_value(&[]) / greatest;
        assert!(apart < MOST_APART, "{space}: {apart} apart: {network:?}");
        (most, count) = (most.max(apart), count + 1);
    }
    println!("{count} networks; outputs at most {most:.4} of the greatest apart");
    assert!(count >= 200, "{count}");
}

#[test]
fn a_gpu_whose_memory_runs_out_is_told_as_such_and_does_the_next_job() {
    let _turn = turn();
    if !gpu() {
        return;
    }
    let fixture = Fixture::new();
    let trainer = env!("CARGO_BIN_EXE_espalier-trainer");
    let (mut trainer, ready) = Evaluator::start(Command::new(trainer));
    assert!(ready.devices.iter().any(|name| name == GPU), "{ready:?}");
    // 2^20 channels of 8 x 8 floats for each of 256 images are 69 GB, several times over.
    let wide = 1 << 20;
    let mut ops = vec![conv(1, wide)];
    ops.extend((0..8).map(|_| Op::Activation(Activation::Silu)));
    ops.extend([Op::GlobalAvgPool, linear(wide, CLASSES)]);
    let mut job = fixture.job(chain(ops), 1);
    job.device = GPU.to_owned();
    job.job.training.batch_size = 256;
    trainer.evaluate(&job);
    match trainer.answer().last() {
        Some(FromEvaluator::Failed { failure }) => {
            let told = (failure.domain, failure.kind);
            assert_eq!(
                told,
                (FailureDomain::Worker, FailureKind::OutOfMemory),
                "{failure:?}"
            );
            println!("{}", failure.message);
        }
        other => panic!("{other:?}"),
    }
    let mut job = fixture.job(network(), 2);
    job.device = GPU.to_owned();
    trainer.evaluate(&job);
    match trainer.answer().last() {
        Some(FromEvaluator::Done(done)) => assert!(done.weights.is_some()),
        other => panic!("{other:?}"),
    }
    trainer.send(ToEvaluator::Shutdown);
    assert!(trainer.wait().success());
}
