//! Hyperparameters inside others, on their way to a program: the example of the docs.

#![allow(clippy::unwrap_used)]

mod support;

use std::sync::Arc;

use espalier_common::spec::WarmStart;
use support::{NESTED, Run, definition, definition_with};

const SPEC: &str = include_str!("../../../docs/spec.md");
const EVALUATORS: &str = include_str!("../../../docs/evaluators.md");

/// The first block of code of a page after `heading`.
fn example<'p>(page: &'p str, heading: &str) -> &'p str {
    let (_, section) = page.split_once(heading).unwrap();
    let (_, code) = section.split_once("```").unwrap();
    let (code, _) = code.split_once("```").unwrap();
    code.split_once('\n').unwrap().1
}

#[test]
fn a_program_gets_the_hyperparameters_of_the_documented_example_as_documented() {
    let sent: serde_json::Map<String, serde_json::Value> =
        serde_json::from_str(example(EVALUATORS, "\n### Decisions\n")).unwrap();
    let fixed = [
        "hyperparameters.head.layers",
        "hyperparameters.optimizer.sgd.nesterov",
    ];
    let mut decided = sent.clone();
    decided.retain(|path, _| !fixed.contains(&path.as_str()));
    let text = format!(
        "name: x\nbudget: {{trials: 1}}\n{}warm_start: {{candidates: [{{decisions: {}}}]}}\n",
        example(SPEC, "\n### Hyperparameters inside others\n"),
        serde_json::Value::Object(decided),
    );
    let definition = Arc::unwrap_or_clone(definition(&text));
    let Some(WarmStart::Candidates(known)) = definition.spec.warm_start.clone() else {
        panic!("the spec begins with the candidate");
    };
    let mut run = Run::new(&Arc::new(definition.with_known(known)));
    run.ask();
    run.deliver().unwrap();
    let job = run.lease(1, 1).pop().unwrap();
    let decisions = serde_json::to_value(&job.decisions).unwrap();
    assert_eq!(decisions, serde_json::Value::Object(sent));
}

#[test]
fn no_program_gets_a_hyperparameter_of_an_alternative_that_is_not_taken() {
    let mut run = Run::new(&definition_with(NESTED, "random", 40, 1));
    let mut taken = std::collections::BTreeSet::new();
    for _ in 0..40 {
        run.ask();
        run.deliver().unwrap();
        let job = run.lease(1, 1).pop().unwrap();
        let decisions = serde_json::to_value(&job.decisions).unwrap();
        let decisions = decisions.as_object().unwrap();
        let optimizer = decisions["hyperparameters.optimizer"].as_str().unwrap();
        for path in decisions.keys() {
            if let Some(inside) = path.strip_prefix("hyperparameters.optimizer.") {
                assert!(inside.starts_with(&format!("{optimizer}.")), "{path}");
            }
        }
        let fixed = decisions.contains_key("hyperparameters.optimizer.adam.fixed");
        assert_eq!(fixed, optimizer == "adam");
        taken.insert(optimizer.to_owned());
        run.complete(1, &job, 0.5);
    }
    assert_eq!(taken.len(), 3);
}
