//! What a lease carries.

#![allow(clippy::unwrap_used)]

mod support;

use espalier_common::candidate::{DecisionPath, Value};
use support::{Run, definition};

#[test]
fn a_lease_carries_fixed_hyperparameters_beside_the_decided_ones() {
    let definition = definition(
        "
name: fixed
hyperparameters: {rate: {range: [0.0, 1.0]}, data_version: 3}
evaluator: mine
objectives: [{maximize: score}]
budget: {trials: 1}
",
    );
    let mut run = Run::new(&definition);
    let proposed = run.ask().outcome.unwrap();
    run.deliver();
    let job = run.lease(1, 1).remove(0);
    let value = |name: &str| {
        job.decisions
            .get(&DecisionPath(format!("hyperparameters.{name}")))
    };
    assert_eq!(value("data_version"), Some(&Value::Integer(3)));
    let rate = DecisionPath("hyperparameters.rate".to_owned());
    assert_eq!(value("rate"), proposed.candidate.get(&rate));
    assert!(value("rate").is_some());
}
