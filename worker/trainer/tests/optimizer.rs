//! The trainer's optimizers against libtorch's own.

#![allow(clippy::unwrap_used)] // The helpers of a test may end it too.

use espalier_common::recipe::Optimizer as Recipe;
use espalier_trainer::optimizer::Optimizer;
use espalier_trainer::parameters::Parameters;
use tch::{COptimizer, Device, Kind, Tensor};

const STEPS: u64 = 40;

/// Not drawn: libtorch has one generator for the whole process, and tests run side by side.
fn start() -> Vec<Tensor> {
    [&[4, 3, 3, 3][..], &[4], &[2, 4], &[2, 4], &[5]]
        .map(|size| {
            let numbers = Tensor::arange(size.iter().product::<i64>(), (Kind::Float, Device::Cpu));
            (numbers * 2.4).sin().view(size)
        })
        .into()
}

/// A loss whose gradient differs from step to step. Two parameters share theirs, and the last one has none.
fn loss(parameters: &[Tensor], step: u64) -> Tensor {
    let [one, two, left, right, _] = parameters else {
        panic!("as many as `start` makes");
    };
    let squares = |tensor: &Tensor| (tensor - (step as f64).sin()).square().sum(Kind::Float);
    squares(one) + squares(two) + squares(&(left + right))
}

fn rate(step: u64) -> f64 {
    0.02 / (1.0 + step as f64)
}

fn ours(recipe: &Recipe) -> Vec<Tensor> {
    let mut parameters = Parameters::new(Device::Cpu);
    for (index, tensor) in start().into_iter().enumerate() {
        let _ = parameters.add(index.to_string(), &tensor, true).unwrap();
    }
    let trained: Vec<Tensor> = parameters.trained().map(Tensor::shallow_clone).collect();
    let mut optimizer = Optimizer::new(recipe, &parameters).unwrap();
    for step in 0..STEPS {
        optimizer.step(&loss(&trained, step), rate(step)).unwrap();
    }
    trained
}

fn theirs(mut optimizer: COptimizer) -> Vec<Tensor> {
    let trained: Vec<Tensor> = start()
        .into_iter()
        .map(|tensor| tensor.set_requires_grad(true))
        .collect();
    for tensor in &trained {
        optimizer.add_parameters(tensor, 0).unwrap();
    }
    for step in 0..STEPS {
        optimizer.set_learning_rate(rate(step)).unwrap();
        optimizer.zero_grad().unwrap();
        loss(&trained, step).backward();
        optimizer.step().unwrap();
    }
    trained
}

fn assert_same(recipe: &Recipe, optimizer: COptimizer) {
    let all = ours(recipe).into_iter().zip(theirs(optimizer)).zip(start());
    for (index, ((ours, theirs), start)) in all.enumerate() {
        let distance = |other: &Tensor| (&theirs - other).abs().max().double_value(&[]);
        assert_eq!(
            distance(&start) > 0.01,
            index < 4,
            "{recipe:?}: what was trained"
        );
        let apart = distance(&ours);
        assert!(apart < 1e-5, "{recipe:?}: {apart} apart");
    }
}

#[test]
fn gradient_descent_is_that_of_libtorch() {
    for (momentum, nesterov, weight_decay) in [
        (0.0, false, 0.0),
        (0.0, false, 0.01),
        (0.9, false, 0.0),
        (0.9, false, 5e-4),
        (0.9, true, 5e-4),
    ] {
        let recipe = Recipe::Sgd {
            learning_rate: 0.02,
            momentum,
            nesterov,
            weight_decay,
        };
        let optimizer = COptimizer::sgd(0.02, momentum, 0.0, weight_decay, nesterov).unwrap();
        assert_same(&recipe, optimizer);
    }
    // Without momentum Nesterov's form is plain descent; libtorch refuses the pair.
    let recipe = |nesterov| Recipe::Sgd {
        learning_rate: 0.02,
        momentum: 0.0,
        nesterov,
        weight_decay: 0.0,
    };
    for (plain, nesterov) in ours(&recipe(false)).iter().zip(ours(&recipe(true))) {
        assert_eq!(plain, &nesterov);
    }
}

#[test]
fn adamw_is_that_of_libtorch() {
    for weight_decay in [0.0, 0.05] {
        let recipe = Recipe::Adamw {
            learning_rate: 0.02,
            weight_decay,
        };
        let optimizer = COptimizer::adamw(0.02, 0.9, 0.999, weight_decay, 1e-8, false).unwrap();
        assert_same(&recipe, optimizer);
    }
}
